"""What every model under conf/model must do, found and run by itself: a new model is one file and one YAML, and it is in here."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import stops
import tiny
from longview.config.experiment import CheckedExperiment, Checker
from longview.data.sampler import ExampleId
from longview.engine.build import Built, build, memory_loader
from longview.engine.run import attempt
from longview.engine.stop import RunStopped, StopFlag
from longview.engine.summary import measure_flops
from longview.runs.directory import RunDirectory

CHECKER = Checker()
MODELS = CHECKER.conf.options("model")


def compose(model: str, tmp_path: Path, *extra: str) -> CheckedExperiment:
    plain = CHECKER.check([f"model={model}"])
    small = [f"model.{k}={v}" for k, v in tiny.MODEL.items() if hasattr(plain.config.model.params, k)]
    return CHECKER.check(
        [f"model={model}", *tiny.DATA, *tiny.RUN, *small, f"run.root={tmp_path}", "trainer.progress=false", *extra]
    )


def parts(model: str, tmp_path: Path, *extra: str) -> Built:
    return build(compose(model, tmp_path, *extra).config)


def batch_of(built: Built, part: str, size: int) -> Any:
    examples = built.data.examples(part)  # type: ignore[arg-type]
    return examples.collate([examples[ExampleId(0, i)] for i in range(min(size, len(examples)))])


def new_run(model: str, tmp_path: Path, *extra: str) -> RunDirectory:
    experiment = compose(model, tmp_path, *extra)
    return RunDirectory.create(tmp_path, experiment.name, experiment.resolved, experiment.overrides, [])


def trained_state(run: RunDirectory) -> dict[str, Any]:
    checkpoint = torch.load(run.last_checkpoint, weights_only=True)
    return {"weights": checkpoint["state_dict"], "optimizer": checkpoint["optimizer_states"], "step": checkpoint["global_step"]}


def assert_identical(a: Any, b: Any, where: str = "") -> None:
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_identical(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_identical(x, y, f"{where}/{i}")
    else:
        assert a == b, where


def trainable() -> list[str]:
    found = []
    for model in MODELS:
        block = CHECKER.check([f"model={model}"]).config.model
        module, _, name = block.target.rpartition(".")
        if getattr(getattr(importlib.import_module(module), name), "trainable", True):
            found.append(model)
    return found


@pytest.mark.parametrize("model", MODELS)
def test_composes_builds_predicts_and_states_its_size(model: str, tmp_path: Path) -> None:
    built = parts(model, tmp_path)
    if not built.task.trainable and hasattr(built.task.model, "memorise"):
        built.task.model.memorise(memory_loader(built, 4))
    batch = batch_of(built, "test", 4)
    out = built.task.model.eval().anticipate(batch, 3, seed=0)
    assert out.dtype == torch.int64
    assert out.shape[0] == len(batch)
    assert out.shape[1] in (1, 3)
    assert out.shape[2] == batch.target.shape[1]
    assert 0 <= int(out.min()) <= int(out.max()) < built.task.description.num_classes
    if built.task.trainable:
        assert measure_flops(built.task, batch) > 0  # type: ignore[operator]


@pytest.mark.parametrize("model", MODELS)
def test_a_video_gets_the_same_prediction_alone_and_in_a_batch(model: str, tmp_path: Path) -> None:
    built = parts(model, tmp_path)
    net = built.task.model.eval().double()
    if not built.task.trainable and hasattr(net, "memorise"):
        net.memorise(memory_loader(built, 4))
    examples = built.data.examples("test")
    batch = batch_of(built, "test", 6)
    batch.observed = batch.observed.double()
    together = net.anticipate(batch, 2, seed=5)
    for i in range(len(examples)):
        alone = examples.collate([examples[ExampleId(0, i)]])
        alone.observed = alone.observed.double()
        at = next(
            j
            for j, v in enumerate(batch.videos)
            if v == alone.videos[0] and float(batch.observation[j]) == float(alone.observation[0])
        )
        length = alone.target.shape[1]
        assert torch.equal(together[at, :, :length], net.anticipate(alone, 2, seed=5)[0])


@pytest.mark.parametrize("model", trainable())
def test_overfits_one_batch(model: str, tmp_path: Path) -> None:
    built = parts(model, tmp_path, "task.ema=false")
    batch = batch_of(built, "train", 4)
    task = built.task.train()
    optimizer = torch.optim.Adam(task.model.parameters(), lr=3e-3)
    torch.manual_seed(0)
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        loss = task.model.training_loss(batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


@pytest.mark.parametrize("model", trainable())
def test_stopped_and_resumed_run_is_bit_identical(model: str, tmp_path: Path) -> None:
    whole = new_run(model, tmp_path)
    attempt(whole, "fit", StopFlag(), Console(quiet=True), 0)
    broken = new_run(model, tmp_path)
    for looks in (2, 5, 4):  # twice within an epoch, then in another one
        with pytest.raises(RunStopped):
            attempt(broken, "fit", stops.StopAfter(looks), Console(quiet=True), 0)
    attempt(broken, "fit", StopFlag(), Console(quiet=True), 0)
    assert_identical(trained_state(broken), trained_state(whole))
    assert broken.metrics_file.read_text() == whole.metrics_file.read_text()
    figures = [json.loads(r.result_file.read_text())["result"]["metrics"] for r in (broken, whole)]
    assert figures[0] == figures[1]
