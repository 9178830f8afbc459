"""Why a run ended, or why it does not start: a cause, where it struck, what was said, what to do."""

from __future__ import annotations

import pwd
import re
import signal
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from longview.runs import causes
from longview.runs.causes import Cause, told_by
from longview.runs.evidence import Failure, batch_text, failures, first_task, log_folder, placed, rank_logs, tail
from longview.runs.look import Seen
from longview.runs.reasons import reason_of
from longview.runs.status import SILENCE, Kind, asked, first_line, span

_SLURM: dict[Kind, Cause] = {
    Kind.TIMEOUT: causes.TIMEOUT,
    Kind.NODE_FAILURE: causes.NODE_FAILURE,
    Kind.PREEMPTED: causes.PREEMPTED,
    Kind.CANCELLED: causes.CANCELLED,
}
"""Endings that SLURM brings about, whatever the ranks say about it."""
_SAID = (
    (r"DUE TO TIME LIMIT", causes.TIMEOUT),
    (r"DUE TO PREEMPTION", causes.PREEMPTED),
    (r"DUE TO NODE FAILURE|DUE TO NodeFail", causes.NODE_FAILURE),
    (r"slurmstepd.*([Ee]xceeded (job |step )?memory limit|oom[-_ ]kill)", causes.OUT_OF_MEMORY),
)
"""What slurmstepd writes into the log when SLURM ends a job."""
_NAMED = 8
"""Ranks named in a note."""


@dataclass(frozen=True)
class Diagnosis:
    """What is known about a run's end.

    Attributes:
        title: What ended it, or what it waits for.
        advice: What to do.
        where: Rank and node, as far as they are known.
        error: The first error.
        frame: The last line of own code in it.
        notes: Further facts, one line each.
    """

    title: str
    advice: str = ""
    where: str = ""
    error: str = ""
    frame: str = ""
    notes: list[str] = field(default_factory=list)


def diagnose(seen: Seen, now: float) -> Diagnosis:
    """Why a run is where it is."""
    kind = seen.state.kind
    if kind is Kind.FINISHED:
        return Diagnosis("it has finished", "`longview open <run>` shows where everything is")
    if kind is Kind.NEW:
        return Diagnosis("it was never submitted", "give the command of its sweep again: what is there already is left alone")
    if kind is Kind.PENDING:
        return _waits(seen, now)
    if kind.alive:
        return _runs(seen, now)
    return _ended(seen)


def _waits(seen: Seen, now: float) -> Diagnosis:
    job = seen.state.job
    if job is None and seen.files.submitter:
        return Diagnosis(
            f"it {seen.state.detail}", "nothing; if that process is gone, delete .being-submitted in the sweep's folder"
        )
    if job is None or job.state == "SUSPENDED":
        return Diagnosis(f"it waits: {seen.state.detail}", "nothing")
    reason = reason_of(job.reason, seen.files.attempts)
    advice = reason.advice.replace("<job>", job.id)
    notes = [f"SLURM's word: {job.reason}, job {job.id}"] if job.reason else [f"job {job.id}"]
    if job.start is not None and job.start > now:
        notes.append(f"SLURM expects it to start in {span(job.start - now)}")
    if seen.files.attempts:
        notes.append(
            f"attempt {seen.files.attempts} ended as {seen.files.attempt.get('outcome', 'unknown')}; it goes on from there"
        )
    title = "it will not start: " if reason.never else "it " if reason.words.startswith("waits ") else "it waits: "
    return Diagnosis(f"{title}{reason.words}", advice, notes=notes)


def _runs(seen: Seen, now: float) -> Diagnosis:
    beat, progress = seen.files.alive, seen.files.progress
    where = f"on {seen.state.job.nodes}" if seen.state.job and seen.state.job.nodes else ""
    if beat is None or (seen.state.kind is Kind.STARTING and seen.state.job and not _spoke(seen)):
        begun = "its job has begun; the run has not spoken yet"
        return Diagnosis(begun, "`longview logs <run> --batch` shows how far the job is", where)
    last = f"last sign of life {span(now - beat)} ago"
    step = f", step {progress['step']}" if isinstance(progress.get("step"), int) else ""
    if now - beat > SILENCE:
        advice = (
            "a long batch or checkpoint, or a hang: `longview logs <run> --rank all -n 5` shows which rank is behind; a hang:"
        )
        return Diagnosis(
            "it runs, but does not move",
            f"{advice} `longview cancel <run>`, then `longview resume <run>`",
            where,
            notes=[f"{last}{step}"],
        )
    return Diagnosis("it is running", "nothing is wrong", where, notes=[f"{last}{step}"])


def _spoke(seen: Seen) -> bool:
    """Whether the newest sign of life is of the attempt that the job works on now."""
    job = seen.state.job
    return seen.files.current and not (job and job.start and (seen.files.alive or 0) < job.start)


def _ended(seen: Seen) -> Diagnosis:
    if seen.state.kind is Kind.UNKNOWN:  # what an earlier job said is no answer
        return Diagnosis(causes.UNKNOWN.title, causes.UNKNOWN.advice, notes=[first_line(seen.state.detail)])
    text = "\n".join([batch_text(seen), *(tail(path, 16384) for _, path in rank_logs(seen))])
    found = failures(seen)
    first = placed(found[0], seen) if found else None
    task = first_task(text, {failure.rank for failure in found if _fell(failure)})
    if first is not None and not first.secondary and (task is None or not _fell(first)):
        task = None  # the first error says it all
    cause = _cause(seen, first, task, text)
    by_slurm = cause in _SLURM.values()
    shown = None if by_slurm else task or first
    error = shown.error.strip() if shown else _said(cause, text)
    if cause is causes.COMMAND and (name := causes.command_in(_said(cause, text) or error)):
        cause = replace(cause, title=f"{cause.title}: {name}")
        error = _said(causes.COMMAND, text) or error
    logs = log_folder(seen)
    notes = [*_notes(seen, cause, shown, found), *([f"logs: {logs}"] if logs else [])]
    advice = cause.advice.replace("<run directory>", seen.run.path)
    if seen.files.job is None:
        advice = advice.replace("`longview resume <run>` puts it back; it goes on", "`longview resume <run>` goes on")
    where = "" if cause is causes.CANCELLED else _where(shown, seen)
    return Diagnosis(cause.title, advice, where, error, shown.frame if shown else "", notes)


def _fell(failure: Failure) -> bool:
    """Whether a rank may have fallen with another: it only says that it could not reach its peers."""
    return failure.secondary or told_by(failure.error) is causes.COMMUNICATION


def _cause(seen: Seen, first: Failure | None, task: Failure | None, text: str) -> Cause:
    """The cause: what SLURM brings about, then the first rank's own error, then what the logs say, then the exit code."""
    kind, code = seen.state.kind, seen.files.code
    if kind is Kind.OUT_OF_MEMORY:
        gpu = first is not None and told_by(first.error, [causes.GPU_MEMORY])
        return causes.GPU_MEMORY if gpu else causes.OUT_OF_MEMORY
    if kind is Kind.CANCELLED and re.search(r"[Ee]xceeded (job |step )?memory limit", text):
        return causes.OUT_OF_MEMORY  # that is how SLURM without cgroups ends it
    if kind in _SLURM:
        return _SLURM[kind]
    for pattern, cause in _SAID:  # in the step's log, too: slurmstepd writes where its children do
        if re.search(pattern, text):
            return cause
    if first is not None and task is None and not first.secondary:
        return _of_error(first, code)
    if said := told_by("\n".join(_own_lines(text)), [*causes.TEXTS, causes.BAD_INPUT]):
        return said
    if code == 137 or (task and re.search(r"Killed|Out Of Memory", task.error)):
        return causes.OUT_OF_MEMORY if told_by(text, [causes.OUT_OF_MEMORY]) else causes.KILLED
    if code in causes.CODES and code != 2:
        return causes.CODES[code]
    if task is not None and (found := _of_task(task, first, text)):
        return found
    if said := (told_by(first.error) if first else None) or told_by(text):
        return said
    if code == 2:
        return causes.BAD_INPUT
    if kind is Kind.STOPPED:
        return causes.STOPPED
    if kind is Kind.LOST:
        return causes.LOST if seen.files.job else causes.PROCESS_LOST
    if code is not None and 128 < code < 160:
        return Cause(f"a signal ended it ({_signal(code)})", causes.UNEXPLAINED.advice)
    return causes.UNEXPLAINED


def _of_task(task: Failure, first: Failure | None, text: str) -> Cause | None:
    """The cause of a rank that left no error of its own, by what srun says of it."""
    among = [cause for cause in causes.TEXTS if first is None or cause not in (causes.COMMUNICATION, causes.RENDEZVOUS)]
    if said := told_by(task.error) or told_by(text, among):  # what its peers say of the network is not its own
        return said
    code = re.search(r"Exited with exit code (\d+)", task.error)
    if code is None or int(code[1]) == 2:
        return None
    return replace(causes.ENDED_ITSELF, title=f"rank {task.rank} ended by itself with exit code {code[1]}")


def _of_error(first: Failure, code: int | None) -> Cause:
    """The cause of a rank's own error."""
    if found := told_by(first.error) or told_by(first.traceback[-2000:], [causes.BAD_DATA]):
        return found
    python = re.match(r"[A-Z][A-Za-z]*: ?", first.error)  # the engine names the class of what it did not raise itself
    return causes.PYTHON if python and code != 2 else causes.BAD_INPUT


def _own_lines(text: str) -> Iterable[str]:
    """What the batch script itself complains about."""
    return (line for line in text.splitlines() if line.startswith("longview: error:"))


def _said(cause: Cause, text: str) -> str:
    """The line of the batch log that tells the cause, else the batch script's own complaint."""
    lines = text.splitlines()
    told = next((line for line in lines if cause.pattern and re.search(cause.pattern, line)), "")
    own = next(iter(_own_lines(text)), "").removeprefix("longview: error:").strip()
    return own or told.removeprefix("srun: error:").strip()


def _where(failure: Failure | None, seen: Seen) -> str:
    host = failure.host if failure else ""
    nodes = seen.state.job.nodes if seen.state.job else ""
    rank = f"rank {failure.rank}" if failure and failure.rank is not None and (failure.rank or _several(seen)) else ""
    place = f"on {host or nodes or seen.files.attempt.get('host') or ''}".removesuffix("on ")
    return " ".join(part for part in (rank, place) if part)


def _several(seen: Seen) -> bool:
    return len(rank_logs(seen)) > 1


def _notes(seen: Seen, cause: Cause, shown: Failure | None, found: list[Failure]) -> list[str]:
    notes = []
    job = seen.state.job
    if cause is causes.CANCELLED and job and job.by.isdecimal():
        notes.append(f"by {user(int(job.by))}")
    if cause is causes.STOPPED and (reason := asked(str(seen.files.attempt.get("reason") or ""))):
        notes.append(reason)
    others = sorted({f.rank for f in found if f.rank is not None} - {shown.rank}) if shown else []
    if others:
        more = f", ... ({len(others)} in all)" if len(others) > _NAMED else ""
        ranks = ", ".join(map(str, others[:_NAMED]))
        notes.append(f"rank{'s' if len(others) > 1 else ''} {ranks}{more} failed after it")
    if shown and shown.traceback and not shown.secondary:
        notes.append(f"traceback: {shown.source}")
    step = seen.files.progress.get("step")
    if isinstance(step, int):
        notes.append(f"it had come to step {step}")
    code = seen.files.code
    if code not in (None, 0, 130):  # 130 is the engine's own "stopped"
        notes.append(f"exit code {code}{f' ({_signal(code)})' if code and code > 128 else ''}")
    if job is None and seen.state.detail:
        notes.append(first_line(seen.state.detail))
    return list(dict.fromkeys(notes))


def user(number: int) -> str:
    """Name of a user, else the number."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _signal(code: int) -> str:
    try:
        return signal.Signals(code - 128).name
    except ValueError:
        return f"signal {code - 128}"


def grouped(pairs: Iterable[tuple[Seen, Diagnosis]]) -> list[tuple[str, list[tuple[Seen, Diagnosis]]]]:
    """Runs by cause, the commonest first; Python errors are told apart by their kind."""
    groups: dict[str, list[tuple[Seen, Diagnosis]]] = {}
    for seen, diagnosis in pairs:
        kind = re.match(r"[\w.]+", diagnosis.error)
        title = f"{diagnosis.title}: {kind[0]}" if diagnosis.title == causes.PYTHON.title and kind else diagnosis.title
        groups.setdefault(title, []).append((seen, diagnosis))
    return sorted(groups.items(), key=lambda item: -len(item[1]))
