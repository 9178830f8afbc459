"""Per-frame feature files: features/<video>.npy, a matrix of floats per video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from longview.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FeatureFiles", "nearest"]


def nearest(labels: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Labels [L] stretched or shrunk to ``length`` frames: frame t takes label floor(t * L / length)."""
    import numpy as np

    picked: NDArray[np.int64] = labels[np.arange(length) * labels.shape[0] // length]
    return picked


class FeatureFiles:
    """The ``features`` folder of a data root; files are memory-mapped, so only the frames asked for are read.

    Args:
        folder: Folder of ``<video>.npy`` files.
        layout: Axes of a file: "DT" = [D, T] (the field's), "TD" = [T, D].
    """

    def __init__(self, folder: Path, layout: Literal["DT", "TD"]) -> None:
        self.folder = folder
        self.layout = layout

    def path(self, video: str) -> Path:
        """The file of a video."""
        return self.folder / f"{video}.npy"

    def shape(self, video: str) -> tuple[int, int]:
        """(frames T, width D) of a video's file; reads the header only. Raises DataError."""
        frames, width = self._open(video).shape
        return frames, width

    def readable(self, video: str) -> bool:
        """Whether a video's file is there and well formed as far as its header says."""
        try:
            self._open(video)
        except DataError:
            return False
        return True

    def read(self, video: str, stop: int, stride: int) -> NDArray[np.float32]:
        """Frames 0, stride, ... < stop as float32 [ceil(stop/stride), D].

        Raises:
            DataError: File absent or malformed, NaN or infinity among the frames read.
        """
        import numpy as np

        values = np.ascontiguousarray(self._open(video)[:stop:stride], dtype=np.float32)
        if not np.isfinite(values).all():
            frame, channel = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
            raise DataError(f"{self.path(video)}: value {values[frame, channel]} at frame {frame * stride}, channel {channel}")
        return values

    def _open(self, video: str) -> NDArray[np.floating]:
        """The file as a read-only map [T, D]."""
        import numpy as np

        path = self.path(video)
        try:
            # open_memmap, not np.load: np.load also opens archives and pickles, and those are not feature files.
            matrix = np.lib.format.open_memmap(path, mode="r")
        except FileNotFoundError:
            raise DataError(f"{path}: does not exist; every video of the split needs a feature file") from None
        except (ValueError, EOFError, OSError) as error:
            reason = "is empty, cut off or not an npy file"
            if isinstance(error, OSError):
                reason = f"cannot be read ({error.strerror})"
            elif "object" in str(error):
                reason = "holds Python objects"
            raise DataError(f"{path}: {reason}; expected a float32 matrix [{self.layout[0]}, {self.layout[1]}]") from error
        if matrix.ndim != 2 or 0 in matrix.shape:
            raise DataError(f"{path}: has shape {matrix.shape}; expected a matrix [{self.layout[0]}, {self.layout[1]}]")
        if matrix.dtype.kind != "f":
            raise DataError(f"{path}: holds {matrix.dtype}; expected float32")
        return matrix.T if self.layout == "DT" else matrix
