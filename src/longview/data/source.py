"""What every data format offers to the rest of longview: a *source* of labelled frame sequences.

A source knows one on-disk format and nothing of torch, Lightning or a task. It is what the check looks at before anything is
queued, so importing a source module must stay cheap: standard library only at import time, numpy inside the methods.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, runtime_checkable

from longview.errors import Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Part = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Description:
    """What a model needs to know of the data; fields are matched to ``FromData`` parameters.

    Attributes:
        name: Short name for tables and run names ("breakfast").
        num_classes: Number of classes K.
        class_names: K names, index = class id.
        input_dim: Width D of an observed frame's feature vector (K when labels are observed).
        stride: Every ``stride``-th full-rate frame reaches the model.
        parts: Number of videos per part.
    """

    name: str
    num_classes: int
    class_names: tuple[str, ...]
    input_dim: int
    stride: int = 1
    parts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Statistics:
    """What ``longview data check`` prints of a healthy root."""

    videos: int
    classes: int
    frames: int
    segments: int
    shortest: int
    longest: int
    splits: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Split name -> (training videos, test videos)."""
    class_frames: dict[str, int] = field(default_factory=dict)


@runtime_checkable
class FrameSource(Protocol):
    """A set of videos with one label per full-rate frame and a feature vector per frame."""

    tasks: ClassVar[tuple[str, ...]]
    """Names of the tasks this source serves."""

    def problems(self) -> list[Problem]:
        """Quick look before anything is queued: root, split and mapping are there and well formed. No numpy, no feature file."""
        ...

    def verify(self) -> tuple[list[Problem], Statistics | None]:
        """Read everything once; every malformed file gives one problem naming file and line."""
        ...

    def describe(self) -> Description: ...

    def videos(self, part: Part) -> Sequence[str]:
        """Video names of a part, in the order of the split file; empty if the part does not exist."""
        ...

    def labels(self, video: str) -> NDArray[np.int64]:
        """Class ids [L] at full rate; raises DataError with file and line."""
        ...

    def features(self, video: str, stop: int, stride: int) -> NDArray[np.float32]:
        """Feature vectors [ceil(stop/stride), D] of full-rate frames 0, stride, 2*stride, ... < stop; reads only these."""
        ...


@runtime_checkable
class OnDisk(Protocol):
    """A source that is read from files: says where they lie, and how far ``verify`` has come."""

    watch: Callable[[int, int], None] | None
    """Told by ``verify`` after every video: how many were read, of how many."""

    @property
    def place(self) -> Path:
        """The root in use, found or given. Raises DataError."""
        ...
