"""What strategies of several ranks share: means of counts, and moving averages of weights that are divided over ranks.

A model and its average are divided alike, so part by part is what the whole would come to, and nothing has to be gathered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from longview.models.blocks.ema import ExponentialMovingAverage

Part = Callable[[Any], Tensor]
"""From a parameter to what this rank holds of it, sharing its storage."""


class MeanOfCounts:
    """For a strategy: the mean of whole numbers over ranks is no whole number.

    Lightning 2.6 divides an epoch's sum by its number of samples, both as means over ranks; on gloo the second was cut down to a
    whole number, so that a logged mean was wrong wherever ranks had different numbers of samples.
    """

    def reduce(self, tensor: Any, group: Any | None = None, reduce_op: Any = "mean") -> Any:
        """As Lightning's; whole numbers are averaged as floats."""
        if isinstance(tensor, Tensor) and not tensor.is_floating_point() and str(reduce_op).lower() in ("mean", "avg"):
            tensor = tensor.float()
        return super().reduce(tensor, group, reduce_op)  # type: ignore[misc]


class _Parts:
    """What an average asks of a model, with this rank's parts for parameters."""

    def __init__(self, module: nn.Module, part: Part) -> None:
        self._module, self._part = module, part

    def parameters(self) -> Iterator[Tensor]:
        return (self._part(p) for p in self._module.parameters())

    def buffers(self) -> Iterator[Tensor]:
        return self._module.buffers()


def average_in_parts(task: nn.Module, part: Part, after: Callable[[nn.Module], None] = lambda averaged: None) -> None:
    """Make every average inside ``task`` work on parts; ``after`` is called with the averaged model after each update."""
    for module in task.modules():
        if isinstance(module, ExponentialMovingAverage):
            module.update = _updater(module, part, after)  # type: ignore[method-assign,assignment]


def _updater(average: ExponentialMovingAverage, part: Part, after: Callable[[nn.Module], None]) -> Callable[[nn.Module], None]:
    update = type(average).update

    def in_parts(model: nn.Module) -> None:
        whole = average.averaged
        average._modules["averaged"] = _Parts(whole, part)  # type: ignore[assignment]
        try:
            update(average, _Parts(model, part))  # type: ignore[arg-type]
        finally:
            average._modules["averaged"] = whole
        after(whole)

    return in_parts
