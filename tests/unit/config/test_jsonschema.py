"""``longview schema`` judged by a JSON-schema validator: what the check accepts it accepts, and it refuses wrong trees."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from longview.config.experiment import Checker
from longview.config.jsonschema import tree_schema

CONF = Path(__file__).resolve().parents[3] / "conf"
CHECKER = Checker(CONF)
OPTIONS = [f"{group}={option}" for group in CHECKER.conf.groups for option in CHECKER.conf.options(group)]


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json.loads(json.dumps(tree_schema(Checker(CONF))))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def complaints(validator: Draft202012Validator, tree: Any) -> list[str]:
    return [error.message for error in validator.iter_errors(json.loads(json.dumps(tree)))]


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_is_valid_as_composed(validator: Draft202012Validator, option: str) -> None:
    assert complaints(validator, CHECKER.composer.compose([option]).tree) == []


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["resources.time=1-00:00:00", "run.name=a.b-c"],
        ["trainer.precision=64", "trainer.gradient_clip=1", "trainer.limit_train_batches=0.5", "trainer.limit_eval_batches=3"],
        ["logger=wandb", "logger.wandb.tags=[a,b]"],
    ],
)
def test_a_tree_that_was_checked_is_valid(validator: Draft202012Validator, arguments: list[str]) -> None:
    assert complaints(validator, CHECKER.check(arguments).resolved) == []
    assert complaints(validator, CHECKER.composer.compose(arguments).tree) == []


WRONG: dict[str, Callable[[dict[str, Any]], object]] = {
    "unknown block": lambda t: t.update(sede=1),
    "block missing": lambda t: t.pop("loader"),
    "seed too large": lambda t: t.update(seed=2**32),
    "unknown key": lambda t: t["trainer"].update(max_epoch=3),
    "text for a number": lambda t: t["trainer"].update(max_epochs="three"),
    "no epoch": lambda t: t["trainer"].update(max_epochs=0),
    "precision": lambda t: t["trainer"].update(precision="16"),
    "more than all batches": lambda t: t["trainer"].update(limit_train_batches=1.5),
    "unknown key of a model": lambda t: t["model"].update(widht=3),
    "key of another model": lambda t: t.update(model={"_target_": "longview.models.repeat_last.RepeatLast", "width": 3}),
    "foreign class": lambda t: t["model"].update(_target_="os.system"),
    "no class": lambda t: t["model"].pop("_target_"),
    "fraction": lambda t: t["task"].update(observations=[1.3]),
    "number for a list": lambda t: t["task"].update(observations=0.2),
    "choice": lambda t: t["data"].update(observe="x"),
    "duration": lambda t: t["resources"].update(time="soon"),
    "ambiguous duration": lambda t: t["resources"].update(time="1:30"),
    "half a block": lambda t: t["logger"].update(wandb={"project": "x"}),
    "name of no folder": lambda t: t["run"].update(name="a/b"),
    "empty root": lambda t: t["run"].update(root=""),
}


@pytest.mark.parametrize("damage", WRONG.values(), ids=WRONG)
def test_a_wrong_tree_is_not_valid(validator: Draft202012Validator, damage: Callable[[dict[str, Any]], object]) -> None:
    tree = copy.deepcopy(CHECKER.check([]).resolved)
    damage(tree)
    assert complaints(validator, tree)
