"""50Salads class scores: what four published segmentation models saw at each step of 50 real videos, with the true labels.

Lea, Flynn, Vidal, Reiter and Hager, "Temporal Convolutional Networks for Action Segmentation and Detection", CVPR 2017;
scores of a video come from the fold in which it was tested. One npz: ``videos``, ``fold`` (1..5) and
``<video>/<model>/{S,Y,P}`` with S [T, 18] scores (no probabilities), Y [T] true and P [T] predicted class. The models have
different time grids, and none is the 30-frame grid of the 50Salads label files: a "frame" here is a step of the model's own
grid (about 1 s for svm, 1.5-2 s else).
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from longview.data import roots
from longview.data.holdout import hold_out
from longview.data.salads import Salads
from longview.data.source import Description, Part, Statistics
from longview.data.tally import one_hot, tally
from longview.errors import DataError, Problem
from longview.types import PositiveInt, Share

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SaladsScores"]

_CLASSES = 18
_FILE = "50salads_mid_scores.npz"
_HOLDS = f"{_FILE} or the folder that contains it"


class SaladsScores:
    """Class scores of one model as features; a fold is the test part, the other four are for training.

    Args:
        root: The npz file or its folder; None has it looked for (``longview.data.roots``).
        model: Whose scores: spatial CNN + SVM, temporal CNN, encoder-decoder TCN or dilated TCN.
        split: The fold that is tested, 1..5.
        observe: Scores, standardised per channel with mean and deviation of the training part, or true labels, one-hot.
        stride: Every ``stride``-th step reaches the model; the steps are already about a second apart.
        val_fraction: Part of the training *persons* held out for validation.
    """

    tasks: ClassVar[tuple[str, ...]] = ("anticipation", "segmentation")

    def __init__(
        self,
        *,
        root: str | None = None,
        model: Literal["svm", "tcnn", "edtcn", "dtcn"] = "svm",
        split: Literal[1, 2, 3, 4, 5] = 1,
        observe: Literal["features", "labels"] = "features",
        stride: PositiveInt = 1,
        val_fraction: Share = 0.0,
    ) -> None:
        self.root = root
        self.model = model
        self.split = split
        self.observe = observe
        self.stride = stride
        self.val_fraction = val_fraction
        self._path_: Path | None = None
        self._parts_: dict[Part, list[str]] | None = None
        self._folds_: dict[str, int] | None = None
        self._arrays: dict[str, NDArray[Any]] = {}
        self._scale_: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
        self.watch: Callable[[int, int], None] | None = None

    @property
    def place(self) -> Path:
        """The npz file in use, found or given. Raises DataError."""
        return self._path()

    def problems(self) -> list[Problem]:
        """The file is there, is an npz, and holds the model; its arrays are not read."""
        try:
            path = self._path()
            with zipfile.ZipFile(path) as archive:
                names = set(archive.namelist())
        except DataError as error:
            return [Problem("data.root", str(error))]
        except (OSError, zipfile.BadZipFile) as error:
            return [Problem("data.root", f"{path}: is damaged or not an npz file ({error}); data.root must be {_HOLDS}")]
        if lost := [name for name in ("videos", "fold") if f"{name}.npy" not in names]:
            return [Problem("data.root", f"{path}: has no array {' and '.join(map(repr, lost))}; data.root must be {_HOLDS}")]
        if not any(re.fullmatch(rf".+/{self.model}/S\.npy", name) for name in names):
            return [Problem("data.model", f"{path}: has no scores of {self.model!r}")]
        return []

    def verify(self) -> tuple[list[Problem], Statistics | None]:
        """Read the arrays of every video for the chosen model."""
        if found := self.problems():
            return found, None
        labels = {}
        try:
            videos = list(self._folds())
            self._parts()
        except DataError as error:
            return [Problem("data.root", str(error))], None
        for number, video in enumerate(videos, 1):
            try:
                labels[video] = self.labels(video)
                self._scores(video)
            except DataError as error:
                found.append(Problem("", str(error)))
            if self.watch is not None:
                self.watch(number, len(videos))
        if found:
            return found, None
        folds = list(self._folds().values())
        splits = {f"split{fold}": (len(folds) - folds.count(fold), folds.count(fold)) for fold in sorted(set(folds))}
        return [], tally(labels.values(), self._names(), splits)

    def describe(self) -> Description:
        """18 classes, 18 channels."""
        return Description(
            name=f"50salads-{self.model}",
            num_classes=_CLASSES,
            class_names=self._names(),
            input_dim=_CLASSES,
            stride=self.stride,
            parts={part: len(videos) for part, videos in self._parts().items() if videos},
        )

    def videos(self, part: Part) -> Sequence[str]:
        """Names such as "06-1" (person, run), in the order of the file."""
        return tuple(self._parts()[part])

    def labels(self, video: str) -> NDArray[np.int64]:
        """True class ids [T] on the model's own grid."""
        import numpy as np

        labels = self._array(f"{video}/{self.model}/Y")
        if labels.ndim != 1 or labels.size == 0 or labels.dtype.kind not in "ui" or int(labels.max()) >= _CLASSES:
            raise DataError(f"{self._path()}: {video}/{self.model}/Y must be class ids [T] in 0..{_CLASSES - 1}")
        return labels.astype(np.int64)

    def features(self, video: str, stop: int, stride: int) -> NDArray[np.float32]:
        """Vectors [ceil(stop/stride), 18] of steps 0, stride, ... < stop."""
        labels = self.labels(video)
        if not 0 <= stop <= labels.shape[0]:
            raise ValueError(f"{video} has {labels.shape[0]} steps, asked for {stop}")
        if self.observe == "labels":
            return one_hot(labels[:stop:stride], _CLASSES)
        mean, deviation = self._scale()
        scaled: NDArray[np.float32] = (self._scores(video)[:stop:stride] - mean) / deviation
        return scaled

    def _names(self) -> tuple[str, ...]:
        """Class names, which the file lacks: ids are the alphabetical order of the mid classes, 0 being the background.

        That order makes the actions of all 50 videos come in the order of the 50Salads label files (three videos lose a short
        action to the coarse grid). The names are read from those files; where they are absent, classes are numbered.
        """
        try:
            known = Salads().describe().class_names
        except DataError:
            known = ()
        names = sorted(name for name in known if name not in ("action_start", "action_end"))
        if len(names) != _CLASSES - 1:
            names = [f"action {label}" for label in range(1, _CLASSES)]
        return ("background", *names)

    def _path(self) -> Path:
        if self._path_ is None:
            path = roots.find(self.root, (f"50salads_cnn_scores/{_FILE}",), what="50Salads score", holds=_HOLDS)
            if path.is_dir():
                path = path / _FILE
                if not path.is_file():
                    raise DataError(f"{path} does not exist; data.root must be {_HOLDS}")
            self._path_ = path
        return self._path_

    def _array(self, key: str) -> NDArray[Any]:
        """An array of the file, read on first use and kept."""
        import numpy as np

        if key not in self._arrays:
            path = self._path()
            try:
                with np.load(path, allow_pickle=False) as arrays:
                    self._arrays[key] = arrays[key]
            except KeyError:
                raise DataError(f"{path}: has no array {key!r}") from None
            except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                raise DataError(f"{path}: array {key!r} cannot be read ({error})") from error
        return self._arrays[key]

    def _scores(self, video: str) -> NDArray[np.float32]:
        """Raw scores [T, 18]."""
        import numpy as np

        # float16 on disk: converted before any sum, which would overflow or lose digits.
        scores = self._array(f"{video}/{self.model}/S").astype(np.float32)
        expected = (self.labels(video).shape[0], _CLASSES)
        if scores.shape != expected:
            raise DataError(f"{self._path()}: {video}/{self.model}/S has shape {scores.shape}, expected {expected}")
        if not np.isfinite(scores).all():
            raise DataError(f"{self._path()}: {video}/{self.model}/S has a value that is not finite")
        return scores

    def _scale(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and standard deviation [18] over all steps of the training part (without what is held out)."""
        import numpy as np

        if self._scale_ is None:
            steps = np.concatenate([self._scores(video) for video in self._parts()["train"]]).astype(np.float64)
            deviation = steps.std(axis=0)
            deviation[deviation == 0] = 1
            self._scale_ = (steps.mean(axis=0).astype(np.float32), deviation.astype(np.float32))
        return self._scale_

    def _folds(self) -> dict[str, int]:
        if self._folds_ is None:
            videos, folds = self._array("videos"), self._array("fold")
            if videos.ndim != 1 or videos.shape != folds.shape:
                raise DataError(f"{self._path()}: 'videos' and 'fold' must be two lists of one length")
            self._folds_ = {str(video): int(fold) for video, fold in zip(videos, folds, strict=True)}
        return self._folds_

    def _parts(self) -> dict[Part, list[str]]:
        if self._parts_ is None:
            folds = self._folds()
            test = [video for video, fold in folds.items() if fold == self.split]
            if not test or len(test) == len(folds):
                raise DataError(
                    f"{self._path()}: fold {self.split} must hold some of the videos, not {len(test)} of {len(folds)}"
                )
            rest = [video for video, fold in folds.items() if fold != self.split]
            train, val = hold_out(rest, self.val_fraction, lambda video: video.split("-")[0])
            self._parts_ = {"train": train, "val": val, "test": test}
        return self._parts_
