"""Submissions whose answer was lost: before a command speaks of their runs, the job is looked for by its mark."""

from __future__ import annotations

import os
from collections.abc import Sequence

from longview.errors import LongviewError
from longview.runs.group import Group, Run, again
from longview.runs.look import files_of
from longview.runs.queue import away, slurm_cluster


def settled(groups: Sequence[Group]) -> list[Group]:
    """The groups, with the jobs of such submissions noted if SLURM knows them, and marked if it surely does not.

    SLURM is asked only where there is such a submission and nobody is making it just now.
    """
    lost = [group for group in groups if any(_lost(run) for run in group.runs)]
    if not lost or away():
        return list(groups)
    here, _ = slurm_cluster()
    return [_looked_up(group) if group in lost and _of_this(group, here) else group for group in groups]


def _lost(run: Run) -> bool:
    """Whether it is not on record as which job the run was submitted, nor noted by the job itself."""
    last = run.submission
    return last is not None and last.job is None and not run.submitter and files_of(run).submitting


def _of_this(group: Group, here: str | None) -> bool:
    """Whether the SLURM and the user that ask are those that submitted: another one's answer would be wrong."""
    for run in group.runs:
        if run.sweep is None or run.submission is None or not _lost(run):
            continue
        there = run.submission.request.get("slurm_cluster")
        try:
            owner = run.sweep.submission_file(run.submission.number).stat().st_uid
        except OSError:
            return False
        if (there and here and there != here) or owner != os.getuid():
            return False
    return True


def _looked_up(group: Group) -> Group:
    from longview.launch.standing import adopt

    assert group.sweep is not None  # it has a submission
    try:
        return again(group, adopt(group.sweep))
    except (OSError, LongviewError):  # it stays unknown
        return group
