"""What a twin needs of the machine: packages, root, free ports, names in /etc/hosts, processes that are its own."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from longview.errors import LongviewError

PACKAGES = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "munged": "munge",
    "slurmdbd": "slurmdbd",
    "mariadbd": "mariadb-server",
    "my_print_defaults": "mariadb-server",  # mariadb-install-db calls it
}
"""Program -> Debian package that holds it."""
_ACCOUNTING = ("slurmdbd", "mariadbd", "my_print_defaults")
_POLICY = Path("/usr/sbin/policy-rc.d")
_HOSTS = Path("/etc/hosts")


class TwinError(LongviewError):
    """The twin cannot be started or stopped; the text says what is missing or which log to read."""


def program(name: str) -> str | None:
    """Full path of a program; daemons often lie in folders that are not in a user's PATH."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin")


def missing(accounting: bool = True) -> list[str]:
    """Debian packages that are not installed."""
    wanted = [name for name in PACKAGES if accounting or name not in _ACCOUNTING]
    return list(dict.fromkeys(PACKAGES[name] for name in wanted if not program(name)))


def obstacle(accounting: bool = True) -> str | None:
    """Why no twin can run here as things stand, in one sentence; None if one can."""
    if os.geteuid() != 0:
        return "a twin needs root: device files, /etc/hosts and daemons that run jobs as the submitting user"
    if lacking := missing(accounting):
        return f"SLURM is not installed here: {' '.join(lacking)} (Debian packages)"
    return None


def install(accounting: bool = True) -> None:
    """Install what is missing with apt; nothing is started by it.

    Raises:
        TwinError: Without root or apt, or when apt fails.
    """
    lacking = missing(accounting)
    if lacking and os.geteuid() == 0:
        if not shutil.which("apt-get"):
            raise TwinError(f"there is no apt-get here to install SLURM with; not installed: {', '.join(lacking)}")
        print(f"twin: installing {' '.join(lacking)}", flush=True)
        apt = ["apt-get", "-qq", "-o", "Dpkg::Use-Pty=0"]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        with _no_services():
            for command in ([*apt, "update"], [*apt, "install", "-y", "--no-install-recommends", *lacking]):
                done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise TwinError(f"apt-get could not install {' '.join(lacking)}:\n{done.stdout[-2000:]}")
    if reason := obstacle(accounting):
        raise TwinError(reason)


@contextmanager
def _no_services() -> Iterator[None]:
    """Keep packages from starting their daemons while they are installed (Debian's policy-rc.d); the twin starts its own."""
    ours = not _POLICY.exists()
    if ours:
        _POLICY.write_text("#!/bin/sh\nexit 101\n")
        _POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            _POLICY.unlink(missing_ok=True)


def free_ports(count: int) -> list[int]:
    """A row of ports nobody listens on, below those the kernel hands out to clients.

    Raises:
        TwinError: If none was found.
    """
    for _ in range(200):
        first = random.randrange(20000, 32000 - count)
        if all(_free(port) for port in range(first, first + count)):
            return list(range(first, first + count))
    raise TwinError(f"no {count} free ports in a row between 20000 and 32000")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


def listens(port: int) -> bool:
    """Whether a daemon of this machine answers on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def host_name() -> str:
    """The machine's own short name, as the daemons compare it."""
    return socket.gethostname().partition(".")[0]


def write_hosts(folder: Path, lines: Sequence[str], file: Path = _HOSTS) -> None:
    """Replace a twin's block in /etc/hosts; without lines it is removed.

    Written in place: in a container the file is often a mount, which cannot be replaced by a rename.
    """
    begin, end = f"# longview twin {folder}: begin", f"# longview twin {folder}: end"
    try:
        hosts = file.open("r+", encoding="utf-8")
    except OSError as error:
        raise TwinError(f"{file} cannot be written: {error.strerror}; a twin puts its nodes' names there") from None
    with hosts:
        fcntl.flock(hosts, fcntl.LOCK_EX)
        kept, ours = [], False
        for line in hosts.read().splitlines():
            ours = ours or line == begin
            if not ours:
                kept.append(line)
            ours = ours and line != end
        block = [begin, *lines, end] if lines else []
        hosts.seek(0)
        hosts.write("".join(f"{line}\n" for line in [*kept, *block]))
        hosts.truncate()


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not yet collected by its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False


def is_ours(pid: int, words: Sequence[str]) -> bool:
    """Whether a process was started with exactly these words: a pid file may be older than the process that has its number."""
    try:
        found = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return alive(pid) and all(word.encode() in found for word in words)


def end(pids: Sequence[int], grace: float = 5.0) -> None:
    """End processes: TERM, and KILL for those that stay longer than ``grace`` seconds."""
    for kind, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        left = [pid for pid in pids if alive(pid)]
        for pid in left:
            _signal(pid, kind)
        until = time.monotonic() + patience
        while any(alive(pid) for pid in left) and time.monotonic() < until:
            time.sleep(0.05)
    for pid in pids:
        _collect(pid)


def _signal(pid: int, kind: signal.Signals) -> None:
    try:
        os.kill(pid, kind)
    except ProcessLookupError:
        return


def _collect(pid: int) -> None:
    """Take the exit status of a child of ours, so that it does not stay as a zombie."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # another process started it
        return


def job_processes(conf: Path) -> list[int]:
    """Processes inside jobs of the SLURM with this slurm.conf, the daemons that look after each step, and all their children.

    A shell that only uses the twin has SLURM_CONF set too; what tells a job's process is that a slurmd named its node.
    """
    ours = f"SLURM_CONF={conf}".encode()
    found: list[int] = []
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
            name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:  # it has ended meanwhile, or is not ours to look at
            continue
        children.setdefault(int(rest.split()[1]), []).append(int(entry.name))
        if ours in variables and (name == "slurmstepd" or any(v.startswith(b"SLURMD_NODENAME=") for v in variables)):
            found.append(int(entry.name))
    for pid in found:  # grows while it is walked: children of children, whatever their environment
        found += [child for child in children.get(pid, ()) if child not in found]
    return [pid for pid in found if pid != os.getpid()]
