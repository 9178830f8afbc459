"""50Salads: 25 people prepare a mixed salad twice; 50 videos, 19 classes, 30 frames per second, five official splits.

Stein and McKenna, "Combining Embedded Accelerometers with Computer Vision for Recognizing Food Preparation Activities",
UbiComp 2013; "mid" labels in the layout of MS-TCN (Abu Farha and Gall, CVPR 2019).
"""

from __future__ import annotations

import re
from typing import ClassVar

from longview.data.frames_layout import LayoutSource

__all__ = ["Salads"]


class Salads(LayoutSource):
    """50Salads in the field's disk layout (docs/data.md); stride 6, five frames a second, in FUTR (CVPR 2022)."""

    name: ClassVar[str] = "50salads"
    title: ClassVar[str] = "50Salads"
    candidates: ClassVar[tuple[str, ...]] = ("50salads/", "50salads_gt/50salads.tar.xz")
    fps: ClassVar[int] = 30
    person: ClassVar[re.Pattern[str]] = re.compile(r"rgb-(\d+)-")
