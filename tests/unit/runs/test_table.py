"""Results over seeds: means, deviations, the best, and what has not finished."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import pytest

from follow import make_run, make_sweep
from longview.runs.find import find
from longview.runs.group import Run
from longview.runs.look import Seen
from longview.runs.records import Files
from longview.runs.status import Kind, State
from longview.runs.table import TableError, results

LOSS = {"0.1": [1.0, 2.0, 4.0], "0.2": [0.5, 0.25]}


def seen(path: Path, values: dict[str, str], metrics: dict[str, float] | None, kind: Kind = Kind.FINISHED, **record: Any) -> Seen:
    make_run(path, **({"result": {"result": {"metrics": metrics}, **record}} if metrics is not None else {}))
    sweep = make_sweep(path.parent / "s", []) if not (path.parent / "s").exists() else None
    run = Run(str(path), path.name, path.name, values, sweep or find([str(path.parent / "s/manta-abc123")], path)[0].sweep)
    return Seen(run, Files(), State(kind))


@pytest.fixture
def sweep(tmp_path: Path) -> list[Seen]:
    """lr = 0.1 with three seeds, lr = 0.2 with two done and one running."""
    made = []
    for lr, losses in LOSS.items():
        for seed, loss in enumerate(losses, 1):
            metrics = {"test/loss": loss, "test/f1": 1 / loss, "test/edit": 0.5}
            primary = {"name": "test/loss", "value": loss, "mode": "min"}
            made.append(seen(tmp_path / f"{lr}-{seed}", {"lr": lr, "seed": str(seed)}, metrics, primary=primary))
    made.append(seen(tmp_path / "0.2-3", {"lr": "0.2", "seed": "3"}, None, Kind.RUNNING))
    return made


def test_mean_and_sample_deviation_over_seeds(sweep: list[Seen]) -> None:
    table = results(sweep)
    assert (table.keys, table.metrics) == (("lr",), ("test/loss",)), "the primary metric, without seed"
    first, second = table.rows
    score = first.scores["test/loss"]
    assert (score.mean, score.n) == (statistics.fmean(LOSS["0.1"]), 3)
    assert score.std == pytest.approx(math.sqrt(((1 - 7 / 3) ** 2 + (2 - 7 / 3) ** 2 + (4 - 7 / 3) ** 2) / 2))
    assert (second.done, second.points, second.unfinished) == (2, 3, {Kind.RUNNING: 1})
    assert second.scores["test/loss"].n == 2, "a running point does not count"
    assert table.best("test/loss") == second.scores["test/loss"].mean, "smaller is better here"


def test_the_best_is_marked_only_where_the_direction_is_known(sweep: list[Seen]) -> None:
    assert results(sweep, metrics=["test/f1"]).best("test/f1") is None


def test_metrics_by_name_and_pattern(sweep: list[Seen]) -> None:
    assert results(sweep, metrics=["test/f1"]).metrics == ("test/f1",)
    assert results(sweep, metrics=["test/*"]).metrics == ("test/loss", "test/f1", "test/edit")
    assert results(sweep, metrics=["edit", "test/loss"]).metrics == ("test/edit", "test/loss")
    with pytest.raises(TableError, match=r"no finished run has a metric 'f2'; there are: test/loss, test/f1, test/edit"):
        results(sweep, metrics=["f2"])


def test_average_over_other_keys_or_none(sweep: list[Seen]) -> None:
    (row,) = results(sweep, over=("seed", "lr")).rows
    assert (row.done, row.points) == (5, 6)
    each = results(sweep, over=()).rows
    assert len(each) == 6
    assert all(score.std is None for row in each for score in row.scores.values()), "one run has no deviation"


def test_order(sweep: list[Seen]) -> None:
    assert [row.values["lr"] for row in results(sweep, sort="loss").rows] == ["0.2", "0.1"], "the best first"
    assert [row.values["lr"] for row in results(sweep, sort="-loss").rows] == ["0.1", "0.2"]
    assert [row.values["lr"] for row in results(sweep, sort="-lr").rows] == ["0.2", "0.1"]
    with pytest.raises(TableError, match=r"'acc' is no column; there are: lr, test/loss"):
        results(sweep, sort="acc")


def test_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    made = [seen(tmp_path / f"w{w}", {"width": w}, {"m": 1.0}) for w in ("128", "16", "64", "auto")]
    assert [row.values["width"] for row in results(made, sort="width").rows] == ["16", "64", "128", "auto"]


def test_an_unfinished_run_with_an_old_result_does_not_count(tmp_path: Path) -> None:
    made = [seen(tmp_path / "a", {"lr": "1"}, {"m": 1.0}, Kind.RUNNING), seen(tmp_path / "b", {"lr": "2"}, {"m": 2.0})]
    assert [dict(row.scores) == {} for row in results(made).rows] == [True, False]


def test_a_nan_stays_one(tmp_path: Path) -> None:
    made = [seen(tmp_path / f"{i}", {"seed": str(i)}, {"m": v}) for i, v in enumerate((1.0, math.nan))]
    (row,) = results(made).rows
    assert math.isnan(row.scores["m"].mean)


def test_nothing_has_finished(tmp_path: Path) -> None:
    table = results([seen(tmp_path / "a", {"lr": "1"}, None, Kind.PENDING)], metrics=["test/f1"])
    assert table.metrics == ()
    assert table.rows[0].unfinished == {Kind.PENDING: 1}
