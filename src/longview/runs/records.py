"""What a run directory says about a run, read cheaply: few small files, no yaml, nothing that a thousand runs would feel.

A file that is absent, half written or damaged is an empty record: the state is made of what can be known.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from longview.runs.queue import newest


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A JSON mapping; empty if there is none to be had."""
    try:
        with open(path, "rb") as file:
            loaded = json.loads(file.read())
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def seconds(value: Any) -> float | None:
    """Unix seconds of an ISO time or of a number; None for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    try:
        return datetime.fromisoformat(value).timestamp()
    except (TypeError, ValueError):
        return None


_SKEW = 5.0
"""Seconds by which the clocks of a login and a compute node may differ."""


@dataclass(frozen=True)
class Files:
    """What the files of one run say.

    Attributes:
        job: Its newest job in SLURM, None for a run that was started by hand.
        submitted: When that was submitted, Unix seconds; None if not known.
        submitting: Whether sbatch was called and its answer is not on record.
        scheduled: Whether it is a point of a sweep that goes to SLURM: without a job it has never begun.
        submitter: The process that is submitting its sweep now; "" for none.
        unread: Why it cannot be known whether it was submitted; "" if it can.
        exists: Whether the run directory is there.
        created: When the directory was made; None if not known.
        attempts: Number of attempts begun.
        attempt: Record of the newest attempt.
        fitted: Whether an attempt has finished the run.
        progress, exit: progress.json and exit.json.
    """

    job: str | None = None
    submitted: float | None = None
    submitting: bool = False
    scheduled: bool = False
    submitter: str = ""
    unread: str = ""
    exists: bool = True
    created: float | None = None
    attempts: int = 0
    attempt: Mapping[str, Any] = field(default_factory=dict)
    fitted: bool = False
    progress: Mapping[str, Any] = field(default_factory=dict)
    exit: Mapping[str, Any] = field(default_factory=dict)

    @property
    def started(self) -> float | None:
        """When the newest attempt began."""
        return seconds(self.attempt.get("started"))

    @property
    def ended(self) -> float | None:
        """When the newest attempt ended by its own record."""
        return seconds(self.attempt.get("ended"))

    @property
    def alive(self) -> float | None:
        """The last sign of life of the newest attempt: its last line of progress, else its beginning."""
        beat, begun = seconds(self.progress.get("time")), self.started
        return max((t for t in (beat, begun) if t is not None), default=None)

    @property
    def current(self) -> bool:
        """Whether the newest attempt belongs to the newest job, or may."""
        if not self.attempts:
            return False
        job = self.attempt.get("job")
        if self.job is None or job == self.job:
            return True
        return job is None and (self.started or 0) >= (self.submitted or 0) - _SKEW

    @property
    def code(self) -> int | None:
        """Exit code of the ranks in the newest job, by the batch script's record."""
        code, job = self.exit.get("code"), self.exit.get("job")
        if not isinstance(code, int) or (self.job is not None and job not in (None, self.job)):
            return None
        if self.current and (seconds(self.exit.get("time")) or 0) < (self.started or 0) - _SKEW:
            return None  # of an attempt before
        return code


def read_files(
    path: str, job: str | None = None, submitted: float | None = None, submitting: bool = False, older: Sequence[str] = ()
) -> Files:
    """The records of the run directory ``path``; the rest is what its sweep says, ``older`` being the jobs before the newest."""
    numbers: list[int] = []
    try:
        with os.scandir(f"{path}/attempts") as entries:
            numbers = [int(e.name[:-5]) for e in entries if e.name.endswith(".json") and e.name[:-5].isdecimal()]
    except OSError:
        try:
            return Files(job, submitted, submitting, created=os.stat(f"{path}/run.json").st_mtime)
        except OSError:
            return Files(job, submitted, submitting, exists=False)
    count = max(numbers, default=0)
    attempt = _attempt(path, count) if count else {}
    progress, ending = read_json(f"{path}/progress.json"), read_json(f"{path}/exit.json")
    if "job" not in attempt and "job" in progress and progress.get("attempt") == count:
        attempt["job"] = progress["job"]
    named = [ending.get("job"), ending.get("next"), attempt.get("job"), progress.get("job")]
    current = newest([job, *(_text(name) for name in named)])
    if submitting and current in older:
        current = None  # it has been put back since; nobody knows yet as what
    return Files(
        job=current,
        submitted=submitted,
        submitting=submitting and current is None,
        created=None if count else _made(path),
        attempts=count,
        attempt=attempt,
        fitted=_fitted(path, count, attempt),
        progress=progress,
        exit=ending,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _made(path: str) -> float | None:
    try:
        return os.stat(f"{path}/config.yaml").st_mtime
    except OSError:
        return None


def _attempt(path: str, number: int) -> dict[str, Any]:
    return read_json(f"{path}/attempts/{number:03d}.json")


def _fitted(path: str, count: int, newest_attempt: Mapping[str, Any]) -> bool:
    """Whether a fit has finished; a later pass over the test part does not take that back."""
    attempt, number = newest_attempt, count
    while attempt.get("mode") == "test" and number > 1:
        number -= 1
        attempt = _attempt(path, number)
    return attempt.get("mode", "fit") == "fit" and attempt.get("outcome") == "finished"
