"""Breakfast: 1,712 videos of ten breakfast recipes, 48 action classes, 15 frames per second, four official splits.

Kuehne, Arslan and Serre, "The Language of Actions", CVPR 2014; labels in the layout of MS-TCN (Abu Farha and Gall, CVPR
2019).
"""

from __future__ import annotations

import re
from typing import ClassVar

from longview.data.frames_layout import LayoutSource

__all__ = ["Breakfast"]


class Breakfast(LayoutSource):
    """Breakfast in the field's disk layout (docs/data.md); stride 3 in GTDA (ECCV 2024) and MANTA (CVPR 2025)."""

    name: ClassVar[str] = "breakfast"
    title: ClassVar[str] = "Breakfast"
    candidates: ClassVar[tuple[str, ...]] = ("breakfast/", "breakfast_gt/breakfast.tar.xz")
    fps: ClassVar[int] = 15
    person: ClassVar[re.Pattern[str]] = re.compile(r"(P\d+)_")
