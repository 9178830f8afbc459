"""Names that follow from what is computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from longview.config.experiment import Checker
from longview.launch.identity import point_of, sweep_id, sweep_name

CONF = Path(__file__).resolve().parents[3] / "conf"
JUWELS = ["cluster=juwels", "launch.account=x"]


@pytest.fixture(scope="module")
def checker() -> Checker:
    return Checker(CONF)


def ids(checker: Checker, *overrides: str) -> tuple[str, list[str]]:
    sweep = checker.sweep(list(overrides))
    identity = sweep_id(sweep)
    return identity, [point_of(sweep, e, identity).id for e in sweep.points]


def test_the_same_command_names_the_same_runs(checker: Checker) -> None:
    assert ids(checker, *JUWELS, "seed=1,2") == ids(Checker(CONF), *JUWELS, "seed=1,2")


def test_more_values_are_the_same_sweep(checker: Checker) -> None:
    sweep, few = ids(checker, *JUWELS, "seed=1,2")
    again, many = ids(checker, *JUWELS, "seed=1,2,3")
    assert again == sweep
    assert many[:2] == few


@pytest.mark.parametrize(
    "extra",
    [
        "resources.time=2h",
        "launch.parallel=3",
        "launch.account=y",
        "run.root=/elsewhere",
        "resources.purpose=debug",
        "launch.retry=true",
    ],
)
def test_where_and_how_long_makes_no_other_run(checker: Checker, extra: str) -> None:
    assert ids(checker, *JUWELS, "seed=1,2", extra) == ids(checker, *JUWELS, "seed=1,2")


@pytest.mark.parametrize(
    "extra", ["trainer.max_epochs=3", "resources.nodes=2", "resources.devices=2", "model=repeat_last", "launch.sweep=b"]
)
def test_what_is_computed_makes_another_run(checker: Checker, extra: str) -> None:
    sweep, runs = ids(checker, *JUWELS, "seed=1,2")
    other, others = ids(checker, *JUWELS, "seed=1,2", extra)
    assert other != sweep
    assert not set(others) & set(runs)


def test_a_default_written_out_is_the_same_run(checker: Checker) -> None:
    assert ids(checker, *JUWELS, "resources.devices=4")[1] == ids(checker, *JUWELS)[1]


def test_names_can_be_typed(checker: Checker) -> None:
    sweep = checker.sweep([*JUWELS, "task.observations=[0.2],[0.2,0.3]", "model=manta,repeat_last"])
    assert sweep_name(sweep) == "anticipation"
    for experiment in sweep.points:
        folder = point_of(sweep, experiment, "abcdef").folder
        assert set(folder) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-")
        assert Checker(CONF).canonical([f"run.resume=runs/{folder}"])
