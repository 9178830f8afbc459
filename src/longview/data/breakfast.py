"""Breakfast: 1,712 videos of ten breakfast recipes, 48 action classes, 15 frames per second, four official splits.

Kuehne, Arslan and Serre, "The Language of Actions", CVPR 2014; labels in the layout of MS-TCN (Abu Farha and Gall, CVPR
2019).
"""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from longview.data.frames_layout import LayoutSource
from longview.types import PositiveInt, Share

__all__ = ["Breakfast"]


class Breakfast(LayoutSource):
    """Breakfast in the field's disk layout (docs/data.md).

    Args:
        root: Folder in that layout or an archive of it; None has it looked for (``longview.data.roots``).
        split: Official split, 1..4 (whatever ``splits/`` holds).
        observe: What the model sees of an observed frame: its feature vector, or its true label as a one-hot vector.
        stride: Every ``stride``-th full-rate frame reaches the model; 3 in GTDA (ECCV 2024) and MANTA (CVPR 2025).
        val_fraction: Part of the training *persons* held out for validation; 0 trains on the whole official list.
        feature_layout: Axes of a feature file, [D, T] (the field's) or [T, D].
        length_mismatch: Features and labels of different length are an error, or the labels are resampled (nearest).
    """

    name: ClassVar[str] = "breakfast"
    title: ClassVar[str] = "Breakfast"
    candidates: ClassVar[tuple[str, ...]] = ("breakfast/", "breakfast_gt/breakfast.tar.xz")
    person: ClassVar[re.Pattern[str]] = re.compile(r"(P\d+)_")

    def __init__(
        self,
        *,
        root: str | None = None,
        split: PositiveInt = 1,
        observe: Literal["features", "labels"] = "labels",
        stride: PositiveInt = 3,
        val_fraction: Share = 0.0,
        feature_layout: Literal["DT", "TD"] = "DT",
        length_mismatch: Literal["error", "resample"] = "error",
    ) -> None:
        super().__init__(
            root=root,
            split=split,
            observe=observe,
            stride=stride,
            val_fraction=val_fraction,
            feature_layout=feature_layout,
            length_mismatch=length_mismatch,
        )
