"""A bar on a terminal, plain lines in a job's log; loss, samples per second and time left in both."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

import longview.engine.progress as module
from longview.engine.progress import FitProgress


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module.time, "perf_counter", made)
    return made


def trainer(**over: Any) -> Any:
    fit_loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_idx=-1))
    given = {"num_training_batches": 10, "max_epochs": 4, "max_steps": -1, "current_epoch": 0, "world_size": 1}
    return SimpleNamespace(**{**given, "fit_loop": fit_loop, "progress_bar_metrics": {}, "num_test_batches": [3], **over})


def fit(progress: FitProgress, clock: Clock, batches: int = 40, seconds: float = 2.0, **over: Any) -> None:
    """``batches`` of 8 samples, each taking ``seconds``; the loss of batch i is i."""
    at = trainer(**over)
    progress.on_train_start(at, None)  # type: ignore[arg-type]
    for i in range(batches):
        clock.now += seconds
        at.current_epoch = i // at.num_training_batches
        at.progress_bar_metrics = {"train/loss": float(i)}
        progress.on_train_batch_end(at, None, {}, [0] * 8, i)  # type: ignore[arg-type]
    progress.on_train_end(at, None)  # type: ignore[arg-type]


def plain() -> tuple[FitProgress, io.StringIO]:
    out = io.StringIO()
    return FitProgress(Console(file=out, force_terminal=False, width=200)), out


def test_a_log_gets_a_line_every_half_minute_and_a_last_one(clock: Clock) -> None:
    progress, out = plain()
    fit(progress, clock)
    lines = out.getvalue().splitlines()
    assert lines == [
        "train 15/40  epoch 2/4  loss 14  4 samples/s  ETA 00:00:50",
        "train 30/40  epoch 3/4  loss 29  4 samples/s  ETA 00:00:20",
        "train 40/40  epoch 4/4  loss 39  4 samples/s  ETA 00:00:00",
    ]


def test_samples_of_all_ranks_count(clock: Clock) -> None:
    progress, out = plain()
    fit(progress, clock, world_size=4)
    assert "16 samples/s" in out.getvalue()


def test_the_last_line_of_a_short_fit_shows_its_last_loss(clock: Clock) -> None:
    progress, out = plain()
    fit(progress, clock, seconds=0.001)
    assert out.getvalue() == "train 40/40  epoch 4/4  loss 39  8000 samples/s  ETA 00:00:00\n"


def test_a_resumed_fit_counts_from_where_it_stands(clock: Clock) -> None:
    progress, out = plain()
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_idx=4))
    fit(progress, clock, batches=15, current_epoch=2, fit_loop=loop)
    assert out.getvalue().splitlines()[-1].startswith("train 40/40")
    assert "ETA 00:00:00" in out.getvalue().splitlines()[-1]


def test_steps_bound_the_fit_where_there_are_no_epochs(clock: Clock) -> None:
    progress, out = plain()
    fit(progress, clock, batches=7, max_epochs=-1, max_steps=7)
    assert "train 7/7  epoch 1  loss 6" in out.getvalue()


def test_a_terminal_gets_a_bar(clock: Clock) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, color_system=None)
    fit(FitProgress(console), clock)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert "━" in text
    assert "40/40" in text
    assert "epoch 4/4  loss 39  4 samples/s" in text
    assert "ETA" in text
    assert "\x1b[?25h" in out.getvalue()  # the cursor is given back


def test_the_terminal_is_given_back_after_an_error(clock: Clock) -> None:
    out = io.StringIO()
    progress = FitProgress(Console(file=out, force_terminal=True, width=120))
    progress.on_train_start(trainer(), None)  # type: ignore[arg-type]
    progress.on_exception(trainer(), None, RuntimeError())  # type: ignore[arg-type]
    assert out.getvalue().rstrip().endswith("\x1b[?25h")


@pytest.mark.parametrize("how", ["configured", "rank above 0"])
def test_it_can_be_silent(clock: Clock, how: str) -> None:
    out = io.StringIO()
    progress = FitProgress(Console(file=out), enabled=how != "configured")
    if how != "configured":
        progress.disable()
    fit(progress, clock)
    progress.on_test_start(trainer(), None)  # type: ignore[arg-type]
    progress.on_test_batch_end()
    progress.on_test_end(trainer(), None)  # type: ignore[arg-type]
    assert out.getvalue() == ""


def test_the_test_pass_has_a_line_of_its_own(clock: Clock) -> None:
    progress, out = plain()
    progress.on_test_start(trainer(), None)  # type: ignore[arg-type]
    for _ in range(3):
        progress.on_test_batch_end()
    assert out.getvalue().split() == ["test", "3/3", "ETA", "00:00:00"]
