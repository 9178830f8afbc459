"""Whether a process that a record names still lives, and is the one that wrote it. Asked of this machine only."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from longview.runs.records import read_json, seconds

SLACK = 60.0
"""Seconds by which a process may look younger than its record: the clock was set meanwhile."""
LOCK = ".being-submitted"
"""File in a sweep while it is submitted (``longview.launch.lock``): host, pid and start of the process."""
_OURS = (b"longview", b"run.py")


def here(attempt: Mapping[str, Any]) -> bool:
    """Whether the attempt began on this machine."""
    return attempt.get("host") == socket.gethostname()


def lives(attempt: Mapping[str, Any]) -> bool | None:
    """Whether the attempt's process runs; None if that cannot be told from here."""
    pid = attempt.get("pid")
    if not here(attempt) or not isinstance(pid, int) or pid <= 0:
        return None
    begun = _begun(pid)
    if begun is None:
        return None if not Path("/proc/self/stat").exists() else False
    recorded = seconds(attempt.get("started"))
    return recorded is None or begun <= recorded + SLACK  # else the number has been given to another process since


def is_engine(attempt: Mapping[str, Any]) -> bool:
    """Whether that process is certainly a run of longview: what may be sent a signal."""
    if lives(attempt) is not True:
        return False
    try:
        command = Path(f"/proc/{attempt['pid']}/cmdline").read_bytes()
    except OSError:
        return False
    return any(word in command for word in _OURS)


def submitter(sweep: Path) -> str:
    """The other process that is submitting a sweep now, by the sweep's lock; "" for none.

    A process on another machine is believed: whether it lives cannot be seen from here.
    """
    path = sweep / LOCK
    if not path.exists():
        return ""
    record = read_json(path)
    if lives(record) is False or (here(record) and record.get("pid") == os.getpid()):
        return ""
    return f"process {record.get('pid', '?')} on {record.get('host', 'a machine')}"


def _begun(pid: int) -> float | None:
    """When a process began, Unix seconds; None if there is none (a zombie counts as none)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name in brackets may hold spaces
    if fields[0] in ("Z", "X"):
        return None
    import time

    return time.time() - uptime + int(fields[19]) / os.sysconf("SC_CLK_TCK")
