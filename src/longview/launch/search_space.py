"""Swept arguments as a space to search: lists are choices, ``range`` whole steps, ``interval`` all numbers between its ends."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from longview.config.compose import Composition
from longview.config.overrides import Argument, expand, override, parse
from longview.config.tree import ConfDir
from longview.errors import Problem

_FINE = 1000
"""An interval's values are rounded to so many steps of its width (with ``log``: of the value): 0.0003162 can be typed again."""


@dataclass(frozen=True)
class Choice:
    """One of several values, as typed."""

    key: str
    texts: tuple[str, ...]

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.texts)

    def extremes(self) -> tuple[str, ...]:
        """What is checked before anything runs."""
        return self.texts

    def at(self, index: int) -> str:
        """The value of that number."""
        return self.texts[index]

    def typed(self, parameter: Any) -> str:
        """What Optuna suggests, as it is typed."""
        return str(parameter)

    def has(self, text: str) -> bool:
        """Whether a value, as typed, is one of it."""
        return text in self.texts

    def distribution(self) -> Any:
        """In Optuna's terms."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.texts)

    def __str__(self) -> str:
        return f"one of {', '.join(self.texts)}"


@dataclass(frozen=True)
class Number:
    """A number between two ends, both included.

    Attributes:
        step: None: any number between.
        log: Whether orders of magnitude are equally likely.
        whole: Whether it is an integer.
        maybe: Whether it is one only if its field is: an interval between whole numbers.
    """

    key: str
    low: float
    high: float
    step: float | None = None
    log: bool = False
    whole: bool = False
    maybe: bool = False

    @property
    def size(self) -> int | None:
        """Number of values, None for all numbers of an interval."""
        return None if self.step is None else round((self.high - self.low) / self.step) + 1

    def extremes(self) -> tuple[str, ...]:
        """What is checked before anything runs."""
        return tuple(dict.fromkeys((self.typed(self.low), self.typed(self.high))))

    def at(self, index: int) -> str:
        """The value of that number."""
        return self.typed(self.low + index * (self.step or 0))

    def typed(self, parameter: Any) -> str:
        """What Optuna suggests, as it is typed."""
        if self.whole:
            return str(round(parameter))
        width = (abs(parameter) if self.log else self.high - self.low) / _FINE
        digits = 12 if self.step else max(0, math.ceil(-math.log10(width)))
        return repr(min(max(round(float(parameter), digits), self.low), self.high))

    def has(self, text: str) -> bool:
        """Whether a value, as typed, is one of it."""
        try:
            steps = (float(text) - self.low) / (self.step or 1)
        except ValueError:
            return False
        return self.low <= float(text) <= self.high and (self.step is None or abs(steps - round(steps)) < 1e-6)

    def distribution(self) -> Any:
        """In Optuna's terms."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=1 if self.log else int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def __str__(self) -> str:
        kind = "whole numbers" if self.whole else "numbers"
        step = f" in steps of {self.step:g}" if self.step not in (None, 1) else ""
        return f"{kind} from {self.low:g} to {self.high:g}{step}{', by order of magnitude' if self.log else ''}"


@dataclass(frozen=True)
class Space:
    """Everything that is searched."""

    dimensions: tuple[Choice | Number, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """What is swept, in the order of the command line."""
        return tuple(d.key for d in self.dimensions)

    @property
    def size(self) -> int | None:
        """Number of points, None where there is no end of them."""
        sizes = [d.size for d in self.dimensions]
        return None if None in sizes else math.prod(s for s in sizes if s is not None)

    def values(self, parameters: Mapping[str, Any]) -> dict[str, str]:
        """What Optuna suggests as key -> value as typed."""
        return {d.key: d.typed(parameters[d.key]) for d in self.dimensions}

    def at(self, index: int) -> dict[str, str]:
        """The point of that number, of a space with an end."""
        point = {}
        for d in reversed(self.dimensions):
            index, i = divmod(index, d.size or 1)
            point[d.key] = d.at(i)
        return {key: point[key] for key in self.keys}

    def parameters(self, values: Mapping[str, str]) -> dict[str, Any]:
        """A point in Optuna's terms."""
        return {
            d.key: values[d.key] if isinstance(d, Choice) else (int if d.whole else float)(values[d.key]) for d in self.dimensions
        }

    def has(self, values: Mapping[str, str]) -> bool:
        """Whether a point lies in it."""
        return set(values) == set(self.keys) and all(d.has(values[d.key]) for d in self.dimensions)

    def corners(self) -> Iterator[dict[str, str]]:
        """Points that show every choice and both ends of every number once: if these are sound, most of the space is."""
        first = {d.key: d.extremes()[0] for d in self.dimensions}
        yield first
        for d in self.dimensions:
            for text in d.extremes()[1:]:
                yield {**first, d.key: text}

    def distributions(self) -> dict[str, Any]:
        """In Optuna's terms."""
        return {d.key: d.distribution() for d in self.dimensions}

    def __str__(self) -> str:
        width = max(len(key) for key in self.keys)
        return "\n".join(f"  {d.key:<{width}}  {d}" for d in self.dimensions)


def swept(composition: Composition, conf: ConfDir) -> list[Argument]:
    """The swept arguments, those of ``hydra.sweeper.params`` first; one that is also on the command line counts there."""
    typed = {a.key for a in composition.arguments}
    lines = [f"{key}={value}" for key, value in composition.sweeper.items() if key not in typed]
    return [a for a in (*parse(lines, conf, sweeps=True)[0], *composition.arguments) if a.sweep]


def read_space(arguments: Sequence[Argument], conf: ConfDir) -> tuple[Space, list[Problem]]:
    """The space that swept arguments describe, and what of them does not describe one."""
    found: list[Choice | Number] = []
    problems: list[Problem] = []
    for argument in arguments:
        dimension, wrong = _dimension(argument, conf)
        problems += [Problem(argument.key, text, override(argument.text)) for text in wrong]
        found += [dimension] if dimension else []
    return Space(tuple(found)), problems


def _dimension(argument: Argument, conf: ConfDir) -> tuple[Choice | Number | None, list[str]]:
    from hydra.core.override_parser.types import IntervalSweep, RangeSweep

    sweep, key = argument.value, argument.key
    log = "log" in sweep.tags
    if unknown := sorted(sweep.tags - {"log"}):
        return None, [f"tag '{unknown[0]}' means nothing here; the only one is log, as in tag(log,interval(1e-4,1e-2))"]
    if isinstance(sweep, IntervalSweep):
        low, high = float(sweep.start or 0), float(sweep.end or 0)
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            return None, [f"an interval needs two ends, the smaller first, not {low:g} and {high:g}"]
        if log and low <= 0:
            return None, [f"a logarithmic interval begins above 0, not at {low:g}"]
        whole = low.is_integer() and high.is_integer()
        return Number(key, low, high, 1 if whole else None, log, whole, maybe=whole), []
    points, wrong = expand([argument], conf, {})
    if wrong or not points:
        return None, [p.message for p in wrong]
    texts = [point[0].partition("=")[2] for point in points]
    if not isinstance(sweep, RangeSweep):
        if log:
            return None, ["log belongs to an interval or a range, not to a list of values"]
        return Choice(key, tuple(dict.fromkeys(texts))), []
    whole = all(isinstance(v, int) for v in (sweep.start, sweep.stop, sweep.step))
    numbers = sorted(round(float(text), 12) for text in texts)
    step = abs(float(sweep.step))
    if log and (not whole or step != 1 or numbers[0] < 1):
        return None, ["a logarithmic range has whole numbers above 0 and step 1; write tag(log,interval(...)) for others"]
    return Number(key, numbers[0], numbers[-1], step, log, whole), []


def settled(space: Space, tree: Mapping[str, Any]) -> Space:
    """The space with intervals between whole numbers as what their fields are: ``interval(1,8)`` of blocks, of a weight.

    Args:
        space: As typed; Hydra reads the ends of every interval as floats.
        tree: The resolved tree of its first corner, which shows what becomes of a whole number in each field.
    """
    return Space(tuple(_settled(d, tree) for d in space.dimensions))


def _settled(dimension: Choice | Number, tree: Any) -> Choice | Number:
    if not isinstance(dimension, Number) or not dimension.maybe:
        return dimension
    for part in dimension.key.split("."):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    if isinstance(tree, float):
        return Number(dimension.key, dimension.low, dimension.high, log=dimension.log)
    return replace(dimension, maybe=False)
