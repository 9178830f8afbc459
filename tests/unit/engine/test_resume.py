"""A run that is stopped and resumed does what the uninterrupted run does: same samples, hooks, steps, schedules and bits."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torchmetrics import MeanMetric

from longview.data.anticipation import AnticipationBatch, AnticipationExamples
from longview.data.module import DataModule
from longview.data.source import Description
from longview.engine.resume import ExactResume, WorldSizeError, at_step_boundary

STEPS = 5  # per epoch: 19 examples, batches of 4


class Source:
    """The least of a source: videos as numbers."""

    def __init__(self, parts: dict[str, int]) -> None:
        self.parts = {part: [f"{part}{i:03d}" for i in range(n)] for part, n in parts.items()}

    def describe(self) -> Description:
        return Description("memory", 3, ("a", "b", "c"), 4, 2, {p: len(v) for p, v in self.parts.items()})

    def videos(self, part: str) -> list[str]:
        return self.parts.get(part, [])

    def labels(self, video: str) -> Any:
        length = 20 + 7 * int(video[-3:])
        return np.arange(length) * 3 // length

    def features(self, video: str, stop: int, stride: int) -> Any:
        rng = np.random.default_rng(int(video[-3:]))
        return rng.standard_normal((200, 4)).astype(np.float32)[:stop:stride]


class Recorder(pl.LightningModule):
    """A small network with dropout, epoch means, a torchmetric and a plateau schedule, which writes down all that happens."""

    def __init__(self, events: list[Any], monitor: str = "train_loss") -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))
        self.seen = MeanMetric()
        self.events, self.monitor = events, monitor

    def loss(self, batch: AnticipationBatch) -> torch.Tensor:
        return nn.functional.cross_entropy(self.net(batch.observed).movedim(-1, 1), batch.target)

    def training_step(self, batch: AnticipationBatch, batch_idx: int) -> torch.Tensor:
        loss = self.loss(batch)
        noise = random.random() + float(np.random.rand())  # noqa: NPY002
        shared = self.trainer.world_size > 1
        self.log("train_loss", loss, on_step=True, on_epoch=True, batch_size=len(batch), sync_dist=shared)
        self.log("worst", loss, on_step=False, on_epoch=True, reduce_fx="max", batch_size=len(batch))
        self.seen.update(loss.detach())
        self._note("train", batch_idx, tuple(batch.videos), batch.observation.tolist(), float(loss.detach()), noise)
        return loss

    def validation_step(self, batch: AnticipationBatch, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch) + torch.rand(()) * 0.01, batch_size=len(batch))
        self._note("val", batch_idx, tuple(batch.videos))

    def _note(self, what: str, *values: Any) -> None:
        trainer = self.trainer
        lr = trainer.optimizers[0].param_groups[0]["lr"]
        stepped = trainer.fit_loop.epoch_loop._batches_that_stepped
        self.events.append((what, trainer.current_epoch, trainer.global_step, stepped, lr, *values))

    def on_fit_start(self) -> None:
        # Lightning gives all ranks the same stream; real ranks need their own. A resume has to replace it.
        random.seed(5 + self.global_rank)

    def on_train_epoch_start(self) -> None:
        self._note("epoch_start")

    def on_validation_epoch_end(self) -> None:
        self._note("val_end", float(self.trainer.callback_metrics.get("val_loss", -1)))

    def on_train_epoch_end(self) -> None:
        metrics = self.trainer.callback_metrics
        values = {k: float(v) for k, v in sorted(metrics.items())}
        self._note("epoch_end", values, float(self.seen.compute()))
        self.seen.reset()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.1)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": self.monitor}}


class Stop(Exception):
    pass


class StopAt(pl.Callback):
    """Saves and raises the n-th time a hook is called (counted over the run's own life)."""

    def __init__(self, hook: str, count: int, path: Path) -> None:
        self.calls = 0

        def act(trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
            if trainer.sanity_checking:
                return
            self.calls += 1
            if self.calls == count:
                trainer.save_checkpoint(path)
                raise Stop

        setattr(self, hook, act)


class Logged(pl.loggers.logger.DummyLogger):
    """Keeps what reaches the logger, with its step."""

    def __init__(self, events: list[Any]) -> None:
        super().__init__()
        self.rows = events

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:  # type: ignore[override]
        self.rows.append(("log", step, dict(sorted(metrics.items()))))


def run(
    events: list[Any],
    *,
    stop: StopAt | None = None,
    ckpt: Path | None = None,
    workers: int = 0,
    val: int = 5,
    monitor: str = "train_loss",
    seed: int = 1,
    rows: list[Any] | None = None,
    extra: list[pl.Callback] | None = None,
    **settings: Any,
) -> Recorder:
    torch.set_num_threads(1)
    # A resumed process starts with other generators than the interrupted one had: nothing may depend on that.
    pl.seed_everything(seed if ckpt is None else 999, verbose=False)
    data = DataModule(
        Source({"train": 19, "val": val}),  # type: ignore[arg-type]
        lambda source, part: AnticipationExamples(source, part, observations=[0.4], random_observation=0.5, seed=3),
        batch_size=4,
        eval_batch_size=2,
        num_workers=workers,
        seed=3,
    )
    model = Recorder(events, monitor)
    trainer = pl.Trainer(
        **{"max_epochs": 3, "devices": 1, **settings},
        accelerator="cpu",
        logger=Logged([] if rows is None else rows),
        log_every_n_steps=2,
        enable_checkpointing=extra is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        callbacks=[ExactResume(), *(extra or []), *([stop] if stop else [])],
    )
    try:
        trainer.fit(model, data, ckpt_path=ckpt, weights_only=True)
    except Stop:
        assert stop is not None
    else:
        assert stop is None or stop.calls < 1, "the run should have been stopped"
    return model


def interrupted(tmp_path: Path, hook: str, counts: list[int], **settings: Any) -> tuple[list[Any], list[Any], Recorder]:
    """Stops at the given calls of a hook, each counted from the resume before, then runs to the end."""
    events: list[Any] = []
    rows: list[Any] = []
    ckpt: Path | None = None
    for i, count in enumerate(counts):
        path = tmp_path / f"{i}.ckpt"
        run(events, rows=rows, stop=StopAt(hook, count, path), ckpt=ckpt, **settings)
        ckpt = path
    model = run(events, rows=rows, ckpt=ckpt, **settings)
    return events, rows, model


def assert_same(tmp_path: Path, hook: str, counts: list[int], logs: bool = True, **settings: Any) -> None:
    expected: list[Any] = []
    expected_rows: list[Any] = []
    reference = run(expected, rows=expected_rows, **settings)
    events, rows, model = interrupted(tmp_path, hook, counts, **settings)
    assert events == expected
    for name, value in reference.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    if logs:  # a step whose on_train_batch_end was cut short by the stop reaches the logger in neither run
        lost = [row for row in expected_rows if row not in rows]
        assert all("train_loss_step" in row[2] for row in lost)
        assert len(lost) <= len(counts)
        assert [row for row in expected_rows if row in rows] == rows


@pytest.mark.parametrize("step", range(1, 3 * STEPS))
def test_stop_after_any_step(tmp_path, step):
    assert_same(tmp_path, "on_train_batch_end", [step])


# first step, mid-epoch, last of an epoch, first of the second
@pytest.mark.parametrize("step", [1, 3, STEPS, STEPS + 1])
def test_stop_after_any_step_with_workers(tmp_path, step):
    assert_same(tmp_path, "on_train_batch_end", [step], workers=2)


@pytest.mark.parametrize("before", [0, 2])
def test_the_number_of_workers_may_change(tmp_path, before):
    expected: list[Any] = []
    events: list[Any] = []
    reference = run(expected)
    run(events, stop=StopAt("on_train_batch_end", 3, tmp_path / "a.ckpt"), workers=before)
    model = run(events, ckpt=tmp_path / "a.ckpt", workers=2 - before)
    assert events == expected
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in reference.state_dict().items())


@pytest.mark.parametrize("settings", [{}, {"max_epochs": -1, "max_steps": 12}], ids=str)
def test_a_run_killed_later_resumes_from_lightnings_own_epoch_checkpoint(tmp_path, settings):
    """ModelCheckpoint saves before the plateau schedule takes its step of that epoch; the step must not be lost."""
    expected: list[Any] = []
    events: list[Any] = []
    reference = run(expected, **settings)

    class Kill(StopAt):
        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            if trainer.global_step == STEPS + 3:
                raise Stop

    keep = ModelCheckpoint(tmp_path, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
    run(events, stop=Kill("on_fit_start", 9, tmp_path), extra=[keep], **settings)
    del events[[e[0] for e in events].index("epoch_end") + 1 :]
    model = run(events, ckpt=tmp_path / "last.ckpt", **settings)
    assert events == expected
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in reference.state_dict().items())


@pytest.mark.parametrize("counts", [[2, 1], [1, 1, 1], [2, 3], [STEPS, STEPS], [STEPS, 1]])
def test_stops_within_one_epoch_and_at_its_ends(tmp_path, counts):
    assert_same(tmp_path, "on_train_batch_end", counts)


def test_stops_twice_within_one_epoch_with_workers(tmp_path):
    assert_same(tmp_path, "on_train_batch_end", [2, 2], workers=2)


@pytest.mark.parametrize("hook", ["on_train_epoch_start", "on_train_batch_start", "on_train_epoch_end", "on_validation_end"])
@pytest.mark.parametrize("count", [1, 2])
def test_stop_in_other_hooks(tmp_path, hook, count):
    """A save there is as good; of the hook's events those after the save come once, in the resumed run or not at all."""
    expected: list[Any] = []
    reference = run(expected)
    events, _, model = interrupted(tmp_path, hook, [count])
    if hook == "on_train_epoch_end":  # the module's hook comes after the callback's and is not repeated
        dropped = [e for e in expected if e[0] == "epoch_end"][count - 1]
        expected.remove(dropped)
        # the torchmetric that is reset in the hook that never ran keeps its sum: not the resume's doing
        expected = [(*e[:-1], None) if e[0] == "epoch_end" else e for e in expected]
        events = [(*e[:-1], None) if e[0] == "epoch_end" else e for e in events]
    assert events == expected
    for name, value in reference.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


@pytest.mark.parametrize("count", [1, 2, 4])
def test_stop_inside_validation_repeats_that_validation(tmp_path, count):
    expected: list[Any] = []
    reference = run(expected, monitor="val_loss")
    events: list[Any] = []
    path = tmp_path / "a.ckpt"
    run(events, stop=StopAt("on_validation_batch_end", count, path), monitor="val_loss")
    while events[-1][0] == "val":
        events.pop()
    model = run(events, ckpt=path, monitor="val_loss")
    assert events == expected
    for name, value in reference.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


@pytest.mark.parametrize("step", [2, 3, STEPS, STEPS + 1])
@pytest.mark.parametrize(
    "settings",
    [
        {"val": 0},
        {"monitor": "val_loss"},
        {"check_val_every_n_epoch": 2},
        {"val_check_interval": 2},
        {"max_epochs": -1, "max_steps": 12},
        {"limit_train_batches": 4},
        {"limit_val_batches": 0},
    ],
    ids=str,
)
def test_stop_after_any_step_under_other_settings(tmp_path, settings, step):
    assert_same(tmp_path, "on_train_batch_end", [step], **settings)


@pytest.mark.parametrize("hook", ["on_train_epoch_end", "on_train_epoch_start"])
def test_epoch_end_checkpoint_with_max_steps_goes_on(tmp_path, hook):
    expected: list[Any] = []
    run(expected, max_epochs=-1, max_steps=12)
    events, _, _ = interrupted(tmp_path, hook, [2], max_epochs=-1, max_steps=12)
    assert [e for e in events if e[0] == "train"] == [e for e in expected if e[0] == "train"]


@pytest.mark.parametrize("step", [2, 4, STEPS])
def test_stop_between_optimizer_steps_of_accumulated_batches(tmp_path, step):
    assert_same(tmp_path, "on_train_batch_end", [step], accumulate_grad_batches=2)


def test_boundary_is_known_while_gradients_accumulate(tmp_path):
    known: list[bool] = []

    class Ask(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            known.append(at_step_boundary(trainer))

    stop = Ask()
    stop.calls = 0  # type: ignore[attr-defined]
    run([], stop=stop, max_epochs=1, accumulate_grad_batches=2)  # type: ignore[arg-type]
    assert known == [False, True, False, True, True]


def test_stop_request_does_not_make_the_resumed_run_validate(tmp_path):
    """A graceful stop sets should_stop before it saves; the resumed run validates only where the whole run does."""
    path = tmp_path / "a.ckpt"

    class Ask(StopAt):
        def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
            trainer.should_stop = trainer.global_step == 2

    events: list[Any] = []
    expected: list[Any] = []
    run(expected)
    run(events, stop=Ask("on_train_batch_end", 3, path))
    run(events, ckpt=path)
    assert events == expected


def test_checkpoint_of_another_number_of_ranks_is_refused(tmp_path):
    path = tmp_path / "a.ckpt"
    run([], stop=StopAt("on_train_batch_end", 2, path))
    state = torch.load(path, weights_only=True)
    state["longview_resume"]["ranks"] *= 2
    torch.save(state, path)
    with pytest.raises(WorldSizeError, match="written by 2 ranks and this run has 1"):
        run([], ckpt=path)
