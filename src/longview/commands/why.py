"""``longview why``: in plain words, why a run ended, or why it does not start."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from longview.commands.settle import settled
from longview.commands.show import coloured, name_of, paint, plural, state_style
from longview.runs import causes
from longview.runs.diagnose import Diagnosis, diagnose, grouped
from longview.runs.find import find, root_of
from longview.runs.group import Group
from longview.runs.look import Seen, look
from longview.runs.status import Kind, counts

OK = 0
_SHOWN = 8
"""Runs named for one cause."""


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    groups = settled(find(options.names, root_of(options.root)))
    colour = coloured()
    view = look([run for group in groups for run in group.runs])
    if view.problem:
        print(paint(f"SLURM could not be asked ({view.problem}): what follows is what the files tell\n", "dim", colour))
    if len(view.seen) == 1:
        print("\n".join(one(view.seen[0], diagnose(view.seen[0], view.now), colour)))
        return OK
    of_interest = [seen for seen in view.seen if seen.state.kind not in (Kind.FINISHED, Kind.RUNNING, Kind.STARTING)]
    of_interest += [seen for seen in view.seen if seen.state.kind is Kind.RUNNING and seen.state.detail.startswith("no progress")]
    summary = ", ".join(f"{n} {kind.value}" for kind, n in counts([s.state for s in view.seen]).items())
    print(f"{', '.join(group.name for group in groups)}: {plural(len(view.seen), 'run')}: {summary}")
    if not of_interest:
        print("nothing is wrong")
    for title, members in grouped([(seen, diagnose(seen, view.now)) for seen in of_interest]):
        print("\n" + "\n".join(_group(title, members, groups[0], colour)))
    return OK


def one(seen: Seen, found: Diagnosis, colour: bool) -> list[str]:
    """The diagnosis of one run."""
    state = paint(seen.state.kind.value, state_style(seen.state.kind), colour)
    text = [f"{seen.run.id}  {seen.run.label}  {state}", paint(found.title, "bold", colour)]
    if found.where:
        text.append(f"  where:    {found.where}")
    if found.error:
        first, *rest = found.error.splitlines()
        text += [f"  error:    {first}", *(f"            {line}" for line in rest[:12])]
    if found.frame:
        text.append(f"  at:       {found.frame}")
    text += [f"  {'          ' if i else 'also:     '}{note}" for i, note in enumerate(found.notes)]
    if found.advice:
        text.append(f"  to do:    {_filled(found.advice, [seen])}")
    return text


def _filled(advice: str, members: Sequence[Seen], sweep: Group | None = None) -> str:
    """An advice with the runs it is about; more than a line holds are called by their sweep."""
    first = name_of(members[0].run)
    every = " ".join(name_of(seen.run) for seen in members)
    if len(members) > _SHOWN and sweep is not None:
        every = name_of(sweep) + (" --all-stopped" if all(seen.state.kind is Kind.CANCELLED for seen in members) else "")
    advice = advice.replace("longview resume <run>", f"longview resume {every}")
    return advice.replace("longview cancel <run>", f"longview cancel {every.split(' --')[0]}").replace("<run>", first)


def _group(title: str, members: list[tuple[Seen, Diagnosis]], sweep: Group, colour: bool) -> list[str]:
    text = [paint(f"{plural(len(members), 'run')}: {title}", "bold", colour)]
    for seen, found in members[:_SHOWN]:
        said = next(iter(found.error.splitlines()), "") or (found.notes[0] if found.notes else "")
        text.append("  " + "  ".join(part for part in (seen.run.id, seen.run.label, found.where, said) if part))
    if len(members) > _SHOWN:
        text.append(f"  ... and {len(members) - _SHOWN} more")
    advice = members[0][1].advice
    if title.startswith(causes.PYTHON.title):  # the lines of code are not shown here
        advice = "`longview why <run>` shows the line of your own code"
    return [*text, f"  to do: {_filled(advice, [seen for seen, _ in members], sweep)}"] if advice else text
