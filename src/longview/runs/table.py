"""Results of a sweep: one row a group of points, with mean and standard deviation over seeds."""

from __future__ import annotations

import fnmatch
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from longview.errors import LongviewError
from longview.runs.find import cut
from longview.runs.look import Seen
from longview.runs.records import read_json
from longview.runs.status import Kind

FEW = 3
"""Metrics that are all shown where no primary one is stated and none is asked for."""
_NOT_SWEPT = ("run.", "launch.", "hydra.", "+hydra")


class TableError(LongviewError):
    """A metric or column that is not there."""


@dataclass(frozen=True)
class Score:
    """A metric over the finished points of a group: ``std`` is the sample's (n - 1), None for a single one."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Row:
    """A group of points that differ in nothing but the keys averaged over.

    Attributes:
        values: The other swept keys.
        scores: Metric -> score; a metric no finished point has is absent.
        done, points: Finished points and all of them.
        unfinished: What the others are doing, with numbers.
        runs: Run ids.
    """

    values: Mapping[str, str]
    scores: Mapping[str, Score]
    done: int
    points: int
    unfinished: Mapping[Kind, int] = field(default_factory=dict)
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class ResultTable:
    """Rows and columns.

    Attributes:
        keys: Swept keys that are columns.
        metrics: Metrics that are columns.
        modes: Metric -> "max" or "min", where it is known which is better.
        others: Metrics there are beside.
    """

    keys: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    modes: Mapping[str, str]
    others: tuple[str, ...] = ()

    def best(self, metric: str) -> float | None:
        """The best mean of a metric; None where the better direction is not known or there is nothing to compare."""
        means = [row.scores[metric].mean for row in self.rows if metric in row.scores]
        mode = self.modes.get(metric)
        if mode is None or len(means) < 2:
            return None
        return max(means) if mode == "max" else min(means)


def results(seen: Iterable[Seen], *, over: Sequence[str] = ("seed",), metrics: Sequence[str] = (), sort: str = "") -> ResultTable:
    """Gather result.json of every finished run.

    Args:
        seen: The runs, with their states.
        over: Keys averaged over.
        metrics: Names or patterns; none: the primary metric, else the first few.
        sort: A metric or a swept key; "-" before it turns the order round.

    Raises:
        TableError: A metric or key is not there; names the nearest.
    """
    pairs = [(one, values_of(one)) for one in seen]
    found = {
        one.run.path: read_json(f"{one.run.path}/result.json") if one.state.kind is Kind.FINISHED else {} for one, _ in pairs
    }
    flat = {path: _numbers(record) for path, record in found.items()}
    names = list(dict.fromkeys(name for scores in flat.values() for name in scores))
    primary = next((p for record in found.values() if (p := _primary(record))), None)
    chosen = _chosen(names, metrics, str(primary["name"]) if primary else "")
    _refuse_unknown([values for _, values in pairs], over)
    keys = _keys([values for _, values in pairs], over)
    groups: dict[tuple[str, ...], list[Seen]] = {}
    for one, values in pairs:
        groups.setdefault(tuple(values.get(key, "") for key in keys), []).append(one)
    rows = [_row(dict(zip(keys, at, strict=True)), members, flat, chosen) for at, members in groups.items()]
    table = ResultTable(keys, chosen, tuple(rows), _modes(found.values(), primary), tuple(n for n in names if n not in chosen))
    return _sorted(table, sort) if sort else table


def values_of(seen: Seen) -> dict[str, str]:
    """What sets a run apart: the swept values of its point, else the settings on its command line."""
    if seen.run.sweep is not None:
        return dict(seen.run.values)
    overrides = read_json(f"{seen.run.path}/run.json").get("overrides", [])
    pairs = [text.lstrip("+").split("=", 1) for text in overrides if isinstance(text, str) and "=" in text]
    return {key: value for key, value in pairs if not key.startswith(_NOT_SWEPT)}


def _refuse_unknown(values: Sequence[Mapping[str, str]], over: Sequence[str]) -> None:
    """Raises TableError for keys to average over that no run has; ``seed`` is always one."""
    known = list(dict.fromkeys(["seed", *(key for each in values for key in each)]))
    if wrong := [key for key in over if key not in known]:
        names = ", ".join(f"'{cut(key)}'" for key in wrong)
        raise TableError(f"--over: {names}: no run sets that; there are: {', '.join(known)}")


def _keys(values: Sequence[Mapping[str, str]], over: Sequence[str]) -> tuple[str, ...]:
    """Columns in the order in which they come up; one that is the same everywhere is left out of single runs' tables."""
    return tuple(key for key in dict.fromkeys(k for v in values for k in v) if key not in over)


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    result = record.get("result")
    metrics = result.get("metrics") if isinstance(result, Mapping) else None
    flat = {k: float(v) for k, v in metrics.items() if isinstance(v, (int, float))} if isinstance(metrics, Mapping) else {}
    if (primary := _primary(record)) and isinstance(primary.get("value"), (int, float)):
        flat.setdefault(str(primary["name"]), float(primary["value"]))
    return flat


def _primary(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    primary = record.get("primary")
    return primary if isinstance(primary, Mapping) and primary.get("name") else None


def _modes(records: Iterable[Mapping[str, Any]], primary: Mapping[str, Any] | None) -> dict[str, str]:
    modes: dict[str, str] = {}
    for record in records:
        stated = record.get("modes")
        modes |= {str(k): str(v) for k, v in stated.items()} if isinstance(stated, Mapping) else {}
    if primary and primary.get("mode"):
        modes.setdefault(str(primary["name"]), str(primary["mode"]))
    return {name: mode for name, mode in modes.items() if mode in ("max", "min")}


def _chosen(names: Sequence[str], asked: Sequence[str], primary: str) -> tuple[str, ...]:
    if not asked:
        return (primary,) if primary else tuple(names[:FEW])
    wrong = []
    chosen: list[str] = []
    for pattern in asked:
        matches = [n for n in names if n == pattern or fnmatch.fnmatchcase(n, pattern)] or [n for n in names if pattern in n]
        chosen += matches
        if not matches and names:
            wrong.append(f"--metric: no finished run has a metric '{cut(pattern)}'; there are: {', '.join(names)}")
    if wrong:
        raise TableError("\n".join(wrong))
    return tuple(dict.fromkeys(chosen))


def _row(values: dict[str, str], members: Sequence[Seen], flat: Mapping[str, Mapping[str, float]], metrics: Sequence[str]) -> Row:
    scores = {}
    for name in metrics:
        if numbers := [flat[one.run.path][name] for one in members if name in flat[one.run.path]]:
            scores[name] = Score(statistics.fmean(numbers), _std(numbers), len(numbers))
    kinds = [one.state.kind for one in members]
    unfinished: dict[Kind, int] = {kind: kinds.count(kind) for kind in Kind if kind in kinds and kind is not Kind.FINISHED}
    done = kinds.count(Kind.FINISHED)
    return Row(values, scores, done, len(members), unfinished, tuple(one.run.id for one in members))


def _std(numbers: Sequence[float]) -> float | None:
    if len(numbers) < 2:
        return None
    return statistics.stdev(numbers) if all(map(math.isfinite, numbers)) else math.nan


def _sorted(table: ResultTable, sort: str) -> ResultTable:
    name, backwards = sort.removeprefix("-"), sort.startswith("-")
    if name in table.keys:
        rows = sorted(table.rows, key=lambda row: _natural(row.values[name]), reverse=backwards)
    elif matches := [m for m in table.metrics if m == name] or [m for m in table.metrics if name in m]:
        metric = matches[0]
        descending = (table.modes.get(metric, "max") == "max") != backwards  # the best first
        scored = [row for row in table.rows if metric in row.scores]
        rows = sorted(scored, key=lambda row: row.scores[metric].mean, reverse=descending)
        rows += [row for row in table.rows if metric not in row.scores]
    else:
        raise TableError(f"--sort: '{cut(name)}' is no column; there are: {', '.join([*table.keys, *table.metrics])}")
    return ResultTable(table.keys, table.metrics, tuple(rows), table.modes, table.others)


def _natural(text: str) -> tuple[int, float, str]:
    """Numbers by size, before words."""
    try:
        return (0, float(text), "")
    except ValueError:
        return (1, 0.0, text)
