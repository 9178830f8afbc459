"""``longview resume``: put runs that ended without a result back to work; each goes on from its last checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from longview.errors import LongviewError
from longview.runs.find import Group, find, root_of
from longview.runs.look import Seen, View, look
from longview.runs.status import Kind
from longview.runs.sweep import SweepDirectory

OK = 0
_BROKEN = {Kind.FAILED, Kind.OUT_OF_MEMORY, Kind.NODE_FAILURE, Kind.LOST}
_USUAL = _BROKEN | {Kind.STOPPED, Kind.TIMEOUT, Kind.PREEMPTED}


class ResumeError(LongviewError):
    """Nothing can be resumed."""


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    groups = find(options.names, root_of(options.root))
    view = look([run for group in groups for run in group.runs])
    by_path = {seen.run.path: seen for seen in view.seen}
    chosen: list[tuple[Group, list[Seen]]] = []
    for group in groups:
        kinds = _kinds(options, named=not group.whole)
        picked = [by_path[run.path] for run in group.runs if by_path[run.path].state.kind in kinds]
        chosen.append((group, picked))
    if not any(picked for _, picked in chosen):
        raise ResumeError(_nothing(view, options))
    code = OK
    for group, picked in chosen:
        queued = [seen for seen in picked if seen.files.job is not None]
        if group.sweep is not None and queued:
            code = _into_queue(group.sweep, queued) or code
        for seen in picked:
            if seen not in queued:
                code = _here(seen) or code
    _say_left(view, [seen for _, picked in chosen for seen in picked])
    return code


def _kinds(options: argparse.Namespace, *, named: bool) -> set[Kind]:
    """States that are resumed: what was cancelled on purpose only where it is meant."""
    if options.failed:
        return _BROKEN
    return {kind for kind in Kind if kind.dead} if options.all_stopped or named else _USUAL


def _into_queue(sweep: SweepDirectory, picked: Sequence[Seen]) -> int:
    from longview.launch.submit import resubmit

    code = resubmit(sweep, [seen.run.id for seen in picked])
    if code == OK:
        for seen in picked:
            print(f"resumed {seen.run.id}  {seen.run.label}  (it was {seen.state.kind.value})")
    return code


def _here(seen: Seen) -> int:
    """A run that was started by hand goes on by hand, in this terminal."""
    from longview.app import main

    print(f"python run.py run.resume={seen.run.path}", flush=True)
    return main([f"run.resume={seen.run.path}"])


def _nothing(view: View, options: argparse.Namespace) -> str:
    kinds = [seen.state.kind for seen in view.seen]
    there = ", ".join(f"{kinds.count(kind)} {kind.value}" for kind in Kind if kind in kinds)
    hint = ""
    if Kind.CANCELLED in kinds and not options.all_stopped:
        hint = "; what was cancelled is resumed with --all-stopped, or by naming the run"
    if Kind.UNKNOWN in kinds:
        hint += f"; unknown may be alive and is never resumed{f' ({view.problem})' if view.problem else ''}"
    return f"nothing to resume: {there}{hint}"


def _say_left(view: View, picked: Sequence[Seen]) -> None:
    left = [seen.state.kind for seen in view.seen if seen not in picked and seen.state.kind is not Kind.FINISHED]
    if left:
        print("left alone: " + ", ".join(f"{left.count(kind)} {kind.value}" for kind in Kind if kind in left))
