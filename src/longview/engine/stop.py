"""Stopping at a step boundary. A signal sets a flag and nothing else; the training loop saves and leaves when it sees it.

Only the process that installed the handlers reacts: forked loader workers inherit them and must stay silent.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector
from lightning.pytorch.trainer.states import TrainerFn

from longview.engine.resume import at_step_boundary
from longview.runs.directory import RunDirectory

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class RunStopped(Exception):
    """The run was asked to stop; the text is the reason, such as the signal's name."""


class StopFlag:
    """Set by signals, read by the training loop.

    Attributes:
        reason: Name of the first signal, None while there was none.
        underway: Whether a loop has begun; what goes wrong before is bad input, what goes wrong afterwards a failed run.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self.underway = False
        self._interrupts = 0
        self._owner = os.getpid()

    def __bool__(self) -> bool:
        return self.reason is not None

    @contextmanager
    def listening(self) -> Iterator[StopFlag]:
        """Install the handlers for the duration of the block. A second Ctrl-C interrupts at once."""
        before = {s: signal.getsignal(s) for s in SIGNALS}

        def handle(number: int, frame: FrameType | None) -> None:
            if os.getpid() != self._owner:
                return
            if number == signal.SIGINT:
                self._interrupts += 1
                if self._interrupts > 1:
                    raise KeyboardInterrupt
            self.reason = self.reason or signal.Signals(number).name

        for s in SIGNALS:
            signal.signal(s, handle)
        try:
            yield self
        finally:
            for s, handler in before.items():
                signal.signal(s, handler)


class NoSignals(_SignalConnector):
    """In place of the part of Lightning's trainer that handles signals.

    On SIGTERM Lightning 2.6 takes part in a broadcast inside the handler, where another rank may be in another collective (a
    deadlock), ends training with SystemExit at a moment of its own, and on SLURM saves and requeues by itself.
    """

    def register_signal_handlers(self) -> None:
        """Leave every handler as it is."""


class StopAtStepBoundary(Callback):
    """Saves last.ckpt and ends the run once any rank's flag is set.

    With several ranks the flags are combined every ``agree_every`` steps, at the same step on every rank.
    """

    def __init__(self, flag: StopFlag, run: RunDirectory, agree_every: int = 10) -> None:
        self.flag, self.run, self.agree_every = flag, run, agree_every

    def _agreed(self, trainer: L.Trainer) -> bool:
        if trainer.world_size == 1:
            return bool(self.flag)
        if trainer.global_step % self.agree_every:
            return False
        vote = torch.tensor(float(bool(self.flag)), device=trainer.strategy.root_device)
        return bool(trainer.strategy.reduce(vote, reduce_op="sum") > 0)

    def on_train_start(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        """Everything is built and the checkpoint is loaded."""
        self.flag.underway = True

    def on_test_start(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        """Everything is built and the weights are loaded."""
        self.flag.underway = True

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        """The step is complete: save it and leave. Between the batches of one accumulated step, wait for its end."""
        if at_step_boundary(trainer) and self._agreed(trainer):
            # Lightning would log this step's values right after this hook, which is not left in the ordinary way.
            trainer._logger_connector.on_batch_end()
            trainer._logger_connector.update_train_step_metrics()
            self._save_and_leave(trainer)

    def on_validation_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        """Save and leave; the resumed run repeats this validation. Ranks may have different numbers of batches here, so
        several ranks go on to the next training step, where they can agree."""
        if self.flag and trainer.world_size == 1 and trainer.state.fn == TrainerFn.FITTING:
            self._save_and_leave(trainer)

    def on_test_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        """A test pass can be repeated."""
        if self.flag and trainer.world_size == 1:
            raise RunStopped(self.flag.reason or "")

    def _save_and_leave(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.run.last_checkpoint)
        raise RunStopped(self.flag.reason or "another rank was asked to stop")
