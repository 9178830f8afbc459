"""Every input a user gets wrong and what must be said of it: one row each."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from longview.config.checks import cpus, gpus
from longview.config.experiment import Checker
from longview.errors import ConfigError

CONF = Path(__file__).resolve().parents[3] / "conf"
no_gpu = pytest.mark.skipif(gpus() > 0, reason="this machine has an NVIDIA GPU")

# arguments -> fragments the message must hold; every message must also name the argument that caused it
ARGUMENTS: list[tuple[list[str], list[str]]] = [
    # unknown keys
    (["modl=manta"], ["modl: unknown key", "did you mean 'model'?"]),
    (["model.widht=32"], ["model.widht: unknown key", "did you mean 'width'?", "valid: width, blocks"]),
    (["+model.widht=32"], ["model.widht: unknown key", "did you mean 'width'?"]),
    (["++model.widht=32"], ["model.widht: unknown key", "did you mean 'width'?"]),
    (["+ckpt_pth=x.ckpt"], ["ckpt_pth: unknown key", "valid: seed, run"]),
    (["sede=3"], ["sede: unknown key", "did you mean 'seed'?"]),
    (["+sede=3"], ["sede: unknown key", "did you mean 'seed'?"]),
    (["trainer.max_epoch=3"], ["trainer.max_epoch: unknown key", "'max_epochs'"]),
    (["trainer.epochs=3"], ["trainer.epochs: unknown key", "did you mean 'max_epochs'?"]),
    (["trainer.devices=-7"], ["trainer.devices: unknown key", "did you mean resources.devices"]),
    (["trainer.batch_size=4"], ["trainer.batch_size: unknown key", "did you mean loader.batch_size?"]),
    (["lr=0.1"], ["lr: unknown key", "did you mean task.lr?"]),
    (["task.learning_rate=0.1"], ["task.learning_rate: unknown key", "valid: observations"]),
    (["data.rooot=x", "data=breakfast"], ["data.rooot: unknown key", "did you mean 'root'?"]),
    (["loader.workers=2"], ["loader.workers: unknown key", "did you mean 'num_workers'?"]),
    (["logger=wandb", "logger.wandb.projct=a"], ["logger.wandb.projct: unknown key", "did you mean 'project'?"]),
    (["cluster.partition=booster"], ["cluster.partition: unknown key", "valid: name, scheduler, devices"]),
    (["model=repeat_last", "model.width=3"], ["model.width: unknown key", "this block has no keys"]),
    (["seed.x=3"], ["seed: {'x': 3} is not a whole number"]),
    (["model.width.x=3"], ["model.width: {'x': 3} is not a whole number"]),
    # groups and options
    (["model=mant"], ["model: no option 'mant'", "did you mean 'manta'?", "options: manta, nearest_neighbour"]),
    (["model=null"], ["model: needs an option", "options: manta"]),
    (["model=3"], ["model: 3 is not the name of an option"]),
    (["trainer=fast"], ["trainer: no option 'fast'", "options: default"]),
    (["strategy=dpp"], ["strategy: no option 'dpp'", "did you mean 'ddp'?"]),
    (["cluster=juwel"], ["cluster: no option 'juwel'", "local"]),
    (["experiment=nosuch"], ["experiment: no option 'nosuch'"]),
    (["~model"], ["model: a group cannot be deleted; choose one of manta"]),
    (["model@other=manta"], ["model: '@other' is not supported", "write model=<option>"]),
    (["modle/x=manta"], ["modle/x: no such group", "did you mean 'model'?"]),
    # types
    (["trainer.max_epochs=three"], ["trainer.max_epochs: 'three' is not a whole number; give for example 12"]),
    (["seed=abc"], ["seed: 'abc' is not a whole number"]),
    (["seed=1.5"], ["seed: 1.5 is not a whole number"]),
    (["seed=true"], ["seed: true is not a whole number"]),
    (["seed=null"], ["seed: needs a value"]),
    (["task.lr=fast"], ["task.lr: 'fast' is not a number"]),
    (["task.ema=1"], ["task.ema: 1 is neither true nor false"]),
    (["task.observations=0.2"], ["task.observations: 0.2 is not a list"]),
    (["task.observations=[0.2,half]"], ["task.observations.1: 'half' is not a number"]),
    (["loader.bucket=maybe"], ["loader.bucket: 'maybe' is neither true nor false"]),
    (["run.root=3"], ["run.root: 3 is not text"]),
    (["trainer=[1,2]"], ["trainer: [1, 2] is not the name of an option"]),
    (["logger.wandb=yes"], ["logger.wandb: 'yes' is not a mapping"]),
    (["resources.devices=all"], ["resources.devices: 'all' is not a whole number"]),
    # impossible values
    (["resources.devices=-7"], ["resources.devices: -7 is impossible; must be at least 1"]),
    (["resources.nodes=0"], ["resources.nodes: 0 is impossible; must be at least 1"]),
    (["task.observations=[0.2,1.3]"], ["task.observations.1: 1.3 is impossible; must be less than 1"]),
    (["task.horizons=[-0.1]"], ["task.horizons.0: -0.1 is impossible; must be more than 0"]),
    (["loader.batch_size=0"], ["loader.batch_size: 0 is impossible; must be at least 1"]),
    (["task.lr=nan"], ["task.lr: nan is not a finite number"]),
    (["task.lr=inf"], ["task.lr: inf is not a finite number"]),
    (["task.lr=-0.1"], ["task.lr: -0.1 is impossible; must be more than 0"]),
    (["model.dropout=1.0"], ["model.dropout: 1.0 is impossible; must be less than 1"]),
    (["model.width=0"], ["model.width: 0 is impossible"]),
    (["model.width=33"], ["model.width: 33 is impossible; must be even"]),
    (["seed=-1"], ["seed: -1 is impossible; must be at least 0"]),
    (["seed=4294967296"], ["seed: 4294967296 is impossible; must be at most 4294967295"]),
    (["trainer.precision=fp16"], ["trainer.precision: 'fp16' is not one of '32', '64', '16-mixed' or 'bf16-mixed'"]),
    (["trainer.accelerator=tpu"], ["trainer.accelerator: 'tpu' is not one of"]),
    (["trainer.limit_train_batches=1.5"], ["trainer.limit_train_batches: 1.5 is impossible", "between 0 and 1"]),
    (["trainer.limit_eval_batches=0"], ["trainer.limit_eval_batches: 0 is impossible"]),
    (["trainer.gradient_clip=0"], ["trainer.gradient_clip: 0 is impossible; must be more than 0"]),
    (["logger=wandb", "logger.wandb.mode=ofline"], ["logger.wandb.mode: 'ofline' is not one of", "'offline'"]),
    (["strategy.name=horovod"], ["strategy.name: 'horovod' is not one of"]),
    (["resources.time=soon"], ["resources.time: 'soon' is not a duration", "'2h'"]),
    (["resources.time=3600"], ["resources.time: 3600 has no unit"]),
    (["resources.time=10s"], ["resources.time: '10s' is less than a minute"]),
    (["run.name=a/b"], ["run.name: 'a/b' cannot name a folder"]),
    (["run.root=''"], ["run.root: must not be empty"]),
    # pairs that do not fit
    (["task.observations=[0.2,0.6]"], ["task.observations: 0.6 observed plus task.horizons up to 0.5 is more than"]),
    (["task.observations=[0.3,0.2]"], ["task.observations: [0.3, 0.2] must rise strictly; give [0.2, 0.3]"]),
    (["task.horizons=[]"], ["task.horizons: is empty"]),
    (["task.random_range=[0.4,0.15]"], ["task.random_range: [0.4, 0.15] is not an interval"]),
    (["model.sampling_steps=2000"], ["model.sampling_steps: 2000 is more than model.diffusion_steps (1000)"]),
    (["strategy=single", "resources.devices=2"], ["strategy.name: 'single' is one process, but nodes x devices is 2"]),
    (["strategy.find_unused_parameters=true"], ["strategy.find_unused_parameters: strategy 'auto' has no such setting"]),
    (["resources.nodes=2"], ["resources.nodes: 2 nodes need a scheduler; cluster 'local' is one machine"]),
    (["trainer.accelerator=cpu", "resources.devices=4096"], ["resources.devices: 4096 processes on", "CPUs"]),
    ([f"resources.cpus_per_device={cpus() + 1}"], ["resources.cpus_per_device: 1 x", "give at most"]),
    (["trainer.accelerator=cpu", "trainer.precision=16-mixed"], ["trainer.precision: '16-mixed' cannot run on a CPU"]),
    (["trainer.max_epochs=null"], ["trainer.max_epochs: null, and trainer.max_steps is null too"]),
    (["trainer.validate_every=50"], ["trainer.validate_every: 50 is more than trainer.max_epochs (12)"]),
    (["loader.num_workers=9999"], ["loader.num_workers: 9999 loader processes"]),
    (["run.root=/dev/null/runs"], ["run.root: '/dev/null/runs' is no folder"]),
    # data
    (["data=breakfast", "data.root=/no/such/folder"], ["/no/such/folder", "does not exist"]),
    (["data=breakfast", "data.split=0"], ["data.split: 0 is impossible"]),
    # targets and what follows from the data
    (["model.num_classes=48"], ["model.num_classes: num_classes follows from the data; remove it"]),
    (["+model.input_dim=48"], ["model.input_dim: input_dim follows from the data; remove it"]),
    (["model._target_=os.system"], ["model._target_: 'os.system' lies outside longview.models"]),
    (["model._target_=longview.models.manta.Mantra"], ["longview.models.manta has no class 'Mantra'", "Manta"]),
    (["model._target_=longview.models.mantra.Manta"], ["there is no module longview.models.mantra", "modules: "]),
    (["data._target_=longview.models.manta.Manta"], ["data._target_:", "lies outside longview.data"]),
    (["model._target_=7"], ["model._target_: 7 is not the dotted path of a class"]),
    # deletion, grammar, interpolation, resuming
    (["~trainer.max_epochs"], ["trainer.max_epochs: missing"]),
    (["~trainer.max_epoch"], ["trainer.max_epoch: cannot be deleted: there is no such key", "'max_epochs'"]),
    (["seed"], ["'seed' is not of the form key=value; write for example seed=<value>"]),
    (["model"], ["'model' is not of the form key=value; write for example model=<option>"]),
    (["=3"], ["'=3' has no key before '='"]),
    (["run.name=a(b"], ["'run.name=a(b' cannot be read", "quote"]),
    (["seed=1,2"], ["seed: '1,2' names several values; add -m"]),
    (["model.width=${model.hight}"], ["model.width: cannot be resolved: Interpolation key 'model.hight' not found"]),
    (["seed=???"], ["seed: needs a value (given: ???)"]),
    (["hydra.foo=3"], ["hydra.foo: Could not override 'hydra.foo'"]),
    (["hydra.searchpath=[/tmp]"], ["hydra.searchpath: cannot be set here"]),
    (["run.resume=/no/such/run"], ["run.resume: there is no directory '/no/such/run'"]),
    (["run.test=/dev"], ["run.test: '/dev' is not a run directory: it has no config.yaml"]),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "fragments"), ARGUMENTS, ids=[" ".join(a) for a, _ in ARGUMENTS])
def test_argument_is_refused(arguments: list[str], fragments: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Checker(CONF).check(arguments)
    lines = [str(p) for p in caught.value.problems]
    assert any(all(f in line for f in fragments) for line in lines), "\n".join(lines)
    assert all(p.origin for p in caught.value.problems), "a problem does not say where it came from:\n" + "\n".join(lines)


@no_gpu
def test_cuda_without_a_gpu() -> None:
    with pytest.raises(ConfigError, match=r"trainer.accelerator: 'cuda' needs an NVIDIA GPU"):
        Checker(CONF).check(["trainer.accelerator=cuda"])


def test_table_is_long_enough() -> None:
    assert len(ARGUMENTS) + len(FILES) >= 60


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
    ("model/mine", "\twidth: 3\n", ["model=mine"], ["not valid YAML"], 1),
    ("trainer/mine", "max_epochs: 3\n", ["trainer=mine"], ["trainer.precision: missing"], None),
    ("trainer/mine", "", ["trainer=mine"], ["is empty"], None),
    ("cluster/far", "name: far\nscheduler: lsf\ndevices: 4\n", ["cluster=far"], ["cluster.scheduler: 'lsf' is not one of"], 2),
    ("data/mine", "_target_: longview.data.kitchen.Kitchn\n", ["data=mine"], ["has no class 'Kitchn'", "Kitchen"], 1),
    ("data/mine", "_target_: longview.data.kitchen.Kitchen\nseed: ${sed}\n", ["data=mine"], ["Interpolation key 'sed'"], 2),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "arguments", "fragments", "line"), FILES, ids=[f"{f[0]}: {f[1][-40:]!r}" for f in FILES]
)
def test_file_is_refused(
    tmp_path: Path, name: str, text: str, arguments: list[str], fragments: list[str], line: int | None
) -> None:
    shutil.copytree(CONF, tmp_path / "conf")
    (tmp_path / "conf" / f"{name}.yaml").parent.mkdir(exist_ok=True)
    (tmp_path / "conf" / f"{name}.yaml").write_text(text)
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
