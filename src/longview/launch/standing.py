"""Where a point stands before it is submitted again: finished ones are skipped, running ones left alone, unknown is not dead."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from enum import Enum

from longview.runs.find import find
from longview.runs.look import Seen, look
from longview.runs.status import Kind
from longview.runs.sweep import Submission, SweepDirectory


class Standing(Enum):
    """What a point's state means for a submission."""

    NEW = "new"
    FINISHED = "finished"
    ACTIVE = "waiting or running"
    ENDED = "failed, stopped or cancelled"
    UNKNOWN = "in an unknown state, since SLURM does not say"


def standings(sweep: SweepDirectory, ids: Collection[str], *, scheduled: bool = True) -> dict[str, Standing]:
    """Run id -> standing of points of an existing sweep; those it does not know are left out.

    ``scheduled``: runs are submitted to SLURM, by nobody else now (the sweep is locked).
    """
    absent = adopt(sweep)
    group = find([str(sweep.path)], sweep.path.parent)[0]
    view = look(run for run in group.runs if run.id in ids)
    return {seen.run.id: Standing.NEW if seen.run.id in absent else _of(seen, scheduled) for seen in view.seen}


def _of(seen: Seen, scheduled: bool) -> Standing:
    kind, files = seen.state.kind, seen.files
    if not files.attempts and files.job is None and not files.submitting and (scheduled or kind is Kind.STOPPED):
        return Standing.NEW  # its directory was made, and then the command that made it ended
    if kind.alive:
        return Standing.ACTIVE
    if kind.dead:
        return Standing.ENDED
    return {Kind.NEW: Standing.NEW, Kind.FINISHED: Standing.FINISHED}.get(kind, Standing.UNKNOWN)


def adopt(sweep: SweepDirectory) -> set[str]:
    """Look for submissions whose answer was lost: found ones are noted, runs of those SLURM does not know are returned."""
    absent: set[str] = set()
    latest = sweep.jobs()
    for submission in sweep.all_submissions():
        if submission.job is not None:
            continue
        from longview.launch import sbatch

        asked, job = sbatch.find(submission.uid)
        if job is not None:
            sweep.write_submission(_known(submission, job))
        elif asked:
            absent |= {run for run in submission.runs if latest[run][1].number == submission.number}
    return absent


def _known(submission: Submission, job: str) -> Submission:
    return replace(submission, state="submitted", job=job)
