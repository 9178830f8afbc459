"""Where a point stands before it is submitted again: finished ones are skipped, running ones left alone, unknown is not dead."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from longview.launch import sbatch
from longview.runs.directory import RunDirectory
from longview.runs.sweep import Point, Submission, SweepDirectory


class Standing(Enum):
    """What is known of a point."""

    NEW = "new"
    FINISHED = "finished"
    ACTIVE = "waiting or running"
    ENDED = "failed or stopped"
    UNKNOWN = "unknown, since SLURM does not answer"


def queued() -> set[str] | None:
    """Ids of this user's jobs in the queue, array elements one by one; None if SLURM cannot be asked."""
    command = ["squeue", "--noheader", "--me", "--array", "--format=%i"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return set(done.stdout.split())


def standings(sweep: SweepDirectory, points: list[Point], *, scheduled: bool) -> dict[str, Standing]:
    """Run id -> standing of every point; the queue is asked once, and only if a point may be in it."""
    jobs = sweep.jobs() if scheduled else {}
    queue = queued() if jobs else set()
    return {point.id: _standing(sweep, point, jobs.get(point.id), queue) for point in points}


def _standing(sweep: SweepDirectory, point: Point, job: tuple[str | None, Submission] | None, queue: set[str] | None) -> Standing:
    path = sweep.run_path(point)
    if not (path / "config.yaml").is_file():
        return Standing.NEW
    last = last_attempt(path)
    if last.get("outcome") == "finished":
        return Standing.FINISHED
    if job is not None:
        number, submission = job
        if number is None:  # sbatch's answer was lost
            number = _adopted(sweep, submission, point)
        if number is None:
            return Standing.UNKNOWN if queue is None else Standing.NEW
        if queue is None:
            return Standing.ENDED if (path / "exit.json").is_file() else Standing.UNKNOWN
        return Standing.ACTIVE if number in queue else Standing.ENDED
    if not last:
        return Standing.NEW
    return Standing.ACTIVE if _alive(last) else Standing.ENDED


def _adopted(sweep: SweepDirectory, submission: Submission, point: Point) -> str | None:
    """The job of a submission whose answer was lost, if it is in the queue; noted for the next time."""
    found = sbatch.find(submission.uid)
    if found is None:
        return None
    known = Submission(**{**vars(submission), "state": "submitted", "job": found})
    sweep.write_submission(known)
    return known.job_of(point.id)


def last_attempt(path: Path) -> dict[str, Any]:
    """Record of the newest attempt that can be read; empty if there is none."""
    numbers = sorted((int(p.stem) for p in (path / "attempts").glob("*.json") if p.stem.isdecimal()), reverse=True)
    run = RunDirectory(path)
    return next((record for number in numbers if (record := run.attempt(number))), {})


def _alive(attempt: Mapping[str, Any]) -> bool:
    """Whether a local attempt's process still runs."""
    if attempt.get("outcome") != "running" or attempt.get("host") != socket.gethostname():
        return False
    try:
        os.kill(int(attempt.get("pid", 0)), 0)
    except (OSError, ValueError, TypeError):
        return False
    return True


def exit_record(path: Path) -> dict[str, Any]:
    """What the batch script recorded of its end; empty if it has not."""
    try:
        found = json.loads((path / "exit.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
