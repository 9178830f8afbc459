"""50Salads: 25 people prepare a mixed salad twice; 50 videos, 19 classes, 30 frames per second, five official splits.

Stein and McKenna, "Combining Embedded Accelerometers with Computer Vision for Recognizing Food Preparation Activities",
UbiComp 2013; "mid" labels in the layout of MS-TCN (Abu Farha and Gall, CVPR 2019).
"""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from longview.data.frames_layout import LayoutSource
from longview.types import PositiveInt, Share

__all__ = ["Salads"]


class Salads(LayoutSource):
    """50Salads in the field's disk layout (docs/data.md).

    Args:
        root: Folder in that layout or an archive of it; None has it looked for (``longview.data.roots``).
        split: Official split, 1..5 (whatever ``splits/`` holds).
        observe: What the model sees of an observed frame: its feature vector, or its true label as a one-hot vector.
        stride: Every ``stride``-th full-rate frame reaches the model; 6 in FUTR (CVPR 2022), i.e. five a second.
        val_fraction: Part of the training *persons* held out for validation; 0 trains on the whole official list.
        feature_layout: Axes of a feature file, [D, T] (the field's) or [T, D].
        length_mismatch: Features and labels of different length are an error, or the labels are resampled (nearest).
    """

    name: ClassVar[str] = "50salads"
    title: ClassVar[str] = "50Salads"
    candidates: ClassVar[tuple[str, ...]] = ("50salads/", "50salads_gt/50salads.tar.xz")
    person: ClassVar[re.Pattern[str]] = re.compile(r"rgb-(\d+)-")

    def __init__(
        self,
        *,
        root: str | None = None,
        split: PositiveInt = 1,
        observe: Literal["features", "labels"] = "labels",
        stride: PositiveInt = 6,
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
