"""Counting frames and segments, and one-hot vectors: shared by every source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from longview.data.segments import segments
from longview.data.source import Statistics

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["one_hot", "tally"]


def one_hot(labels: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """Labels [n] as float32 [n, K] of zeros and ones."""
    import numpy as np

    vectors = np.zeros((labels.shape[0], classes), dtype=np.float32)
    vectors[np.arange(labels.shape[0]), labels] = 1
    return vectors


def tally(labels: Iterable[NDArray[np.int64]], names: Sequence[str], splits: dict[str, tuple[int, int]]) -> Statistics:
    """Statistics of videos given by their frame labels; at least one video."""
    import numpy as np

    lengths, runs, counts = [], 0, np.zeros(len(names), dtype=np.int64)
    for frames in labels:
        lengths.append(int(frames.shape[0]))
        runs += len(segments(frames))
        counts += np.bincount(frames, minlength=len(names))
    return Statistics(
        videos=len(lengths),
        classes=len(names),
        frames=sum(lengths),
        segments=runs,
        shortest=min(lengths),
        longest=max(lengths),
        splits=splits,
        class_frames=dict(zip(names, counts.tolist(), strict=True)),
    )
