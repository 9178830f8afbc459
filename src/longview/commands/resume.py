"""``longview resume``: put runs that ended without a result back to work; each goes on from its last checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from longview.commands.settle import settled
from longview.commands.show import DETAILS, plural, several
from longview.errors import LongviewError
from longview.runs.find import find, root_of
from longview.runs.group import Group
from longview.runs.look import Seen, View, look
from longview.runs.status import Kind
from longview.runs.sweep import SweepDirectory

OK = 0
_BROKEN = {Kind.FAILED, Kind.OUT_OF_MEMORY, Kind.NODE_FAILURE, Kind.LOST}
USUAL = _BROKEN | {Kind.STOPPED, Kind.TIMEOUT, Kind.PREEMPTED}
"""States from which the runs of a sweep are resumed where nothing else is said."""


class ResumeError(LongviewError):
    """Nothing can be resumed."""


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    groups = settled(find(options.names, root_of(options.root)))
    view = look([run for group in groups for run in group.runs])
    by_path = {seen.run.path: seen for seen in view.seen}
    chosen: list[tuple[Group, list[Seen]]] = []
    for group in groups:
        kinds = _kinds(options, named=not group.whole or len(group.runs) == 1)
        members = [by_path[run.path] for run in group.runs]
        chosen.append((group, [seen for seen in members if seen.state.kind in kinds or (_refused(seen) and not options.failed)]))
    if not any(picked for _, picked in chosen):
        raise ResumeError(_nothing(view, options))
    code = OK
    for group, picked in chosen:
        queued = [seen for seen in picked if seen.files.job is not None or seen.run.refused]
        if group.sweep is not None and queued:
            code = _into_queue(group.sweep, queued) or code
        for seen in picked:
            if seen not in queued:
                code = _here(seen) or code
    _say_left(view, [seen for _, picked in chosen for seen in picked])
    return code


def _refused(seen: Seen) -> bool:
    """Whether it was submitted, the answer was lost, and SLURM surely does not have it."""
    return seen.run.refused and not seen.state.kind.alive and seen.state.kind not in (Kind.FINISHED, Kind.UNKNOWN)


def _kinds(options: argparse.Namespace, *, named: bool) -> set[Kind]:
    """States that are resumed: what was cancelled on purpose only where it is meant."""
    if options.failed:
        return _BROKEN
    return {kind for kind in Kind if kind.dead} if options.all_stopped or named else USUAL


def _into_queue(sweep: SweepDirectory, picked: Sequence[Seen]) -> int:
    from longview.launch.submit import resubmit

    code = resubmit(sweep, [seen.run.id for seen in picked])
    if code == OK and len(picked) > DETAILS:
        kinds = several([(seen.state.kind, seen.state.certain) for seen in picked])
        print(f"resumed {plural(len(picked), 'run')} of {sweep.path.name}  (they were: {kinds})")
    elif code == OK:
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
    there = several([(seen.state.kind, seen.state.certain) for seen in view.seen])
    hint = ""
    if Kind.CANCELLED in kinds and not options.all_stopped:
        hint = "; what was cancelled is resumed with --all-stopped, or by naming the run"
    if Kind.NEW in kinds:
        hint += "; what was never submitted is submitted by the command of its sweep"
    if Kind.UNKNOWN in kinds:
        hint += "; unknown may be alive and is never resumed"
    return f"nothing to resume: {there}{hint}{_blind(view)}"


def _say_left(view: View, picked: Sequence[Seen]) -> None:
    left = [seen for seen in view.seen if seen not in picked and seen.state.kind is not Kind.FINISHED]
    if left:
        print(f"left alone: {several([(seen.state.kind, seen.state.certain) for seen in left])}{_blind(view)}")


def _blind(view: View) -> str:
    """That the states are not certain, where they are not."""
    if all(seen.state.certain for seen in view.seen):
        return ""
    return f"; not certain: {view.problem or 'SLURM could not be asked about all of them'}"
