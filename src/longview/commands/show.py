"""How the commands print: columns that fit the terminal, colour where it is wanted; a pipe gets the same as plain text."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from longview.runs.find import root_of
from longview.runs.group import Group, Run
from longview.runs.status import Kind

_CODES = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36", "bold": "1", "dim": "2"}
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
COLOURS = {
    Kind.NEW: "dim",
    Kind.PENDING: "yellow",
    Kind.STARTING: "cyan",
    Kind.RUNNING: "blue",
    Kind.FINISHED: "green",
    Kind.UNKNOWN: "magenta",
    Kind.STOPPED: "yellow",
    Kind.CANCELLED: "yellow",
}
"""Every other state is red."""
DETAILS = 5
"""Runs that a command which acts on many names one by one; more are counted."""


def coloured() -> bool:
    """Whether stdout is a terminal whose user wants colour (no-color.org)."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def paint(text: str, style: str, on: bool) -> str:
    """``text`` in a colour of ``_CODES``, if ``on``."""
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if on and style and text else text


def state_style(kind: Kind) -> str:
    """Colour of a state."""
    return COLOURS.get(kind, "red")


def length(text: str) -> int:
    """Characters of a text as they are seen."""
    return len(_ANSI.sub("", text))


def width() -> int | None:
    """Columns of the terminal; None where output goes to a file or pipe and nothing is to be cut."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return shutil.get_terminal_size().columns
    return None


def cut(text: str, room: int) -> str:
    """At most ``room`` characters, the end replaced by dots."""
    return text if len(text) <= room else f"{text[: max(0, room - 2)]}.."


def columns(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    limit: int | None = None,
    flexible: Sequence[str] = (),
    spare: Sequence[str] = (),
) -> list[str]:
    """Lines of a table.

    Args:
        heads: Column heads; a column that is empty in every row is left out.
        rows: Cells, already painted.
        right: Heads of columns set to the right.
        limit: Width that must be kept; None: none.
        flexible: Heads of columns that are cut when there is too little room.
        spare: Heads of columns that are left out, one after another, before others are cut very short.
    """
    kept = [i for i, head in enumerate(heads) if any(row[i] for row in rows) or not rows]
    widths = {i: max([len(heads[i]), *(length(row[i]) for row in rows)]) for i in kept}
    if limit is not None:
        kept = _narrow(kept, widths, heads, limit, flexible, spare)
    lines = []
    for row in [heads, *rows]:
        parts = []
        for i in kept:
            text = row[i] if length(row[i]) <= widths[i] else cut(_ANSI.sub("", row[i]), widths[i])
            space = " " * (widths[i] - length(text))
            parts.append(f"{space}{text}" if heads[i] in right else f"{text}{space}")
        lines.append("  ".join(parts).rstrip())
    return lines


def _narrow(
    kept: list[int],
    widths: dict[int, int],
    heads: Sequence[str],
    limit: int,
    flexible: Sequence[str],
    spare: Sequence[str],
) -> list[int]:
    """Cut columns and leave some out until the table is ``limit`` wide; returns the columns that stay."""

    def over() -> int:
        return sum(widths[i] for i in kept) + 2 * (len(kept) - 1) - limit

    def cut_to(least: int) -> None:
        for head in flexible:
            for i in (i for i in kept if heads[i] == head):
                widths[i] = max(min(least, widths[i]), widths[i] - max(0, over()))

    cut_to(30)
    for head in spare:
        if over() > 0:
            kept = [i for i in kept if heads[i] != head]
    cut_to(10)
    return kept


def short(path: str | Path) -> str:
    """A path relative to the current directory where it lies below it."""
    try:
        return os.path.join(".", Path(path).relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def number(value: object) -> str:
    """A metric with four significant digits."""
    return f"{value:.4g}" if isinstance(value, (int, float)) else ""


def plural(count: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def name_of(target: Run | Group) -> str:
    """What to call a run or sweep in a command that is typed here: its id, or its path if its root is not looked in."""
    if isinstance(target, Group) and target.sweep is None:
        target = target.runs[0]
    if isinstance(target, Run):
        root, path, name = target.root, target.path, target.id
    else:
        assert target.sweep is not None
        root, path, name = target.sweep.path.parent, str(target.sweep.path), target.id or target.name
    try:
        usual = os.path.samefile(root, root_of(None))
    except OSError:
        usual = False
    return name if usual else shlex.quote(short(path))


def several(kinds: Sequence[tuple[Kind, bool]]) -> str:
    """``2 running, 1 finished``; a question mark where it is not certain."""
    words = [f"{kind.value}{'' if certain or kind is Kind.UNKNOWN else '?'}" for kind, certain in kinds]
    order = {word: list(Kind).index(kind) for word, (kind, _) in zip(words, kinds, strict=True)}
    return ", ".join(f"{words.count(word)} {word}" for word in sorted(order, key=lambda word: (order[word], word)))
