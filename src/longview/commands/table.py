"""``longview table``: results of a sweep, averaged over seeds."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from typing import Any

from longview.commands.show import coloured, columns, number, paint, width
from longview.runs.find import find, groups_under, root_of
from longview.runs.look import look
from longview.runs.table import ResultTable, Row, results

OK = 0
_SHOWN = 8
"""Names of further metrics that are listed."""


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    root = root_of(options.root)
    groups = find(options.names, root)
    if not options.names and groups[0].sweep is None:  # the newest is a run that stands alone: show it beside the others
        groups = [group for group in groups_under(root) if group.sweep is None]
    view = look([run for group in groups for run in group.runs])
    over = tuple(key for key in options.over.split(",") if key)
    table = results(view.seen, over=over, metrics=options.metric, sort=options.sort or "")
    if options.csv:
        _csv(table)
    elif options.json:
        print(json.dumps([_plain(row) for row in table.rows], indent=2))
    else:
        print("\n".join(lines(table, over, coloured())))
    return OK


def lines(table: ResultTable, over: tuple[str, ...], colour: bool) -> list[str]:
    """The table for people: mean ± standard deviation, the best of a column marked with a star."""
    heads = [*table.keys, "n", *table.metrics, "unfinished", "runs"]
    best = {metric: table.best(metric) for metric in table.metrics}
    rows = []
    for row in table.rows:
        scores = [_score(row, metric, best[metric], colour) for metric in table.metrics]
        left = ", ".join(f"{n} {kind.value}" for kind, n in row.unfinished.items())
        runs = row.runs[0] if len(row.runs) == 1 else ""
        of = f"{row.done}/{row.points}" if row.unfinished else str(row.points)
        rows.append([*(row.values[key] for key in table.keys), of, *scores, paint(left, "yellow", colour), runs])
    text = columns(heads, rows, right=["n", *table.metrics], limit=width(), flexible=("unfinished",))
    if any(score.std is not None for row in table.rows for score in row.scores.values()):
        text.append(f"mean ± standard deviation (n - 1) over {', '.join(over)}")
    elif not table.metrics:
        text.append("no run has finished yet")
    if any(value is not None for value in best.values()):
        text.append("* the best of its column")
    if table.others:
        more = f", ... ({len(table.others)} in all)" if len(table.others) > _SHOWN else ""
        text.append(f"more with --metric: {', '.join(table.others[:_SHOWN])}{more}")
    return text


def _score(row: Row, metric: str, best: float | None, colour: bool) -> str:
    score = row.scores.get(metric)
    if score is None:
        return "-"
    text = number(score.mean) + (f" ± {score.std:.2g}" if score.std is not None else "")
    return paint(f"{text} *", "bold", colour) if best is not None and score.mean == best else text


def _plain(row: Row) -> dict[str, Any]:
    return {
        "values": dict(row.values),
        "runs": list(row.runs),
        "points": row.points,
        "finished": row.done,
        "unfinished": {kind.value: n for kind, n in row.unfinished.items()},
        "metrics": {name: {"mean": s.mean, "std": s.std, "n": s.n} for name, s in row.scores.items()},
    }


def _csv(table: ResultTable) -> None:
    """One line a group, every digit; ``<metric>`` is the mean, ``<metric> std`` the standard deviation."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*table.keys, "points", "finished", *(head for m in table.metrics for head in (m, f"{m} std")), "runs"])
    for row in table.rows:
        cells: list[object] = []
        for metric in table.metrics:
            score = row.scores.get(metric)
            cells += ["", ""] if score is None else [repr(score.mean), "" if score.std is None else repr(score.std)]
        writer.writerow([*(row.values[key] for key in table.keys), row.points, row.done, *cells, " ".join(row.runs)])
