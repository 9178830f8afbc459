"""Two attempts must never train one run directory: each would overwrite the other's checkpoints.

Refused is only what certainly goes on elsewhere. Where SLURM cannot be asked, or another machine's process looked at, the attempt
begins: most records that still say "running" belong to attempts that were killed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from longview.errors import LongviewError
from longview.runs.directory import RunDirectory
from longview.runs.process import is_engine
from longview.runs.queue import ask_squeue

AT_WORK = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING"}
"""States of a job whose processes are there, or may be: what completes may still be saving."""


class CompanyError(LongviewError):
    """Another attempt trains this run right now."""


def begin(run: RunDirectory, mode: str, rank: int) -> int | None:
    """Begin an attempt and return its number, 0 on other ranks than 0; None: leave, since rank 0 says why there is none.

    Every rank looks: one that went on alone would wait for rank 0 in vain.

    Raises:
        CompanyError: Another attempt is at work; nothing was recorded.
        RunDirectoryError: The attempt cannot be recorded.
    """
    if rank == 0:
        return run.begin_attempt(mode, allowed=refuse_company)
    try:
        refuse_company(run.newest_attempt(), rank)
    except CompanyError:
        return None
    return 0


def refuse_company(record: Mapping[str, Any], rank: int = 0) -> None:
    """Raises CompanyError if the newest attempt, of which this is the record, goes on in another job or process."""
    if record.get("outcome") != "running":
        return
    job, mine = record.get("job"), os.environ.get("LONGVIEW_JOB")
    if job is not None and job == mine:  # put back by SLURM, or another rank has begun
        return
    since = f" (since {_local(record.get('started'))})"
    if isinstance(job, str) and _state(job) in AT_WORK:
        cure = f"cancel one of the two: scancel {job}, or scancel {mine}" if mine else f"wait until it ends, or: scancel {job}"
        raise CompanyError(f"job {job} trains this run right now{since}; {cure}")
    if is_engine(record) and not _own(int(record["pid"]), rank):
        pid = record["pid"]
        raise CompanyError(f"process {pid} trains this run right now{since}; wait until it ends, or stop it: kill {pid}")


def _state(job: str) -> str:
    """SLURM's word for a job's state; empty if it is not known."""
    try:
        found = ask_squeue([job]).jobs.get(job)
    except ValueError:  # no job id
        return ""
    return found.state if found else ""


def _local(started: Any) -> str:
    try:
        return datetime.fromisoformat(started).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (TypeError, ValueError):
        return "when is not known"


def _own(pid: int, rank: int) -> bool:
    """Whether the process is this one, one that started it, or, seen from another rank, its rank 0 (started by the same)."""
    if rank > 0 and _parent(pid) == os.getppid():
        return True
    mine = os.getpid()
    while mine > 1:
        if mine == pid:
            return True
        mine = _parent(mine)
    return False


def _parent(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return int(text[text.rindex(")") + 2 :].split()[1])  # the name in brackets may hold spaces
