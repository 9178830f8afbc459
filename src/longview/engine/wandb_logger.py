"""Weights & Biases, offline by default: same run id over every resume, configuration and figures included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from longview.config.schema import Experiment
from longview.runs.directory import RunDirectory


def make_wandb(config: Experiment, run: RunDirectory) -> WandbLogger:
    """A logger whose run id is the run directory's, so a resumed run is the same run."""
    settings = config.logger.wandb
    assert settings is not None
    experiment = None
    if getattr(rank_zero_only, "rank", 0) == 0:
        offline = settings.mode == "offline"
        experiment = wandb.init(
            project=settings.project,
            entity=settings.entity,
            name=run.path.name,
            id=run.wandb_id,
            dir=run.path,
            mode=settings.mode,
            config=run.config(),
            tags=list(settings.tags),
            resume=None if offline else "allow",  # offline, fragments of one id are joined by `wandb sync`
            settings=wandb.Settings(silent=True),
        )
    return WandbLogger(experiment=experiment, save_dir=run.path, log_model=False)


@rank_zero_only
def log_figures(loggers: Sequence[Any], figures: Sequence[Path], result: Mapping[str, float]) -> None:
    """Send the figures, each under its own name, and the final figures of merit to every W&B logger among ``loggers``."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            images = {f"figures/{f.stem}": wandb.Image(str(f)) for f in figures if f.suffix == ".png"}
            if images:
                logger.experiment.log(images)
            logger.experiment.summary.update(dict(result))


def finish(failed: bool) -> None:
    """Close the process's W&B run: the next point of a sweep would go on with it."""
    if wandb.run is not None:
        wandb.finish(exit_code=int(failed))
