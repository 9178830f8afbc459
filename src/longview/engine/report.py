"""What a finished run leaves and says: result.json, predictions, figures, one table."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from rich.console import Console
from rich.table import Table

from longview.config.schema import Experiment
from longview.engine.build import Built
from longview.engine.summary import Summary
from longview.runs.directory import RunDirectory
from longview.tasks.base import Picture, Result, Task
from longview.viz.anticipation import save_figure
from longview.viz.curves import curves
from longview.viz.index import contact_sheet, write_index

PLAIN: dict[str, Any] = {"soft_wrap": True, "markup": False, "highlight": False}
"""For lines with a path: neither broken nor read as markup."""


def shown(path: Path) -> str:
    """Relative to the current directory where that is shorter to type; whole in a job, whose output is read elsewhere."""
    if os.environ.get("LONGVIEW_RANKS") == "slurm":
        return str(path)
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def draw(run: RunDirectory, built: Built, result: Result) -> list[Path]:
    """Predictions, the task's figures, training curves, contact sheet and index page; returns the pictures."""
    built.task.save_predictions(run.path / "predictions.npz")
    pictures = list(built.task.draw(run.figures))
    sheet = [contact_sheet([p.path for p in pictures], run.figures / "contact_sheet.png")] if pictures else []
    if run.metrics_file.exists() and built.task.trainable:
        path = save_figure(curves(run.metrics_file), run.figures / "curves.png")
        pictures.append(Picture(path, "training curves"))
    if pictures:
        write_index(
            run.figures,
            run.path.name,
            [p.path for p in pictures],
            columns=result.columns,
            rows=result.rows,
            note=result.note,
            captions=[p.caption for p in pictures],
        )
    return [*sheet, *(p.path for p in pictures)]


def _previous(run: RunDirectory) -> dict[str, Any]:
    """The result a test pass replaces: it knows about the training what the pass does not."""
    try:
        found: dict[str, Any] = json.loads(run.result_file.read_text(encoding="utf-8"))
        return found if "fit" in found["seconds"] else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _primary(task: Task, result: Result) -> dict[str, Any] | None:
    """The one figure by which runs are compared."""
    if task.primary not in result.metrics:
        return None
    return {"name": task.primary, "value": result.metrics[task.primary], "mode": task.primary_mode}


def _validation(trainer: L.Trainer) -> dict[str, Any] | None:
    """The validation score of the tested weights: what settings may be chosen by, where the test part may not."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor and callback.best_model_score is not None:
            return {"name": callback.monitor, "value": float(callback.best_model_score), "mode": callback.mode}
    return None


def finish(
    config: Experiment,
    run: RunDirectory,
    built: Built,
    trainer: L.Trainer,
    result: Result,
    summary: Summary,
    weights: Path | None,
    seconds: dict[str, float],
    console: Console,
    *,
    repeated: bool = False,
) -> None:
    """Write result.json, draw, tell the loggers, print the table. ``repeated``: a test pass of a run trained earlier."""
    before = _previous(run) if repeated else {}
    record = {
        "task": config.task.name,
        "model": config.model.name,
        "data": config.data.name,
        "seed": config.seed,
        "weights": weights.name if weights else None,
        "epochs": before.get("epochs", trainer.current_epoch),
        "seconds": {**seconds, **({"fit": before["seconds"]["fit"]} if before else {})},
        "summary": vars(summary),
        "primary": _primary(built.task, result),
        "validation": before["validation"] if "validation" in before else _validation(trainer),
        "result": result.as_dict(),
    }
    run.write_json(run.result_file, record)
    figures = draw(run, built, result)
    if config.logger.wandb is not None:
        from longview.engine.wandb_logger import log_figures

        log_figures(trainer.loggers, figures, result.metrics)
    table = Table(title=f"{run.path.name}: test", title_justify="left", title_style="bold")
    for i, column in enumerate(result.columns):
        table.add_column(column, justify="left" if i < 2 else "right")
    for row in result.rows:
        table.add_row(*(f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in row))
    console.print(table)
    console.print(f"[dim]{result.note}[/dim]", soft_wrap=True)
    took = "" if repeated else f"trained {seconds['fit']:.0f} s, "
    console.print(f"{took}tested {seconds['test']:.0f} s; everything is in {shown(run.path)}", soft_wrap=True)
    if figures:
        console.print(f"figures: {shown(run.figures / 'index.html')}", soft_wrap=True)
