"""Composing and checking: what comes out, everything at once, where values came from, sweeps, stored runs."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from longview.config import load
from longview.config.experiment import Checker, check
from longview.errors import ConfigError

CONF = Path(__file__).resolve().parents[3] / "conf"


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A copy of conf/ to be damaged."""
    return Path(shutil.copytree(CONF, tmp_path / "conf"))


def messages(overrides: list[str], conf: Path = CONF) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(overrides, conf)
    return [str(p) for p in caught.value.problems]


def test_typed_values_arrive() -> None:
    found = check(["model.width=32", "task.lr=1", "trainer.precision=64", "resources.time=1h30m", "run.name=mine"], CONF)
    config = found.config
    assert config.model.params.width == 32
    assert isinstance(config.task.params.lr, float)
    assert config.trainer.precision == "64"
    assert config.resources.time == timedelta(minutes=90)
    assert (config.world_size, config.devices) == (1, 1)
    assert found.name == "mine"
    assert found.overrides[0] == "model.width=32"
    assert found.choices["model"] == "manta"
    assert config.model.tasks == ("anticipation",)
    assert config.task.name == "anticipation"


def test_agrees_with_hydra_alone() -> None:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    overrides = ["model=nearest_neighbour", "seed=7", "task.observations=[0.1,0.4]", "trainer={max_steps:9,log_every:2}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        expected = OmegaConf.to_container(compose("config", overrides=overrides), resolve=True)
    resolved = check(overrides, CONF).resolved
    assert isinstance(expected, dict)
    for group, block in expected.items():
        if isinstance(block, dict):
            assert {k: resolved[group][k] for k in block} == block
        else:
            assert resolved[group] == block


def test_resolved_tree_is_plain_complete_and_stable() -> None:
    found = check(["resources.time=2h"], CONF)
    text = yaml.safe_dump(found.resolved, sort_keys=False)
    again = load(yaml.safe_load(text))
    assert again == found.config
    assert found.resolved["model"]["loss_mean"] == "padded", "a default that stands only in the signature is recorded too"
    assert found.resolved["resources"]["time"] == "02:00:00"


def test_everything_is_reported_at_once() -> None:
    said = messages(
        [
            "model.widht=3",
            "modl=4",
            "trainer.max_epochs=three",
            "seed=abc",
            "a b",
            "cluster=juwel",
            "task.lr=nan",
            "strategy=single",
            "resources.devices=2",
            "trainer.precision=16-mixed",
            "trainer.accelerator=cpu",
            "data=breakfast",
            "data.root=/no/such",
        ]
    )
    keys = ["model.widht", "modl", "trainer.max_epochs", "seed", "'a b'", "cluster", "task.lr", "trainer.precision", "data.root"]
    for key in keys:
        assert any(line.startswith(key) for line in said), f"{key} not in\n" + "\n".join(said)
    assert len(said) == len(set(said))


def test_a_bad_group_does_not_cause_false_alarms() -> None:
    said = messages(["model=ltcontex", "model.layers=9"])
    assert len(said) == 1
    assert "no option 'ltcontex'" in said[0]


def test_problem_counts_and_numbers() -> None:
    with pytest.raises(ConfigError, match=r"^2 problems; nothing was run or written\n  1\. .*\n  2\. "):
        check(["seed=abc", "modl=3"], CONF)


def test_experiment_file(conf: Path) -> None:
    (conf / "experiment").mkdir(exist_ok=True)
    text = "# @package _global_\ndefaults:\n  - override /model: repeat_last\nseed: 5\ntrainer:\n  max_epochs: 2\n"
    (conf / "experiment" / "mine.yaml").write_text(text)
    for arguments in (["experiment=mine"], ["+experiment=mine"]):
        found = check(arguments, conf)
        assert (found.config.seed, found.config.trainer.max_epochs, found.config.model.name) == (5, 2, "repeat_last")
        assert found.choices["experiment"] == "mine"
    assert check(["experiment=mine", "seed=6", "model=manta"], conf).config.model.name == "manta"


def test_bad_defaults_do_not_hide_the_rest_of_an_experiment(conf: Path) -> None:
    (conf / "experiment").mkdir(exist_ok=True)
    text = "# @package _global_\ndefaults:\n  - override /modle: manta\ntrainer:\n  max_epoch: 2\nseed: x\n"
    (conf / "experiment" / "bad.yaml").write_text(text)
    said = "\n".join(messages(["experiment=bad"], conf))
    assert "modle: no such group" in said
    assert "trainer.max_epoch: unknown key" in said
    assert "bad.yaml:6" in said


def test_origins(conf: Path) -> None:
    (conf / "model" / "mine.yaml").write_text("_target_: longview.models.manta.Manta\n# a comment\nwidth: abc\nblocks: 3\n")
    (conf / "experiment").mkdir(exist_ok=True)
    (conf / "experiment" / "mine.yaml").write_text("# @package _global_\n\nloader:\n  batch_size: many\n")
    said = messages(["model=mine", "experiment=mine", "model.blocks=few"], conf)
    places = {line.split(":")[0]: line.rpartition("  [")[2].rstrip("]") for line in said}
    assert places["model.width"].endswith("conf/model/mine.yaml:3")
    assert places["loader.batch_size"].endswith("conf/experiment/mine.yaml:4")
    assert places["model.blocks"] == "override 'model.blocks=few'"


def test_option_built_on_another(conf: Path) -> None:
    (conf / "model" / "small.yaml").write_text("defaults:\n  - manta\n  - _self_\nwidth: 16\nblcks: 2\n")
    said = messages(["model=small", "model.d_state=x"], conf)
    assert any("model.blcks: unknown key; did you mean 'blocks'?" in s and "small.yaml:5" in s for s in said)
    (conf / "model" / "small.yaml").write_text("defaults:\n  - manta\n  - _self_\nwidth: 16\n")
    params = check(["model=small"], conf).config.model.params
    assert (params.width, params.d_state) == (16, 16)


def test_option_built_on_a_missing_one(conf: Path) -> None:
    (conf / "model" / "small.yaml").write_text("defaults:\n  - mantaa\n  - _self_\nwidth: 16\n")
    said = messages(["model=small", "seed=abc"], conf)
    assert any("mantaa" in s for s in said)
    assert any(s.startswith("seed") for s in said)


def test_last_of_two_arguments_counts() -> None:
    found = check(["model=repeat_last", "seed=3", "model=manta", "seed=4"], CONF)
    assert (found.config.model.name, found.config.seed) == ("manta", 4)
    sweep = Checker(CONF).sweep(["seed=1,2", "seed=3,4"])
    canonical, points = sweep.canonical, sweep.points
    assert canonical == ["++seed=3,4"]
    assert [p.config.seed for p in points] == [3, 4]


def test_parameters_of_a_sweep_in_an_experiment(conf: Path) -> None:
    path = conf / "experiment" / "e.yaml"
    path.write_text("# @package _global_\nhydra:\n  sweeper:\n    params:\n      seed: 1,2\n")
    assert [p.config.seed for p in Checker(conf).sweep(["experiment=e"]).points] == [1, 2]
    path.write_text("# @package _global_\nhydra:\n  sweeper:\n    params:\n      sede: 1,2\n")
    with pytest.raises(ConfigError) as caught:
        Checker(conf).sweep(["experiment=e"])
    (problem,) = caught.value.problems
    assert problem.message.startswith("unknown key; did you mean 'seed'?")
    assert problem.origin.endswith("e.yaml:5")


def test_home_folder_of_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert check(["run.root='~/runs'"], CONF).config.run.root == str(tmp_path / "runs")


def test_sweep_points() -> None:
    sweep = Checker(CONF).sweep(["model=manta,repeat_last", "seed=1,2", "trainer.max_epochs=3"])
    canonical, points = sweep.canonical, sweep.points
    assert [(p.config.model.name, p.config.seed) for p in points] == [
        ("manta", 1),
        ("manta", 2),
        ("repeat_last", 1),
        ("repeat_last", 2),
    ]
    assert canonical == ["model=manta,repeat_last", "++seed=1,2", "++trainer.max_epochs=3"]
    assert points[3].overrides == ["model=repeat_last", "seed=2", "trainer.max_epochs=3"]


def test_sweep_of_range_and_glob() -> None:
    points = Checker(CONF).sweep(["seed=range(1,4)", "model=glob(*)"]).points
    assert len(points) == 3 * len(Checker(CONF).conf.options("model"))


def test_bad_points_of_a_sweep_are_named_and_merged() -> None:
    with pytest.raises(ConfigError) as caught:
        Checker(CONF).sweep(["seed=1,-2", "model=manta,repeat_last", "trainer.max_epochs=three", "modl=3"])
    said = [str(p) for p in caught.value.problems]
    assert len(said) == 3
    assert any("seed: -2" in s and "#3 (seed=-2 model=manta), #4 (seed=-2 model=repeat_last)" in s for s in said)
    assert any(s.startswith("trainer.max_epochs: 'three'") and "in point" not in s for s in said)


def test_interval_cannot_be_swept() -> None:
    with pytest.raises(ConfigError, match="an interval has no end of values"):
        Checker(CONF).sweep(["task.lr=interval(0.1,1)"])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory as far as the check looks at it."""
    path = tmp_path / "a run"
    (path / "checkpoints").mkdir(parents=True)
    (path / "config.yaml").write_text(yaml.safe_dump(check(["seed=9"], CONF).resolved))
    return path


def test_resumed_run_keeps_its_configuration(run: Path) -> None:
    found = check([f"run.resume='{run}'"], CONF)
    assert found.config.seed == 9
    assert found.config.run.resume == str(run)
    said = messages([f"run.resume='{run}'", "model.width=32"])
    assert "a resumed run keeps its configuration; start a new run to change model.width" in said[0]


def test_path_beside_a_run_is_told_the_run(run: Path) -> None:
    (run / "run.json").write_text("{}")
    for wrong in (run.parent, run / "checkpoints", run / "checkpoints" / "last.ckpt", run / "config.yaml"):
        (said,) = messages([f"run.resume='{wrong}'"])
        assert f"did you mean {run}?" in said


def test_stored_run_is_not_told_of_options(run: Path) -> None:
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("max_epochs", "max_epoch"))
    said = messages([f"run.test='{run}'"])
    assert any(s.startswith("trainer.max_epochs: missing") for s in said)
    assert not any("trainer=default" in s for s in said)


def test_run_without_checkpoints_or_with_a_damaged_config(run: Path) -> None:
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("seed: 9", "seed: nine"))
    assert any("seed: 'nine' is not a whole number" in s and "config.yaml:" in s for s in messages([f"run.test='{run}'"]))
    (run / "checkpoints").rmdir()
    assert any("no folder checkpoints" in s for s in messages([f"run.resume='{run}'"]))


def test_model_that_does_not_serve_the_task(conf: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import longview.models

    monkeypatch.setattr(longview.models, "__path__", [*longview.models.__path__, str(tmp_path)])
    (tmp_path / "elsewhere.py").write_text("class Other:\n    tasks = ('segmentation',)\n\n    def __init__(self) -> None: ...\n")
    (conf / "model" / "other.yaml").write_text("_target_: longview.models.elsewhere.Other\n")
    said = messages(["model=other"], conf)
    assert said[0].startswith("model: 'elsewhere' does not serve task 'anticipation' (it serves: segmentation)")
    assert "these do: manta, nearest_neighbour, repeat_last" in said[0]
    assert "override 'model=other'" in said[0] or "conf/model/other.yaml" in said[0]


def test_conf_folder_is_found(monkeypatch: pytest.MonkeyPatch, conf: Path) -> None:
    from longview.config.tree import find_conf

    monkeypatch.delenv("LONGVIEW_CONF", raising=False)
    monkeypatch.chdir(conf.parent)
    assert find_conf().resolve() == conf.resolve()
    (conf.parent / "deep").mkdir()
    monkeypatch.chdir(conf.parent / "deep")
    assert find_conf().resolve() == conf.resolve()
    monkeypatch.setenv("LONGVIEW_CONF", "/no/such")
    with pytest.raises(ConfigError, match="'/no/such' has no config"):
        find_conf()
