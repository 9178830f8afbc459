"""Makes a Lightning checkpoint resume as if the run had never stopped, whatever hook it was saved in.

Lightning 2.6 restores weights, optimizer, schedules and counters, but (found by reading and testing it)
  * counters are saved as they stand *inside* the hook: in ``on_train_batch_end`` the batch is not yet counted; at the
  last
    batch of an epoch the resumed run then skips validation and the end of the epoch;
  * a save in the middle of validation resumes without validation;
  * ``ReduceLROnPlateau`` misses its step at the end of a resumed epoch, and one that follows a save in
  ``on_train_epoch_end``;
  * epoch means of ``self.log`` count only what came after the resume; random generators are not restored at all;
  * with ``max_steps`` an epoch-end checkpoint resumes into an empty epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loops.loop import _Loop
from lightning.pytorch.loops.progress import _ProcessedTracker
from lightning.pytorch.trainer import call
from lightning.pytorch.trainer.states import TrainerFn

from longview.engine import capture
from longview.errors import LongviewError

__all__ = ["ExactResume", "WorldSizeError", "at_step_boundary"]

KEY = "longview_resume"
"""Entry of the checkpoint that holds what Lightning leaves out."""


class WorldSizeError(LongviewError):
    """The checkpoint was written by another number of ranks, so random streams cannot be continued."""


def at_step_boundary(trainer: pl.Trainer) -> bool:
    """Whether a checkpoint saved now loses no gradient: False between the batches of one accumulated optimizer step."""
    return not trainer.fit_loop._should_accumulate()


@dataclass
class _Moment:
    """Where a run stands at a save.

    ``batch_end``: the step is done, Lightning has not counted it. ``validating``: inside validation, which will be
    repeated. ``validated``: in ``on_validation_end``. ``boundary``: between steps, or a step that is not done and
    will be repeated. ``between``: between epochs, ``on_train_epoch_end`` included.
    """

    phase: Literal["batch_end", "validating", "validated", "boundary", "between"]
    validation_due: bool = False
    plateau: Literal["step", "epoch"] | None = None  # the plateau step that Lightning would take after this hook
    stepped: int = 0  # true value of Lightning's logging step for what comes next


def _moment(trainer: pl.Trainer, validating: bool) -> _Moment:
    fit, loop = trainer.fit_loop, trainer.fit_loop.epoch_loop
    epoch = cast(_ProcessedTracker, fit.epoch_progress.total)
    batch = cast(_ProcessedTracker, loop.batch_progress.total)
    stepped = loop._batches_that_stepped
    after = stepped + int(not loop._should_accumulate())
    if validating:
        return _Moment("validating", validation_due=True, stepped=stepped)
    if trainer.validating:
        return _Moment("validated", stepped=after)
    if epoch.started == epoch.processed:
        return _Moment("between", plateau="epoch" if epoch.processed > epoch.completed else None, stepped=stepped)
    if batch.processed > batch.completed:
        if not _validation_follows(trainer):
            return _Moment("batch_end", plateau=None if loop._should_accumulate() else "step", stepped=after)
        if _has_validation_batches(trainer):
            return _Moment("batch_end", validation_due=True, stepped=stepped)
        return _Moment("batch_end", stepped=after)
    return _Moment("boundary", stepped=stepped)


def _has_validation_batches(trainer: pl.Trainer) -> bool:
    """Whether a validation run would do anything; without batches Lightning calls no hook of it."""
    val_loop = trainer.fit_loop.epoch_loop.val_loop
    if val_loop._combined_loader is None:  # first validation of the run: it would be set up right after this hook
        trainer.validating = True
        val_loop.setup_data()
        trainer.training = True
    return not val_loop.skip


def _validation_follows(trainer: pl.Trainer) -> bool:
    """Whether Lightning turns to validation after this batch; a request to stop, which also brings it about, is masked."""
    fetcher = trainer.fit_loop._data_fetcher
    assert fetcher is not None
    stop, trainer.should_stop = trainer.should_stop, False
    try:
        return trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher)
    finally:
        trainer.should_stop = stop


def _all(tracker: dict[str, int], count: int, ahead: int = 0) -> None:
    """Sets every counter to ``count``; ``ahead`` more have begun (ready, started) but not ended."""
    for name in tracker:
        tracker[name] = count + (ahead if name in ("ready", "started") else 0)


def settle(loops: dict[str, Any], moment: _Moment) -> None:
    """Rewrites the fit loop's saved counters to those of a run that stands exactly at ``moment``, between two hooks."""
    epoch, batch = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
    validation = loops["epoch_loop.val_loop.batch_progress"]
    inside = int(moment.phase != "between")
    for tracker in (epoch["total"], epoch["current"]):
        _all(tracker, tracker["processed"], ahead=inside)
    if not inside:
        batch["is_last_batch"] = False
        _all(batch["total"], batch["total"]["completed"])
        _all(batch["current"], 0)
    else:
        if batch["current"]["ready"] > batch["current"]["completed"] and moment.phase == "boundary":
            batch["is_last_batch"] = False  # it speaks of the batch that will be repeated
        for tracker in (batch["total"], batch["current"]):
            _all(tracker, tracker["processed" if moment.phase == "batch_end" else "completed"])
    for tracker in (validation["total"], validation["current"]):
        if moment.validation_due:
            _all(tracker, 0, ahead=1)  # what Lightning takes for "stopped in the middle": it validates, from the start
        else:
            _all(tracker, tracker["completed"])
    loops["epoch_loop.state_dict"]["_batches_that_stepped"] = moment.stepped
    for state in loops["state_dict"].get("combined_loader", []):
        if "batches" in state and "epoch" in state:  # a batch fetched but not trained has to come again
            state["epoch"], state["batches"] = epoch["current"]["processed"], batch["current"]["completed"]


class ExactResume(Callback):
    """Saves and restores what Lightning leaves out. Must be the **first** callback of the trainer.

    A checkpoint may be saved in any training or validation hook; best in ``on_train_batch_end``, by the last
    callback, when :func:`at_step_boundary` holds. What other callbacks do after the save in the same hook happens
    once in the uninterrupted and not at all in the resumed run. A checkpoint saved inside validation repeats that
    validation from its start.

    Every rank must take part in saving: the ranks' random states are gathered.

    Args:
        allow_other_world_size: Resume with another number of ranks, which cannot be exact: random generators stay as
        seeded
            and running epoch means start anew. Otherwise this raises :class:`WorldSizeError`.
    """

    def __init__(self, allow_other_world_size: bool = False) -> None:
        self._allow_other_world_size = allow_other_world_size
        self._loaded: dict[str, Any] | None = None
        self._continues_epoch = False
        self._before_validation: dict[str, Any] | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Forgets an earlier run of the same trainer; Lightning loads the checkpoint after this."""
        self._loaded, self._continues_epoch, self._before_validation = None, False, None

    # ------------------------------------------------------------------ save

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Completes the checkpoint; collective over ranks."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        if self._loaded is not None:  # saved again before anything ran: nothing has changed, hand the same state on
            checkpoint["loops"]["fit_loop"], checkpoint[KEY] = self._loaded["loops"], self._loaded
            return
        moment = _moment(trainer, validating=self._before_validation is not None)
        settle(checkpoint["loops"]["fit_loop"], moment)
        before = self._before_validation or {"rng": capture.rng_state(), "counts": None}
        mine = {
            "rng": before["rng"],
            "results": {} if moment.phase == "between" else capture.epoch_results(trainer),
            "metrics": {} if moment.phase == "between" else capture.metric_states(pl_module, before["counts"]),
        }
        plateau = self._plateau_values(trainer, moment.plateau) if moment.plateau else {}
        checkpoint[KEY] = {
            "ranks": _gather(trainer, mine),
            "callback_metrics": {k: v.detach().cpu().clone() for k, v in trainer.callback_metrics.items()},
            "plateau": plateau,
            "stepped": moment.stepped,
            "between_epochs": moment.phase == "between",
            "inside": checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["completed"] > 0,
        }

    @staticmethod
    def _plateau_values(trainer: pl.Trainer, interval: str) -> dict[int, Any]:
        """Schedulers that Lightning would step on a metric right after this hook, with the metric's value."""
        loop = trainer.fit_loop.epoch_loop
        position = (loop.batch_idx if interval == "step" else trainer.current_epoch) + 1
        values = {}
        for i, config in enumerate(trainer.lr_scheduler_configs):
            if config.reduce_on_plateau and config.interval == interval and position % config.frequency == 0:
                value = trainer.callback_metrics.get(str(config.monitor))
                if value is not None:
                    values[i] = value.detach().cpu().clone()
        return values

    # --------------------------------------------------------------- restore

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keeps the state until the first hook of the continued run; raises WorldSizeError for another number of ranks."""
        if trainer.state.fn != TrainerFn.FITTING or KEY not in checkpoint:
            return
        state = checkpoint[KEY]
        if len(state["ranks"]) != trainer.world_size and not self._allow_other_world_size:
            raise WorldSizeError(
                f"the checkpoint was written by {len(state['ranks'])} ranks and this run has {trainer.world_size}: random "
                "streams cannot be continued exactly. Use the same nodes and devices, or allow a resume that is not exact"
            )
        self._loaded = {**state, "loops": checkpoint["loops"]["fit_loop"]}
        self._continues_epoch = bool(state["inside"])

    def _apply(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restores at the first hook after the resume; Lightning's own start-up hooks must not disturb it."""
        if self._loaded is None:
            return
        state, self._loaded = self._loaded, None
        fit, loop = trainer.fit_loop, trainer.fit_loop.epoch_loop
        loop._batches_that_stepped = state["stepped"]
        fit._restarting = False  # Lightning leaves it on until the epoch ends and then withholds the plateau step
        device = trainer.strategy.root_device
        for i, value in state["plateau"].items():
            loop.scheduler_progress.increment_ready()
            scheduler = trainer.lr_scheduler_configs[int(i)].scheduler
            call._call_lightning_module_hook(trainer, "lr_scheduler_step", scheduler, value.to(device))
            loop.scheduler_progress.increment_completed()
        if len(state["ranks"]) == trainer.world_size:
            mine = state["ranks"][trainer.global_rank]
            capture.restore_epoch_results(trainer, mine["results"])
            capture.restore_metric_states(pl_module, mine["metrics"])
            capture.restore_rng(mine["rng"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Metrics that schedulers and callbacks watch may be asked for before the first hook of the continued run."""
        if self._loaded is not None:
            if self._loaded["between_epochs"]:  # else, with max_steps, Lightning restarts an epoch that is over
                _Loop.restarting.fset(trainer.fit_loop, False)  # type: ignore[attr-defined]
            saved = {k: v.to(trainer.strategy.root_device) for k, v in self._loaded["callback_metrics"].items()}
            trainer._logger_connector._callback_metrics.update(saved)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restores, if this is the first hook."""
        self._apply(trainer, pl_module)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        """Restores, if this is the first hook."""
        self._apply(trainer, pl_module)
        if self._continues_epoch:
            # Lightning takes the first batch after a resume for the first of an epoch and would clear its means.
            trainer._logger_connector._first_loop_iter = False
            self._continues_epoch = False

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restores, if this is the first hook; notes the state to which a save inside validation goes back."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        self._apply(trainer, pl_module)
        self._before_validation = {"rng": capture.rng_state(), "counts": capture.metric_counts(pl_module)}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validation counts as done from here on."""
        self._before_validation = None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restores, if this is the first hook."""
        self._apply(trainer, pl_module)
        self._continues_epoch = False


def _gather(trainer: pl.Trainer, mine: dict[str, Any]) -> list[dict[str, Any]]:
    """Every rank's state, in order of rank."""
    if trainer.world_size == 1 or not torch.distributed.is_initialized():
        return [mine]
    everyone: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(everyone, mine)
    return everyone
