"""Which strategy a configuration gets, what is refused, and folder checkpoints: whole or absent."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import tiny
from longview.config.experiment import Checker
from longview.data.sampler import BucketBatchSampler
from longview.engine.checkpoints import MARKER, CheckpointError, marker, newest, readable, refuse_other_ranks, write_folder
from longview.engine.export import export
from longview.engine.run import execute
from longview.engine.strategies import FullySharded, Replicated, make_strategy, shardable
from longview.engine.zero import Zero, trusted_load
from longview.errors import ConfigError
from longview.runs.directory import RunDirectory

CHECKER = Checker()
ALONE = SimpleNamespace(is_global_zero=True, world_size=4, barrier=lambda name: None)
"""A strategy as far as saving a folder is concerned: one process that stands for four."""


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["strategy=auto"], str),
        (["strategy=ddp"], Replicated),
        (["strategy=fsdp"], FullySharded),
        (["strategy=deepspeed_1"], Zero),
        (["strategy=deepspeed_3"], Zero),
    ],
)
def test_every_strategy_file_makes_its_strategy(arguments: list[str], kind: type) -> None:
    config = CHECKER.check([*tiny.DATA, "model.self_condition=0", *arguments]).config
    assert isinstance(make_strategy(config, "cpu"), kind)
    assert make_strategy(config, "cpu", trainable=False) == "auto" or kind is Replicated


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_the_stage_reaches_deepspeed(stage: int) -> None:
    strategy = make_strategy(CHECKER.check([*tiny.DATA, "model.self_condition=0", f"strategy=deepspeed_{stage}"]).config, "cpu")
    assert isinstance(strategy, Zero)
    assert isinstance(strategy.config, dict)
    assert strategy.config["zero_optimization"]["stage"] == stage


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["strategy=ddp", "strategy.min_unit=5"],
            "strategy.min_unit: strategy 'ddp' has no such setting; give strategy=fsdp with it",
        ),
        (["strategy=fsdp", "strategy.stage=2"], "give strategy=deepspeed_1, deepspeed_2 or deepspeed_3 with it"),
        (
            ["strategy=deepspeed_2", "strategy.find_unused_parameters=true"],
            "strategy 'deepspeed' has no such setting; give strategy=ddp",
        ),
        (["strategy=deepspeed_2", "strategy.stage=4"], "strategy.stage"),
        (["strategy=deepspeed_2", "strategy.stage=null"], "null; give strategy=deepspeed_1, deepspeed_2 or deepspeed_3"),
        (["strategy=deepspeed_2", "strategy.offload_parameters=true"], "stage 2 does not divide the weights"),
        (
            ["strategy=deepspeed_3", "strategy.offload_optimizer=true", "trainer.accelerator=cpu"],
            "this run has no GPU; give false",
        ),
        (["strategy=deepspeed_1", "trainer.precision=64"], "'64' cannot be combined with strategy 'deepspeed'"),
        (["strategy=fsdp", "trainer.precision=16-mixed"], "'16-mixed' cannot be combined with strategy 'fsdp'"),
    ],
)
def test_combinations_that_cannot_work_are_refused(arguments: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        CHECKER.check([*tiny.DATA, "model.self_condition=0", *arguments])
    assert said in str(caught.value)


def test_deepspeed_that_is_not_installed_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "deepspeed" else find(name, *a))
    with pytest.raises(ConfigError, match="the package deepspeed is not installed; pip install deepspeed"):
        CHECKER.check([*tiny.DATA, "strategy=deepspeed_2"])


def test_repeated_blocks_are_gathered_one_by_one() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4)
            self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 4)])

    net = Net()
    assert list(shardable(net, 20)) == [net.blocks[0][0], net.blocks[0], net.blocks[1]]
    assert list(shardable(net, 21)) == []


def test_four_ranks_see_the_global_batches_of_one() -> None:
    lengths = list(range(30, 54))

    def batches(size: int, world: int) -> list[set[int]]:
        samplers = [
            BucketBatchSampler(lambda epoch: lengths, size, shuffle=True, seed=3, rank=r, world_size=world) for r in range(world)
        ]
        return [{e.index for batch in parts for e in batch} for parts in zip(*(s.batches(1) for s in samplers), strict=True)]

    assert batches(2, 4) == batches(8, 1)
    assert all(len(batch) == 8 for batch in batches(2, 4))


# folder checkpoints -------------------------------------------------------------------------------------------------------


def save(path: Path, step: int, content: str = "state", **changes: Any) -> None:
    """A folder checkpoint of two files."""

    def write(folder: Path) -> None:
        for name in ("rank-00000.pt", "rank-00001.pt"):
            (folder / name).write_text(content)

    write_folder(path, step, SimpleNamespace(**{**vars(ALONE), **changes}), write)  # type: ignore[arg-type]


def test_a_folder_is_there_with_its_marker_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    save(path, 1, "one")
    save(path, 2, "two")
    assert (path / "rank-00001.pt").read_text() == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]
    assert newest(path) == readable(path) == path
    said = marker(path)
    assert said is not None
    assert (said["step"], said["ranks"], sorted(said["files"])) == (2, 4, ["rank-00000.pt", "rank-00001.pt"])


def test_a_save_that_loses_a_rank_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    save(path, 1, "one")

    def lost(name: str) -> None:
        if name == "checkpoint written by all":
            raise ConnectionError("a rank is gone")

    with pytest.raises(ConnectionError):
        save(path, 2, "two", barrier=lost)
    assert (tmp_path / ".last.ckpt.new" / "rank-00000.pt").exists()
    assert newest(path) == path
    assert (path / "rank-00000.pt").read_text() == "one"
    save(path, 3, "three")
    assert (path / "rank-00000.pt").read_text() == "three"


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    save(path, 1, "one")
    path.rename(tmp_path / ".last.ckpt.old")
    save(tmp_path / "other", 2, "two")
    (tmp_path / "other").rename(tmp_path / ".last.ckpt.new")
    assert newest(path) == tmp_path / ".last.ckpt.new"
    (tmp_path / ".last.ckpt.new" / MARKER).unlink()
    assert newest(path) == tmp_path / ".last.ckpt.old"
    assert newest(tmp_path / "best.ckpt") is None


@pytest.mark.parametrize("damage", ["file gone", "file cut", "marker cut", "no marker"])
def test_a_damaged_folder_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "last.ckpt"
    save(path, 1)
    target = path / ("rank-00001.pt" if "file" in damage else MARKER)
    if damage in ("file gone", "no marker"):
        target.unlink()
    else:
        target.write_text(target.read_text()[:-2])
    with pytest.raises(
        CheckpointError, match=r"last\.ckpt was never completed, or files of it are missing or cut off; delete it"
    ):
        readable(newest(path))


def test_a_folder_of_other_ranks_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "last.ckpt", 1)
    refuse_other_ranks(tmp_path / "last.ckpt", 4)
    with pytest.raises(CheckpointError, match="was written by 4 ranks and this run has 2 ranks; use the same nodes and devices"):
        refuse_other_ranks(tmp_path / "last.ckpt", 2)
    (tmp_path / "file.ckpt").touch()
    with pytest.raises(CheckpointError, match="was written by another strategy"):
        refuse_other_ranks(tmp_path / "file.ckpt", 2)


def test_what_deepspeed_loads_cannot_run_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"module": Evil()}, tmp_path / "evil.pt")
    with trusted_load(), pytest.raises(Exception, match=r"[Ww]eights.only"):
        torch.load(tmp_path / "evil.pt", weights_only=False)
    assert not (tmp_path / "ran").exists()


def test_exporting_a_plain_run_keeps_its_weights(tmp_path: Path) -> None:
    arguments = [*tiny.DATA, *tiny.RUN, *tiny.MANTA, "trainer.max_epochs=1", f"run.root={tmp_path}"]
    experiment = CHECKER.check(arguments)
    run = RunDirectory.create(tmp_path, experiment.name, experiment.resolved, [], [])
    with pytest.raises(CheckpointError, match="has no checkpoint 'best'; give --which last"):
        export(run, "best")
    assert execute(run) == 0
    out = export(run, "best")
    assert out == run.checkpoints / "best-whole.ckpt"
    plain, whole = (torch.load(p, weights_only=True) for p in (out, run.best_checkpoint))
    assert plain.keys() == {"state_dict", "epoch", "global_step", "pytorch-lightning_version", "loops", "run"}
    assert list(plain["state_dict"]) == list(whole["state_dict"])
    assert all(torch.equal(v, whole["state_dict"][k]) for k, v in plain["state_dict"].items() if isinstance(v, torch.Tensor))
    out.rename(run.best_checkpoint)
    assert execute(run, "test") == 0
    assert json.loads(run.result_file.read_text())["weights"] == "best.ckpt"
    with pytest.raises(CheckpointError, match="cannot be written"):
        export(run, "last", run.config_file / "x.ckpt")
