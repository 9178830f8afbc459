"""``longview status``: what is waiting, running, finished or broken."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from longview.commands.resume import USUAL
from longview.commands.settle import settled
from longview.commands.show import coloured, columns, name_of, number, paint, plural, state_style, width
from longview.runs.find import find, groups_under, root_of
from longview.runs.group import Group
from longview.runs.look import Seen, View, look
from longview.runs.records import seconds
from longview.runs.status import Kind, State, counts, span

OK = 0
EVERY = 5.0
"""Seconds between two looks with ``--watch``."""
SWEEPS = 12
"""Sweeps shown without ``--all``, beside those that are not over."""
ROWS = 60
"""Runs of a sweep shown without ``--all``; finished ones are left out first."""
_HEADS = ("ID", "RUN", "STATE", "EPOCH", "STEP", "LEFT", "METRIC", "NODE", "TRY", "AGE", "JOB", "NOTE")
_SPARE = ("TRY", "METRIC", "NODE", "AGE", "EPOCH", "JOB")
"""Columns that a narrow terminal does without."""
_RIGHT = ("EPOCH", "STEP", "LEFT", "TRY", "AGE")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    if isinstance(options.watch, str):  # `-w NAME`: the name is not a number of seconds
        options.names, options.watch = [options.watch, *options.names], EVERY
    if options.watch is not None:
        _watch(options, max(1.0, options.watch))
    else:
        print(_text(options)[0])
    return OK


def _text(options: argparse.Namespace) -> tuple[str, bool]:
    """What there is to show, and whether anything of it waits or runs, or may."""
    if options.json:
        groups, _ = _targets(options)
        view = look([run for group in groups for run in group.runs])
        for damaged in (group.damaged for group in groups if group.damaged):
            print(f"error: {damaged}", file=sys.stderr)
        records = [record(group, seen) for group, seen in _paired(groups, view)]
        return json.dumps(records, indent=None if options.watch else 2), _open(view.seen)
    text, still = picture(options)
    return "\n".join(text), still


def _paired(groups: Sequence[Group], view: View) -> list[tuple[Group, Seen]]:
    by_path = {seen.run.path: seen for seen in view.seen}
    return [(group, by_path[run.path]) for group in groups for run in group.runs]


def _open(seen: Sequence[Seen]) -> bool:
    return any(s.state.kind.alive or s.state.kind is Kind.UNKNOWN for s in seen)


def _targets(options: argparse.Namespace) -> tuple[list[Group], list[Group]]:
    """The groups to count, and those whose runs are listed."""
    root = root_of(options.root)
    if options.names:
        groups = settled(find(options.names, root))
        return groups, groups
    groups = settled(groups_under(root))
    if not groups:
        find([], root)  # says where to look
    return groups, groups if options.all else [group for group in groups if not group.damaged][:1]


def picture(options: argparse.Namespace) -> tuple[list[str], bool]:
    """The tables as lines of text, and whether a listed run waits or runs, or may."""
    groups, listed = _targets(options)
    view = look([run for group in groups for run in group.runs])
    colour, text = coloured(), []
    pairs = [(group, [seen for g, seen in _paired([group], view)]) for group in groups]
    if len(groups) > 1 or groups[0].whole:
        text += [*_sweeps(pairs, options, colour, view.now), ""]
    text += _runs([pair for pair in pairs if pair[0] in listed], options, colour, view.now)
    still = _open([s for group, seen in pairs if group in listed for s in seen])
    return [*text, *_footnotes(view, colour)], still


def _sweeps(pairs: Sequence[tuple[Group, list[Seen]]], options: argparse.Namespace, colour: bool, now: float) -> list[str]:
    every = options.all or bool(options.names)
    shown = [
        (group, seen)
        for i, (group, seen) in enumerate(pairs)
        if every or i < SWEEPS or group.damaged or any(s.state.kind.alive for s in seen)
    ]
    rows = []
    for group, seen in shown:
        summary = ", ".join(
            paint(f"{n} {kind.value}", state_style(kind), colour) for kind, n in counts([s.state for s in seen]).items()
        )
        if group.damaged:
            summary = paint(f"damaged: {group.damaged}", "red", colour)
        rows.append([group.id, group.name, "" if group.damaged else str(len(seen)), summary, span(now - group.created)])
    text = columns(("ID", "SWEEP", "RUNS", "STATES", "AGE"), rows, right=("RUNS",), limit=width(), flexible=("SWEEP", "STATES"))
    left = len(pairs) - len(shown)
    return [*text, f"({left} older; --all shows them)"] if left else text


def _runs(pairs: Sequence[tuple[Group, list[Seen]]], options: argparse.Namespace, colour: bool, now: float) -> list[str]:
    every = [(group, seen) for group, members in pairs for seen in members]
    shown = every
    if not options.all and len(shown) > ROWS:
        shown = ([pair for pair in every if pair[1].state.kind is not Kind.FINISHED] or every)[:ROWS]
    several = len(pairs) > 1
    rows = [[group.name if several else "", *cells(seen, colour, now)] for group, seen in shown]
    text = columns(("SWEEP", *_HEADS), rows, right=_RIGHT, limit=width(), flexible=("RUN", "NOTE", "SWEEP"), spare=_SPARE)
    if left := len(every) - len(shown):
        text.append(f"({plural(left, 'more run')}; --all shows them)")
    return text + _advice(every)


def _advice(every: Sequence[tuple[Group, Seen]]) -> list[str]:
    """The commands that say more about what is broken, and put it back to work."""
    broken = [(group, seen) for group, seen in every if seen.state.kind.dead]
    if not broken:
        return []
    group, seen = next((pair for pair in broken if pair[1].state.kind in USUAL), broken[0])
    one_sweep = group.sweep is not None and group.whole and len({g.name for g, _ in every}) == 1
    name = name_of(group if one_sweep else seen.run)
    meant = one_sweep and len(group.runs) > 1 and seen.state.kind not in USUAL  # a run that is named is meant anyhow
    return [f"why: longview why {name}    again: longview resume {name}{' --all-stopped' if meant else ''}"]


def cells(seen: Seen, colour: bool, now: float) -> list[str]:
    """A row of the table of runs."""
    progress, state, files = seen.files.progress, seen.state, seen.files
    living = state.kind in (Kind.RUNNING, Kind.STARTING)
    metric = progress.get("metric")
    return [
        seen.run.id,
        seen.run.label,
        paint(state.kind.value + ("" if state.certain or state.kind is Kind.UNKNOWN else "?"), state_style(state.kind), colour),
        _of(progress.get("epoch"), progress.get("epochs")),
        _of(progress.get("step"), progress.get("steps")),
        span(left) if living and isinstance(left := progress.get("eta_seconds"), (int, float)) else "",
        f"{metric.get('name')} {number(metric.get('value'))}" if isinstance(metric, dict) and metric.get("name") else "",
        node(seen) if living else "",
        str(files.attempts or ""),
        _age(seen, now),
        files.job or "",
        paint(state.detail, "dim", colour),
    ]


def _of(done: object, total: object) -> str:
    if done is None:
        return ""
    return f"{done}/{total}" if total is not None else str(done)


def node(seen: Seen) -> str:
    """Where it runs: SLURM's node list, else the host of its records."""
    if seen.state.job and seen.state.job.nodes:
        return seen.state.job.nodes
    return str(seen.files.progress.get("host") or seen.files.attempt.get("host") or "")


def _age(seen: Seen, now: float) -> str:
    """Since it was submitted, or began; for one that is over, since it ended."""
    files = seen.files
    if seen.state.kind.alive:
        since = files.started if seen.state.kind is not Kind.PENDING else files.submitted
    else:
        since = files.ended or seconds(files.exit.get("time")) or files.alive
    since = since or files.submitted or files.created
    return span(now - since) if since else ""


def _footnotes(view: View, colour: bool) -> list[str]:
    notes = []
    if view.problem:
        notes.append(f"SLURM could not be asked ({view.problem}): states are as far as the files tell")
    if any(not seen.state.certain for seen in view.seen):
        notes.append("? and unknown: not certain; nothing is called dead that may live")
    return [paint(note, "dim", colour) for note in notes]


def record(group: Group, seen: Seen) -> dict[str, Any]:
    """A run's state as plain data."""
    state: State = seen.state
    return {
        "id": seen.run.id,
        "sweep": group.name if group.sweep else None,
        "path": seen.run.path,
        "values": dict(seen.run.values),
        "state": state.kind.value,
        "certain": state.certain,
        "detail": state.detail,
        "reason": state.job.reason if state.job else "",
        "job": seen.files.job,
        "nodes": node(seen),
        "attempts": seen.files.attempts,
        "exit_code": seen.files.code,
        "progress": dict(seen.files.progress),
        "started": seconds(seen.files.attempt.get("started")),
        "ended": seconds(seen.files.attempt.get("ended")),
    }


def _watch(options: argparse.Namespace, every: float) -> None:
    """A live table on a terminal; elsewhere one table after another. Leaves by itself when nothing is alive any more."""
    if not sys.stdout.isatty() or options.json:
        still = True
        while still:
            text, still = _text(options)
            print(text if options.json else f"{text}\n", flush=True)
            time.sleep(every if still else 0)
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(), auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            text, still = _text(options)
            hint = f"\n\nevery {every:.0f} s; Ctrl-C leaves, jobs go on" if still else ""
            live.update(Text.from_ansi(text + hint), refresh=True)
            if not still:
                return
            time.sleep(every)
