"""``python -m longview.launch.stage RUN_DIR FOLDER``: copy a run's data to node-local scratch, once per node, and verify it.

The batch script calls it before the ranks start (``launch.stage=true``); the engine then reads from FOLDER. Every file is read
back and compared by SHA-256: a full or broken local disk must not become silently wrong data.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from longview.config.validate import validate
from longview.errors import LongviewError
from longview.runs.directory import RunDirectory

BLOCK = 8 * 2**20


class StageError(LongviewError):
    """Data that cannot be staged."""


def stage(run: RunDirectory, folder: Path) -> Path | None:
    """Copy the run's data root to ``folder``; returns where it lies there, None for data without a place on disk.

    Raises:
        StageError: No room, no right to write, or a copy that differs from its source.
    """
    validated = validate(run.config())
    block = validated.sections["data"]
    place = getattr(block.build(), "place", None)
    if place is None:
        return None
    files = list(_files(Path(place)))
    size = sum(path.stat().st_size for path, _ in files)
    target = folder / Path(place).name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(folder).free) < size:
            raise StageError(
                f"{folder} has {free / 2**30:.1f} GB free and the data have {size / 2**30:.1f} GB; launch.stage=false"
            )
        for path, name in files:
            copy = target / name if name else target
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            if _digest(copy) != _digest(path):
                raise StageError(f"{copy} differs from {path} after copying: the local disk or the file system is at fault")
    except OSError as error:
        raise StageError(f"{folder} cannot take the data: {error.strerror}; launch.stage=false reads them in place") from error
    return target


def _files(place: Path) -> Iterator[tuple[Path, str]]:
    """Every file and its path below ``place``; a single file has none."""
    if place.is_file():
        yield place, ""
        return
    for top, _, names in os.walk(place, followlinks=True):
        for name in sorted(names):
            path = Path(top) / name
            yield path, str(path.relative_to(place))


def _digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.digest()


def main(arguments: list[str]) -> int:
    """Stage and say how it went; returns the exit code."""
    begun = time.monotonic()
    try:
        # By node: on a rehearsal cluster all nodes are one machine.
        target = stage(RunDirectory.open(arguments[0]), Path(arguments[1]) / os.environ.get("SLURM_NODEID", ""))
    except LongviewError as error:
        print(f"longview: error: {socket.gethostname()}: {error}", flush=True)
        return 2
    said = f"data staged and verified in {target}, {time.monotonic() - begun:.1f} s" if target else "these data need no staging"
    print(f"{socket.gethostname()}: {said}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
