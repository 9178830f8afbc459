"""Control for dense anticipation: the last observed action goes on for ever.

A model that does not beat it has learned nothing about the future. Like all controls it sees the observed part's
ground-truth labels, which a feature-based model does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from longview.types import InputDim, NumClasses

if TYPE_CHECKING:
    from longview.data.anticipation import AnticipationBatch


class RepeatLast(nn.Module):
    """Fill the future with the last observed label; no parameters, nothing to train.

    Args:
        num_classes: K.
        input_dim: Not used; every model is given it.
    """

    tasks: ClassVar[tuple[str, ...]] = ("anticipation",)
    trainable: ClassVar[bool] = False

    def __init__(self, num_classes: NumClasses, input_dim: InputDim) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.input_dim = input_dim

    def anticipate(self, batch: AnticipationBatch, num_samples: int = 1, seed: int = 0) -> Tensor:
        """One deterministic future: int64 [B, 1, T], class per strided frame.

        The observed part is returned as it is, everything after it is its last label. A video too short for an observed
        frame gives class 0. ``num_samples`` and ``seed`` are not used.
        """
        return repeat_last_label(batch.target, batch.past)[:, None]


def repeat_last_label(target: Tensor, past: Tensor) -> Tensor:
    """Labels [B, T] of the observed part (``past``, bool [B, T]) carried on to the end; class 0 where none is seen."""
    observed = past & (target >= 0)
    steps = torch.arange(target.shape[1], device=target.device)
    last = torch.where(observed, steps, -1).amax(1, keepdim=True)
    label = torch.where(last >= 0, target.gather(1, last.clamp(min=0)), 0)
    return torch.where(observed, target, label)
