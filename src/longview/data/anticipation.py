"""Examples of dense anticipation: the first part of a video is observed, labels of it and of what follows are the target.

Recipe of GTDA (ECCV 2024), also used by MANTA (CVPR 2025): all counts by ``int()`` truncation at full rate, then every
``stride``-th frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from longview.data.sampler import ExampleId
from longview.data.source import FrameSource, Part
from longview.errors import DataError

__all__ = ["IGNORE", "AnticipationBatch", "AnticipationExample", "AnticipationExamples"]

IGNORE = -100
"""Target value of padding; the ignore index of torch's cross-entropy."""


@dataclass(slots=True)
class AnticipationExample:
    """One video cut at one observation.

    Attributes:
        video: Name.
        observation: Fraction of the video that is observed.
        observed: Features of the observed part [t, D], float32, strided.
        target: Class ids [T], strided, of the observed and the future part (t <= T).
        labels: Class ids [L] at full rate in evaluation, None in training.
        length: Full-rate frames L of the video.
    """

    video: str
    observation: float
    observed: NDArray[np.float32]
    target: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    length: int


@dataclass(slots=True)
class AnticipationBatch:
    """Examples padded to the longest, sorted by length, longest first.

    Attributes:
        observed: Features [B, T, D], float32; zero after the observed part and in padding.
        target: Class ids [B, T], int64; ``IGNORE`` in padding.
        valid: [B, T], bool; True where there is a frame.
        past: [B, T], bool; True where the frame is observed.
        videos: B names.
        observation: [B], float32; the fraction of the video that is observed.
        labels: Full-rate ground truth of the whole video [B, Lmax], int64, padded with ``IGNORE``; None in training.
        lengths: Full-rate lengths L [B], int64.
        stride: Full-rate frames per time step.
    """

    observed: Tensor
    target: Tensor
    valid: Tensor
    past: Tensor
    videos: list[str]
    observation: Tensor
    labels: Tensor | None
    lengths: Tensor
    stride: int

    def __len__(self) -> int:
        """Number of examples B."""
        return len(self.videos)

    def _map(self, function: Any) -> AnticipationBatch:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: function(v) for k, v in values.items() if isinstance(v, Tensor)})

    def to(self, device: torch.device | str, non_blocking: bool = False) -> AnticipationBatch:
        """A copy with every tensor on ``device``."""
        return self._map(lambda t: t.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> AnticipationBatch:
        """A copy in page-locked memory; the loader calls it where there is a GPU."""
        return self._map(lambda t: t.pin_memory())


class AnticipationExamples(Dataset[AnticipationExample]):
    """Cuts the videos of a part at their observed fractions.

    Training: each video appears once per fraction of ``observations``; with probability ``random_observation`` the
    fraction is replaced by one drawn uniformly from ``random_range``. An example depends on (seed, epoch, index)
    alone, so neither workers nor ranks nor a resume change it. Evaluation: each video once per fraction, nothing
    random.

    The target covers frames [0, int((a + future) * L)) of a video of L frames, in this order of floating-point
    operations, which is that of the published metric; the observed part is [0, int(a * L)), but at least one frame.
    With the outputs repeated ``stride`` times a model's prediction covers every frame that the metric looks at.

    Args:
        source: Where labels and features come from.
        part: "train", "val" or "test"; only "train" uses the random fractions.
        observations: Observed fractions a.
        future: Predicted fraction of the video after the observed part (0.5 in the published protocol).
        random_observation: Probability of a random fraction (training).
        random_range: Interval of the random fraction.
        seed: Seed of the random fractions.
        training: Training or evaluation form; None: training form for the part "train".

    Raises:
        DataError: A video without frames.
    """

    def __init__(
        self,
        source: FrameSource,
        part: Part,
        *,
        observations: Sequence[float],
        future: float = 0.5,
        random_observation: float = 0.0,
        random_range: tuple[float, float] = (0.15, 0.40),
        seed: int = 0,
        training: bool | None = None,
    ) -> None:
        self.source = source
        self.part = part
        self.training = part == "train" if training is None else training
        self.observations = tuple(observations)
        self.future = future
        self.random_observation = random_observation
        self.random_range = random_range
        self.seed = seed
        self.videos = tuple(source.videos(part))
        self.stride = source.describe().stride
        # Lengths are needed for every epoch's buckets and labels for every example; text files are slow to parse, so
        # labels are kept in the smallest type that holds the class ids (Breakfast: 3.6 M frames).
        self._dtype = np.min_scalar_type(-max(source.describe().num_classes, 1))
        self._labels: dict[str, NDArray[Any]] = {}

    def __len__(self) -> int:
        return len(self.videos) * len(self.observations)

    def labels(self, video: str) -> NDArray[np.int64]:
        """Class ids [L] at full rate."""
        if video not in self._labels:
            labels = np.asarray(self.source.labels(video))
            if len(labels) == 0:
                raise DataError(f"video {video!r} has no frames")
            self._labels[video] = labels.astype(self._dtype)
        return self._labels[video].astype(np.int64)

    def _length(self, video: str) -> int:
        if video not in self._labels:
            self.labels(video)
        return len(self._labels[video])

    def observation(self, example: ExampleId) -> float:
        """The observed fraction of an example."""
        fraction = self.observations[example.index % len(self.observations)]
        if self.training and self.random_observation > 0:
            rng = np.random.default_rng([self.seed, example.epoch, example.index])
            if rng.random() < self.random_observation:
                return float(rng.uniform(*self.random_range))
        return fraction

    def _cut(self, example: ExampleId) -> tuple[str, float, int, int]:
        """Video, fraction, and the full-rate counts of observed and target frames."""
        video = self.videos[example.index // len(self.observations)]
        fraction = self.observation(example)
        length = self._length(video)
        observed = max(int(fraction * length), 1)
        target = max(min(int((fraction + self.future) * length), length), observed)
        return video, fraction, observed, target

    def lengths(self, epoch: int) -> NDArray[np.int64]:
        """Time steps T of every example of an epoch [N]; reads labels once, features never."""
        counts = [self._cut(ExampleId(epoch, i))[3] for i in range(len(self))]
        return -(-np.asarray(counts, dtype=np.int64) // self.stride)

    def __getitem__(self, example: ExampleId) -> AnticipationExample:
        """Reads one example."""
        video, fraction, observed, target = self._cut(example)
        labels = self.labels(video)
        features = self.source.features(video, observed, self.stride)
        return AnticipationExample(
            video=video,
            observation=fraction,
            observed=features,
            target=labels[: target : self.stride],
            labels=None if self.training else labels,
            length=len(labels),
        )

    def collate(self, examples: Sequence[AnticipationExample]) -> AnticipationBatch:
        """Pads to the longest and sorts by length, longest first; equal lengths keep their order."""
        ordered = sorted(examples, key=lambda e: -len(e.target))
        batch, steps = len(ordered), len(ordered[0].target)
        observed = torch.zeros(batch, steps, ordered[0].observed.shape[1])
        target = torch.full((batch, steps), IGNORE)
        valid = torch.zeros(batch, steps, dtype=torch.bool)
        past = torch.zeros(batch, steps, dtype=torch.bool)
        whole = [e.labels for e in ordered if e.labels is not None]
        labels = torch.full((batch, max(map(len, whole))), IGNORE) if whole else None
        for i, example in enumerate(ordered):
            seen = len(example.observed)
            observed[i, :seen] = torch.from_numpy(np.ascontiguousarray(example.observed))
            target[i, : len(example.target)] = torch.from_numpy(example.target)
            valid[i, : len(example.target)] = True
            past[i, :seen] = True
            if labels is not None and example.labels is not None:
                labels[i, : example.length] = torch.from_numpy(example.labels)
        return AnticipationBatch(
            observed=observed,
            target=target,
            valid=valid,
            past=past,
            videos=[e.video for e in ordered],
            observation=torch.tensor([e.observation for e in ordered], dtype=torch.float32),
            labels=labels,
            lengths=torch.tensor([e.length for e in ordered]),
            stride=self.stride,
        )
