"""``python -m longview.engine.export RUN_DIR [--which best|last] [--out FILE]``: one plain checkpoint of any run.

Strategies that divide the state leave folders of one file per rank. What comes out here is a single file that loads with
``torch.load(file, weights_only=True)``: ``state_dict`` with the names of a plain run, and what a test pass asks for besides. It
holds no optimizer state, so training cannot go on from it.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import torch

from longview.engine.checkpoints import META, CheckpointError, marker, newest, rank_file, readable
from longview.errors import LongviewError
from longview.runs.directory import RunDirectory

KEPT = ("epoch", "global_step", "pytorch-lightning_version", "loops")


def export(run: RunDirectory, which: str = "best", out: Path | None = None) -> Path:
    """Write one plain checkpoint; returns where. Without ``out``: ``checkpoints/<which>-whole.ckpt`` in the run directory.

    Raises:
        CheckpointError: There is no such checkpoint, it is damaged, or the file cannot be written.
    """
    source = newest(run.best_checkpoint if which == "best" else run.last_checkpoint)
    if source is None:
        raise CheckpointError(f"{run.path} has no checkpoint '{which}'; give --which {'last' if which == 'best' else 'best'}")
    whole = consolidate(source)
    target = out or run.checkpoints / f"{which}-whole.ckpt"
    plain = {"state_dict": whole["state_dict"], **{key: whole[key] for key in KEPT if key in whole}, "run": run.path.name}
    temporary = target.with_name(f".{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(plain, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise CheckpointError(f"{target} cannot be written: {error.strerror}") from error
    return target


def consolidate(path: Path) -> dict[str, Any]:
    """A checkpoint with its whole ``state_dict``, on the CPU and without the optimizer's state; raises CheckpointError."""
    readable(path)
    if path.is_file():
        found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    elif (path / META).exists():
        found = _from_fsdp(path)
    else:
        found = _from_deepspeed(path)
    return {key: value for key, value in found.items() if key not in ("optimizer_states", "optimizer", "module")}


def _from_fsdp(path: Path) -> dict[str, Any]:
    """Parts are cut along the first dimension, in order of rank; what is not divided is the same on every rank."""
    rest: dict[str, Any] = torch.load(path / META, map_location="cpu", weights_only=True)
    said = marker(path)
    assert said is not None
    parts = [torch.load(path / rank_file(r), map_location="cpu", weights_only=True, mmap=True) for r in range(said["ranks"])]
    shapes, state = rest.pop("shapes"), {}
    for name, value in parts[0]["state_dict"].items():
        state[name] = torch.cat([p["state_dict"][name] for p in parts]) if name in shapes else value
        if name in shapes and list(state[name].shape) != shapes[name]:
            raise CheckpointError(f"{path}: the parts of {name} do not fit together")
    return {**rest, "state_dict": state}


def _from_deepspeed(path: Path) -> dict[str, Any]:
    """Up to stage 2 the weights are whole in one file; in stage 3 DeepSpeed's own tool puts them together."""
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # nothing here computes
    try:
        from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint
    except ImportError as error:
        raise CheckpointError(f"{path} was written by DeepSpeed, which is not installed here; pip install deepspeed") from error
    from longview.engine.zero import TAG, model_files, trusted_load

    files = model_files(path)
    with trusted_load():
        rest: dict[str, Any] = torch.load(files[0], map_location="cpu")
        state = dict(rest["module"])
        if files[0].name.startswith("zero_pp_rank"):
            with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):  # it counts aloud
                whole = get_fp32_state_dict_from_zero_checkpoint(str(path), TAG)
            state = {name: whole.get(name, value) for name, value in state.items()}
    return {**rest, "state_dict": {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in state.items()}}


def main() -> int:
    """Parse the command line and export."""
    parser = argparse.ArgumentParser(prog="python -m longview.engine.export", description=__doc__)
    parser.add_argument("run_dir", help="a run directory made by run.py")
    parser.add_argument("--which", choices=("best", "last"), default="best", help="which checkpoint (best)")
    parser.add_argument("--out", type=Path, help="the file to write; default: in the run's folder checkpoints")
    arguments = parser.parse_args()
    try:
        print(export(RunDirectory.open(arguments.run_dir), arguments.which, arguments.out))
    except LongviewError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
