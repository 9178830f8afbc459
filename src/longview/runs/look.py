"""A look at many runs at once: their files, then SLURM with one call of squeue and, only if it must be, one of sacct."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from longview.runs.find import Run
from longview.runs.queue import NOT_ASKED, Answer, ask_sacct, ask_squeue, slurm_cluster
from longview.runs.records import Files, read_files, seconds
from longview.runs.status import State, needs_accounting, needs_queue, state_of


@dataclass(frozen=True)
class Seen:
    """A run and what is known about it now."""

    run: Run
    files: Files
    state: State

    @property
    def jobs(self) -> tuple[str, ...]:
        """Every SLURM job it is known to have had, the newest last."""
        return tuple(dict.fromkeys(job for job in (*self.run.jobs, self.files.job) if job))


@dataclass(frozen=True)
class View:
    """What a look has shown.

    Attributes:
        seen: One entry a run, in the order asked for.
        problem: Why SLURM could not be asked, or not fully; empty if it was not needed or answered.
        now: When, Unix seconds.
    """

    seen: tuple[Seen, ...]
    problem: str
    now: float


def files_of(run: Run) -> Files:
    """The records of a run."""
    last = run.submission
    submitted = seconds(last.created) if last else None
    return read_files(run.path, run.job, submitted, submitting=last is not None and last.job is None, older=run.jobs)


def look(runs: Iterable[Run]) -> View:
    """The state of every run."""
    pairs = [(run, files_of(run)) for run in runs]
    now = time.time()
    elsewhere, silent = _elsewhere(pairs)
    here = [(run, files) for run, files in pairs if run.path not in elsewhere]
    asked = {job for run, files in here if needs_queue(files) for job in (*run.jobs, files.job) if job}
    queue = Answer(problem=silent) if silent and asked else ask_squeue(asked)
    gone = {str(files.job) for _, files in here if needs_accounting(files, queue)}
    accounting = ask_sacct(gone) if gone else NOT_ASKED

    def seen(run: Run, files: Files) -> Seen:
        answer = Answer(problem=elsewhere[run.path]) if run.path in elsewhere else queue
        state = state_of(files, answer, accounting, now)
        if state.kind.dead and files.attempt.get("outcome") not in ("finished", "failed", "stopped"):
            files = files_of(run)  # it may have ended well between the look at its files and the answer of SLURM
            state = state_of(files, answer, accounting, now)
        return Seen(run, files, state)

    return View(tuple(seen(*pair) for pair in pairs), queue.problem or next(iter(elsewhere.values()), ""), now)


def _elsewhere(pairs: Sequence[tuple[Run, Files]]) -> tuple[dict[str, str], str]:
    """Runs given to another SLURM than the one that answers here (sites share file systems): path -> where its job is.

    And why this SLURM does not say its name, if it does not: then it need not be asked for more.
    """
    named = {run.path: _slurm(run) for run, files in pairs if needs_queue(files) and _slurm(run)}
    here, problem = slurm_cluster() if named else (None, "")
    return {path: f"its job is in {name}, this is {here}" for path, name in named.items() if here and name != here}, problem


def _slurm(run: Run) -> str:
    return str(run.submission.request.get("slurm_cluster") or "") if run.submission else ""
