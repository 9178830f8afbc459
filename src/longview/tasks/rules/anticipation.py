"""What a configuration of the anticipation task must fulfil beyond the type of each value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from longview.errors import Problem


def problems(experiment: Any) -> Iterator[Problem]:
    """Fractions in order, and every observation with every horizon inside the video."""
    task = experiment.task.params
    for name in ("observations", "horizons", "train_observations"):
        yield from _ordered(f"task.{name}", getattr(task, name))
    last = [max(values, default=0.0) for values in (task.observations, task.horizons)]
    if sum(last) > 1 + 1e-9:
        text = f"{last[0]} observed plus task.horizons up to {last[1]} is more than the whole video (1.0); lower one of the two"
        yield Problem("task.observations", text)
    if len(task.random_range) != 2 or task.random_range[0] >= task.random_range[1]:
        shown = list(task.random_range)
        yield Problem("task.random_range", f"{shown} is not an interval; give two rising fractions, for example [0.15, 0.4]")


def _ordered(key: str, values: Sequence[float]) -> Iterator[Problem]:
    if not values:
        yield Problem(key, "is empty; give at least one fraction, for example [0.2, 0.3]")
    elif any(a >= b for a, b in pairwise(values)):
        right = sorted(set(values))
        yield Problem(key, f"{list(values)} must rise strictly; give {right}")
