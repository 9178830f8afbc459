"""Weights & Biases, offline by default: same run id over every resume, configuration and figures included."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from longview.config.schema import Experiment
from longview.runs.directory import RunDirectory


def make_wandb(config: Experiment, run: RunDirectory) -> WandbLogger:
    """A logger whose run id is the run directory's, so a resumed run is the same run."""
    settings = config.logger.wandb
    assert settings is not None
    os.environ.setdefault("WANDB_SILENT", "true")
    return WandbLogger(
        project=settings.project,
        entity=settings.entity,
        name=run.path.name,
        id=run.id,
        save_dir=run.path,
        offline=settings.mode == "offline",
        tags=list(settings.tags),
        config=run.config(),
        resume=None if settings.mode == "offline" else "allow",
        log_model=False,
    )


@rank_zero_only
def log_figures(loggers: Sequence[Any], figures: Sequence[Path], result: Mapping[str, float]) -> None:
    """Send the figures and the final figures of merit to every W&B logger among ``loggers``."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            images = [str(f) for f in figures if f.suffix == ".png"]
            if images:
                logger.log_image("figures", images, caption=[Path(i).stem for i in images])
            logger.experiment.summary.update(dict(result))
