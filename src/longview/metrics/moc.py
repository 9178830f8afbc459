"""Mean over classes (MoC): the score of long-term dense action anticipation.

Protocol of Abu Farha, Richard and Gall, "When will you do what?", CVPR 2018, in the form used for sampled futures
(GTDA, ECCV 2024; MANTA, CVPR 2025): for an observed fraction ``a`` of a video of ``L`` full-rate frames and a horizon
``b``, frames ``[int(a * L), int((a + b) * L))`` are scored, cut where prediction or ground truth ends. Right and
wrong frames are counted per ground-truth class over the whole test set; the score is the mean of the class accuracies
over the classes that occur. No class is left out (SIL, background, action_start and action_end count).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from longview.errors import LongviewError

_SAME_OBSERVATION = 1e-6  # a batch carries the fraction as float32


class WindowCounts(NamedTuple):
    """Frames of one video, counted per horizon and ground-truth class.

    Attributes:
        right: int64 [S, H, K], correctly predicted frames of every sample.
        support: int64 [H, K], frames of the window (the same for every sample).
    """

    right: Tensor
    support: Tensor


def window_bounds(length: int, observation: float, horizon: float) -> tuple[int, int]:
    """First frame and end of the scored window of a video of ``length`` full-rate frames, before any cut.

    The float expressions are the protocol's own: ``int((0.1 + 0.7) * 10)`` is 7, one frame off ``int(0.8 * 10)``.
    """
    return int(observation * length), int((observation + horizon) * length)


def window_counts(
    prediction: Tensor, labels: Tensor, observation: float, horizons: Sequence[float], num_classes: int, stride: int = 1
) -> WindowCounts:
    """Count right frames of every sample in every horizon's window of one video.

    Args:
        prediction: Class ids [S, T] (or [T]) of frames 0, stride, 2 * stride, ...; each stands for ``stride``
            full-rate frames.
        labels: Class ids [L] at full rate, without padding.
        observation: Observed fraction ``a``.
        horizons: Predicted fractions ``b``, in any order.
        num_classes: K.
        stride: Full-rate frames per predicted frame.

    Raises:
        LongviewError: shapes that do not fit, or a label outside 0..K-1.
    """
    prediction = prediction[None] if prediction.ndim == 1 else prediction
    if prediction.ndim != 2 or labels.ndim != 1:
        raise LongviewError(
            f"MoC wants a prediction [S, T] and labels [L]; got {tuple(prediction.shape)} and {tuple(labels.shape)}"
        )
    samples, length = prediction.shape[0], labels.numel()
    _check_labels(labels, num_classes)
    reach = min(prediction.shape[1] * stride, length)
    bounds = [window_bounds(length, observation, b) for b in horizons]
    start = min(bounds[0][0], reach)
    ends = torch.tensor([max(min(end, reach), start) for _, end in bounds], device=labels.device)
    ordered, order = ends.sort()

    frames = torch.arange(start, int(ordered[-1]), device=labels.device)
    truth = labels[frames].long()
    # All windows start at the same frame, so one pass suffices: count between successive ends, then accumulate.
    cell = torch.bucketize(frames, ordered, right=True) * num_classes + truth
    cells = len(bounds) * num_classes
    hit = prediction[:, torch.div(frames, stride, rounding_mode="floor")] == truth
    row = torch.arange(samples, device=labels.device)[:, None] * cells
    spare = samples * cells  # where wrong frames go: cheaper than selecting the right ones
    right = torch.bincount(torch.where(hit, row + cell, spare).flatten(), minlength=spare + 1)[:spare]
    support = torch.bincount(cell, minlength=cells)
    inverse = order.argsort()
    return WindowCounts(
        right.view(samples, len(bounds), num_classes).cumsum(1)[:, inverse],
        support.view(len(bounds), num_classes).cumsum(0)[inverse],
    )


def mean_over_classes(right: Tensor, support: Tensor) -> Tensor:
    """Mean of right / support over the classes with support; [..., K] to float64 [...], nan where no class occurs."""
    return (right.double() / support.double()).nanmean(-1)  # 0 / 0 is nan: a class that does not occur


def best_sample(counts: WindowCounts) -> Tensor:
    """Index int64 [H] of the sample with the highest MoC of this video; among equals the first; 0 for an empty window.

    Scores are compared to 12 decimals: two samples of equal score must not be told apart by the rounding of a sum.
    """
    scores = mean_over_classes(counts.right, counts.support).nan_to_num(0.0)
    return scores.round(decimals=12).argmax(0)


class MoC(Metric):
    """Mean MoC (``select="all"``) or top-1 MoC (``select="best"``) for all observations and horizons at once.

        ``all`` pools the counts of all samples of all videos. ``best`` adds, per video and (observation, horizon),
    only the     counts of the sample with the highest MoC on that video. With one sample both are the deterministic
    MoC. State: int64     counts [A, H, K], summed over processes; give every video to exactly one process. Counting
    is done on the CPU.

    Args:
        observations: The A observed fractions.
        horizons: The H predicted fractions.
        num_classes: K.
        select: Which samples' counts are pooled.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False
    right: Tensor
    wrong: Tensor

    def __init__(
        self,
        observations: Sequence[float],
        horizons: Sequence[float],
        num_classes: int,
        select: Literal["all", "best"] = "all",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, values in (("observations", observations), ("horizons", horizons)):
            if not values or any(not 0 < v <= 1 for v in values):
                raise LongviewError(f"MoC: {name} must be fractions in (0, 1], at least one; got {list(values)}")
        if select not in ("all", "best"):
            raise LongviewError(f"MoC: select must be 'all' or 'best'; got {select!r}")
        self.observations = tuple(float(a) for a in observations)
        self.horizons = tuple(float(b) for b in horizons)
        self.num_classes = num_classes
        self.select = select
        shape = (len(self.observations), len(self.horizons), num_classes)
        self.add_state("right", torch.zeros(shape, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("wrong", torch.zeros(shape, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, labels: Tensor, observation: float, stride: int = 1) -> None:
        """Add one video.

        Args:
            prediction: Class ids [S, T] (or [T]) of frames 0, stride, 2 * stride, ..., observed frames included.
            labels: Class ids [L] at full rate, without padding.
            observation: Observed fraction: one of ``observations`` (float32 precision is enough).
            stride: Full-rate frames per predicted frame.

        Raises:
            LongviewError: an observation that is not of the protocol, shapes that do not fit, a label outside 0..K-1.
        """
        at = self._index(float(observation))
        counts = window_counts(
            prediction.detach().cpu(), labels.cpu(), self.observations[at], self.horizons, self.num_classes, stride
        )
        if self.select == "best":
            right = counts.right[best_sample(counts), torch.arange(len(self.horizons))]
            wrong = counts.support - right
        else:
            right = counts.right.sum(0)
            wrong = counts.support * counts.right.shape[0] - right
        self.right[at] += right.to(self.right.device)
        self.wrong[at] += wrong.to(self.wrong.device)

    def compute(self) -> dict[str, Tensor]:
        """Scores as fractions 0..1, float64 on the CPU, nan where nothing occurred.

        Returns:
            ``moc`` [A, H], ``mof`` [A, H] (mean over frames: plain frame accuracy of the same counts) and
            ``per_class`` [A, H, K] (accuracy of each class).
        """
        right, total = self.right.cpu(), (self.right + self.wrong).cpu()
        return {
            "moc": mean_over_classes(right, total),
            "mof": right.sum(-1).double() / total.sum(-1).double(),
            "per_class": right.double() / total.double(),
        }

    def _index(self, observation: float) -> int:
        for at, known in enumerate(self.observations):
            if abs(known - observation) < _SAME_OBSERVATION:
                return at
        known_text = ", ".join(f"{a:g}" for a in self.observations)
        raise LongviewError(f"MoC: observation {observation:g} is not one of the protocol's ({known_text})")


def result_rows(mean: MoC, best: MoC | None = None) -> list[dict[str, float]]:
    """Rows of the result table, one per observation and horizon, as fractions.

    Keys: ``observation``, ``horizon``, ``mean_moc``, ``top1_moc`` (only with ``best``), ``mof``. An empty cell is nan.

    Raises:
        LongviewError: the two metrics are of different protocols.
    """
    if best is not None and (best.observations, best.horizons) != (mean.observations, mean.horizons):
        raise LongviewError("MoC: mean and best must share observations and horizons")
    pooled: Mapping[str, Tensor] = mean.compute()
    top: Mapping[str, Tensor] | None = None if best is None else best.compute()
    rows = []
    for i, a in enumerate(mean.observations):
        for j, b in enumerate(mean.horizons):
            row = {"observation": a, "horizon": b, "mean_moc": float(pooled["moc"][i, j])}
            if top is not None:
                row["top1_moc"] = float(top["moc"][i, j])
            row["mof"] = float(pooled["mof"][i, j])
            rows.append(row)
    return rows


def _check_labels(labels: Tensor, num_classes: int) -> None:
    if labels.numel() == 0:
        return
    low, high = (int(v) for v in torch.aminmax(labels))
    if low < 0 or high >= num_classes:
        raise LongviewError(
            f"MoC: labels must be class ids 0..{num_classes - 1} without padding; found {low if low < 0 else high}"
        )
