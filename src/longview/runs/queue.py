"""What SLURM says about jobs: one call of squeue, at most one of sacct. Not being able to ask is an answer of its own.

Both commands print text in a format of ours, read alike by SLURM 22.05 and newer. squeue is asked for ended jobs too: it knows
them for some minutes (MinJobAge), which is enough to tell a time-out from a failure where there is no accounting.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

PATIENCE = 20.0
"""Seconds SLURM has to answer; a busy controller takes some."""
PING = 10.0
"""Seconds it has to say that it is there at all."""
_SQUEUE = "%i|%A|%T|%S|%N|%r"
_SACCT = "JobID,State,ExitCode,Start,End,NodeList"
_NO_SUCH_JOB = "invalid job id specified"
_ELEMENTS = re.compile(r"(?P<job>\d+)_\[(?P<list>[\d,:-]+)(?:%\d+)?\]")
_JOB = re.compile(r"\d+(_\d+|\+\d+)?")


@dataclass(frozen=True)
class Job:
    """A job or array element as SLURM describes it.

    Attributes:
        id: ``123`` or ``123_4``.
        state: SLURM's word: PENDING, RUNNING, TIMEOUT, ...
        reason: SLURM's reason for it, ``None`` without quotes being SLURM's "nothing".
        nodes: Node list as printed.
        start: Unix seconds: when it began, or is expected to.
        code: Exit code "code:signal"; only accounting has it.
        by: Who cancelled it, as a number; only accounting has it.
    """

    id: str
    state: str
    reason: str = ""
    nodes: str = ""
    start: float | None = None
    code: str = ""
    by: str = ""


@dataclass(frozen=True)
class Answer:
    """What squeue or sacct said.

    Attributes:
        jobs: By id; array elements also by the number SLURM gives them once they start.
        problem: Why the answer is none, or not the whole one; then a job that is not in it may live. Empty: it is complete.
    """

    jobs: Mapping[str, Job] = field(default_factory=dict)
    problem: str = ""

    @property
    def complete(self) -> bool:
        """Whether a job that is absent is really not there."""
        return not self.problem


NOT_ASKED = Answer(problem="not asked")


def elements(text: str) -> list[str]:
    """Ids behind a job id as SLURM prints it: ``7``, ``7_3``, ``7_[1-3,5%2]``, ``7_[0-8:4]``; raises ValueError for any other."""
    if _JOB.fullmatch(text):
        return [text]
    match = _ELEMENTS.fullmatch(text)
    if match is None:  # also a list cut short with "..."
        raise ValueError(f"'{text}' is no job id")
    found: list[str] = []
    for part in match["list"].split(","):
        span, _, step = part.partition(":")
        first, _, last = span.partition("-")
        found += [f"{match['job']}_{i}" for i in range(int(first), int(last or first) + 1, int(step or 1))]
    return found


def base(job: str) -> str:
    """The array's id of an element, else the id itself."""
    return job.partition("_")[0]


def newest(jobs: Iterable[str | None]) -> str | None:
    """The job that was submitted last: SLURM counts upwards."""
    known = [job for job in jobs if job and _JOB.fullmatch(job)]
    return max(known, key=lambda job: int(re.split(r"[_+]", job)[0]), default=None)


def _moment(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:  # N/A, Unknown, None
        return None


def parse_squeue(text: str) -> Answer:
    """Read the output of squeue in our format; a line that cannot be read makes the answer incomplete, never a job dead."""
    jobs: dict[str, Job] = {}
    unread = 0
    for line in _lines(text):
        try:
            shown, number, state, start, nodes, reason = line.split("|", 5)
            names = elements(shown)
        except ValueError:
            unread += 1
            continue
        for name in names:
            nothing = reason in ("", "None", "(null)")
            job = Job(name, state, "" if nothing else reason, _named(nodes), _moment(start))
            jobs[name] = job
            if len(names) == 1 and number.isdecimal():
                jobs.setdefault(number, job)
    return Answer(jobs, f"{unread} line(s) of squeue could not be read" if unread else "")


def parse_sacct(text: str) -> Answer:
    """Read the output of sacct in our format."""
    jobs: dict[str, Job] = {}
    unread = 0
    for line in _lines(text):
        try:
            shown, state, code, start, _, nodes = line.split("|", 5)
            names = elements(shown)
        except ValueError:
            unread += 1
            continue
        word, _, by = state.partition(" by ")  # CANCELLED by 1000
        for name in names:
            jobs[name] = Job(name, word.rstrip("+"), nodes=_named(nodes), start=_moment(start), code=code, by=by)
    return Answer(jobs, f"{unread} line(s) of sacct could not be read" if unread else "")


def _lines(text: str) -> Iterator[str]:
    return (line for line in text.splitlines() if line.strip() and not line.startswith("CLUSTER:"))


def _named(text: str) -> str:
    return "" if text in ("(null)", "None assigned", "n/a", "N/A") else text


def _environment() -> dict[str, str]:
    """The user's, without what would change the columns or hide jobs; lists of array elements in full."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SQUEUE_", "SACCT_"))}
    return {**kept, "SLURM_TIME_FORMAT": "standard", "SLURM_BITSTR_LEN": "0"}


def ask(command: Sequence[str], patience: float | None = None) -> tuple[str, str]:
    """Run a SLURM command; returns its output and, if it could not answer, why."""
    patience = PATIENCE if patience is None else patience
    try:
        done = subprocess.run(
            command,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=patience,
            errors="replace",
        )
    except FileNotFoundError:
        return "", f"there is no {command[0]} on this machine"
    except subprocess.TimeoutExpired:
        return "", f"{command[0]} did not answer within {patience:.0f} s"
    except OSError as error:
        return "", f"{command[0]} cannot be run: {error.strerror}"
    if done.returncode:
        said = next((line.strip() for line in done.stderr.splitlines() if line.strip()), f"exit code {done.returncode}")
        return done.stdout, said if said.startswith(command[0]) else f"{command[0]}: {said}"
    return done.stdout, ""


def away() -> str:
    """Why SLURM's controller cannot be asked; "" if it answers, or is not known not to.

    ``scontrol ping`` says within milliseconds that a controller is down, where squeue tries for many seconds.
    """
    text, problem = ask(["scontrol", "ping"], min(PING, PATIENCE))
    if " DOWN" in text and " UP" not in text:
        return f"SLURM is down; scontrol ping: {'; '.join(_lines(text))}"
    return problem if "did not answer" in problem else ""


def ask_squeue(jobs: Iterable[str]) -> Answer:
    """What is known about jobs in the queue and just out of it. By number, not by user: a group reads each other's runs."""
    numbers = sorted({base(job) for job in jobs}, key=int)
    if not numbers:
        return Answer()
    if problem := away():
        return Answer(problem=problem)
    text, problem = ask(["squeue", "-h", "-r", "-t", "all", "-o", _SQUEUE, "-j", ",".join(numbers)])
    if _NO_SUCH_JOB in problem.lower():  # said when none of them is known any more
        return Answer()
    answer = parse_squeue(text)
    return Answer(answer.jobs, problem or answer.problem)


def ask_sacct(jobs: Iterable[str]) -> Answer:
    """What accounting has kept about jobs. Sites without it, and accounting that is down, are a problem, not an end."""
    asked = set(jobs)
    numbers = sorted({base(job) for job in asked}, key=int)
    if not numbers:
        return Answer()
    text, problem = ask(["sacct", "-n", "-P", "-X", "-o", _SACCT, "-j", ",".join(numbers)])
    answer = parse_sacct(text)
    # An array that was cancelled before any element began is one record, under the array's own number.
    whole = {job: replace(answer.jobs[base(job)], id=job) for job in asked if job not in answer.jobs and base(job) in answer.jobs}
    return Answer({**answer.jobs, **whole}, problem or answer.problem)


def slurm_cluster() -> tuple[str | None, str]:
    """The name of the SLURM that is asked here, None if it does not say; and why it could not be asked."""
    if problem := away():
        return None, problem
    text, problem = ask(["scontrol", "show", "config"])
    match = re.search(r"^ClusterName\s*=\s*(\S+)", text, re.MULTILINE)
    return (match[1] if match and not problem else None), problem
