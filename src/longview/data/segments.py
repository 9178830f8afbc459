"""Runs of equal frame labels."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["segments"]


def segments(labels: NDArray[np.integer] | Sequence[int]) -> list[tuple[int, int, int]]:
    """Maximal runs of one label in frame labels [L], as (label, start, stop), ``stop`` exclusive; [] if empty."""
    import numpy as np

    frames = np.asarray(labels)
    if frames.ndim != 1:
        raise ValueError(f"frame labels are one-dimensional, got shape {frames.shape}")
    if frames.size == 0:
        return []
    edges = [0, *(np.flatnonzero(frames[1:] != frames[:-1]) + 1).tolist(), frames.size]
    return [(int(frames[start]), start, stop) for start, stop in pairwise(edges)]
