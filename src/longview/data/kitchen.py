"""Kitchen: generated videos of invented cooking activities, the data set that ships with longview.

**Generated, not recorded**: frame labels come from a stochastic grammar (:mod:`longview.data.kitchen_grammar`), frame
features are noisy, blurred class vectors. It exists so that every command works on a laptop with no download; a number
measured on it says whether a model learns, not how good it is on real video.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from longview.data.kitchen_grammar import (
    BACKGROUND,
    CLASSES,
    CONFUSABLE,
    RECIPES,
    AnyOrder,
    Node,
    Repeat,
    expected_length,
)
from longview.data.source import Description, Part, Statistics
from longview.data.tally import one_hot, tally
from longview.errors import DataError, Problem
from longview.types import NonNegativeFloat, NonNegativeInt, PositiveInt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Kitchen"]

_PARTS: tuple[Part, ...] = ("train", "val", "test")
_WIDTH = 32
"""Width D of a feature vector."""
_VIDEOS_PER_PERSON = 4
_INTERRUPTION = 0.08
"""Probability of a pause after a step."""
_MISTAKEN = 0.1
"""Part of the frames that show a class that looks like the true one."""
_LONGEST, _LOUDEST, _MOST = 100_000, 100.0, 20_000
"""Frames per video, noise and videos per part beyond which a setting is a slip of the hand."""
_SHORTEST = 60
"""Shortest mean length that leaves every step some frames."""


class Kitchen:
    """Generated cooking videos; the same on every machine for the same ``seed``, whatever the seed of the run.

    A person does four videos, with an own pace, habits (optional steps, order of interchangeable ones) and appearance;
    no person is in two parts. Video i of a part does not depend on how many there are.

    Args:
        seed: Seed of the generation.
        train_videos: Number of training videos.
        val_videos: Number of validation videos.
        test_videos: Number of test videos.
        mean_length: Expected full-rate frames per video.
        noise: Standard deviation of the noise on a feature; class vectors have unit variance per channel.
        blur: Width of the moving average over neighbouring frames, in frames.
        stride: Every ``stride``-th full-rate frame reaches the model.
        observe: What the model sees of an observed frame: its feature vector [32], or its true label, one-hot.
    """

    tasks: ClassVar[tuple[str, ...]] = ("anticipation", "segmentation")

    def __init__(
        self,
        *,
        seed: NonNegativeInt = 0,
        train_videos: PositiveInt = 160,
        val_videos: NonNegativeInt = 24,
        test_videos: PositiveInt = 48,
        mean_length: PositiveInt = 500,
        noise: NonNegativeFloat = 1.0,
        blur: PositiveInt = 15,
        stride: PositiveInt = 10,
        observe: Literal["features", "labels"] = "features",
    ) -> None:
        self.seed = seed
        self.counts: dict[Part, int] = {"train": train_videos, "val": val_videos, "test": test_videos}
        self.mean_length = mean_length
        self.noise = noise
        self.blur = blur
        self.stride = stride
        self.observe = observe
        self._labels: dict[str, NDArray[np.uint8]] = {}
        self._features: dict[str, NDArray[np.float32]] = {}

    def problems(self) -> list[Problem]:
        """Settings that cannot give a sensible video."""
        found = []
        widest = self.mean_length // 10
        if not _SHORTEST <= self.mean_length <= _LONGEST:
            text = f"{self.mean_length} frames per video; a recipe needs {_SHORTEST} or more, and {_LONGEST} are enough"
            found.append(Problem("data.mean_length", text))
        elif self.stride > widest:
            text = f"{self.stride} leaves fewer than ten steps of {self.mean_length} frames; use {widest} or less"
            found.append(Problem("data.stride", text))
        if self.noise > _LOUDEST:
            found.append(Problem("data.noise", f"{self.noise:g} drowns every feature; use {_LOUDEST:g} or less"))
        for part, count in self.counts.items():
            if count > _MOST:
                found.append(Problem(f"data.{part}_videos", f"{count} videos are made in memory; use {_MOST} or fewer"))
        return found

    def verify(self) -> tuple[list[Problem], Statistics | None]:
        """Generate everything once."""
        if found := self.problems():
            return found, None
        every = [video for part in _PARTS for video in self.videos(part)]
        splits = {"generated": (self.counts["train"], self.counts["test"])}
        return [], tally([self.labels(video) for video in every], tuple(CLASSES), splits)

    def describe(self) -> Description:
        """Classes, width and sizes; nothing is generated."""
        return Description(
            name="kitchen",
            num_classes=len(CLASSES),
            class_names=tuple(CLASSES),
            input_dim=len(CLASSES) if self.observe == "labels" else _WIDTH,
            stride=self.stride,
            parts={part: count for part, count in self.counts.items() if count},
        )

    def videos(self, part: Part) -> Sequence[str]:
        """Names such as "kitchen-train-0007"."""
        return tuple(f"kitchen-{part}-{number:04d}" for number in range(self.counts[part]))

    def labels(self, video: str) -> NDArray[np.int64]:
        """Class ids [L] at full rate; generated on first use and kept."""
        import numpy as np

        if video not in self._labels:
            self._labels[video] = np.array(list(self._frames(*self._place(video))), dtype=np.uint8)
        return self._labels[video].astype(np.int64)

    def features(self, video: str, stop: int, stride: int) -> NDArray[np.float32]:
        """Vectors [ceil(stop/stride), D] of frames 0, stride, ... < stop."""
        labels = self.labels(video)
        if not 0 <= stop <= labels.shape[0]:
            raise ValueError(f"{video} has {labels.shape[0]} frames, asked for {stop}")
        if self.observe == "labels":
            return one_hot(labels[:stop:stride], len(CLASSES))
        if video not in self._features:
            self._features[video] = self._appearance(labels, *self._place(video))
        return self._features[video][:stop:stride].copy()

    def _place(self, video: str) -> tuple[int, int]:
        """(index of the part, number in it) of a video name."""
        match = re.fullmatch(r"kitchen-(train|val|test)-(\d+)", video)
        if match is None or int(match[2]) >= self.counts[_part(match[1])]:
            raise DataError(f"no generated video is called {video!r}; names are like 'kitchen-train-0007'")
        return _PARTS.index(_part(match[1])), int(match[2])

    def _random(self, *path: int) -> np.random.Generator:
        """An independent stream of random numbers for each place in the data."""
        import numpy as np

        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, *path])))

    def _frames(self, part: int, number: int) -> Iterator[int]:
        """Class ids of a video, frame by frame."""
        import numpy as np

        habits = self._random(0, part, number // _VIDEOS_PER_PERSON)
        pace = np.exp(0.15 * habits.standard_normal())
        shift = 0.35 * (2 * habits.random() - 1)
        preference = habits.random(8)
        rng = self._random(1, part, number)
        pace *= np.exp(0.1 * rng.standard_normal())

        def unroll(node: Node) -> Iterator[str]:
            if isinstance(node, str):
                yield node
                if rng.random() < _INTERRUPTION:
                    yield BACKGROUND
            elif isinstance(node, tuple):
                for child in node:
                    yield from unroll(child)
            elif isinstance(node, Repeat):
                for _ in range(int(rng.integers(node.low, node.high + 1))):
                    yield from unroll(node.steps)
            elif isinstance(node, AnyOrder):
                # Nine times in ten a person keeps to the own order, so habits can be guessed but not relied on.
                keys = preference[: len(node.steps)] if rng.random() < 0.9 else rng.random(len(node.steps))
                for index in np.argsort(keys, kind="stable"):
                    yield from unroll(node.steps[int(index)])
            elif rng.random() < node.probability + shift:
                yield from unroll(node.steps)

        recipe = tuple(RECIPES.values())[int(rng.integers(len(RECIPES)))]
        ids = {name: label for label, name in enumerate(CLASSES)}
        unit = self.mean_length / _mean_units()
        for name in (BACKGROUND, *unroll(recipe), BACKGROUND):
            spread = 0.2
            duration = unit * CLASSES[name] * pace * np.exp(spread * rng.standard_normal() - spread**2 / 2)
            for _ in range(max(2, round(float(duration)))):
                yield ids[name]

    def _appearance(self, labels: NDArray[np.int64], part: int, number: int) -> NDArray[np.float32]:
        """Feature vectors [L, D]: confused class vectors, moving average, the person's offset, noise."""
        import numpy as np

        rng = self._random(2, part, number)
        frames = labels.shape[0]
        # Confusion comes in stretches, as an occluded hand does, so that averaging a few frames does not undo it.
        stretch = np.arange(frames) // max(1, self.blur)
        mistaken = rng.random(int(stretch[-1]) + 1)[stretch] < _MISTAKEN
        pick = rng.random(int(stretch[-1]) + 1)[stretch]
        alike, sizes = _lookalikes()
        shown = np.where(mistaken, alike[labels, (pick * sizes[labels]).astype(np.int64)], labels)
        width = min(self.blur, frames)
        padded = np.pad(self._class_vectors()[shown], ((width // 2, width - 1 - width // 2), (0, 0)), mode="edge")
        sums = np.cumsum(np.concatenate([np.zeros((1, _WIDTH)), padded]), axis=0)
        clean = (sums[width:] - sums[:-width]) / width
        offset = 0.3 * self._random(3, part, number // _VIDEOS_PER_PERSON).standard_normal(_WIDTH)
        noisy: NDArray[np.float32] = (clean + offset + self.noise * rng.standard_normal(clean.shape)).astype(np.float32)
        return noisy

    def _class_vectors(self) -> NDArray[np.float64]:
        """Vectors [K, D] of unit variance per channel; classes that look alike share most of theirs."""
        import numpy as np

        rng = self._random(4)
        own = rng.standard_normal((len(CLASSES), _WIDTH))
        shared = rng.standard_normal((len(CONFUSABLE), _WIDTH))
        group = np.array([next(i for i, names in enumerate(CONFUSABLE) if name in names) for name in CLASSES])
        vectors: NDArray[np.float64] = np.sqrt(0.5) * shared[group] + np.sqrt(0.5) * own
        return vectors


def _part(name: str) -> Part:
    return "train" if name == "train" else "val" if name == "val" else "test"


def _mean_units() -> float:
    """Expected length of a video in the units of the grammar, mean over recipes and people."""
    pause = _INTERRUPTION * CLASSES[BACKGROUND]
    # Pace is log-normal with sigma 0.15 (person) and 0.1 (video), whose mean is above 1.
    slow: float = 2.718281828459045 ** ((0.15**2 + 0.1**2) / 2)
    return slow * (2 * CLASSES[BACKGROUND] + sum(expected_length(r, pause) for r in RECIPES.values()) / len(RECIPES))


def _lookalikes() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(ids [K, most] of the classes of each class's group, number [K] of them)."""
    import numpy as np

    ids = {name: label for label, name in enumerate(CLASSES)}
    groups = [next(names for names in CONFUSABLE if name in names) for name in CLASSES]
    others = [[ids[other] for other in names if other != name] for names, name in zip(groups, CLASSES, strict=True)]
    most = max(map(len, others))
    return np.array([row + row[:1] * (most - len(row)) for row in others]), np.array([len(row) for row in others])
