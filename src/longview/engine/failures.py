"""Why a rank failed, on disk before it leaves: one file per failing rank, never overwritten.

``failures/<host>-rank<r>-<time>.json`` in the run directory holds ``rank``, ``host``, ``error``, ``traceback``, ``time`` (Unix
seconds) and ``job``. Ranks that fail because another one did come later: the earliest is the cause.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any

from longview.runs.directory import RunDirectory

FOLDER = "failures"


def job(environment: Mapping[str, str] = os.environ) -> str | None:
    """What SLURM calls this job, "4711" or "4711_3" in an array; None outside SLURM."""
    if array := environment.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{environment.get('SLURM_ARRAY_TASK_ID', '')}"
    return environment.get("SLURM_JOB_ID")


def record_failure(run: RunDirectory, rank: int, error: str, traceback: str) -> None:
    """Write the record; a disk that refuses it is said on stderr and hides nothing."""
    now, host = time.time(), socket.gethostname()
    record: dict[str, Any] = {"rank": rank, "host": host, "error": error, "traceback": traceback, "time": now, "job": job()}
    folder = run.path / FOLDER
    try:
        folder.mkdir(exist_ok=True)
        with (folder / f"{host}-rank{rank}-{now:.6f}.json").open("x", encoding="utf-8") as file:
            file.write(json.dumps(record, indent=2) + "\n")
    except OSError as problem:
        print(f"warning: {folder} cannot be written: {problem.strerror}", file=sys.stderr)
