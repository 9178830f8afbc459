"""What SLURM and the workspace tools print, as typed values. Pure text in, values out; formats of SLURM 22.05 and newer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

_TIME = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)(?:\.\d+)?")
_GRES = re.compile(r"gpu(?::([^:(),]+))??:(\d+)(?:\([^)]*\))?")
_SAID = re.compile(r"^(?:sbatch|srun|squeue|sinfo|scontrol|sacctmgr|sshare):\s*(?:(?:error|fatal|debug|info):\s*)?")
_GONE = {"down", "drained", "draining", "drng", "drain", "fail", "failing", "maint", "reserved", "unknown", "inval", "future"}
"""States of nodes that start no new job of an ordinary user now."""


@dataclass(frozen=True)
class NodeGroup:
    """Alike nodes of a partition in one state; ``gpus`` by type, the type "" where SLURM names none."""

    count: int
    state: str
    cpus: int
    cores: int
    memory_gb: float
    gpus: tuple[tuple[str, int], ...] = ()

    @property
    def serves(self) -> bool:
        """Whether jobs start on these nodes, now or when the present ones end."""
        return not (self.state.endswith("*") or self.state.rstrip("*~#!%$@^-+").lower() in _GONE)

    @property
    def gpu_count(self) -> int:
        """GPUs of one node, of all types."""
        return sum(n for _, n in self.gpus)


@dataclass(frozen=True)
class LivePartition:
    """A partition as SLURM knows it; None: no limit. ``allow_*`` None: everybody."""

    name: str
    state: str = "UP"
    default: bool = False
    max_time: timedelta | None = None
    default_time: timedelta | None = None
    min_nodes: int | None = None
    max_nodes: int | None = None
    nodes: int = 0
    exclusive: bool = False
    qos: str | None = None
    allow_accounts: tuple[str, ...] | None = None
    deny_accounts: tuple[str, ...] = ()
    allow_qos: tuple[str, ...] | None = None
    deny_qos: tuple[str, ...] = ()


@dataclass(frozen=True)
class Qos:
    """Limits of a quality of service; None: it sets none."""

    name: str
    flags: tuple[str, ...] = ()
    max_wall: timedelta | None = None
    max_tres: tuple[tuple[str, int], ...] = ()
    min_tres: tuple[tuple[str, int], ...] = ()
    max_tres_user: tuple[tuple[str, int], ...] = ()
    max_jobs_user: int | None = None
    max_submit_user: int | None = None


@dataclass(frozen=True)
class Association:
    """One of the user's rows in the accounting database; ``partition`` None: all of them; ``qos`` empty: not known."""

    account: str
    partition: str | None = None
    qos: tuple[str, ...] = ()
    default_qos: str | None = None
    max_submit: int | None = None


def duration(text: str) -> timedelta | None:
    """d-hh:mm:ss, hh:mm:ss, mm:ss; None for UNLIMITED, NONE and what is no time."""
    match = _TIME.fullmatch(text.strip())
    if not match:
        return None
    days, hours, minutes, seconds = (int(g or 0) for g in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def said(text: str) -> str:
    """A command's messages without its name before each of them."""
    lines = (_SAID.sub("", line.strip()) for line in text.splitlines())
    return "; ".join(line for line in lines if line)


def config(text: str) -> dict[str, str]:
    """`scontrol show config`."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def version(text: str) -> tuple[int, ...] | None:
    """(22, 5, 8) of "22.05.8" or "slurm-wlm 22.05.8-4ubuntu1"."""
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(g) for g in match.groups() if g is not None) if match else None


def partitions(text: str) -> dict[str, LivePartition]:
    """`scontrol -a -o show partition`."""
    found = {}
    for line in text.splitlines():
        pairs = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if name := pairs.get("PartitionName"):
            shared = pairs.get("OverSubscribe", pairs.get("Shared", ""))
            found[name] = LivePartition(
                name=name,
                state=pairs.get("State", "UP"),
                default=pairs.get("Default") == "YES",
                max_time=duration(pairs.get("MaxTime", "")),
                default_time=duration(pairs.get("DefaultTime", "")),
                min_nodes=_number(pairs.get("MinNodes")) or None,
                max_nodes=_number(pairs.get("MaxNodes")),
                nodes=_number(pairs.get("TotalNodes")) or 0,
                exclusive=shared.startswith("EXCLUSIVE"),
                qos=_name(pairs.get("QoS")),
                allow_accounts=_names(pairs.get("AllowAccounts", "ALL")),
                deny_accounts=_names(pairs.get("DenyAccounts", "NONE")) or (),
                allow_qos=_names(pairs.get("AllowQos", "ALL")),
                deny_qos=_names(pairs.get("DenyQos", "NONE")) or (),
            )
    return found


NODES = "%R|%D|%T|%c|%X|%Y|%m|%G"
"""Format of sinfo: partition, nodes, state, CPUs, sockets, cores per socket, memory in MB, generic resources."""


def nodes(text: str) -> dict[str, list[NodeGroup]]:
    """`sinfo -a -h -o NODES`: partition -> its kinds of nodes."""
    found: dict[str, list[NodeGroup]] = {}
    for line in text.splitlines():
        name, *rest = line.strip().split("|")
        if len(rest) == 7:
            count, state, cpus, sockets, cores, memory, gres = rest
            total = (_number(sockets) or 0) * (_number(cores) or 0) or _number(cpus) or 0
            group = NodeGroup(_number(count) or 0, state, _number(cpus) or 0, total, (_number(memory) or 0) / 1024, gpus(gres))
            found.setdefault(name, []).append(group)
    return found


def gpus(gres: str) -> tuple[tuple[str, int], ...]:
    """GPUs by type of "gpu:a100:4(S:0-1),tmpfs:100G"."""
    return tuple((kind or "", int(count)) for kind, count in _GRES.findall(gres))


QOS = "Name,Flags,MaxWall,MaxTRES,MinTRES,MaxTRESPU,MaxJobsPU,MaxSubmitPU"
"""Columns of sacctmgr for ``qos``."""


def qos(text: str) -> dict[str, Qos]:
    """`sacctmgr -nP show qos format=QOS`."""
    found = {}
    for name, flags, wall, most, least, user, jobs, submit in _rows(text, 8):
        limits = (_tres(most), _tres(least), _tres(user))
        found[name] = Qos(name, tuple(_listed(flags)), duration(wall), *limits, _number(jobs), _number(submit))
    return found


ASSOCIATIONS = "Account,Partition,QOS,DefaultQOS,MaxSubmitJobs"
"""Columns of sacctmgr for ``associations``."""


def associations(text: str) -> list[Association]:
    """`sacctmgr -nP show assoc format=ASSOCIATIONS`."""
    return [
        Association(account, partition or None, tuple(_listed(names)), default or None, _number(submit))
        for account, partition, names, default, submit in _rows(text, 5)
        if account
    ]


def share_accounts(text: str) -> list[Association]:
    """`sshare -U -n -P -o Account`, where the database does not answer users."""
    return [Association(name) for name in dict.fromkeys(line.strip(" |") for line in text.splitlines()) if name]


def elements(text: str) -> int:
    """Jobs in `squeue -h -o %i`, array elements counted one by one: "7_[0-18:2%4]" are ten (squeue -r of 22.05 shows nine)."""
    count = 0
    for line in text.split():
        inner = re.search(r"\[([^\]%]*)(?:%\d+)?\]", line)
        for first, last, step in re.findall(r"(\d+)(?:-(\d+)(?::(\d+))?)?", inner[1]) if inner else [("0", "", "")]:
            count += (int(last or first) - int(first)) // int(step or 1) + 1
    return count


def with_comment(text: str, uid: str) -> list[str]:
    """Job ids of `squeue -h -o %F|%k` whose comment has the word ``uid``; an array counts once."""
    word = re.compile(rf"(?<![\w-]){re.escape(uid)}(?![\w-])")
    lines = (line.strip().partition("|") for line in text.splitlines())
    return list(dict.fromkeys(job for job, _, comment in lines if job and word.search(comment)))


def workspaces(text: str) -> dict[str, timedelta]:
    """`ws_list` of the workspace tools: folder -> time left."""
    found: dict[str, timedelta] = {}
    folder = ""
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "workspace directory":
            folder = value
        elif key == "remaining time" and folder:
            amounts = {unit: int(n) for n, unit in re.findall(r"(\d+)\s*(day|hour|minute)", value)}
            found[folder] = timedelta(**{f"{unit}s": n for unit, n in amounts.items()})
    return found


def _rows(text: str, columns: int) -> Iterator[list[str]]:
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == columns:
            yield cells


def _number(text: str | None) -> int | None:
    """The leading number of "4", "128+" and "4-UNLIMITED"; None for UNLIMITED and nothing."""
    match = re.match(r"\d+", text or "")
    return int(match[0]) if match else None


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _name(text: str | None) -> str | None:
    return None if text in (None, "", "N/A", "NONE", "(null)") else text


def _names(text: str) -> tuple[str, ...] | None:
    return None if text in ("ALL", "NONE", "(null)", "") else tuple(_listed(text))


def _tres(text: str) -> tuple[tuple[str, int], ...]:
    """("node", 64), ("gres/gpu", 8) of "node=64,gres/gpu=8"."""
    pairs: Iterable[tuple[str, str, str]] = (part.partition("=") for part in _listed(text))
    return tuple((key, number) for key, _, value in pairs if (number := _number(value)) is not None)
