"""Checkpoints of a run: kept where the run directory is now; which one is tested; whether one can be read at all.

A checkpoint is one file, or with strategies that divide the state over the ranks a folder of one file per rank. A folder counts
only with its marker, which rank 0 writes last, when every rank has written: a folder cut off in the middle does not exist.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import Strategy

from longview.errors import LongviewError
from longview.runs.directory import RunDirectory
from longview.tasks.base import Task

MARKER = "committed.json"
META = "meta.pt"
"""Everything of a folder checkpoint that is not divided: loops, callbacks, random states."""


class CheckpointError(LongviewError):
    """A checkpoint that is damaged, incomplete, or made for other ranks."""


class KeptCheckpoint(ModelCheckpoint):
    """Remembers the best score also when the run directory has been moved; Lightning would forget it and overwrite best.ckpt."""

    @property
    def state_key(self) -> str:
        """The key of Lightning's own class: a checkpoint does not depend on ours."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the saved state over, with every path in today's folder."""

        def here(path: str) -> str:
            return str(Path(self.dirpath or "") / Path(path).name) if path else path

        paths = {k: here(state_dict[k]) for k in ("best_model_path", "kth_best_model_path", "last_model_path")}
        best = {here(k): v for k, v in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": best, "dirpath": self.dirpath})


# folders ------------------------------------------------------------------------------------------------------------------


def rank_file(rank: int) -> str:
    """Name of a rank's part of a folder checkpoint."""
    return f"rank-{rank:05d}.pt"


def write_folder(path: Path, step: int, strategy: Strategy, write: Callable[[Path], None]) -> None:
    """Have every rank ``write`` its files into a new folder, then put it in the place of ``path``. Collective over ranks.

    At every moment the old or the new checkpoint is there whole: under ``path``, or for the blink between two renames beside it,
    where :func:`newest` finds it.
    """
    new, old = _beside(path)
    first = strategy.is_global_zero
    if first:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
    strategy.barrier("checkpoint folder made")
    write(new)
    strategy.barrier("checkpoint written by all")
    if first:
        _commit(new, step, strategy.world_size if hasattr(strategy, "world_size") else 1)
        shutil.rmtree(old, ignore_errors=True)
        if path.is_dir():
            path.rename(old)
        elif path.exists():
            path.unlink()
        new.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    strategy.barrier("checkpoint committed")


def _beside(path: Path) -> tuple[Path, Path]:
    return path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")


def _files(folder: Path) -> dict[str, int]:
    found = (p for p in folder.rglob("*") if p.is_file() and p.name != MARKER)
    return {p.relative_to(folder).as_posix(): p.stat().st_size for p in sorted(found)}


def _commit(folder: Path, step: int, ranks: int) -> None:
    for name in _files(folder):
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
    with (folder / MARKER).open("w", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, "ranks": ranks, "files": _files(folder)}, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())


def marker(folder: Path) -> dict[str, Any] | None:
    """What the marker says; None if the folder was never completed or has lost a file or a part of one since."""
    try:
        said: dict[str, Any] = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        there = _files(folder)
        return said if all(there.get(name) == size for name, size in said["files"].items()) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def newest(path: Path) -> Path | None:
    """The checkpoint known as ``path``: itself, or what a save that was cut off left whole beside it; None if there is none."""
    if path.is_file() or (path.is_dir() and marker(path) is not None):
        return path
    whole = [(said["step"], folder) for folder in _beside(path) if (said := marker(folder)) is not None]
    if whole:
        return max(whole)[1]
    return path if path.exists() else None  # a damaged one is reported, never passed over in silence


def refuse_other_ranks(path: Path, ranks: int) -> None:
    """Raises CheckpointError unless ``path`` is a folder that as many ranks wrote: each reads its own part back."""
    said = marker(path) if path.is_dir() else None
    if said is None or said["ranks"] != ranks:
        who = f"{said['ranks']} ranks" if said else "another strategy"
        raise CheckpointError(f"{path} was written by {who} and this run has {ranks} ranks; use the same nodes and devices")


# choosing -----------------------------------------------------------------------------------------------------------------


def weights_to_test(task: Task, run: RunDirectory) -> Path | None:
    """The best checkpoint, else the last; None for a model without weights. Raises LongviewError if there is none."""
    if not task.trainable:
        return None
    for path in (run.best_checkpoint, run.last_checkpoint):
        if found := newest(path):
            return found
    raise LongviewError(f"{run.path} has no checkpoint to test; train it first: python run.py run.resume={run.path}")


def readable(path: Path | None) -> Path | None:
    """A checkpoint that can be loaded; raises LongviewError for a damaged one before anything is built on it."""
    if path is None:
        return None
    if path.is_dir():
        if marker(path) is None:
            raise CheckpointError(f"{path} was never completed, or files of it are missing or cut off; {_instead(path)}")
        return path
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        missing = [key for key in ("state_dict", "loops") if key not in found]
    except Exception as error:  # what torch raises depends on where the file is cut
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is damaged and cannot be loaded ({first}); {_instead(path)}") from error
    if missing:
        raise CheckpointError(f"{path} is no checkpoint of a run: it lacks {', '.join(missing)}; {_instead(path)}")
    return path


def _instead(path: Path) -> str:
    best = path.with_name("best.ckpt")
    if path.name == "last.ckpt" and best.exists():
        return f"copy {best.name} over it to go on from the best epoch, or delete it to train from the beginning"
    return "delete it to train from the beginning" if path.name == "last.ckpt" else f"delete it to use {path.parent}/last.ckpt"
