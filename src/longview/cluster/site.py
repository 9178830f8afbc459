"""Asking SLURM. Every question has a time limit and may stay unanswered: None is "not known", never "no" and never "none".

SLURM may be absent (a laptop), silent (its controller is down), or without a database (then there are no accounts to be known).
What could not be asked is noted in ``Site.silences`` in plain words.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from longview.cluster import answers
from longview.cluster.answers import Association, LivePartition, NodeGroup, Qos

PATIENCE = 10.0
"""Seconds a command may take. A busy controller needs some; one that is down keeps its clients waiting far longer."""


@dataclass(frozen=True)
class Answer:
    """What a command printed and how it ended; ``code`` None: it is not installed or did not end in time."""

    code: int | None
    out: str = ""
    err: str = ""

    @property
    def ok(self) -> bool:
        """Whether it ended well."""
        return self.code == 0


Runner = Callable[[Sequence[str], str, float], Answer]
"""Runs a command with a text on standard input and a time limit."""


def run(command: Sequence[str], stdin: str = "", patience: float = PATIENCE) -> Answer:
    """Run a command in English, with SLURM's own formats and only what longview asks for: SBATCH_* would win over a script."""
    if shutil.which(command[0]) is None:
        return Answer(None, err="not installed")
    theirs = ("SBATCH_", "SQUEUE_", "SINFO_", "SACCT_", "SLURM_TIME_FORMAT")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(theirs)}
    env = {**kept, "LC_ALL": "C", "SLURM_BITSTR_LEN": "0"}  # 0: lists of array indices are not cut short
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, errors="replace", timeout=patience, env=env, check=False
        )
    except subprocess.TimeoutExpired:
        return Answer(None, err=f"no answer within {patience:g} s")
    except OSError as error:
        return Answer(None, err=error.strerror or "cannot be run")
    return Answer(done.returncode, done.stdout, done.stderr)


class Site:
    """The SLURM that this machine's commands talk to. Answers are kept, except those that change while longview submits."""

    def __init__(self, runner: Runner = run, *, user: str | None = None, patience: float = PATIENCE) -> None:
        self._runner, self._patience = runner, patience
        self._user = user or pwd.getpwuid(os.getuid()).pw_name
        self._workspaces: dict[str, dict[str, timedelta] | None] = {}
        self.silences: list[str] = []

    @cached_property
    def _config(self) -> dict[str, str] | None:
        ping = self._ask("scontrol", "ping")  # says at once that a controller is down; the others try for a minute
        if " UP" not in ping.out:
            return None
        answer = self._ask("scontrol", "show", "config")
        return answers.config(answer.out) if answer.ok and "ClusterName" in answer.out else None

    @property
    def installed(self) -> bool:
        """Whether there are SLURM commands on this machine at all."""
        return self.reachable() or shutil.which("scontrol") is not None

    def reachable(self) -> bool:
        """Whether SLURM's controller answers. If not, nothing else is asked, and all is not known."""
        return self._config is not None

    @property
    def config(self) -> dict[str, str]:
        """`scontrol show config`: MaxArraySize, EnforcePartLimits, JobRequeue, ClusterName, ...; empty if not known."""
        return self._config or {}

    @cached_property
    def version(self) -> tuple[int, ...] | None:
        """(22, 5, 8), say."""
        return answers.version(self.config.get("SLURM_VERSION", ""))

    def number(self, key: str) -> int | None:
        """A number of the configuration, such as MaxArraySize."""
        match = re.match(r"\d+", self.config.get(key, ""))
        return int(match[0]) if match else None

    @property
    def enforced(self) -> bool | None:
        """Whether accounts are checked by SLURM: it refuses one that is not the user's; None: not known."""
        return "associations" in self.config.get("AccountingStorageEnforce", "") if self.reachable() else None

    @cached_property
    def partitions(self) -> dict[str, LivePartition] | None:
        """Every partition by name."""
        answer = self._if_reachable("scontrol", "-a", "-o", "show", "partition")
        return answers.partitions(answer.out) if answer.ok else None

    @cached_property
    def nodes(self) -> dict[str, list[NodeGroup]] | None:
        """The kinds of nodes of every partition."""
        answer = self._if_reachable("sinfo", "-a", "-h", "-o", answers.NODES)
        return answers.nodes(answer.out) if answer.ok else None

    @cached_property
    def qos(self) -> dict[str, Qos] | None:
        """Every quality of service by name; None without an accounting database."""
        answer = self._if_reachable("sacctmgr", "-nP", "show", "qos", f"format={answers.QOS}")
        return answers.qos(answer.out) if answer.ok else None

    @cached_property
    def associations(self) -> list[Association] | None:
        """The user's rows in the accounting database; None if they cannot be known."""
        where = ["where", f"user={self._user}", f"cluster={self.config.get('ClusterName', '')}"]
        answer = self._if_reachable("sacctmgr", "-nP", "show", "assoc", *where, f"format={answers.ASSOCIATIONS}")
        if answer.ok:
            rows = answers.associations(answer.out)
        else:
            answer = self._if_reachable("sshare", "-U", "-n", "-P", "-o", "Account")
            rows = answers.share_accounts(answer.out)
            if not rows:  # without a database it prints nothing and ends well
                return None
        # "root" is the trunk of every accounting tree; its administrator has it beside the accounts that are charged
        return ([row for row in rows if row.account != "root"] or rows) if answer.ok else None

    def accounts(self) -> list[str] | None:
        """Names of the accounts the user may charge jobs to; None: not known. They are for the terminal, not for files."""
        return None if self.associations is None else sorted({a.account for a in self.associations})

    def queued(self) -> int | None:
        """The user's jobs that wait or run, array elements counted one by one; asked anew every time."""
        answer = self._if_reachable("squeue", "-h", "-u", self._user, "-o", "%i")
        return answers.elements(answer.out) if answer.ok else None

    def test_only(self, script: str) -> tuple[bool | None, str]:
        """Ask SLURM whether it would take a batch script; nothing is submitted.

        Returns:
            Whether it would (None: SLURM did not answer) and what it said. Without EnforcePartLimits it also takes jobs that can
            never start.
        """
        answer = self._if_reachable("sbatch", "--test-only", stdin=script)
        text = answers.said(answer.err)
        if answer.code is None or "Unable to contact slurm controller" in text:
            return None, text
        return answer.ok, text

    def jobs_with_comment(self, uid: str) -> list[str] | None:
        """Job ids (arrays once) whose comment holds the word ``uid``, also of jobs that ended minutes ago; None: not known.

        It finds a submission whose answer was lost, so that it is not made twice.
        """
        answer = self._if_reachable("squeue", "-h", "-t", "all", "-u", self._user, "-o", "%F|%k")
        return answers.with_comment(answer.out, uid) if answer.ok else None

    def workspaces(self, command: str = "ws_list") -> dict[str, timedelta] | None:
        """Folder -> time left of the user's workspaces; None where there is no such command."""
        if command not in self._workspaces:
            answer = self._runner(command.split(), "", self._patience)
            self._workspaces[command] = answers.workspaces(answer.out) if answer.ok else None
        return self._workspaces[command]

    def _if_reachable(self, *command: str, stdin: str = "") -> Answer:
        return self._ask(*command, stdin=stdin) if self.reachable() else Answer(None, err="SLURM does not answer")

    def _ask(self, *command: str, stdin: str = "") -> Answer:
        answer = self._runner(command, stdin, self._patience)
        if not answer.ok:
            told = [line for line in answer.err.strip().splitlines() if line.strip()]
            what = " ".join(command[:1] + tuple(w for w in command[1:4] if not w.startswith("-")))
            self.silences.append(f"{what}: {answers.said(told[-1]) if told else f'exit code {answer.code}'}")
        return answer
