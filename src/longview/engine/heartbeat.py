"""progress.json: where a run stands, for ``longview status``. Written by rank 0, without waiting for the device."""

from __future__ import annotations

import json
import math
import os
import socket
import time
from contextlib import suppress
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn

from longview.engine.failures import job
from longview.runs.directory import RunDirectory

EVERY = 5.0
"""Seconds between two writes."""
FILE = "progress.json"


class Heartbeat(Callback):
    """Keeps progress.json up to date; does nothing on other ranks than 0.

    The file holds ``state`` (starting, training, validating, testing), ``epoch`` (from 1) and ``epochs``, ``step`` and ``steps``
    (of the optimizer; null: no end known), ``metric`` (name and value: the last validation score, before the first one the loss),
    ``samples_per_second``, ``eta_seconds``, ``time``, ``host``, ``job``, ``attempt``, and in the last write ``ended`` (how).
    """

    def __init__(self, run: RunDirectory, attempt: int, rank: int) -> None:
        self._path, self._on = run.path / FILE, rank == 0
        self._state: dict[str, Any] = {
            "state": "starting",
            "epoch": None,
            "epochs": None,
            "step": None,
            "steps": None,
            "metric": None,
            "samples_per_second": None,
            "eta_seconds": None,
            "time": None,
            "host": socket.gethostname(),
            "job": job(),
            "attempt": attempt,
        }
        self._written = self._begun = 0.0
        self._first_step = self._samples = 0
        self._rate_since = 0.0
        self._loss: torch.Tensor | None = None
        self._scored = False

    def start(self) -> None:
        """The first write, before anything is built."""
        self._write()

    def end(self, outcome: str) -> None:
        """The last write."""
        self._state["ended"] = outcome
        self._write()

    def _write(self) -> None:
        if not self._on:
            return
        self._written = time.monotonic()
        self._state["time"] = time.time()
        temporary = self._path.with_name(f".{FILE}")
        with suppress(OSError):  # a full disk must not end a run over its progress line
            temporary.write_text(json.dumps(self._state) + "\n", encoding="utf-8")
            os.replace(temporary, self._path)  # whole or not at all; unlike results it need not survive a power cut

    def _due(self) -> bool:
        return self._on and time.monotonic() - self._written >= EVERY

    def _becomes(self, state: Literal["training", "validating", "testing"]) -> None:
        self._state["state"] = state

    # hooks ----------------------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Training begins, or goes on, at this step."""
        self._becomes("training")
        self._begun = self._rate_since = time.monotonic()
        self._first_step = trainer.global_step
        self._state["steps"] = _total_steps(trainer)
        self._advance(trainer)
        self._write()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count, and write when it is time."""
        self._samples += len(batch)
        if self._due():
            self._read_loss(outputs)
            self._advance(trainer)
            self._write()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Validation of a fit."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._becomes("validating")

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """A sign of life."""
        if self._due():
            self._write()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the score; it has been computed, and read by whoever keeps the best checkpoint."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        self._becomes("training")
        name = str(getattr(pl_module, "monitor", ""))
        value = trainer.callback_metrics.get(name)
        if self._on and value is not None:
            self._score(name, float(value))
            self._scored = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """All steps are done."""
        self._advance(trainer)
        self._write()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The test pass begins."""
        self._becomes("testing")
        self._write()

    def on_test_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """A sign of life."""
        if self._due():
            self._write()

    # numbers --------------------------------------------------------------------------------------------------------

    def _score(self, name: str, value: float) -> None:
        self._state["metric"] = {"name": name, "value": value} if math.isfinite(value) else None

    def _read_loss(self, outputs: Any) -> None:
        """The loss of the write before, whose copy has arrived by now: reading today's would wait for the device."""
        if self._scored:
            return
        if self._loss is not None:
            self._score("train/loss", float(self._loss))
        loss = outputs["loss"] if isinstance(outputs, dict) and "loss" in outputs else outputs
        if isinstance(loss, torch.Tensor):
            there = torch.empty((), dtype=loss.dtype, pin_memory=loss.is_cuda)
            self._loss = there.copy_(loss.detach(), non_blocking=True)

    def _advance(self, trainer: L.Trainer) -> None:
        now, step, steps = time.monotonic(), trainer.global_step, self._state["steps"]
        epochs = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None
        epoch = trainer.current_epoch + 1 if epochs is None else min(trainer.current_epoch + 1, epochs)
        self._state |= {"epoch": epoch, "epochs": epochs, "step": step}
        if self._samples:
            rate = self._samples * trainer.world_size / max(now - self._rate_since, 1e-9)
            self._state["samples_per_second"] = round(rate, 2)
        self._samples, self._rate_since = 0, now
        done = step - self._first_step
        if steps is not None and done > 0:
            self._state["eta_seconds"] = round((now - self._begun) / done * max(0, steps - step), 1)


def _total_steps(trainer: L.Trainer) -> int | None:
    """Optimizer steps of the whole run; None if only something else ends it."""
    per_epoch = -(-trainer.num_training_batches // trainer.accumulate_grad_batches)
    limits = []
    if trainer.max_steps and trainer.max_steps > 0:
        limits.append(trainer.max_steps)
    if trainer.max_epochs and trainer.max_epochs > 0 and math.isfinite(per_epoch):
        limits.append(int(per_epoch) * trainer.max_epochs)
    return min(limits) if limits else None
