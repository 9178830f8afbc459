"""The one place that makes a Lightning Trainer, from the configuration."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DeepSpeedStrategy
from rich.console import Console

from longview.config.schema import Experiment
from longview.engine.checkpoints import KeptCheckpoint
from longview.engine.csv_logger import DropRepeatedRows, MetricsFile
from longview.engine.heartbeat import Heartbeat
from longview.engine.progress import FitProgress
from longview.engine.resume import ExactResume
from longview.engine.stop import NoSignals, StopAtStepBoundary, StopFlag
from longview.engine.strategies import WholeToEvaluate, make_strategy
from longview.runs.directory import RunDirectory
from longview.tasks.base import Task

PRECISIONS = {"32": "32-true", "64": "64-true", "16-mixed": "16-mixed", "bf16-mixed": "bf16-mixed"}


def make_trainer(
    config: Experiment,
    task: Task,
    run: RunDirectory,
    flag: StopFlag,
    console: Console,
    *,
    validate: bool,
    accelerator: str,
    heartbeat: Heartbeat,
    fits: bool = True,
) -> L.Trainer:
    """Trainer with longview's callbacks and loggers.

    ``validate`` says whether there is a validation part, ``accelerator`` ("cpu" or "cuda") what to compute on.
    Without ``fits``, metrics.csv is left as it is: a test pass alone
    counts its steps from 0 again.
    """
    t = config.trainer
    # Deterministic mode would also fill every fresh tensor with NaN: a debugging aid that costs 2 % of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    file = MetricsFile(run.metrics_file)
    strategy = make_strategy(config, accelerator, trainable=task.trainable)
    has_precision = isinstance(strategy, DeepSpeedStrategy)  # it brings its own
    trainer = L.Trainer(
        accelerator="gpu" if accelerator == "cuda" else "cpu",
        devices=config.devices,
        num_nodes=config.resources.nodes,
        strategy=strategy,
        # Processes are who their environment says they are, also inside a SLURM allocation: no detection, no automatic requeue.
        plugins=[LightningEnvironment()],
        precision=None if has_precision else PRECISIONS[t.precision],  # type: ignore[arg-type]
        max_epochs=t.max_epochs if t.max_epochs is not None else -1,
        max_steps=t.max_steps if t.max_steps is not None else -1,
        gradient_clip_val=t.gradient_clip,
        accumulate_grad_batches=t.accumulate,
        check_val_every_n_epoch=t.validate_every,
        limit_train_batches=t.limit_train_batches,
        limit_val_batches=t.limit_eval_batches if validate else 0,
        limit_test_batches=t.limit_eval_batches,
        log_every_n_steps=t.log_every,
        deterministic="warn" if t.deterministic else False,
        num_sanity_val_steps=0,
        # A parameter gathered for the first time inside inference mode could not be trained afterwards.
        inference_mode=config.strategy.name not in ("fsdp", "deepspeed"),
        use_distributed_sampler=False,  # our sampler knows ranks, order and position
        enable_model_summary=False,
        default_root_dir=run.path,
        logger=_loggers(config, run, file if fits else None),
        callbacks=[*_callbacks(config, task, run, flag, console, validate), heartbeat, DropRepeatedRows(file)],
    )
    trainer._signal_connector = NoSignals(trainer)
    return trainer


def _loggers(config: Experiment, run: RunDirectory, file: MetricsFile | None) -> list[Logger]:
    loggers: list[Logger] = [file] if file is not None else []
    if config.logger.wandb is not None:
        from longview.engine.wandb_logger import make_wandb  # wandb takes a second to import

        loggers.append(make_wandb(config, run))
    return loggers


def _callbacks(
    config: Experiment, task: Task, run: RunDirectory, flag: StopFlag, console: Console, validate: bool
) -> list[Callback]:
    common: dict[str, Any] = {
        "dirpath": run.checkpoints,
        "save_top_k": 1,
        "enable_version_counter": False,
        "auto_insert_metric_name": False,
    }
    callbacks: list[Callback] = [
        ExactResume(),  # first: it restores before any other callback acts
        WholeToEvaluate(),
        FitProgress(console, enabled=config.trainer.progress),
        LearningRateMonitor("epoch"),
        KeptCheckpoint(filename="last", save_on_train_epoch_end=True, **common),
    ]
    if validate:
        callbacks.append(KeptCheckpoint(filename="best", monitor=task.monitor, mode=task.monitor_mode, **common))
    # The stop comes last: what it saves then includes what the other callbacks did at this step.
    return [*callbacks, StopAtStepBoundary(flag, run)]
