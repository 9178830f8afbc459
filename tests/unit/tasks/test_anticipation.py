"""The anticipation task around a model that does as it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from longview.data.kitchen import Kitchen
from longview.data.module import DataModule
from longview.data.sampler import ExampleId
from longview.tasks.anticipation import Anticipation, Prediction, spread

SIZE = {"train_videos": 6, "val_videos": 2, "test_videos": 3, "mean_length": 120, "stride": 1}


class Oracle(nn.Module):
    """Says the truth in every ``truthful``-th sample and class 0 in the others; its loss draws noise."""

    tasks: ClassVar[tuple[str, ...]] = ("anticipation",)
    trainable: ClassVar[bool] = True

    def __init__(self, truthful: int = 1) -> None:
        super().__init__()
        self.truthful = truthful
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, batch: Any) -> Tensor:
        return self.weight * batch.observed.sum()

    def training_loss(self, batch: Any) -> Tensor:
        return (self.weight - 1 + 0.1 * torch.randn(())).square() * len(batch)

    def anticipate(self, batch: Any, num_samples: int, seed: int = 0) -> Tensor:
        truth = batch.target.clamp_min(0)[:, None].expand(-1, num_samples, -1).clone()
        for s in range(num_samples):
            if s % self.truthful:
                truth[:, s] = 0
        return truth


def task_of(model: nn.Module, **changes: Any) -> tuple[Anticipation, DataModule]:
    source = Kitchen(**SIZE)
    task = Anticipation(model, source.describe(), 1, num_samples=4, validation_samples=2, figures=2, **changes)
    return task, DataModule(source, task.examples, batch_size=4, eval_batch_size=4, seed=1)


def trainer(tmp_path: Path, **changes: Any) -> L.Trainer:
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
        "default_root_dir": tmp_path,
    }
    return L.Trainer(**{**quiet, **changes})


def test_truth_scores_one(tmp_path: Path) -> None:
    task, data = task_of(Oracle())
    trainer(tmp_path).test(task, data, verbose=False)
    result = task.result()
    for row in task.scores:
        assert row["mean_moc"] == row["top1_moc"] == row["mof"] == 1.0
    assert [r[:2] for r in result.rows][:3] == [["20 %", "Mean MoC"], ["20 %", "Top-1 MoC"], ["20 %", "Frame accuracy"]]
    assert result.columns[2:] == ["next 10 %", "next 20 %", "next 30 %", "next 50 %"]
    assert result.metrics["test/mean_moc/obs0.2/horizon0.5"] == task.scores[3]["mean_moc"]
    assert "4 sample(s)" in result.note


def test_one_truthful_sample_of_two_halves_the_mean_and_keeps_the_best(tmp_path: Path) -> None:
    task, data = task_of(Oracle(truthful=2))
    trainer(tmp_path).test(task, data, verbose=False)
    for row in task.scores:
        assert row["top1_moc"] == 1.0
        assert 0.5 <= row["mean_moc"] < 0.65


def test_a_second_pass_forgets_the_first(tmp_path: Path) -> None:
    task, data = task_of(Oracle())
    first = trainer(tmp_path)
    first.test(task, data, verbose=False)
    once = task.result().metrics
    first.test(task, data, verbose=False)
    assert task.result().metrics == once
    assert len(task.predictions) == 6  # 3 videos at 2 observations


def test_figures_and_predictions_are_written(tmp_path: Path) -> None:
    task, data = task_of(Oracle())
    trainer(tmp_path).test(task, data, verbose=False)
    pictures = task.draw(tmp_path / "figures")
    assert len(pictures) == 2
    assert all(p.path.stat().st_size > 5000 and "observed" in p.caption for p in pictures)
    task.save_predictions(tmp_path / "predictions.npz")
    with np.load(tmp_path / "predictions.npz") as saved:
        assert saved["kitchen-test-0000/0.20/samples"].shape[0] == 4
        assert saved["stride"] == [1]


def test_training_does_not_notice_validation(tmp_path: Path) -> None:
    def trained(validate: bool) -> Tensor:
        torch.manual_seed(0)
        task, data = task_of(Oracle(), ema=False)
        trainer(tmp_path, max_epochs=2, limit_val_batches=None if validate else 0).fit(task, data)
        return task.model.weight.detach().clone()

    assert torch.equal(trained(True), trained(False))


def test_average_is_scored_and_the_trained_weights_are_kept(tmp_path: Path) -> None:
    task, data = task_of(Oracle(), lr=0.1)
    trainer(tmp_path, max_epochs=4, limit_val_batches=0).fit(task, data)
    assert task.ema is not None
    assert task.evaluated is task.ema.averaged
    assert task.ema.calls == trainer_steps(data) * 4
    assert float(task.evaluated.weight.detach()) != float(task.model.weight.detach())  # it acts on every tenth step only
    plain, _ = task_of(Oracle(), ema=False)
    assert plain.evaluated is plain.model


def trainer_steps(data: DataModule) -> int:
    return len(data.train_dataloader())


def test_training_examples_follow_the_recipe_and_memory_is_in_evaluation_form() -> None:
    task, _ = task_of(Oracle(), train_observations=[0.25], random_observation=0.0, horizons=[0.1, 0.2])
    source = Kitchen(**SIZE)
    train, test, memory = task.examples(source, "train"), task.examples(source, "test"), task.memory(source)
    assert (len(train), len(test), len(memory)) == (6, 6, 12)
    assert train[ExampleId(0, 0)].labels is None
    first = memory[ExampleId(0, 0)]
    assert first.labels is not None
    assert len(first.target) == len(first.labels[: int((0.2 + 0.2) * len(first.labels))])


def test_plateau_halves_the_learning_rate(tmp_path: Path) -> None:
    class Stuck(Oracle):
        def training_loss(self, batch: Any) -> Tensor:
            return 0 * self.weight + len(batch)

    task, data = task_of(Stuck(), plateau_patience=1, ema=False)
    fit = trainer(tmp_path, max_epochs=5, limit_val_batches=0)
    fit.fit(task, data)
    assert fit.optimizers[0].param_groups[0]["lr"] == pytest.approx(5e-4 / 4)


@pytest.mark.parametrize(
    ("count", "wanted", "expected"), [(3, 6, [0, 1, 2]), (10, 1, [0]), (10, 3, [0, 4, 9]), (11, 3, [0, 5, 10])]
)
def test_spread(count: int, wanted: int, expected: list[int]) -> None:
    assert spread(count, wanted) == expected


def test_score_of_an_empty_window_is_zero() -> None:
    short = Prediction("v", 0.5, 1, torch.zeros(2, 1, dtype=torch.int16), torch.zeros(2, dtype=torch.int16))
    assert short.score(0.1, 3) == 0.0
