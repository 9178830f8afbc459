"""Every input a user gets wrong and what must be said of it: one row each."""

from __future__ import annotations

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
    (["strategy=fsdp", "resources.devices=2"], ["model.self_condition: 0.5: every rank tosses its own coin", "strategy=ddp"]),
    (["cluster.partition=booster"], ["cluster.partition: unknown key", "did you mean 'partitions'"]),
    (["model=repeat_last", "model.width=3"], ["model.width: unknown key", "this block has no keys"]),
    (["data.root=/tmp"], ["data.root: unknown key; it belongs to data=breakfast, data=salads or data=salads_scores"]),
    (["model=repeat_last", "model.width=3"], ["model.width: unknown key; it belongs to model=manta; this block has no keys"]),
    (["experiment.foo=3"], ["experiment.foo: 'experiment' is a choice, not a block of values; write experiment=<option>"]),
    (["recipe.foo=3"], ["recipe.foo: 'recipe' is a choice"]),
    (["logger.wandb.project=x"], ["logger.wandb.mode: missing; it has no default here, logger=wandb sets it", "project=x'"]),
    (["model._partial_=true"], ["model._partial_: unknown key"]),
    (["_target_=os.system"], ["_target_: unknown key"]),
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
    (["model=MANTA"], ["model: no option 'MANTA'; did you mean 'manta'?"]),
    (["model=manta.yaml"], ["model: no option 'manta.yaml'; did you mean 'manta'?"]),
    (["model=../model/manta"], ["model: no option '../model/manta'"]),
    (["model=/etc/passwd"], ["model: no option '/etc/passwd'"]),
    (["model="], ["model: no option ''"]),
    (["model=[manta,repeat_last]"], ["model: ['manta', 'repeat_last'] is not the name of an option"]),
    (["model=${oc.env:HOME}"], ["model: no option '${oc.env:HOME}'"]),
    (["model=manta,repeat_last"], ["model: 'manta,repeat_last' names several values; choose one, or add -m to run each"]),
    (["recipe=nosuch"], ["recipe: no option 'nosuch'", "options: manta_breakfast"]),
    (["recipe=[manta_kitchen]"], ["recipe: ['manta_kitchen'] is not the name of an option"]),
    (["recipe=manta_kitchen", "model=repeat_last"], ["model.blocks: unknown key", "recipe/manta_kitchen.yaml:"]),
    (["experiment=[manta_breakfast_labels,nosuch]"], ["experiment: no option 'nosuch'"]),
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
    (["trainer.max_epochs=1e3"], ["trainer.max_epochs: 1000.0 is not a whole number; write 1000"]),
    (["seed=007"], ["seed: '007' is not a whole number; write 7"]),
    (["seed='7'"], ["seed: '7' is not a whole number but text; write it without quotes"]),
    (["seed=${oc.env:NO_SUCH_VARIABLE,3}"], ["seed: '3' is not a whole number but text", "${oc.decode:${oc.env:NAME}}"]),
    (["trainer.gradient_clip=none"], ["trainer.gradient_clip: 'none' is not a number; none is written null"]),
    (["task.observations=0.2"], ["task.observations: 0.2 is not a list; write [0.2]"]),
    (["task.observations=0.2,0.3"], ["names several values; add -m to run every value, or write a list as task.observations=["]),
    (["task.lr=0,001"], ["'0,001' names several values", "or a decimal point as task.lr=0.001"]),
    (["seed=choice(1,2)"], ["seed: 'choice(1,2)' names several values; add -m to run every value  ["]),
    (["run.name=123"], ["run.name: 123 is not text; quote it: run.name=\"'123'\" on the command line"]),
    (["trainer.accelerator=gpu"], ["trainer.accelerator: 'gpu' is not one of", "did you mean 'cuda'?"]),
    (["trainer.precision=16"], ["trainer.precision: '16' is not one of", "did you mean '16-mixed'?"]),
    (["logger=wandb", "logger.wandb.tags=foo"], ["logger.wandb.tags: 'foo' is not a list; write [foo]"]),
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
    (["resources.time=1:30"], ["resources.time: '1:30' could be hours and minutes or, as SLURM reads it, minutes and seconds"]),
    (["resources.time=999999d"], ["resources.time: '999999d' is more than a year"]),
    (["resources.time=999999999999d"], ["resources.time: '999999999999d' is not a duration"]),
    (["resources.time=-2h"], ["resources.time: '-2h' is not a duration"]),
    (["trainer.max_epochs=99999999999999999999"], ["99999999999999999999 is impossible; must be at most 2147483647"]),
    (["trainer.max_epochs=-0"], ["trainer.max_epochs: 0 is impossible; must be at least 1"]),
    (["task.lr=-0.0"], ["task.lr: -0.0 is impossible; must be more than 0"]),
    (["task.lr=1e400"], ["task.lr: inf is not a finite number"]),
    (["task.lr=1e-400"], ["task.lr: 0.0 is impossible"]),
    (["trainer.limit_train_batches=1.0"], ["1.0 is impossible; give a number of batches (1, 2, ...), a part of them", "or null"]),
    (["trainer.limit_train_batches=true"], ["trainer.limit_train_batches: true is no number; give a number of batches"]),
    (["trainer.limit_eval_batches=nan"], ["trainer.limit_eval_batches: nan is impossible"]),
    (["run.name=" + "x" * 300], ["has 300 characters; give at most 100", "x ... x"]),
    (["run.name=.."], ["run.name: '..' cannot name a folder", "a letter or digit first"]),
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
    (["trainer.max_epochs=null", "trainer.max_steps=null"], ["so training would never end"]),
    (["trainer.validate_every=50", "trainer.max_epochs=12"], ["trainer.validate_every: 50 is more than trainer.max_epochs (12)"]),
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
    ([""], ["'' is empty; write key=value (a shell variable that is not set leaves an empty argument)"]),
    (["seed:3"], ["'seed:3' is not of the form key=value; write seed=3"]),
    (["3"], ["'3' is not of the form key=value  ["]),
    (["--seed=3"], ["'--seed=3' is not an option of longview; write seed=3"]),
    (["-x"], ["'-x' is not an option of longview; settings are given as key=value"]),
    (["seed = 3"], ["'seed = 3' has a space before '='; write seed=3"]),
    (["séed=3"], ["'séed' is no key: keys are plain names joined by dots"]),
    (["trainer..max_epochs=3"], ["'trainer..max_epochs' is no key"]),
    (["task.observations[0]=0.1"], ["is no key: a list is given as a whole, as in task.observations=[1,2]"]),
    (["run.name='a"], ["cannot be read: the quote ' is not closed"]),
    (["task.observations=[0.2"], ["cannot be read: '[' is not closed"]),
    (["seed=${"], ["cannot be read: '${' is not closed"]),
    (["seed=foo(3)"], ["'seed=foo(3)' calls a function that does not exist"]),
    (["run.root=~/runs"], ["text with special characters stands in quotes: run.root='\"~/runs\"'"]),
    (["data=breakfast", "data.root=/dätä"], ["data.root='\"/dätä\"'"]),
    (["=3"], ["'=3' has no key before '='"]),
    (["run.name=a(b"], ["'run.name=a(b' cannot be read", "quote"]),
    (["seed=1,2"], ["seed: '1,2' names several values; add -m"]),
    (["model.width=${model.hight}"], ["model.width: cannot be resolved: Interpolation key 'model.hight' not found"]),
    (["seed=???"], ["seed: needs a value (given: ???)"]),
    (["seed=${seed}"], ["seed: cannot be resolved: Recursive interpolation"]),
    (["seed=${nosuch:3}"], ["seed: cannot be resolved: Unsupported interpolation type nosuch"]),
    (["seed=${oc.env:NO_SUCH_VARIABLE}"], ["seed: cannot be resolved", "'NO_SUCH_VARIABLE' not found"]),
    (["hydra.foo=3"], ["hydra.foo: cannot be set here; it would have no effect"]),
    (["hydra.run.dir=/tmp"], ["hydra.run.dir: cannot be set here; run directories are made in run.root"]),
    (["hydra/launcher=basic"], ["hydra/launcher: cannot be set here; the group cluster says where runs take place"]),
    (["hydra.sweeper.params={seed:1}"], ["hydra.sweeper.params: cannot be set here; name the values"]),
    (["hydra=3"], ["hydra: cannot be set here"]),
    (["hydra.searchpath=[/tmp]"], ["hydra.searchpath: cannot be set here"]),
    (["run.resume=/no/such/run"], ["run.resume: there is no directory '/no/such/run'"]),
    (["run.resume="], ["run.resume: is empty; name a run directory"]),
    (["run.resume=/etc/passwd"], ["run.resume: '/etc/passwd' is a file, not a run directory"]),
    (["run={resume:/tmp}"], ["run.resume: '/tmp' must be given alone and on the command line: python run.py run.resume=/tmp"]),
    (["run.resume=/tmp", "run.test=/tmp"], ["run.test: cannot be given together with run.resume"]),
    (["run.test=/dev"], ["run.test: '/dev' is not a run directory: it has no config.yaml"]),
]  # fmt: skip


@pytest.fixture(scope="module")
def checker() -> Checker:
    """One for all rows, which share its Hydra compositions."""
    return Checker(CONF)


@pytest.mark.parametrize(("arguments", "fragments"), ARGUMENTS, ids=[" ".join(a) for a, _ in ARGUMENTS])
def test_argument_is_refused(checker: Checker, arguments: list[str], fragments: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        checker.check(arguments)
    lines = [str(p) for p in caught.value.problems]
    assert any(all(f in line for f in fragments) for line in lines), "\n".join(lines)
    assert all(p.origin for p in caught.value.problems), "a problem does not say where it came from:\n" + "\n".join(lines)


@no_gpu
def test_cuda_without_a_gpu(checker: Checker) -> None:
    with pytest.raises(ConfigError, match=r"trainer.accelerator: 'cuda' needs an NVIDIA GPU"):
        checker.check(["trainer.accelerator=cuda"])


def test_table_is_long_enough() -> None:
    assert len(ARGUMENTS) >= 60


# swept arguments -> fragments
SWEEPS: list[tuple[list[str], list[str]]] = [
    (["seed=range(1,3,0)"], ["seed: range() arg 3 must not be zero", "[override 'seed=range(1,3,0)']"]),
    (["seed=range(3,1)"], ["seed: names no value, so there is no run to make", "[override 'seed=range(3,1)']"]),
    (["seed=glob(*)"], ["seed: names no value"]),
    (["model=glob(x*)"], ["model: names no value", "options: manta, nearest_neighbour, repeat_last"]),
    (["task.lr=interval(0,1)"], ["task.lr: an interval has no end of values; use range(start,stop,step)"]),
    (["hydra/sweeper=optuna", "seed=1,2"], ["hydra/sweeper: In 'hydra/config': Could not find 'hydra/sweeper/optuna'"]),
    (["hydra.sweep.dir=a,b"], ["hydra.sweep.dir: Hydra's own settings cannot be swept"]),
    (["modl=1,2"], ["modl: unknown key; did you mean 'model'?", "[override 'modl=1,2']"]),
    (["model=manta,mant"], ["model: no option 'mant'", "(in point #2 (model=mant))", "[override 'model=manta,mant']"]),
    (["recipe=null,nosuch"], ["recipe: no option 'nosuch'", "(in point #2 (recipe=nosuch))"]),
    (["model=manta,repeat_last", "model.width=32"], ["model.width: unknown key; it belongs to model=manta", "(in point #2 "]),
    (["trainer={max_epochs:1},{max_epochs:x}"], ["trainer.max_epochs: 'x' is not a whole number", "(in point #2 "]),
    (["run.resume=a,b"], ["run.resume: there is no directory 'b'", "(in point #2 (run.resume=b))"]),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "fragments"), SWEEPS, ids=[" ".join(a) for a, _ in SWEEPS])
def test_sweep_is_refused(checker: Checker, arguments: list[str], fragments: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        checker.sweep(arguments)
    lines = [str(p) for p in caught.value.problems]
    assert any(all(f in line for f in fragments) for line in lines), "\n".join(lines)
    assert len(lines) == len(set(lines))
