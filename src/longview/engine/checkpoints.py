"""Checkpoints of a run: kept where the run directory is now; which one is tested; whether one can be read at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from longview.errors import LongviewError
from longview.runs.directory import RunDirectory
from longview.tasks.base import Task


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


def weights_to_test(task: Task, run: RunDirectory) -> Path | None:
    """The best checkpoint, else the last; None for a model without weights. Raises LongviewError if there is none."""
    if not task.trainable:
        return None
    for path in (run.best_checkpoint, run.last_checkpoint):
        if path.exists():
            return path
    raise LongviewError(f"{run.path} has no checkpoint to test; train it first: python run.py run.resume={run.path}")


def readable(path: Path | None) -> Path | None:
    """A checkpoint that can be loaded; raises LongviewError for a damaged one before anything is built on it."""
    if path is None:
        return None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        missing = [key for key in ("state_dict", "loops") if key not in found]
    except Exception as error:  # what torch raises depends on where the file is cut
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LongviewError(f"{path} is damaged and cannot be loaded ({first}); {_instead(path)}") from error
    if missing:
        raise LongviewError(f"{path} is no checkpoint of a run: it lacks {', '.join(missing)}; {_instead(path)}")
    return path


def _instead(path: Path) -> str:
    best = path.with_name("best.ckpt")
    if path.name == "last.ckpt" and best.exists():
        return f"copy {best.name} over it to go on from the best epoch, or delete it to train from the beginning"
    return "delete it to train from the beginning" if path.name == "last.ckpt" else f"delete it to use {path.parent}/last.ckpt"
