"""One attempt at a run: build, resume if there is a checkpoint, fit, test, write the result."""

from __future__ import annotations

import os
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from rich.console import Console
from rich.table import Table

from longview.config.schema import Experiment
from longview.config.validate import validate
from longview.engine.build import Built, build, memory_loader, typical_batch
from longview.engine.stop import RunStopped, StopFlag
from longview.engine.summary import Summary, measure_flops, show
from longview.engine.trainer import make_trainer
from longview.errors import ConfigError, LongviewError
from longview.runs import environment
from longview.runs.directory import RunDirectory
from longview.tasks.base import Picture, Result
from longview.viz.anticipation import save_figure
from longview.viz.curves import curves
from longview.viz.index import contact_sheet, write_index

OK, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 130
Mode = Literal["fit", "test"]

QUIET = (
    ".*in eval mode at the start of training.*",  # the weight average
    ".*does not have many workers.*",
    ".*LeafSpec.*",
    ".*exists and is not empty.*",  # the checkpoint folder of a resumed run
    ".*smaller than the logging interval.*",
)
"""Warnings of Lightning's that are no news to the user."""


def execute(run: RunDirectory, mode: Mode = "fit") -> int:
    """Run an attempt and record how it ended; returns the exit code (0 ok, 1 failed, 2 bad input, 130 stopped)."""
    rank = int(os.environ.get("RANK", "0"))
    console = Console(quiet=rank != 0)
    number = run.begin_attempt(mode) if rank == 0 else 0
    outcome, details, code = "failed", dict[str, Any](), FAILED
    try:
        with StopFlag().listening() as flag:
            attempt(run, mode, flag, console, rank)
        outcome, code = "finished", OK
    except (RunStopped, KeyboardInterrupt) as stopped:
        saved = run.last_checkpoint.exists()
        outcome, code = "stopped", STOPPED
        details = {"reason": str(stopped) or "interrupted", "saved": saved}
        again = "continue" if mode == "fit" else "score"
        option = "run.resume" if mode == "fit" else "run.test"
        console.print(f"stopped; {again} with: python run.py {option}={_shown(run.path)}", soft_wrap=True)
    except LongviewError as error:
        details, code = {"error": str(error)}, BAD_INPUT
        print(f"error: {error}", file=sys.stderr)
    except Exception as error:
        details = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        raise
    finally:
        if rank == 0:
            run.end_attempt(number, outcome, **details)
    return code


def load(run: RunDirectory) -> Experiment:
    """The typed configuration of a run; raises ConfigError if its config.yaml was damaged."""
    validated = validate(run.config())
    if validated.problems:
        raise ConfigError(validated.problems)
    return validated.experiment()


def _shown(path: Path) -> str:
    """Relative to the current directory where that is shorter to type."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _quieten() -> None:
    # Lightning's tips and hardware banners would bury what the user asked for; real warnings stay.
    import logging

    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in QUIET:
        warnings.filterwarnings("ignore", message=text)


def attempt(run: RunDirectory, mode: Mode, flag: StopFlag, console: Console, rank: int) -> None:
    _quieten()
    config = load(run)
    devices = config.devices
    _threads(config, devices)
    L.seed_everything(config.seed, workers=False, verbose=False)
    built = build(config)
    validate = built.task.trainable and len(built.source.videos("val")) > 0
    trainer = make_trainer(config, built.task, run, flag, console, validate=validate, devices=devices)
    if rank == 0:
        _record(run, trainer)
    summary = _summary(config, built, trainer)
    if rank == 0 and mode == "fit":
        show(summary, f"{run.path.name}", console)
    begun = time.perf_counter()
    if mode == "fit":
        _fit(config, built, trainer, run, console)
    fitted = time.perf_counter()
    weights = _weights_to_test(built, run, mode)
    trainer.test(built.task, datamodule=built.data, ckpt_path=weights, verbose=False, weights_only=True)
    tested = time.perf_counter()
    result = built.task.result()
    if rank == 0:
        seconds = {"fit": round(fitted - begun, 2), "test": round(tested - fitted, 2)}
        _finish(config, run, built, trainer, result, summary, weights, seconds, mode, console)


def _threads(config: Experiment, devices: int) -> None:
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(config.resources.cpus_per_device or max(1, available // devices))


def _record(run: RunDirectory, trainer: L.Trainer) -> None:
    device = trainer.strategy.root_device
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    extra = {"device": hardware, "threads": torch.get_num_threads(), "cuda": torch.version.cuda}
    run.write_json(run.path / "environment.json", {**environment.describe(), **extra})
    diff = environment.uncommitted_diff()
    if diff:
        (run.path / "code.diff").write_text(diff, encoding="utf-8")


def _summary(config: Experiment, built: Built, trainer: L.Trainer) -> Summary:
    task, data = built.task, built.data
    parameters = list(task.model.parameters())
    flops, of = None, ""
    if task.trainable:
        batch = typical_batch(built)
        flops, of = measure_flops(task, batch), f"forward, counted: {task.size_of(batch)}"
    sizes = {part: len(data.examples(part)) for part in ("train", "val", "test")}
    steps = -(-sizes["train"] // (config.loader.batch_size * trainer.world_size)) if task.trainable else 0
    return Summary(
        parameters=sum(p.numel() for p in parameters),
        trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        flops_per_sample=flops,
        flops_of=of,
        train_examples=sizes["train"],
        val_examples=sizes["val"],
        test_examples=sizes["test"],
        steps_per_epoch=-(-steps // config.trainer.accumulate),
        device=str(trainer.strategy.root_device),
        precision=config.trainer.precision,
        processes=trainer.world_size,
    )


def _fit(config: Experiment, built: Built, trainer: L.Trainer, run: RunDirectory, console: Console) -> None:
    if not built.task.trainable:
        memorise = getattr(built.task.model, "memorise", None)
        if memorise is not None:
            memorise(memory_loader(built, config.loader.eval_batch_size))
        return
    last = run.last_checkpoint if run.last_checkpoint.exists() else None
    if last is not None:
        console.print(f"resuming from {_shown(last)}")
    trainer.fit(built.task, datamodule=built.data, ckpt_path=last, weights_only=True if last else None)


def _weights_to_test(built: Built, run: RunDirectory, mode: Mode) -> Path | None:
    if not built.task.trainable:
        return None
    for path in (run.best_checkpoint, run.last_checkpoint):
        if path.exists():
            return path
    raise LongviewError(f"{run.path} has no checkpoint to test; train it first: python run.py run.resume={run.path}")


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


def _finish(
    config: Experiment,
    run: RunDirectory,
    built: Built,
    trainer: L.Trainer,
    result: Result,
    summary: Summary,
    weights: Path | None,
    seconds: dict[str, float],
    mode: Mode,
    console: Console,
) -> None:
    record = {
        "task": config.task.name,
        "model": config.model.name,
        "data": config.data.name,
        "seed": config.seed,
        "weights": weights.name if weights else None,
        "epochs": trainer.current_epoch,
        "seconds": seconds,
        "summary": vars(summary),
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
    took = f"trained {seconds['fit']:.0f} s, " if mode == "fit" else ""
    console.print(f"{took}tested {seconds['test']:.0f} s; everything is in {_shown(run.path)}", soft_wrap=True)
    if figures:
        console.print(f"figures: {_shown(run.figures / 'index.html')}", soft_wrap=True)
