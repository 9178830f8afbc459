"""One progress bar for the whole of a fit: epoch, steps, loss, samples per second, time left."""

from __future__ import annotations

import math
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

QUIET_EVERY = 30.0
"""Seconds between the plain lines that replace the bar where the output is not a terminal (a job's log)."""


class FitProgress(ProgressBar):
    """Rich bar on a terminal, a plain line every ``QUIET_EVERY`` seconds in a log file; rank 0 alone."""

    def __init__(self, console: Console, enabled: bool = True) -> None:
        super().__init__()
        self.console, self._on = console, enabled
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._clock = self._seen = self._rate = 0.0
        self._printed = 0.0
        self._loss = math.nan

    def disable(self) -> None:
        """Called by Lightning on ranks above 0."""
        self._on = False

    def enable(self) -> None:
        """Show the bar again."""
        self._on = True

    # fit ------------------------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the bar at the step the run stands at."""
        total = float(trainer.num_training_batches) * (trainer.max_epochs or 1)
        if trainer.max_epochs == -1 or math.isinf(total):
            total = float(trainer.max_steps)
        done = trainer.current_epoch * float(trainer.num_training_batches) + trainer.fit_loop.epoch_loop.batch_idx + 1
        self._open(int(total), "train", max(0, int(done)))
        self._clock, self._seen = time.perf_counter(), 0.0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch; the loss is read about once a second, because reading it waits for the device."""
        if not self._on:
            return
        self._seen += len(batch) * trainer.world_size
        now = time.perf_counter()
        if now - self._clock >= 1.0 or math.isnan(self._loss) or self._line_due(now):
            self._rate = self._seen / max(now - self._clock, 1e-9)
            loss = trainer.progress_bar_metrics.get("train/loss")
            self._loss = float(loss) if loss is not None else float(outputs["loss"]) / len(batch)
            self._clock, self._seen = now, 0.0
        epochs = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
        text = f"epoch {trainer.current_epoch + 1}{epochs}  loss {self._loss:.4g}  {self._rate:.0f} samples/s"
        self._advance(text)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        self._close()

    # evaluation -----------------------------------------------------------------------------------------------------

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A bar of its own for the test pass."""
        batches = trainer.num_test_batches
        self._open(int(sum(batches)), "test", 0)

    def on_test_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Count the batch."""
        self._advance("")

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        self._close()

    # drawing --------------------------------------------------------------------------------------------------------

    def _open(self, total: int, label: str, done: int) -> None:
        if not self._on:
            return
        self._label, self._total, self._done, self._begun = label, total, done, time.perf_counter()
        self._start, self._printed = done, time.perf_counter()
        if self.console.is_terminal:
            self._progress = Progress(
                TextColumn(f"{label:>5}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(elapsed_when_finished=True),
                TextColumn("{task.description}"),
                console=self.console,
            )
            self._progress.start()
            self._task = self._progress.add_task("", total=total, completed=done)

    def _line_due(self, now: float) -> bool:
        """Whether the next call of ``_advance`` prints a plain line."""
        return self._progress is None and (now - self._printed >= QUIET_EVERY or self._done + 1 >= self._total)

    def _advance(self, text: str) -> None:
        if not self._on:
            return
        now = time.perf_counter()
        due = self._line_due(now)
        self._done += 1
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, advance=1, description=text)
        elif due:
            self._printed = now
            spent = now - self._begun
            left = spent / max(self._done - self._start, 1) * (self._total - self._done)
            line = f"{self._label} {self._done}/{self._total}  {text}  ETA {time.strftime('%H:%M:%S', time.gmtime(left))}"
            self.console.print(line, highlight=False)

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
