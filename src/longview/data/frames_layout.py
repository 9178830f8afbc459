"""Sources in the field's disk layout (MS-TCN; Abu Farha and Gall, CVPR 2019): what Breakfast and 50Salads share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from longview.data import roots
from longview.data.frames_checks import HOLDS, bundle, look_at, split_numbers
from longview.data.frames_features import FeatureFiles, nearest
from longview.data.frames_files import ArchiveFiles, FolderFiles, Head, open_layout
from longview.data.frames_text import parse_bundle, parse_mapping
from longview.data.holdout import hold_out
from longview.data.source import Description, Part, Statistics
from longview.data.tally import one_hot, tally
from longview.errors import DataError, Problem
from longview.types import PositiveInt, Share

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LayoutSource"]


class LayoutSource:
    """A FrameSource over ``mapping.txt``, ``groundTruth/``, ``splits/`` and, for features, ``features/``.

    A subclass names the data set and the person in a video name.

    Args:
        root: Folder in that layout or an archive of it; None has it looked for (``longview.data.roots``).
        split: Official split (whatever ``splits/`` holds).
        observe: What the model sees of an observed frame: its feature vector, or its true label as a one-hot vector.
        stride: Every ``stride``-th full-rate frame reaches the model.
        val_fraction: Part of the training *persons* held out for validation; 0 trains on the whole official list.
        feature_layout: Axes of a feature file, [D, T] (the field's) or [T, D].
        length_mismatch: Features and labels of different length are an error, or the labels are resampled (nearest).
    """

    tasks: ClassVar[tuple[str, ...]] = ("anticipation", "segmentation")
    name: ClassVar[str]
    """Short name for tables."""
    title: ClassVar[str]
    """Name in messages."""
    candidates: ClassVar[tuple[str, ...]]
    """Where it is looked for under a data folder."""
    fps: ClassVar[int]
    """Full-rate frames per second."""
    person: ClassVar[re.Pattern[str]]
    """Group 1 = person; a video whose name does not match counts as a person of its own."""

    def __init__(
        self,
        *,
        root: str | None = None,
        split: PositiveInt = 1,
        observe: Literal["features", "labels"] = "labels",
        stride: PositiveInt = 1,
        val_fraction: Share = 0.0,
        feature_layout: Literal["DT", "TD"] = "DT",
        length_mismatch: Literal["error", "resample"] = "error",
    ) -> None:
        self.root = root
        self.split = split
        self.observe = observe
        self.stride = stride
        self.val_fraction = val_fraction
        self.feature_layout: Literal["DT", "TD"] = feature_layout
        self.length_mismatch = length_mismatch
        self._files_: FolderFiles | ArchiveFiles | None = None
        self._names_: tuple[str, ...] | None = None
        self._parts_: dict[Part, list[str]] | None = None
        self._width_: int | None = None
        self._like = ""  # the video that the width was taken from
        self.watch: Callable[[int, int], None] | None = None

    @property
    def place(self) -> Path:
        """The root in use, found or given. Raises DataError."""
        return self._files().root

    def problems(self) -> list[Problem]:
        """Root, mapping, the chosen split and presence of its files; of an archive only what stands at its start."""
        try:
            files = self._files()
            head = files.glance()
        except DataError as error:
            return [Problem("data.root", str(error))]
        return list(self._problems(files, head, [self.split]))

    def verify(self) -> tuple[list[Problem], Statistics | None]:
        """Read every file of every split; one problem per malformed file, and statistics if there is none."""
        try:
            files = self._files()
            head = files.head()
        except DataError as error:
            return [Problem("data.root", str(error))], None
        found = list(self._problems(files, head, split_numbers(head)))
        try:
            names = self._names()
        except DataError:
            return found, None  # no label can be read without a mapping
        lists = self._lists(files, head)
        videos = list(dict.fromkeys(video for named in lists.values() for video in named))
        labels = {}
        for number, video in enumerate(videos, 1):
            if head.labels is None or video in head.labels:  # those that lack a file were named above
                try:
                    labels[video] = self.labels(video)
                    if self.observe == "features" and self._features().path(video).is_file():
                        self.features(video, len(labels[video]), 1)
                except DataError as error:
                    found.append(Problem("", str(error)))
            if self.watch is not None:
                self.watch(number, len(videos))
        found = list(dict.fromkeys(found))
        if found or not labels:
            return found, None
        splits = {f"split{n}": (len(lists["train", n]), len(lists["test", n])) for n in split_numbers(head)}
        return [], tally(labels.values(), names, splits)

    def _lists(self, files: FolderFiles | ArchiveFiles, head: Head) -> dict[tuple[str, int], list[str]]:
        """The split lists that can be read."""
        lists = {}
        for key, data in sorted(head.bundles.items()):
            try:
                lists[key] = parse_bundle(data, files.name(bundle(*key)))
            except DataError:
                continue  # look_at says why
        return lists

    def _problems(self, files: FolderFiles | ArchiveFiles, head: Head, splits: Sequence[int]) -> list[Problem]:
        """What the small files show, for the chosen split and others."""
        found = []
        if self.stride > 60 * self.fps:
            text = f"{self.stride} leaves more than a minute of video between two frames; {self.title} has {self.fps} a second"
            found.append(Problem("data.stride", text))
        return found + list(look_at(files, head, self.split, splits, self.observe, self._held_out))

    def _held_out(self, train: Sequence[str]) -> tuple[list[str], list[str]]:
        return hold_out(train, self.val_fraction, self._person)

    def describe(self) -> Description:
        """Classes, width of an observed frame and sizes of the parts; of features only one header is read."""
        names = self._names()
        return Description(
            name=self.name,
            num_classes=len(names),
            class_names=names,
            input_dim=len(names) if self.observe == "labels" else self._width(),
            stride=self.stride,
            parts={part: len(videos) for part, videos in self._parts().items() if videos},
        )

    def videos(self, part: Part) -> Sequence[str]:
        """Video names of a part in the order of the split list; "val" is empty with ``val_fraction=0``."""
        return tuple(self._parts()[part])

    def labels(self, video: str) -> NDArray[np.int64]:
        """Class ids [L] at full rate; ``length_mismatch="resample"`` fits them to observed features."""
        import numpy as np

        labels = self._files().labels(video).astype(np.int64)
        if self.observe == "features" and self.length_mismatch == "resample":
            frames, _ = self._features().shape(video)
            return labels if frames == labels.shape[0] else nearest(labels, frames)
        return labels

    def features(self, video: str, stop: int, stride: int) -> NDArray[np.float32]:
        """Vectors [ceil(stop/stride), D] of frames 0, stride, ... < stop: one-hot labels or feature columns.

        Raises:
            DataError: A malformed file, or features and labels of different length (unless they are to be resampled).
            ValueError: ``stop`` beyond the video.
        """
        labels = self.labels(video)
        if not 0 <= stop <= labels.shape[0]:
            raise ValueError(f"{video} has {labels.shape[0]} frames, asked for {stop}")
        if self.observe == "labels":
            return one_hot(labels[:stop:stride], len(self._names()))
        files = self._features()
        frames, width = files.shape(video)
        if frames != labels.shape[0]:
            right = "data.length_mismatch=resample fits the labels to the features"
            if width == labels.shape[0]:
                right = (
                    f"its axes are the other way round, give data.feature_layout={'TD' if self.feature_layout == 'DT' else 'DT'}"
                )
            raise DataError(f"{files.path(video)}: has {frames} frames, the labels have {labels.shape[0]}; {right}")
        if width != self._width():
            like = f"{self._width()} as in {files.path(self._like).name}"
            raise DataError(f"{files.path(video)}: has {width} values per frame; expected {like}")
        return files.read(video, stop, stride)

    def _files(self) -> FolderFiles | ArchiveFiles:
        if self._files_ is None:
            self._files_ = open_layout(roots.find(self.root, self.candidates, what=self.title, holds=HOLDS))
        return self._files_

    def _features(self) -> FeatureFiles:
        return FeatureFiles(self._files().root / "features", self.feature_layout)

    def _names(self) -> tuple[str, ...]:
        if self._names_ is None:
            files = self._files()
            mapping = files.glance().mapping or files.head().mapping
            if mapping is None:
                raise DataError(f"{files.root} holds no mapping.txt; data.root must be {HOLDS}")
            self._names_ = parse_mapping(mapping, files.name("mapping.txt"))
        return self._names_

    def _width(self) -> int:
        """D of the first training video whose file can be read; the other videos must have the same."""
        if self._width_ is None:
            train, files = self._parts()["train"], self._features()
            self._like = next((video for video in train if files.readable(video)), train[0])
            self._width_ = files.shape(self._like)[1]
        return self._width_

    def _parts(self) -> dict[Part, list[str]]:
        if self._parts_ is None:
            files = self._files()
            keys = [("train", self.split), ("test", self.split)]
            head = files.glance()
            if not all(key in head.bundles for key in keys):
                head = files.head()
            if not all(key in head.bundles for key in keys):
                shown = ", ".join(map(str, split_numbers(head))) or "none"
                raise DataError(f"split {self.split} is not in {files.name('splits')}; present: {shown}")
            train, test = (parse_bundle(head.bundles[key], files.name(bundle(*key))) for key in keys)
            train, val = self._held_out(train)
            self._parts_ = {"train": train, "val": val, "test": test}
        return self._parts_

    def _person(self, video: str) -> str:
        match = self.person.match(video)
        return match[1] if match else video
