"""A sweeper of Hydra's kind that wants values: it asks, longview's launcher runs and answers.

The sweeper is the tests' own, see halving.py.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

import longview.launch.here
import tiny
from halving import SWEEPER, found_in, install
from longview.config.experiment import Checker
from longview.config.schema import Experiment
from longview.launch.evaluate import Metric, evaluate
from longview.runs.directory import RunDirectory
from longview.runs.sweep import SweepDirectory

ROOT = Path(__file__).resolve().parents[3]
REPEAT = ["model=repeat_last", *tiny.DATA, "task.figures=0"]


def go(folder: Path, *arguments: str, expect: int = 0) -> tuple[str, str]:
    """run.py with the sweeper installed; returns what it printed."""
    if not (folder / "site").exists():
        install(folder)
    line = [sys.executable, str(ROOT / "run.py"), *arguments]
    done = subprocess.run(
        line, capture_output=True, text=True, cwd=folder, env={**os.environ, "PYTHONPATH": found_in(folder)}, timeout=120
    )
    assert done.returncode == expect, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout, done.stderr


def sweep(folder: Path) -> SweepDirectory:
    found = [p.parent for p in (folder / "runs").glob("*/sweep.json")]
    assert len(found) == 1, found
    return SweepDirectory.open(found[0])


def test_a_sweeper_is_told_the_value_of_every_point(tmp_path: Path) -> None:
    out, _ = go(tmp_path, "-m", "hydra/sweeper=halving", "data.seed=interval(1,9)", *REPEAT)
    answers = json.loads((tmp_path / "answers.json").read_text())
    directory = sweep(tmp_path)
    scores = {}
    for point in directory.points():
        record = json.loads((directory.run_path(point) / "result.json").read_text())
        scores[int(point.values["data.seed"])] = record["result"]["metrics"]["test/mean_moc"]
    assert answers == [[seed, ["COMPLETED", seed, scores[seed]]] for seed, _ in answers]
    first = [seed for seed, _ in answers[:2]]
    half = [1, 5] if scores[1] >= scores[9] else [5, 9]
    assert (first, [seed for seed, _ in answers[2:]]) == ([1, 9], half)
    assert len(scores) == 3, "the end that both batches have was run twice, or is missing"
    assert "4 points with a value" in out
    assert directory.record()["keys"] == ["data.seed"]


def test_a_point_that_cannot_be_run_is_a_failure_and_the_sweep_goes_on(tmp_path: Path) -> None:
    install(tmp_path)
    package = tmp_path / "site" / "hydra_plugins" / "halving" / "__init__.py"
    package.write_text(SWEEPER.replace("for value in (low, high)]", "for value in (low, -high)]"))  # it leaves the interval
    arguments = ["hydra.sweeper.batches=1", "data.seed=interval(1,3)"]
    out, err = go(tmp_path, "-m", "hydra/sweeper=halving", *arguments, *REPEAT)
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert answers[0][1][:2] == ["COMPLETED", 1]
    assert answers[1][1].startswith("PointError: data.seed=-3: ")
    assert "data.seed: -3 is impossible" in err
    assert "1 points with a value, 1 without" in out
    assert len(sweep(tmp_path).points()) == 1


def test_failed_points_and_values_that_are_no_numbers_have_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the engine, since a real one does not fail on demand."""
    ran: list[int] = []

    def run_in(run: RunDirectory, config: Experiment, mode: str) -> int:
        ran.append(config.seed)
        number = run.begin_attempt(mode)
        if config.seed == 1:
            run.end_attempt(number, "failed", error="CUDA out of memory")
            return 1
        value = math.nan if config.seed == 3 else config.seed / 10
        run.write_json(run.result_file, {"result": {"metrics": {"test/f1": value}}})
        run.end_attempt(number, "finished")
        return 0

    monkeypatch.setattr(longview.launch.here, "run_in", run_in)
    checked = Checker(ROOT / "conf").sweep(["seed=1,2,3,4", f"run.root={tmp_path}", "model=repeat_last"])
    for _ in range(2):
        assert evaluate(checked, [], Metric("test/f1")) == [None, 0.2, None, 0.4]
    assert ran == [1, 2, 3, 4], "a point that was done, or had failed, was run again"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["hydra/sweeper=halving"], "hydra/sweeper=halving means nothing for one run; add -m"),
        (["-m", "hydra/sweeper=nosuch", "seed=1,2"], "Could not find 'hydra/sweeper/nosuch'"),
        (["-m", "hydra/sweeper=halving", "hydra.sweeper.batchs=3", "seed=1,2"], "hydra.sweeper.batchs"),
        (["-m", "hydra/sweeper=halving", "data.seed=interval(-2,9)", "model.width=3"], "override 'data.seed=-2'"),
        (["-m", "hydra/sweeper=halving", "data.seed=interval(1,9)", "model.wdth=3"], "model.wdth: unknown key"),
        (["-m", "hydra/sweeper=halving", "data.seed=interval(1,9)", "launch.at_most=3"], "launch.at_most: means nothing here"),
        (["-m", "hydra.sweeper.batches=3", "seed=1,2"], "hydra.sweeper.batches: cannot be set here; it would have no effect"),
    ],
)
def test_what_means_nothing_is_refused_before_anything_is_written(tmp_path: Path, arguments: list[str], said: str) -> None:
    install(tmp_path)
    _, err = go(tmp_path, *arguments, expect=2)
    assert said in err
    assert "Traceback" not in err
    assert [p.name for p in tmp_path.iterdir()] == ["site"]


def test_a_wrong_objective_is_one_message(tmp_path: Path) -> None:
    arguments = ["data.seed=interval(1,9)", "search.objective=test/moc", *REPEAT]
    _, err = go(tmp_path, "-m", "hydra/sweeper=halving", *arguments, expect=2)
    assert "error: search.objective: a finished run has no metric 'test/moc'; there are: test/" in err
    assert "Traceback" not in err


def test_a_dry_run_shows_one_point(tmp_path: Path) -> None:
    arguments = ["data.seed=interval(1,9)", "cluster=juwels", "launch.account=x", "launch.dry_run=true"]
    out, _ = go(tmp_path, "-m", "hydra/sweeper=halving", *arguments)
    assert "the sweeper decides while it runs" in out
    assert "#SBATCH" in out
    assert [p.name for p in tmp_path.iterdir()] == ["site"]


def test_hydra_s_basic_sweeper_stays_out_of_the_way(tmp_path: Path) -> None:
    """Two seeds in one launch: Hydra would leave a multirun.yaml."""
    go(tmp_path, "-m", "hydra/sweeper=basic", "seed=1,2", *REPEAT)
    assert len(sweep(tmp_path).points()) == 2
    assert not list((tmp_path / "runs").rglob("multirun.yaml"))
