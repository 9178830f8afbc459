"""Sources in the field's disk layout (MS-TCN; Abu Farha and Gall, CVPR 2019): what Breakfast and 50Salads share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from longview.data import roots
from longview.data.frames_features import FeatureFiles, nearest
from longview.data.frames_files import ARCHIVES, ArchiveFiles, FolderFiles, Head, open_layout
from longview.data.frames_text import parse_bundle, parse_mapping
from longview.data.holdout import hold_out
from longview.data.source import Description, Part, Statistics
from longview.data.tally import one_hot, tally
from longview.errors import DataError, Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LayoutSource"]

_HOLDS = f"a folder with mapping.txt, groundTruth/ and splits/, or an archive of it ({', '.join(ARCHIVES[:3])})"


class LayoutSource:
    """A FrameSource over ``mapping.txt``, ``groundTruth/``, ``splits/`` and, for features, ``features/``.

    A subclass names the data set and the person in a video name; its constructor's signature is its configuration.
    """

    tasks: ClassVar[tuple[str, ...]] = ("anticipation", "segmentation")
    name: ClassVar[str]
    """Short name for tables."""
    title: ClassVar[str]
    """Name in messages."""
    candidates: ClassVar[tuple[str, ...]]
    """Where it is looked for under a data folder."""
    person: ClassVar[re.Pattern[str]]
    """Group 1 = person; a video whose name does not match counts as a person of its own."""

    def __init__(
        self,
        *,
        root: str | None,
        split: int,
        observe: Literal["features", "labels"],
        stride: int,
        val_fraction: float,
        feature_layout: Literal["DT", "TD"],
        length_mismatch: Literal["error", "resample"],
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

    def problems(self) -> list[Problem]:
        """Root, mapping, the chosen split and presence of its files; of an archive only what stands at its start."""
        try:
            files = self._files()
            head = files.glance()
        except DataError as error:
            return [Problem("data.root", str(error))]
        return list(self._head_problems(files, head, [self.split]))

    def verify(self) -> tuple[list[Problem], Statistics | None]:
        """Read every file of every split; one problem per malformed file, and statistics if there is none."""
        try:
            files = self._files()
            head = files.head()
        except DataError as error:
            return [Problem("data.root", str(error))], None
        found = list(self._head_problems(files, head, _splits(head)))
        if found:
            return found, None
        lists = {key: parse_bundle(data, files.name(_bundle(*key))) for key, data in sorted(head.bundles.items())}
        videos = list(dict.fromkeys(video for videos in lists.values() for video in videos))
        labels = {}
        for video in videos:
            try:
                labels[video] = self.labels(video)
                if self.observe == "features":
                    self.features(video, len(labels[video]), 1)
            except DataError as error:
                found.append(Problem("", str(error)))
        if found:
            return found, None
        splits = {f"split{n}": (len(lists["train", n]), len(lists["test", n])) for n in _splits(head)}
        return [], tally(labels.values(), self._names(), splits)

    def _head_problems(self, files: FolderFiles | ArchiveFiles, head: Head, splits: Sequence[int]) -> Iterator[Problem]:
        if head.mapping is None and head.complete:
            yield Problem("data.root", f"{files.root} holds no mapping.txt; data.root must be {_HOLDS}{self._nearby(files.root)}")
            return
        if head.mapping is not None:
            try:
                parse_mapping(head.mapping, files.name("mapping.txt"))
            except DataError as error:
                yield Problem("", str(error))
        if self.observe == "features" and isinstance(files, ArchiveFiles):
            yield Problem(
                "data.observe",
                f"features are read from a folder, and {files.root} is an archive; unpack it, put <video>.npy files "
                "into its features/ and give that folder as data.root, or use data.observe=labels",
            )
        if head.bundles or head.complete:
            present = _splits(head)
            if self.split not in present:
                shown = ", ".join(map(str, present)) or "none"
                yield Problem("data.split", f"split {self.split} is not in {files.name('splits')}; present: {shown}")
            for number in splits:
                if number in present:
                    yield from self._split_problems(files, head, number)

    def _split_problems(self, files: FolderFiles | ArchiveFiles, head: Head, number: int) -> Iterator[Problem]:
        lists: dict[str, list[str]] = {}
        for part in ("train", "test"):
            try:
                lists[part] = parse_bundle(head.bundles[part, number], files.name(_bundle(part, number)))
            except DataError as error:
                yield Problem("", str(error))
        if len(lists) < 2:
            return
        tested = set(lists["test"])
        if both := [video for video in lists["train"] if video in tested]:
            at = files.name(_bundle("test", number))
            yield Problem("", f"{at}: {len(both)} of its videos are in the training list too ({_some(both)})")
        named = [*lists["train"], *lists["test"]]
        if head.labels is not None and (lost := [video for video in named if video not in head.labels]):
            yield Problem(
                "",
                f"{files.name('groundTruth')}: no label file for {len(lost)} videos of split {number} ({_some(lost)})",
            )
        if self.observe == "features" and isinstance(files, FolderFiles):
            yield from self._feature_problems(files.root / "features", named)
        try:
            hold_out(lists["train"], self.val_fraction, self._person)
        except DataError as error:
            yield Problem("data.val_fraction", str(error))

    def _feature_problems(self, folder: Path, videos: Sequence[str]) -> Iterator[Problem]:
        present = {path.name for path in folder.iterdir()} if folder.is_dir() else None
        if present is None:
            yield Problem("data.observe", f"{folder} does not exist; put <video>.npy files there or use data.observe=labels")
        elif lost := [video for video in videos if f"{video}.npy" not in present]:
            yield Problem("", f"{folder}: no feature file for {len(lost)} of {len(videos)} videos ({_some(lost)})")

    def _nearby(self, root: Path) -> str:
        """Names a right root inside a wrong one: the folder above it is the commonest mistake."""
        if not root.is_dir():
            return ""
        for path in sorted(root.iterdir()):
            if (path / "mapping.txt").is_file() or (path.is_file() and path.name.endswith(ARCHIVES)):
                return f"; did you mean {path}?"
        return ""

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
        frames, _ = files.shape(video)
        if frames != labels.shape[0]:
            raise DataError(
                f"{files.path(video)}: has {frames} frames, the labels have {labels.shape[0]}; "
                "data.length_mismatch=resample fits the labels to the features"
            )
        return files.read(video, stop, stride, width=self._width())

    def _files(self) -> FolderFiles | ArchiveFiles:
        if self._files_ is None:
            self._files_ = open_layout(roots.find(self.root, self.candidates, what=self.title, holds=_HOLDS))
        return self._files_

    def _features(self) -> FeatureFiles:
        return FeatureFiles(self._files().root / "features", self.feature_layout)

    def _names(self) -> tuple[str, ...]:
        if self._names_ is None:
            files = self._files()
            mapping = files.glance().mapping or files.head().mapping
            if mapping is None:
                raise DataError(f"{files.root} holds no mapping.txt; data.root must be {_HOLDS}")
            self._names_ = parse_mapping(mapping, files.name("mapping.txt"))
        return self._names_

    def _width(self) -> int:
        """D of the first training video; the other videos must have the same."""
        if self._width_ is None:
            self._width_ = self._features().shape(self._parts()["train"][0])[1]
        return self._width_

    def _parts(self) -> dict[Part, list[str]]:
        if self._parts_ is None:
            files = self._files()
            keys = [("train", self.split), ("test", self.split)]
            head = files.glance()
            if not all(key in head.bundles for key in keys):
                head = files.head()
            if not all(key in head.bundles for key in keys):
                shown = ", ".join(map(str, _splits(head))) or "none"
                raise DataError(f"split {self.split} is not in {files.name('splits')}; present: {shown}")
            train, test = (parse_bundle(head.bundles[key], files.name(_bundle(*key))) for key in keys)
            train, val = hold_out(train, self.val_fraction, self._person)
            self._parts_ = {"train": train, "val": val, "test": test}
        return self._parts_

    def _person(self, video: str) -> str:
        match = self.person.match(video)
        return match[1] if match else video


def _bundle(part: str, number: int) -> str:
    return f"splits/{part}.split{number}.bundle"


def _splits(head: Head) -> list[int]:
    """Numbers of the splits that have both lists."""
    return sorted(n for part, n in head.bundles if part == "train" and ("test", n) in head.bundles)


def _some(videos: Sequence[str]) -> str:
    return ", ".join(videos[:3]) + (", ..." if len(videos) > 3 else "")
