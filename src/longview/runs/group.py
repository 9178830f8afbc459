"""A run or a sweep as it is found on disk: its records, and what its submissions say about every run."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from longview.runs.process import submitter
from longview.runs.records import seconds
from longview.runs.sweep import Submission, SweepDirectory, SweepError


@dataclass(frozen=True)
class Run:
    """A run as it is found on disk.

    Attributes:
        path: Its run directory, which a sweep's point may not have yet.
        id: Run id.
        label: Its swept values, else its folder's name.
        values: Swept key -> value.
        sweep: The sweep it belongs to, None for one that stands alone.
        job: Newest SLURM job of its sweep's submissions; jobs: all of them.
        submission: Record of the newest submission.
        scheduled: Whether its sweep goes to SLURM.
        submitter: The process that is submitting its sweep now; "" for none.
        unread: Why it cannot be known whether it was submitted; "" if it can.
        refused: Whether SLURM surely does not know the newest submission.
    """

    path: str
    id: str
    label: str
    values: Mapping[str, str] = field(default_factory=dict)
    sweep: SweepDirectory | None = None
    job: str | None = None
    jobs: tuple[str, ...] = ()
    submission: Submission | None = None
    scheduled: bool = False
    submitter: str = ""
    unread: str = ""
    refused: bool = False

    @property
    def name(self) -> str:
        """Name of its folder."""
        return os.path.basename(self.path)

    @property
    def root(self) -> Path:
        """The folder of runs that it was found in."""
        return self.sweep.path.parent if self.sweep else Path(self.path).parent


@dataclass(frozen=True)
class Group:
    """A sweep with its runs, or (``sweep`` None) the runs of a root that belong to none.

    Attributes:
        name: Folder of the sweep.
        id: Id of the sweep; "" for single runs.
        created: Unix seconds.
        whole: Whether all runs are meant, not some that were named.
        damaged: Why its record cannot be read, so that its runs are not known; "" if it can.
    """

    name: str
    id: str
    created: float
    runs: tuple[Run, ...]
    sweep: SweepDirectory | None = None
    whole: bool = True
    damaged: str = ""


def single(path: str) -> Run:
    """A run that stands alone."""
    name = os.path.basename(path)
    return Run(path, name.rpartition("-")[2], name)


def read_group(sweep: SweepDirectory) -> Group:
    """A sweep with its runs; without them, and with the reason, if its record is damaged."""
    try:
        return _sweep(sweep)
    except SweepError as error:
        return Group(sweep.path.name, "", sweep.path.stat().st_mtime, (), sweep, damaged=str(error))


def _sweep(sweep: SweepDirectory) -> Group:
    """A sweep by its record; raises SweepError if that is damaged."""
    process = submitter(sweep.path)  # before its records: what is not there yet when they are read is being written
    try:
        record: dict[str, Any] = sweep.record()
        submissions = sweep.all_submissions()
        points = sweep.points()
        jobs, latest = _jobs_of(submissions)
    except (TypeError, ValueError, AttributeError) as error:
        raise SweepError(f"{sweep.record_file} is damaged: {error}") from None
    scheduled = record.get("cluster") != "local" and sweep.submissions.is_dir()
    unread = _unread(sweep, submissions) if scheduled and any(point.id not in latest for point in points) else ""
    runs = []
    for point in points:
        last = latest.get(point.id)
        known = jobs.get(point.id, [])
        label = " ".join(f"{key}={value}" for key, value in point.values.items()) or point.folder
        job = known[-1] if known and last and last.job else None
        path = f"{sweep.path}/{point.folder}"
        runs.append(
            Run(
                path,
                point.id,
                label,
                point.values,
                sweep,
                job,
                tuple(known),
                last,
                scheduled or last is not None,
                process,
                unread,
            )
        )
    created = seconds(record.get("created")) or sweep.path.stat().st_mtime
    return Group(sweep.path.name, str(record.get("id", "")), created, tuple(runs), sweep)


def _jobs_of(submissions: Sequence[Submission]) -> tuple[dict[str, list[str]], dict[str, Submission]]:
    """Run id -> its jobs, and its newest submission."""
    jobs: dict[str, list[str]] = {}
    latest: dict[str, Submission] = {}
    for submission in submissions:
        for index, run in enumerate(submission.runs):
            latest[run] = submission
            if submission.job:
                jobs.setdefault(run, []).append(f"{submission.job}_{index}" if submission.array else submission.job)
    return jobs, latest


def _unread(sweep: SweepDirectory, submissions: Sequence[Submission]) -> str:
    """Which records of submissions cannot be read; then a run that is in none of the others may have been submitted."""
    there = {int(path.stem): path for path in sweep.submissions.glob("[0-9]*.json") if path.stem.isdecimal()}
    damaged = [str(there[number]) for number in sorted(there.keys() - {s.number for s in submissions})]
    return f"{', '.join(damaged)} cannot be read" if damaged else ""


def again(group: Group, refused: Collection[str] = ()) -> Group:
    """A group as its sweep's records are now; SLURM surely does not know the newest submission of ``refused``."""
    if group.sweep is None:
        return group
    wanted = {run.id for run in group.runs}
    runs = [replace(run, refused=run.id in refused) for run in _sweep(group.sweep).runs if group.whole or run.id in wanted]
    return replace(group, runs=tuple(runs))
