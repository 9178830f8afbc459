"""The state of a run, made of what its files and SLURM say. What cannot be known is called unknown, never dead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from longview.runs.causes import SECONDARY
from longview.runs.process import lives
from longview.runs.queue import NOT_ASKED, Answer, Job
from longview.runs.reasons import reason_of
from longview.runs.records import Files, seconds

GRACE = 90.0
"""Seconds in which a job may be in no list: between sbatch and squeue, between its last line and its end, across file servers."""
SILENCE = 600.0
"""Seconds without progress after which a run is called quiet (a long batch, a large checkpoint, or a hang)."""

_WAITING = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD", "SUSPENDED", "STOPPED"}
_ACTIVE = {"RUNNING", "COMPLETING", "CONFIGURING", "RESIZING", "SIGNALING", "STAGE_OUT"}


class Kind(str, Enum):
    """What a run is doing, or how it ended."""

    NEW = "not submitted"
    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    PREEMPTED = "preempted"
    NODE_FAILURE = "node failure"
    OUT_OF_MEMORY = "out of memory"
    LOST = "lost"
    UNKNOWN = "unknown"

    @property
    def alive(self) -> bool:
        """Whether it waits or runs."""
        return self in (Kind.PENDING, Kind.STARTING, Kind.RUNNING)

    @property
    def dead(self) -> bool:
        """Whether it ended without a result."""
        return not self.alive and self not in (Kind.NEW, Kind.FINISHED, Kind.UNKNOWN)


_SLURM = {
    "TIMEOUT": Kind.TIMEOUT,
    "DEADLINE": Kind.TIMEOUT,
    "PREEMPTED": Kind.PREEMPTED,
    "NODE_FAIL": Kind.NODE_FAILURE,
    "BOOT_FAIL": Kind.NODE_FAILURE,
    "OUT_OF_MEMORY": Kind.OUT_OF_MEMORY,
    "CANCELLED": Kind.CANCELLED,
    "REVOKED": Kind.CANCELLED,
}
"""How SLURM says a job ended, where that says more than the files."""
_OVER = {*_SLURM, "COMPLETED", "FAILED"}
_ASKED = {
    "SIGUSR1": "told to save, as before a time limit (SIGUSR1)",
    "SIGUSR2": "told to save, as before a time limit (SIGUSR2)",
    "SIGTERM": "told to end (SIGTERM)",
    "SIGINT": "interrupted (Ctrl-C)",
}


@dataclass(frozen=True)
class State:
    """A run's state.

    Attributes:
        kind: In one word.
        detail: In a few more; may be empty.
        job: What SLURM says about its job, None if it said nothing.
        certain: False where a question to SLURM, or to another machine, was left unanswered.
    """

    kind: Kind
    detail: str = ""
    job: Job | None = None
    certain: bool = True


def needs_queue(files: Files) -> bool:
    """Whether SLURM has to be asked: not about a finished run, nor one that never had a job."""
    return files.job is not None and not (files.fitted and files.current and files.attempt.get("outcome") != "running")


def needs_accounting(files: Files, queue: Answer) -> bool:
    """Whether a job is gone from the queue and its files do not explain its end."""
    if files.job is None or not needs_queue(files) or not queue.complete or files.job in queue.jobs:
        return False
    return not (files.current and files.attempt.get("outcome") == "failed" and files.code in (None, 1, 2))


def state_of(files: Files, queue: Answer = NOT_ASKED, accounting: Answer = NOT_ASKED, now: float = 0.0) -> State:
    """The state of a run at the time ``now`` (Unix seconds)."""
    if files.job is None and (files.submitting or (files.scheduled and not files.attempts)):
        return _without_job(files)
    if not files.exists and files.job is None:
        return State(Kind.NEW)
    if files.fitted and not needs_queue(files):
        return State(Kind.FINISHED)
    if files.job is None:
        return _local(files, now)
    job = queue.jobs.get(files.job)
    if job is not None and job.state in _WAITING:
        return _pending(files, job)
    if job is not None and job.state in _ACTIVE:
        return _active(files, job, now)
    if job is None and queue.complete:  # alone accounting proves nothing: it calls a job failed that is back in the queue
        job = accounting.jobs.get(files.job)
    if job is not None and job.state in _OVER:
        return _over(files, job)
    if job is not None or not queue.complete:  # a word that is not known, or one that contradicts the queue, is no end
        return _by_files(files, f"SLURM says {job.state}" if job else queue.problem, now)
    return _gone(files, now)


def _without_job(files: Files) -> State:
    """A run for SLURM that no job is known of."""
    if files.submitter:
        return State(Kind.PENDING, f"is being submitted by {files.submitter}")
    if files.submitting:
        return State(Kind.UNKNOWN, "the answer of sbatch was lost, and its job cannot be looked for now", certain=False)
    if files.unread:
        return State(Kind.UNKNOWN, files.unread, certain=False)
    return State(Kind.NEW, "give the command of its sweep again")


def _pending(files: Files, job: Job) -> State:
    if job.state == "SUSPENDED":
        return State(Kind.PENDING, "suspended by SLURM; goes on by itself", job)
    if job.state in ("REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD") and not job.reason:
        job = Job(job.id, job.state, "job requeued in held state", job.nodes, job.start)
    again = f"; attempt {files.attempts + 1}" if files.attempts else ""
    reason = reason_of(job.reason, files.attempts)
    return State(Kind.PENDING, f"{'will not start: ' if reason.never else ''}{reason.words}{again}", job)


def _active(files: Files, job: Job, now: float) -> State:
    ended, outcome = files.ended, files.attempt.get("outcome")
    old = not files.current or (job.start is not None and (ended or files.started or 0) < job.start - (0 if ended else GRACE))
    if old:
        return State(Kind.STARTING, f"attempt {files.attempts + 1}" if files.attempts else "", job)
    if ended is not None and outcome in ("finished", "failed"):
        return _spoken(files, job)
    if ended is not None:
        return State(Kind.RUNNING, "saved; about to leave", job)
    return _under_way(files, now, job)


def _under_way(files: Files, now: float, job: Job | None = None, certain: bool = True) -> State:
    beat = seconds(files.progress.get("time"))
    begun = files.started
    if beat is None or (begun is not None and beat < begun - 5) or files.progress.get("state") == "starting":
        waited = now - (begun or now)
        return State(Kind.STARTING, f"for {span(waited)}" if waited > SILENCE else "", job, certain)
    what = files.progress.get("state")
    quiet = f"no progress for {span(now - beat)}" if now - beat > SILENCE else ""
    return State(Kind.RUNNING, quiet or (str(what) if what in ("validating", "testing") else ""), job, certain)


def _over(files: Files, job: Job) -> State:
    """SLURM says that the job has ended."""
    if files.fitted and files.current:
        return State(Kind.FINISHED, job=job)
    if kind := _SLURM.get(job.state):
        return State(kind, _saved(files), job)
    return _spoken(files, job)


def _spoken(files: Files, job: Job | None = None) -> State:
    """How the run ended by its own records, those of its batch script included; LOST if they are silent."""
    outcome = files.attempt.get("outcome") if files.current else None
    code = files.code
    if outcome == "finished":
        return State(Kind.FINISHED, job=job)
    if outcome == "failed":
        return State(Kind.FAILED, _error(files), job)
    if outcome == "stopped":
        if code == 143:
            return State(Kind.CANCELLED, _saved(files), job)
        reason = str(files.exit.get("reason") or "") or asked(str(files.attempt.get("reason") or ""))
        return State(Kind.STOPPED, "; ".join(text for text in (reason, _saved(files)) if text), job)
    if code == 143:
        return State(Kind.CANCELLED, _saved(files), job)
    if code is not None and code != 0:
        before = "" if files.current else "before the run began: "
        return State(Kind.FAILED, before + _code(code), job)
    if job is not None and job.state == "FAILED":
        return State(Kind.FAILED, "" if files.current else "before the run began", job)
    if job is not None or code == 0:
        return State(Kind.FAILED, "its job completed, but the run has left no word", job)
    return State(Kind.LOST, "its job is gone without a word")


def _gone(files: Files, now: float) -> State:
    """SLURM answered and does not know the job."""
    if files.current and files.attempt.get("outcome") in ("finished", "failed", "stopped"):
        return _spoken(files)
    if files.code is not None:
        return _spoken(files)
    if not files.current and now - (files.submitted or 0) < GRACE:
        return State(Kind.PENDING, "just submitted")
    if files.current and now - (files.alive or 0) < GRACE:
        return State(Kind.UNKNOWN, "it has left the queue a moment ago; its files do not say yet how it ended", certain=False)
    return State(Kind.LOST, f"its job is gone without a word{_dot(_saved(files))}")


def _by_files(files: Files, problem: str, now: float) -> State:
    """SLURM could not be asked: only what the files prove."""
    if files.current and files.attempt.get("outcome") in ("finished", "failed"):
        return _spoken(files)
    if files.current and files.attempt.get("outcome", "running") == "running" and now - (files.alive or 0) < SILENCE:
        state = _under_way(files, now, certain=False)
        return State(state.kind, state.detail or f"last sign of life {span(now - (files.alive or now))} ago", certain=False)
    if files.current and files.attempt.get("outcome") == "stopped":
        return State(Kind.UNKNOWN, "saved and stopped; it may be back in the queue", certain=False)
    if files.current:
        return State(Kind.UNKNOWN, f"last sign of life {span(now - (files.alive or now))} ago", certain=False)
    return State(Kind.UNKNOWN, problem, certain=False)


def _local(files: Files, now: float) -> State:
    """A run that was started by hand."""
    if not files.attempts:
        if now - (files.created or 0) < GRACE:
            return State(Kind.STARTING)
        return State(Kind.STOPPED, "before its first attempt")
    if files.attempt.get("outcome") in ("finished", "failed", "stopped"):
        return State(Kind.FINISHED) if files.fitted else _spoken(files)
    living = lives(files.attempt)
    if living:
        return _under_way(files, now)
    if living is False:
        return State(Kind.LOST, f"its process is gone without a word{_dot(_saved(files))}")
    host = files.attempt.get("host", "another machine")
    if now - (files.alive or 0) < SILENCE:
        return _under_way(files, now, certain=False)
    return State(Kind.UNKNOWN, f"runs or ran on {host}; last sign of life {span(now - (files.alive or now))} ago", certain=False)


def _saved(files: Files) -> str:
    step = files.progress.get("step")
    return f"step {step}" if isinstance(step, int) and files.current else ""


def _error(files: Files) -> str:
    """What rank 0 said, unless it only noticed that another rank had failed."""
    error = first_line(files.attempt.get("error"))
    if SECONDARY.search(error):
        return f"another rank failed first{_dot(_code(files.code) if files.code != 1 else '')}"
    return error or _code(files.code)


def asked(reason: str) -> str:
    """Who asked a run to stop, from the name of the signal."""
    return _ASKED.get(reason, reason)


def _dot(text: str) -> str:
    return f"; {text}" if text else ""


def _code(code: int | None) -> str:
    return "" if code is None else {137: "killed (SIGKILL)"}.get(code, f"exit code {code}")


def first_line(text: object) -> str:
    """The first line of a text, or nothing."""
    return next(iter(str(text).splitlines()), "") if text else ""


def span(length: float) -> str:
    """A duration for people: 42 s, 12 min, 3 h 05, 2 d 4 h."""
    whole = max(0, int(length))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02}"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def counts(states: list[State]) -> Mapping[Kind, int]:
    """How many runs are in which state, in the order of ``Kind``."""
    return {kind: n for kind in Kind if (n := sum(s.kind is kind for s in states))}
