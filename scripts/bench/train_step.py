"""Training step of the full-size MANTA: longview's whole stack against bare Lightning and a bare PyTorch loop.

All three train the same model (15 blocks, width 64, 1.3 M parameters) on the same examples in the same order, with the same Adam
and the same weight average; they differ in what drives the step. Rounds alternate; the time of step i is its minimum over the
rounds, and the minima are summed over the steps. A step lasts from the end of the one before to its own end, loading included.

    python scripts/bench/train_step.py [--rounds 6] [--steps 12] [--threads 1] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
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
                "model.self_condition=0.0",  # else a coin decides whether a step has a second forward pass
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
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self.ends.append(time.perf_counter())


def batches(built: Built) -> DataLoader[Any]:
    """A plain loader over the same batches as longview's."""
    sampler = built.data.train_dataloader().sampler
    examples = built.data.examples("train")
    return DataLoader(examples, batch_sampler=sampler.batches(0), collate_fn=examples.collate)  # type: ignore[arg-type]


def raw(config: Experiment, steps: int) -> list[float]:
    """A loop written by hand."""
    torch.use_deterministic_algorithms(False)  # longview's round turned it on for the whole process
    built = build(config)
    task = built.task.train()
    optimizer = torch.optim.Adam(task.model.parameters(), lr=5e-4)
    source: Iterator[Any] = iter(batches(built))
    ends = []
    for _ in range(steps):
        batch = next(source)
        optimizer.zero_grad()
        task.model.training_loss(batch).backward()  # type: ignore[operator]
        optimizer.step()
        task.ema.update(task.model)  # type: ignore[union-attr, operator]
        ends.append(time.perf_counter())
    return ends


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


def bare_lightning(config: Experiment, steps: int) -> list[float]:
    """Lightning without logger, checkpoint or progress bar."""
    torch.use_deterministic_algorithms(False)
    built, clock = build(config), Clock()
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
    return clock.ends


def whole_stack(config: Experiment, steps: int) -> list[float]:
    """What ``python run.py`` runs: stateful loader, exact resume, stop flag, metrics file, checkpoints."""
    built, clock = build(config), Clock()
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory.create(Path(folder), "bench", {}, [], [])
        trainer = make_trainer(config, built.task, run, StopFlag(), Console(quiet=True), validate=False, devices=1)
        trainer.callbacks.append(clock)  # type: ignore[attr-defined]
        trainer.fit(built.task, datamodule=built.data)
    return clock.ends


VARIANTS: dict[str, Callable[[Experiment, int], list[float]]] = {
    "bare PyTorch loop": raw,
    "bare Lightning": bare_lightning,
    "longview": whole_stack,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1, help="more than one is noisier where cores are shared")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    config = experiment(options.steps)
    fastest = {name: [float("inf")] * (options.steps - 1) for name in VARIANTS}
    for _ in range(options.rounds):
        for name, variant in VARIANTS.items():
            torch.manual_seed(0)
            ends = variant(config, options.steps)
            each = [after - before for before, after in pairwise(ends)]
            fastest[name] = [min(pair) for pair in zip(fastest[name], each, strict=True)]
    best = {name: sum(each[WARM_UP - 1 :]) / len(each[WARM_UP - 1 :]) for name, each in fastest.items()}
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
