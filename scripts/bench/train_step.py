"""Training step of the full-size MANTA: longview's whole stack against bare Lightning and a bare PyTorch loop.

All three train the same model (15 blocks, width 64, 1.3 M parameters) on the same examples in the same order, with the same Adam
and the same weight average; they differ in what drives the step. Rounds alternate; a variant's time is its fastest round.

    python scripts/bench/train_step.py [--rounds 5] [--steps 12] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader

from longview.config.experiment import Checker
from longview.config.schema import Experiment
from longview.engine.build import Built, build
from longview.engine.stop import StopFlag
from longview.engine.trainer import make_trainer
from longview.runs.directory import RunDirectory

WARM_UP = 2
"""Steps at the start of every round that are not timed."""


def experiment(steps: int) -> Experiment:
    """The published sizes on generated videos of about 125 network steps."""
    return (
        Checker()
        .check(
            [
                "recipe=null",
                "data.stride=4",
                "data.val_videos=0",
                "trainer.max_epochs=1",
                f"trainer.limit_train_batches={steps}",
                "trainer.progress=false",
            ]
        )
        .config
    )


class Clock(Callback):
    """Time of the steps after the warm-up."""

    def __init__(self, steps: int) -> None:
        self.steps, self.begun, self.seconds = steps, 0.0, 0.0

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, index: int) -> None:
        if index == WARM_UP:
            self.begun = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, out: Any, batch: Any, index: int) -> None:
        if index == self.steps - 1:
            self.seconds = time.perf_counter() - self.begun


def batches(built: Built) -> DataLoader[Any]:
    """A plain loader over the same batches as longview's."""
    sampler = built.data.train_dataloader().sampler
    examples = built.data.examples("train")
    return DataLoader(examples, batch_sampler=sampler.batches(0), collate_fn=examples.collate)  # type: ignore[arg-type]


def raw(config: Experiment, steps: int) -> float:
    """A loop written by hand."""
    built = build(config)
    task = built.task.train()
    optimizer = torch.optim.Adam(task.model.parameters(), lr=5e-4)
    source: Iterator[Any] = iter(batches(built))
    begun = 0.0
    for index in range(steps):
        if index == WARM_UP:
            begun = time.perf_counter()
        batch = next(source)
        optimizer.zero_grad()
        task.model.training_loss(batch).backward()  # type: ignore[operator]
        optimizer.step()
        task.ema.update(task.model)  # type: ignore[union-attr, operator]
    return time.perf_counter() - begun


class Bare(L.LightningModule):
    """The least a Lightning user would write."""

    def __init__(self, built: Built) -> None:
        super().__init__()
        self.model, self.ema = built.task.model, built.task.ema

    def training_step(self, batch: Any, index: int) -> Tensor:
        return self.model.training_loss(batch)  # type: ignore[no-any-return, operator]

    def on_train_batch_end(self, out: Any, batch: Any, index: int) -> None:
        self.ema.update(self.model)  # type: ignore[union-attr, operator]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model.parameters(), lr=5e-4)


def bare_lightning(config: Experiment, steps: int) -> float:
    """Lightning without logger, checkpoint or progress bar."""
    built, clock = build(config), Clock(steps)
    trainer = L.Trainer(
        max_epochs=1,
        limit_train_batches=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
        use_distributed_sampler=False,
    )
    trainer.fit(Bare(built), batches(built))
    return clock.seconds


def whole_stack(config: Experiment, steps: int) -> float:
    """What ``python run.py`` runs: stateful loader, exact resume, stop flag, metrics file, checkpoints."""
    built, clock = build(config), Clock(steps)
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory.create(Path(folder), "bench", {}, [], [])
        trainer = make_trainer(config, built.task, run, StopFlag(), Console(quiet=True), validate=False, devices=1)
        trainer.callbacks.append(clock)  # type: ignore[attr-defined]
        trainer.fit(built.task, datamodule=built.data)
    return clock.seconds


VARIANTS: dict[str, Callable[[Experiment, int], float]] = {
    "bare PyTorch loop": raw,
    "bare Lightning": bare_lightning,
    "longview": whole_stack,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    config = experiment(options.steps)
    best = dict.fromkeys(VARIANTS, float("inf"))
    for _ in range(options.rounds):
        for name, variant in VARIANTS.items():
            torch.manual_seed(0)
            best[name] = min(best[name], variant(config, options.steps) / (options.steps - WARM_UP))
    for name, seconds in best.items():
        print(f"{name:>18}: {1000 * seconds:7.1f} ms per step")
    ours = best["longview"]
    ratios = {f"longview / {name}": ours / best[name] for name in VARIANTS if name != "longview"}
    limits = {"longview / bare Lightning": 1.02, "longview / bare PyTorch loop": 1.05}
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.3f} (limit {limits[name]})")
    if options.json:
        options.json.write_text(json.dumps({"seconds": best, "ratios": ratios}, indent=2) + "\n")


if __name__ == "__main__":
    main()
