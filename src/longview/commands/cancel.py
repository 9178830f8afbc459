"""``longview cancel``: end jobs, or ask a run on this machine to save and stop."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from longview.commands.settle import settled
from longview.commands.show import DETAILS, plural, several
from longview.errors import LongviewError
from longview.runs.find import find, root_of
from longview.runs.look import Seen, View, look
from longview.runs.process import here, is_engine
from longview.runs.queue import ask, ask_squeue, base
from longview.runs.status import Kind

OK, FAILED = 0, 1
_AT_ONCE = 500
"""Jobs in one call of scancel."""
_LIVING = ("PENDING", "RUNNING", "CONFIGURING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "STOPPED", "COMPLETING")


class CancelError(LongviewError):
    """Nothing could be cancelled."""


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    groups = settled(find(options.names, root_of(options.root)))
    view = look([run for group in groups for run in group.runs])
    _refuse_blind(view)
    jobs = _jobs(view, only_pending=options.pending)
    local = (
        [] if options.pending else [s for s in view.seen if s.files.job is None and s.state.kind in (Kind.STARTING, Kind.RUNNING)]
    )
    total = sum(len(members) for members in jobs.values()) + len(local)
    lost = [seen for seen in view.seen if seen.files.submitting or (seen.files.submitter and seen.state.kind is Kind.PENDING)]
    if total == 0 and lost:
        raise CancelError(_unfound(lost))
    if total == 0:
        print(f"nothing to cancel: {_endings(view, options.pending)}")
        return OK
    if total > 1 and not options.yes and sys.stdin.isatty() and sys.stdout.isatty():
        answer = input(f"cancel {plural(total, 'run' if local else 'job')}? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            print("nothing was cancelled")
            return OK
    failed = _scancel(jobs)
    for seen in local:
        failed += _stop(seen)
    if lost:
        print(f"error: {_unfound(lost)}", file=sys.stderr)
        failed += 1
    over = len(view.seen) - len({s.run.path for s in [*local, *(m for members in jobs.values() for m in members)]})
    if over:
        print(f"left alone: {plural(over, 'run')} ({_endings(view, options.pending)})")
    return FAILED if failed else OK


def _unfound(lost: Sequence[Seen]) -> str:
    """That runs may be in the queue as a job that nobody knows."""
    runs = f"{lost[0].run.id}{f' and {len(lost) - 1} more' if len(lost) > 1 else ''}"
    if submitter := lost[0].files.submitter:
        return f"{runs}: being submitted by {submitter}; cancel again when it is done"
    mark = lost[0].run.submission.uid if lost[0].run.submission else ""
    text = f"the answer of sbatch for {runs} was lost, and its job cannot be looked for now; nothing of it was cancelled"
    return f"{text} (its comment is {mark}: squeue --me -o '%i %k')"


def _refuse_blind(view: View) -> None:
    """Raises CancelError where it cannot be known what is in the queue."""
    if view.problem and not any(s.state.job for s in view.seen) and any(s.files.job for s in view.seen):
        raise CancelError(f"SLURM could not be asked ({view.problem}); nothing was cancelled")


def _jobs(view: View, *, only_pending: bool) -> dict[str, list[Seen]]:
    """Jobs in the queue and their runs: the newest of each run and any other that is still there, such as the one it follows."""
    answer = ask_squeue({job for seen in view.seen for job in seen.jobs if seen.state.kind is not Kind.FINISHED})
    found: dict[str, list[Seen]] = {}
    for seen in view.seen:
        for name in seen.jobs:
            job = answer.jobs.get(name)
            if job and job.state in (("PENDING",) if only_pending else _LIVING):
                found.setdefault(name, []).append(seen)
    return found


def _scancel(jobs: dict[str, list[Seen]]) -> int:
    names = list(jobs)
    failed = 0
    done: dict[str, list[tuple[str, Seen]]] = {}
    for start in range(0, len(names), _AT_ONCE):
        part = names[start : start + _AT_ONCE]
        _, problem = ask(["scancel", *part])
        if problem:
            print(f"error: {problem}", file=sys.stderr)
            failed += 1
            continue
        for name in part:
            done.setdefault(base(name), []).extend((name, seen) for seen in jobs[name])
    for array, members in done.items():
        if len(members) > DETAILS:
            runs = [seen for _, seen in members]
            kinds = several([(seen.state.kind, seen.state.certain) for seen in runs])
            where = f" of {runs[0].run.sweep.path.name}" if runs[0].run.sweep else ""
            print(f"cancelled {plural(len(runs), 'run')}{where}  (job {array}, they were: {kinds})")
            continue
        for name, seen in members:
            print(f"cancelled {seen.run.id}  {seen.run.label}  (job {name}, it was {seen.state.kind.value})")
    return failed


def _stop(seen: Seen) -> int:
    """Ask a run on this machine to save and leave."""
    pid, host = seen.files.attempt.get("pid"), seen.files.attempt.get("host")
    if not here(seen.files.attempt):
        print(f"error: {seen.run.id} runs on {host}: cancel it there, or press Ctrl-C in its terminal", file=sys.stderr)
        return 1
    if not is_engine(seen.files.attempt):
        print(f"error: {seen.run.id}: process {pid} is not certainly this run; press Ctrl-C in its terminal", file=sys.stderr)
        return 1
    try:
        os.kill(int(str(pid)), signal.SIGTERM)
    except OSError as error:
        print(f"error: {seen.run.id}: process {pid} cannot be stopped: {error.strerror}", file=sys.stderr)
        return 1
    print(f"stopping {seen.run.id}  {seen.run.label}  (process {pid}): it saves and leaves at the next step")
    return 0


def _endings(view: View, only_pending: bool) -> str:
    idle = [s for s in view.seen if only_pending or not s.state.kind.alive]
    return several([(s.state.kind, s.state.certain) for s in idle]) or "nothing is left"
