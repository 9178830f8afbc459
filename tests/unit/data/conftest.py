"""A source that lives in memory, for every test of the loader side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from longview.data.source import Description, Part, Statistics
from longview.errors import Problem


class MemorySource:
    """Videos of given lengths; feature 0 of frame t is t, feature 1 the video's number, so that a test can tell frames apart."""

    tasks: ClassVar[tuple[str, ...]] = ("anticipation",)

    def __init__(self, lengths: dict[Part, Sequence[int]], classes: int = 5, dim: int = 4, stride: int = 1) -> None:
        self.classes, self.dim, self.stride = classes, dim, stride
        self.parts: dict[Part, list[str]] = {p: [f"{p}{i:03d}" for i in range(len(n))] for p, n in lengths.items()}
        self.frames = {name: n for p, counts in lengths.items() for name, n in zip(self.parts[p], counts, strict=True)}
        self.reads: list[tuple[str, int, int]] = []
        self.label_reads = 0

    def problems(self) -> list[Problem]:
        return []

    def verify(self) -> tuple[list[Problem], Statistics | None]:
        return [], None

    def describe(self) -> Description:
        names = tuple(f"c{i}" for i in range(self.classes))
        return Description("memory", self.classes, names, self.dim, self.stride, {p: len(v) for p, v in self.parts.items()})

    def videos(self, part: Part) -> Sequence[str]:
        return self.parts.get(part, [])

    def labels(self, video: str) -> NDArray[np.int64]:
        self.label_reads += 1
        return np.arange(self.frames[video], dtype=np.int64) * self.classes // max(self.frames[video], 1)

    def features(self, video: str, stop: int, stride: int) -> NDArray[np.float32]:
        self.reads.append((video, stop, stride))
        frames = np.arange(0, stop, stride)
        features = np.zeros((len(frames), self.dim), dtype=np.float32)
        features[:, 0], features[:, 1] = frames + 1, int(video[-3:])
        return features


@pytest.fixture
def memory_source() -> type[MemorySource]:
    return MemorySource
