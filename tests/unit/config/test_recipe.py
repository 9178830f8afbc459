"""Recipes: what suits a model on some data, taken when both are chosen and nothing else is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from longview.config.experiment import Checker, check
from longview.errors import ConfigError

CONF = Path(__file__).resolve().parents[3] / "conf"
RECIPE = "# @package _global_\nmodel:\n  blocks: 2\nloader:\n  batch_size: 5\n"
OTHER = "# @package _global_\nloader:\n  batch_size: 6\n"


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    """A conf folder with recipes of our own for manta and repeat_last on kitchen."""
    conf = Path(shutil.copytree(CONF, tmp_path / "conf"))
    shutil.rmtree(conf / "recipe")
    (conf / "recipe").mkdir()
    (conf / "recipe" / "manta_kitchen.yaml").write_text(RECIPE)
    (conf / "recipe" / "repeat_last_kitchen.yaml").write_text(OTHER)
    return conf


@pytest.mark.parametrize(
    ("arguments", "recipe", "batch"),
    [
        ([], "manta_kitchen", 5),
        (["loader.batch_size=9"], "manta_kitchen", 9),
        (["model=repeat_last"], "repeat_last_kitchen", 6),
        (["model=nearest_neighbour"], None, 16),
        (["recipe=null"], None, 16),
        (["~recipe"], None, 16),
        (["recipe=repeat_last_kitchen"], "repeat_last_kitchen", 6),
        (["experiment=last"], "repeat_last_kitchen", 7),
        (["experiment=last", "model=manta"], "manta_kitchen", 7),
        (["experiment=last", "recipe=null"], None, 7),
        (["experiment=plain"], None, 16),
        (["experiment=named"], "repeat_last_kitchen", 6),
    ],
)
def test_recipe_follows_model_and_data(recipes: Path, arguments: list[str], recipe: str | None, batch: int) -> None:
    experiments = {
        "last": "defaults:\n  - override /model: repeat_last\nloader:\n  batch_size: 7\n",
        "plain": "defaults:\n  - override /recipe: null\n",
        "named": "defaults:\n  - override /recipe: repeat_last_kitchen\n",
    }
    for name, text in experiments.items():
        (recipes / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\n{text}")
    found = check(arguments, recipes)
    assert found.choices.get("recipe") == recipe
    assert found.config.loader.batch_size == batch


def test_sweep_takes_the_recipe_of_every_point(recipes: Path) -> None:
    points = Checker(recipes).sweep(["model=manta,repeat_last,nearest_neighbour"]).points
    assert [p.config.loader.batch_size for p in points] == [5, 6, 16]
    points = Checker(recipes).sweep(["recipe=null,repeat_last_kitchen"]).points
    assert [p.config.loader.batch_size for p in points] == [16, 6]


def test_bad_recipe_is_reported_with_the_rest(recipes: Path) -> None:
    (recipes / "recipe" / "manta_kitchen.yaml").write_text("# @package _global_\nmodel:\n  widht: 2\nseed: [1\n")
    with pytest.raises(ConfigError) as caught:
        check(["trainer.max_epochs=x"], recipes)
    said = str(caught.value)
    assert "manta_kitchen.yaml:5: not valid YAML" in said
    assert "trainer.max_epochs: 'x'" in said
    check(["model=repeat_last"], recipes)  # whose recipe is another
