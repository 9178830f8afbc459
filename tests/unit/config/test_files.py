"""Every way a YAML file can be wrong and what must be said of it, with file and line: one row each."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from longview.config.experiment import Checker
from longview.errors import ConfigError

CONF = Path(__file__).resolve().parents[3] / "conf"
HEAD = "# @package _global_\n"
# file under conf/, its text, arguments -> fragments, line the origin must name (None: no line)
FILES: list[tuple[str, str, list[str], list[str], int | None]] = [
    ("experiment/e", f"{HEAD}sede: 3\n", ["experiment=e"], ["sede: unknown key", "'seed'"], 2),
    ("experiment/e", f"{HEAD}ckpt_pth: x\n", ["experiment=e"], ["ckpt_pth: unknown key"], 2),
    ("experiment/e", f"{HEAD}trainer:\n  max_epoch: 3\n", ["experiment=e"], ["trainer.max_epoch: unknown key"], 3),
    ("experiment/e", f"{HEAD}trainer:\n  max_epochs: three\n", ["experiment=e"], ["'three' is not a whole number"], 3),
    ("experiment/e", f"{HEAD}task:\n  observations:\n    - 0.2\n    - 1.3\n", ["experiment=e"], ["1.3 is impossible"], 5),
    ("experiment/e", "seed: 3\n", ["experiment=e"], ["experiment:", "'# @package _global_'"], None),
    ("experiment/e", f"{HEAD}defaults:\n  - override /modle: manta\n", ["experiment=e"], ["modle: no such group", "'model'"], 3),
    ("experiment/e", f"{HEAD}defaults:\n  - override /model: mant\n", ["experiment=e"], ["no option 'mant'", "'manta'"], 3),
    ("experiment/e", f"{HEAD}defaults:\n  - override model: manta\n", ["experiment=e"], ["needs a slash"], 3),
    ("experiment/e", f"{HEAD}defaults:\n  - /model: manta\n", ["experiment=e"], ["needs the word override"], 3),
    ("experiment/e", f"{HEAD}seed: 1\nseed: 2\n", ["experiment=e"], ["'seed' stands twice (first in line 2)"], 3),
    ("experiment/e", f"{HEAD}seed: [1\n", ["experiment=e"], ["not valid YAML"], 3),
    ("experiment/e", f"{HEAD}resources:\n  time: 12:30:00\n", ["experiment=e"], ["has no unit", "quotes in a YAML"], 3),
    ("model/mine", "_target_: longview.models.manta.Manta\nwidht: 3\n", ["model=mine"], ["model.widht: unknown key"], 2),
    ("model/mine", "width: 64\n", ["model=mine"], ["model._target_: missing"], None),
    ("model/mine", "- a\n- b\n", ["model=mine"], ["not a mapping"], 1),
    ("model/mine", "_target_: subprocess.run\n", ["model=mine"], ["lies outside longview.models"], 1),
    ("model/mine", "_target_: longview.models.manta.Manta\nnum_classes: 3\n", ["model=mine"], ["follows from the data"], 2),
    ("model/mine", "\twidth: 3\n", ["model=mine"], ["not valid YAML", "tabs are not allowed"], 1),
    ("trainer/mine", "max_epochs: 3\n", ["trainer=mine"], ["trainer.precision: missing"], None),
    ("trainer/mine", "", ["trainer=mine"], ["is empty"], None),
    ("cluster/far", "name: far\nscheduler: lsf\ndevices: 4\n", ["cluster=far"], ["cluster.scheduler: 'lsf' is not one of"], 2),
    ("data/mine", "_target_: longview.data.kitchen.Kitchn\n", ["data=mine"], ["has no class 'Kitchn'", "Kitchen"], 1),
    ("data/mine", "_target_: longview.data.kitchen.Kitchen\nseed: ${sed}\n", ["data=mine"], ["Interpolation key 'sed'"], 2),
    # recipes
    ("recipe/manta_kitchen", f"{HEAD}model:\n  widht: 3\n", [], ["model.widht: unknown key; did you mean 'width'?"], 3),
    ("recipe/manta_kitchen", f"{HEAD}modle:\n  width: 3\n", [], ["modle: unknown key; did you mean 'model'?"], 2),
    ("recipe/manta_kitchen", f"{HEAD}trainer:\n  max_epochs: many\n", [], ["'many' is not a whole number"], 3),
    ("recipe/manta_kitchen", f"{HEAD}trainer.max_epochs: 3\n", [], ["a dotted key means nothing in a file", "inside trainer"], 2),
    ("recipe/manta_kitchen", "model:\n  width: 32\n", [], ["recipe: the recipe file", "'# @package _global_'"], None),
    ("recipe/manta_kitchen", f"seed: 3\n{HEAD}", [], ["recipe: the recipe file", "its first line must be"], None),
    ("recipe/manta_kitchen", "seed: [1\n", [], ["not valid YAML"], 2),
    ("recipe/manta_kitchen", "", [], ["is empty"], None),
    ("recipe/manta_kitchen", f"{HEAD}model: repeat_last\n", [], ["model: 'repeat_last' is not a mapping"], 2),
    ("recipe/manta_kitchen", f"{HEAD}model:\n  - width: 3\n", [], ["model: is a list here; it must be a mapping"], 2),
    ("recipe/manta_kitchen", f"{HEAD}model:\n  - 3\nseed: x\n", [], ["seed: 'x' is not a whole number"], 4),
    ("recipe/manta_kitchen", f"{HEAD}defaults:\n  - override /model: manta\n", [], ["only experiment files choose"], 3),
    ("recipe/manta_kitchen", f"{HEAD}defaults:\n  - /model: manta\n", [], ["only experiment files choose"], 3),
    ("recipe/manta_kitchen", f"{HEAD}defaults:\n  - manta_breakfst\n", [], ["recipe/manta_breakfst.yaml to include; did"], 3),
    ("recipe/manta_kitchen", f"{HEAD}hydra:\n  run:\n    dir: x\n", [], ["hydra.run: this setting of Hydra's"], 3),
    ("recipe/manta_kitchen", f"{HEAD}run:\n  resume: x\n", [], ["run.resume: 'x' must be given alone"], 3),
    ("recipe/manta_kitchen", f"{HEAD}seed: ${{nope}}\n", [], ["seed: cannot be resolved: Interpolation key 'nope'"], 2),
    ("recipe/manta_kitchen", f"{HEAD}seed: !!python/name:os.system\n", [], ["a constructor for the tag"], None),
    # experiments
    ("experiment/e", f"{HEAD}defaults:\n  - override /recipe: no\n", ["experiment=e"], ["recipe: no option 'no'"], 3),
    ("experiment/e", f"{HEAD}defaults:\n  - override /hydra/launcher: basic\n", ["experiment=e"], ["Hydra's own parts"], 3),
    ("experiment/e", f"{HEAD}defaults:\n  - override /experiment: f\n", ["experiment=e"], ["not chosen but included: '- f'"], 3),
    ("experiment/e", f"{HEAD}defaults:\n  - e\n", ["experiment=e"], ["'- e' includes the file in itself"], 3),
    ("experiment/e", f"{HEAD}defaults:\n  - nosuch\n", ["experiment=e"], ["there is no experiment/nosuch.yaml to include"], 3),
    ("experiment/e", f"{HEAD}defaults: manta\n", ["experiment=e"], ["defaults must be a list"], 2),
    ("experiment/e", f"{HEAD}defaults:\n  override /model: manta\n", ["experiment=e"], ["defaults must be a list"], 2),
    (
        "experiment/e",
        f"{HEAD}defaults:\n  - override /model: manta\n  - override /model: repeat_last\n",
        ["experiment=e"],
        ["overrides what", "e.yaml:3 chose; keep one of the two"],
        4,
    ),
    ("experiment/e", f"{HEAD}defaults:\n  - override /model: [manta]\n", ["experiment=e"], ["is not the name of an option"], 3),
    ("experiment/e", f"{HEAD}hydra:\n  job:\n    name: x\n", ["experiment=e"], ["hydra.job: this setting of Hydra's"], 3),
    ("experiment/e", f"\ufeff{HEAD}seed: 3\n", ["experiment=e"], ["begins with a byte-order mark"], None),
    ("experiment/sub/f", f"{HEAD}seed: x\n", ["experiment=sub/f"], ["seed: 'x' is not a whole number"], 2),
    # groups
    ("model/mine", "_traget_: longview.models.manta.Manta\n", ["model=mine"], ["missing (there is '_traget_')"], None),
    ("model/mine", "_target_:\n", ["model=mine"], ["model._target_: null is not the dotted path of a class"], 1),
    ("model/mine", "defaults:\n  - mine\n", ["model=mine"], ["'- mine' includes the file in itself"], 2),
    ("trainer/default", "max_epochs: 3\n", [], ["trainer.max_steps: missing"], None),
    ("logger/csv", "wandb: {}\n", [], ["logger.wandb.mode: missing", "logger=wandb sets it"], 1),
    ("config", "seed: 3\n", [], ["model: missing"], None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "arguments", "fragments", "line"), FILES, ids=[f"{f[0]}: {f[1][-40:]!r}" for f in FILES]
)
def test_file_is_refused(
    tmp_path: Path, name: str, text: str, arguments: list[str], fragments: list[str], line: int | None
) -> None:
    shutil.copytree(CONF, tmp_path / "conf")
    (tmp_path / "conf" / f"{name}.yaml").parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "conf" / f"{name}.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        Checker(tmp_path / "conf").check(arguments)
    lines = [str(p) for p in caught.value.problems]
    place = os.path.join(Checker(tmp_path / "conf").conf.shown, f"{name}.yaml") + (f":{line}" if line else "")
    assert any(all(f in said for f in [*fragments, place]) for said in lines), f"{place} expected in\n" + "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("sede: 3\n", ["sede: unknown key"]),
        ("seed: 2\n", ["'seed' stands twice"]),
        ("x: [1\n", ["not valid YAML"]),
        ("x: ${nothing}\n", ["x: cannot be resolved"]),
    ],
)
def test_main_file_is_refused(tmp_path: Path, text: str, fragments: list[str]) -> None:
    shutil.copytree(CONF, tmp_path / "conf")
    with (tmp_path / "conf" / "config.yaml").open("a") as file:
        file.write(text)
    with pytest.raises(ConfigError) as caught:
        Checker(tmp_path / "conf").check([])
    assert any(all(f in str(p) for f in [*fragments, "config.yaml:"]) for p in caught.value.problems), str(caught.value)


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    shutil.copytree(CONF, tmp_path / "conf")
    (tmp_path / "conf" / "experiment" / "e.yaml").write_bytes(b"# @package _global_\nrun:\n  name: K\xe4se\n")
    with pytest.raises(ConfigError, match=r"e\.yaml:3: byte 0xe4 is not UTF-8; save it as UTF-8"):
        Checker(tmp_path / "conf").check(["experiment=e"])


def test_yml_ending(tmp_path: Path) -> None:
    shutil.copytree(CONF, tmp_path / "conf")
    (tmp_path / "conf" / "model" / "mine.yml").write_text("_target_: longview.models.manta.Manta\n")
    with pytest.raises(ConfigError, match=r"no option 'mine'; there is mine\.yml, and only files ending in \.yaml are read"):
        Checker(tmp_path / "conf").check(["model=mine"])


def test_hidden_file_is_no_option(tmp_path: Path) -> None:
    shutil.copytree(CONF, tmp_path / "conf")
    (tmp_path / "conf" / "model" / ".#manta.yaml").write_text("")
    assert ".#manta" not in Checker(tmp_path / "conf").conf.options("model")
