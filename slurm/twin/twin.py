"""Start and stop a twin: its folder, its daemons, its accounts."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import files
from .machine import TwinError, alive, end, free_ports, host_name, is_ours, job_processes, listens, obstacle, program, write_hosts
from .plan import Plan, make_plan, read_cluster

_LONGEST = 80
"""Characters of a folder's path: sockets in it may have 107."""
_PATIENCE = 60.0
"""Seconds a daemon may take on a busy machine."""


@dataclass(frozen=True)
class Twin:
    """A running rehearsal cluster.

    Attributes:
        cluster: Name of the cluster's YAML.
        folder: Everything it keeps; deleted by ``stop``.
        env: Variables to work with it. Use ``environ`` for a whole environment.
    """

    cluster: str
    folder: Path
    env: dict[str, str]

    @classmethod
    def load(cls, folder: Path) -> Twin:
        """The twin of a folder.

        Raises:
            TwinError: If there is none.
        """
        try:
            facts = json.loads((folder / "twin.json").read_text())
        except (OSError, ValueError):
            raise TwinError(f"there is no twin in {folder}") from None
        return cls(facts["cluster"], folder, facts["env"])

    @property
    def environ(self) -> dict[str, str]:
        """This process's environment, without variables of another SLURM, with the twin's."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH_", "SRUN_", "SALLOC_"))}
        return {**kept, **self.env}

    def run(self, *command: str, timeout: float = 60.0, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a user of the twin would; output as text."""
        return subprocess.run(command, env={**self.environ, **variables}, capture_output=True, text=True, timeout=timeout)

    @property
    def facts(self) -> dict[str, Any]:
        """What twin.json says: ports, nodes, SLURM's name of the cluster, where it differs from the site."""
        found: dict[str, Any] = json.loads((self.folder / "twin.json").read_text())
        return found

    def pids(self) -> dict[str, int]:
        """Its daemons that run: name -> process id."""
        found = {}
        for file in sorted((self.folder / "run").glob("*.json")):
            record = json.loads(file.read_text())
            if is_ours(record["pid"], record["command"][1:]):
                found[file.stem] = record["pid"]
        return found

    def signal(self, name: str, kind: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to one daemon (``slurmctld``, ``slurmd-jwb0002``); after SIGKILL and SIGTERM wait until it is gone.

        Raises:
            TwinError: If it does not run.
        """
        pid = self.pids().get(name)
        if pid is None:
            raise TwinError(f"{name} does not run in the twin of {self.folder}")
        os.kill(pid, kind)
        if kind in (signal.SIGKILL, signal.SIGTERM):
            end([pid])

    def restart(self, name: str) -> None:
        """Start a daemon again that has ended, as it was; its state on disk is kept."""
        record = json.loads((self.folder / "run" / f"{name}.json").read_text())
        if name in self.pids():
            raise TwinError(f"{name} runs already in the twin of {self.folder}")
        _daemon(self, name, record["command"][1:], **record["variables"])

    def stop(self) -> None:
        """End every process of the twin, its jobs' too, take its names out of /etc/hosts, delete its folder."""
        if not (self.folder / "twin.json").exists():
            return
        daemons = self.pids()
        end([daemons.pop(name) for name in list(daemons) if name == "slurmctld"])  # first, or it would requeue what dies next
        end([daemons.pop(name) for name in list(daemons) if name.startswith("slurmd-")])
        end(job_processes(self.folder / "slurm.conf"), grace=0.2)
        end(list(daemons.values()), grace=2.0)
        write_hosts(self.folder, [])
        shutil.rmtree(self.folder)


def start(
    cluster: str,
    folder: Path | str,
    *,
    nodes: int = 4,
    others: int = 2,
    accounting: bool = True,
    extra: Sequence[str] = (),
    overrides: Sequence[str] = (),
) -> Twin:
    """Start a twin of ``conf/cluster/<cluster>.yaml`` in ``folder``.

    Args:
        nodes, others: Nodes of the usual purpose's type, and of each other type.
        accounting: With slurmdbd: accounts, QoS, sacct.
        extra: Lines ``Key=value`` for slurm.conf, in place of the twin's own; whole PartitionName= lines are added.
        overrides: Changes to the YAML, as on the command line: ``cluster.limits.max_array_size=8``.

    Raises:
        TwinError: If it cannot be started; what had been started is ended again.
        ConfigError: If the YAML is wrong.
    """
    folder = Path(folder).absolute()
    if reason := obstacle(accounting):
        raise TwinError(reason)
    if len(str(folder)) > _LONGEST:
        raise TwinError(f"{folder} is too long a path for sockets; use one of at most {_LONGEST} characters")
    plan = make_plan(read_cluster(cluster, overrides), nodes=nodes, others=others, accounting=accounting)
    if (folder / "twin.json").exists():
        old = Twin.load(folder)
        if old.pids():
            raise TwinError(f"a twin of {old.cluster} runs in {folder} already")
        old.stop()
    if folder.exists() and any(folder.iterdir()):
        raise TwinError(f"{folder} holds something else; give an empty folder")
    try:
        twin = _prepare(plan, folder, extra)
        _start_daemons(plan, twin)
    except BaseException as error:
        tails = _tails(folder)
        (folder / "twin.json").touch()  # the mark of a folder that may be deleted
        Twin(plan.cluster.name, folder, {}).stop()
        if isinstance(error, TwinError):
            raise TwinError(f"{error}\n{tails}") from None
        raise
    return twin


def _prepare(plan: Plan, folder: Path, extra: Sequence[str]) -> Twin:
    """Write every file of the twin."""
    for name in ("state", "spool", "log", "run", "dev", "storage"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for place in files.storage_variables(plan.cluster):
        (folder / "storage" / place.lower()).mkdir(exist_ok=True)
    controller, database, *rest = free_ports(2 + len(plan.node_names))
    ports = files.Ports(controller, database, tuple(rest))
    bodies = files.stand_ins(plan.cluster, folder)
    variables = files.environment(plan, folder)
    texts = {
        "slurm.conf": files.slurm_conf(plan, folder, host_name(), ports, extra),
        "gres.conf": files.gres_conf(plan, folder),
        "cgroup.conf": files.CGROUP_CONF,
        "slurmdbd.conf": files.slurmdbd_conf(folder, host_name(), database),
        "job_submit.lua": files.job_submit(plan.cluster),
        "task_prolog": files.task_prolog(plan.cluster),
        "env": files.env_file(variables, bodies),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "slurmdbd.conf").chmod(0o600)
    (folder / "task_prolog").chmod(0o755)
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    _make_devices(folder, max((kind.gpus for kind in plan.nodes), default=0))
    twin = Twin(plan.cluster.name, folder, {**variables, **files.exported(bodies)})
    facts = {
        "cluster": twin.cluster,
        "folder": str(folder),
        "slurm_name": plan.slurm_name,
        "accounting": plan.accounting,
        "nodes": plan.node_names,
        "ports": {"slurmctld": controller, "slurmdbd": database, "slurmd": rest},
        "notes": plan.notes,
        "env": twin.env,
    }
    (folder / "twin.json").write_text(json.dumps(facts, indent=1))
    return twin


def _make_devices(folder: Path, count: int) -> None:
    try:
        for number in range(count):
            os.mknod(folder / "dev" / f"nvidia{number}", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        raise TwinError(f"device files cannot be made in {folder}; a container needs the capability MKNOD") from None


def _start_daemons(plan: Plan, twin: Twin) -> None:
    folder = twin.folder
    suffix = plan.cluster.network.master_suffix
    write_hosts(folder, [f"127.0.0.1 {name}" + (f" {name}{suffix}" if suffix else "") for name in plan.node_names])
    socket, key = f"{folder}/munge.socket", f"{folder}/munge.key"
    # --force: the folder may be one that munged finds too open or too closed; it holds nothing worth hiding.
    munge = ["--foreground", "--force", f"--socket={socket}", f"--key-file={key}", f"--seed-file={folder}/munge.seed"]
    _daemon(twin, "munged", [*munge, f"--pid-file={folder}/run/munged.pid", f"--log-file={folder}/log/munged.log"])
    if plan.accounting:
        _start_database(plan, twin)
    _until(lambda: Path(socket).exists(), twin, "munged")
    _daemon(twin, "slurmctld", ["-D", "-f", f"{folder}/slurm.conf"])
    for name in plan.node_names:
        _daemon(twin, f"slurmd-{name}", ["-D", "-N", name, "-f", f"{folder}/slurm.conf"])
    _until(lambda: listens(twin.facts["ports"]["slurmctld"]), twin, "slurmctld")  # sinfo would wait a minute for it
    _until(lambda: _all_idle(twin, len(plan.node_names)), twin, "slurmctld and slurmd")
    _account(twin, files.gpu_limits(plan) if plan.accounting else ())


def _start_database(plan: Plan, twin: Twin) -> None:
    folder = twin.folder
    data, socket = folder / "db", folder / "db.socket"
    # Small, and never waiting for the disk: nothing here outlives the twin.
    small = ["--innodb-log-file-size=8M", "--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0"]
    small += ["--innodb-flush-method=nosync", "--innodb-doublewrite=0", "--sync-frm=0", "--innodb-lock-wait-timeout=900"]
    install = [program("mariadb-install-db") or "mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=root"]
    install += ["--auth-root-authentication-method=normal", "--skip-test-db", *small]
    done = subprocess.run(install, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise TwinError(f"the accounting database could not be made: {done.stdout[-1000:]}")
    server = ["--no-defaults", f"--datadir={data}", f"--socket={socket}", "--user=root", "--skip-networking", *small]
    _daemon(twin, "mariadbd", [*server, f"--pid-file={folder}/run/mariadbd.pid"])
    _until(socket.exists, twin, "mariadbd")
    # slurmdbd has no setting for the database's socket; its client library reads this variable.
    _daemon(twin, "slurmdbd", ["-D"], MYSQL_UNIX_PORT=str(socket))
    user = pwd.getpwuid(os.getuid()).pw_name
    _until(lambda: twin.run("sacctmgr", "-nP", "show", "cluster").returncode == 0, twin, "slurmdbd")
    _account(twin, files.accounting(plan, user))


def _account(twin: Twin, calls: Sequence[Sequence[str]]) -> None:
    for call in calls:
        done = twin.run("sacctmgr", "-i", "-Q", *call)
        if done.returncode:
            raise TwinError(f"sacctmgr {' '.join(call)}: {(done.stdout + done.stderr).strip()}")


def _daemon(twin: Twin, name: str, options: Sequence[str], **variables: str) -> None:
    """Start a daemon in the foreground of a session of its own, and note its pid."""
    path = program(name.partition("-")[0])
    command = [path or name, *options]
    environment = {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin"), "SLURM_CONF": twin.env["SLURM_CONF"], **variables}
    with (twin.folder / "log" / f"{name}.out").open("ab") as log:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
        )
    record = {"pid": process.pid, "command": command, "variables": variables}
    (twin.folder / "run" / f"{name}.json").write_text(json.dumps(record))


def _until(ready: Callable[[], bool], twin: Twin, what: str) -> None:
    """Wait for a daemon.

    Raises:
        TwinError: If it does not come up.
    """
    until = time.monotonic() + _PATIENCE
    while not ready():
        dead = [file.stem for file in (twin.folder / "run").glob("*.json") if not alive(json.loads(file.read_text())["pid"])]
        if dead or time.monotonic() > until:
            raise TwinError(f"{', '.join(dead) or what} did not come up; ends of its logs:")
        time.sleep(0.05)


def _all_idle(twin: Twin, count: int) -> bool:
    done = twin.run("sinfo", "-h", "-N", "-o", "%N %T")
    return sum(1 for line in set(done.stdout.splitlines()) if line.endswith(" idle")) == count


def _tails(folder: Path) -> str:
    """Ends of the logs, before they are deleted."""
    parts = []
    for log in sorted((folder / "log").iterdir()):
        if lines := [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-8:]:
            parts.append("\n".join([f"== {log.name}", *lines]))
    return "\n".join(parts)
