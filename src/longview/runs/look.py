"""A look at many runs at once: their files, then SLURM with one call of squeue and, only if it must be, one of sacct."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from longview.runs import causes
from longview.runs.group import Run
from longview.runs.queue import NOT_ASKED, Answer, ask_sacct, ask_squeue, newest, slurm_cluster
from longview.runs.records import Files, read_files, seconds
from longview.runs.status import Kind, State, needs_accounting, needs_queue, state_of

KILLED, TERMINATED, STOPPED = 137, 143, 130
"""Exit codes of what was ended by SIGKILL or SIGTERM, and of a run that was asked to stop and saved."""


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
    last = run.submission if not run.refused else None
    submitted = seconds(last.created) if last else None
    job = newest(run.jobs) if run.refused else run.job
    files = read_files(run.path, job, submitted, submitting=last is not None and last.job is None, older=run.jobs)
    if files.job is not None or not run.scheduled:
        return files
    return replace(files, scheduled=True, submitter=run.submitter, unread=run.unread)


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
        return _by_log(Seen(run, files, state))

    return View(tuple(seen(*pair) for pair in pairs), queue.problem or next(iter(elsewhere.values()), ""), now)


def _by_log(seen: Seen) -> Seen:
    """With what only the batch log tells of a run that a signal ended: that it was for memory, or because a rank had failed.

    Without accounting SLURM does not say the first. As to the second: srun ends the other ranks with SIGTERM and returns the
    largest code, which is that signal's.
    """
    state, code = seen.state, seen.files.code
    killed = state.kind is Kind.FAILED and code == KILLED
    ended = state.kind is Kind.CANCELLED and code == TERMINATED and not (state.job and state.job.state == "CANCELLED")
    if not killed and not ended:
        return seen
    from longview.runs.evidence import batch_text, first_task  # which are about what is seen

    text = batch_text(seen)
    if killed and causes.told_by(text, [causes.OUT_OF_MEMORY]):
        return replace(seen, state=replace(state, kind=Kind.OUT_OF_MEMORY))
    task = first_task(text) if ended else None
    failed = re.search(r"exit code (\d+)", task.error) if task else None
    if task and failed and int(failed[1]) not in (TERMINATED, STOPPED):
        detail = f"rank {task.rank} ended by itself with exit code {failed[1]}"
        return replace(seen, state=replace(state, kind=Kind.FAILED, detail=detail))
    return seen


def _elsewhere(pairs: Sequence[tuple[Run, Files]]) -> tuple[dict[str, str], str]:
    """Runs given to another SLURM than the one that answers here (sites share file systems): path -> where its job is.

    And why this SLURM does not say its name, if it does not: then it need not be asked for more.
    """
    named = {run.path: _slurm(run) for run, files in pairs if needs_queue(files) and _slurm(run)}
    here, problem = slurm_cluster() if named else (None, "")
    return {path: f"its job is in {name}, this is {here}" for path, name in named.items() if here and name != here}, problem


def _slurm(run: Run) -> str:
    return str(run.submission.request.get("slurm_cluster") or "") if run.submission else ""
