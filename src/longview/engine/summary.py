"""What is about to be trained, in one small table before the first step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from longview.engine.flops import count_forward
from longview.tasks.base import Task


@dataclass(frozen=True)
class Summary:
    """Sizes of a run; goes into result.json too."""

    parameters: int
    trainable_parameters: int
    flops_per_sample: int | None
    flops_of: str
    train_examples: int
    val_examples: int
    test_examples: int
    steps_per_epoch: int
    device: str
    precision: str
    processes: int


def human(number: float, unit: str = "") -> str:
    """1388272 -> "1.39 M"."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= factor:
            return f"{number / factor:.3g} {prefix}{unit}"
    return f"{number:.3g} {unit}".strip()


def measure_flops(task: Task, batch: Any) -> int | None:
    """FLOPs of one forward pass per sample of ``batch``, padding included; None where the model has no network."""
    if not task.trainable:
        return None
    state, training = torch.get_rng_state(), task.training
    task.eval()
    try:
        return round(count_forward(task.forward_once, batch) / len(batch))
    finally:
        task.train(training)
        torch.set_rng_state(state)  # looking must not change the run


def show(summary: Summary, title: str, console: Console) -> None:
    """Print the summary."""
    table = Table(title=title, show_header=False, title_justify="left", title_style="bold")
    table.add_column(style="dim")
    table.add_column()
    table.add_row("parameters", f"{summary.parameters:,} ({summary.trainable_parameters:,} trained)")
    if summary.flops_per_sample is not None:
        table.add_row("FLOPs per sample", f"{human(summary.flops_per_sample)} ({summary.flops_of})")
    table.add_row(
        "examples",
        f"{summary.train_examples:,} train, {summary.val_examples:,} validation, {summary.test_examples:,} test",
    )
    table.add_row("steps per epoch", f"{summary.steps_per_epoch:,}")
    table.add_row("device", f"{summary.device}, {summary.processes} process(es), precision {summary.precision}")
    console.print(table)
