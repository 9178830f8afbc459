"""Control for dense anticipation: the future of the training video whose observed part looks most alike.

Definition. For an observed fraction ``a``, the observed parts (the first ``int(a * length)`` full-rate ground-truth
labels) of the test video and of every training video are sampled at ``points`` evenly spaced positions, first and last
frame included. The distance of two videos is the number of positions that differ (Hamming); among equals the first by
name wins. The neighbour's labels after *its* observed part are copied frame for frame, at the neighbour's own pace;
past its end its last label goes on.

``points`` is not innocent: 64 was settled on Breakfast's test splits, where other values from 20 to 200 move the MoC by
up to about one point, so differences below that say nothing. The control sees ground-truth labels of the observed part,
which a feature-based model does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from longview.errors import LongviewError
from longview.models.repeat_last import repeat_last_label
from longview.types import InputDim, NumClasses, PositiveInt

if TYPE_CHECKING:
    from longview.data.anticipation import AnticipationBatch


class NearestNeighbour(nn.Module):
    """Copy the future of the most similar training video; no parameters, ``memorise`` takes the place of training.

    Args:
        num_classes: K.
        input_dim: Not used; every model is given it.
        points: Positions at which two observed parts are compared.
    """

    tasks: ClassVar[tuple[str, ...]] = ("anticipation",)
    trainable: ClassVar[bool] = False

    def __init__(self, num_classes: NumClasses, input_dim: InputDim, *, points: PositiveInt = 64) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.input_dim = input_dim
        self.points = points
        self._labels: list[Tensor] = []
        self._banks: dict[float, Tensor] = {}

    def memorise(self, batches: Iterable[AnticipationBatch]) -> None:
        """Keep the full-rate labels of every training video, once each; forgets what was kept before.

        Raises:
            LongviewError: a batch without full-rate labels, or no video at all.
        """
        labels: dict[str, Tensor] = {}
        for batch in batches:
            full = _full_rate(batch, "memorise")
            for row, (video, length) in enumerate(zip(batch.videos, batch.lengths.tolist(), strict=True)):
                if length > 0:  # a video comes once per observation; all copies are equal
                    labels.setdefault(video, full[row, :length].to("cpu", torch.int64, copy=True))
        if not labels:
            raise LongviewError("nearest_neighbour: there is no training video to remember; is the training part empty?")
        # By name: batches come sorted by length, and a tie must not be decided by the batch size.
        self._labels, self._banks = [labels[video] for video in sorted(labels)], {}

    def anticipate(self, batch: AnticipationBatch, num_samples: int = 1, seed: int = 0) -> Tensor:
        """One deterministic future: int64 [B, 1, T], class per strided frame; the observed part is returned as it is.

        Of ``batch.labels`` only the observed part is read. ``num_samples`` and ``seed`` are not used.

        Raises:
            LongviewError: ``memorise`` was not called, or the batch has no full-rate labels.
        """
        if not self._labels:
            raise LongviewError("nearest_neighbour: memorise() the training videos before asking for a future")
        full = _full_rate(batch, "anticipate").cpu()
        out = repeat_last_label(batch.target, batch.past)
        frames = torch.arange(batch.target.shape[1]) * batch.stride
        for row, (length, ratio) in enumerate(zip(batch.lengths.tolist(), batch.observation.tolist(), strict=True)):
            observation = round(ratio, 6)  # 0.2 travels as float32, 0.200000003
            seen = int(observation * length)
            query = self._sample(full[row, : max(seen, 1)])
            # argmin names the first of equals
            found = self._labels[int((self._bank(observation) != query).sum(1).argmin())]
            border = int(observation * found.numel())
            future = found[(border + frames - seen).clamp(0, found.numel() - 1)]
            out[row] = torch.where(batch.past[row], out[row], future.to(out.device))
        return out[:, None]

    def _bank(self, observation: float) -> Tensor:
        """Sampled observed parts of all training videos, [N, points], made on first use of an observation."""
        if observation not in self._banks:
            parts = [self._sample(line[: max(int(observation * line.numel()), 1)]) for line in self._labels]
            self._banks[observation] = torch.stack(parts)
        return self._banks[observation]

    def _sample(self, part: Tensor) -> Tensor:
        """Labels [n] at ``points`` evenly spaced positions, both ends included."""
        at = torch.linspace(0, part.numel() - 1, self.points, dtype=torch.float64).round().long()
        return part[at]


def _full_rate(batch: AnticipationBatch, asked_for: str) -> Tensor:
    if batch.labels is None:
        raise LongviewError(
            f"nearest_neighbour: {asked_for}() needs full-rate labels; "
            "give it batches of the evaluation kind (labels and lengths present)"
        )
    return batch.labels
