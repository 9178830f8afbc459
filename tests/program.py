"""The program as a user starts it: run.py in processes of its own, on the tiny kitchen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 150
"""Seconds anything may take on a busy machine before a test gives up."""
SMALL = [*tiny.DATA, *tiny.RUN, *tiny.MANTA]


def until(condition: Callable[[], Any], process: subprocess.Popen[str] | None = None, what: str = "") -> Any:
    """Poll until ``condition()`` is true; fails if the process ends before, or patience does."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        if process is not None and process.poll() is not None:
            pytest.fail(f"ended with {process.returncode} before {what}: {process.communicate()}")
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.005)
    return found


def metrics(directory: Path) -> dict[str, float]:
    """Figures of result.json."""
    return json.loads((directory / "result.json").read_text())["result"]["metrics"]


def attempt(directory: Path, number: int) -> dict[str, Any]:
    """Record of an attempt."""
    return json.loads((directory / "attempts" / f"{number:03d}.json").read_text())


def weights(directory: Path, name: str = "last") -> dict[str, torch.Tensor]:
    """Weights of a checkpoint."""
    return torch.load(directory / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def same(a: Any, b: Any) -> bool:
    """Whether two trees of tensors and plain values, such as weights, are equal to the last bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return bool(a == b)


def rows(directory: Path) -> int:
    """Rows of metrics.csv so far."""
    path = directory / "metrics.csv"
    return max(0, path.read_text().count("\n") - 1) if path.exists() else 0


@dataclass
class Program:
    """run.py with its current directory and run.root in ``folder``."""

    folder: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def runs(self) -> list[Path]:
        """Run directories so far, those of sweeps last."""
        root = self.folder / "runs"
        found = [p.parent for pattern in ("*/config.yaml", "*/*/config.yaml") for p in root.glob(pattern)]
        return sorted(found, key=lambda p: (p.parent != root, p.stat().st_ctime_ns if p.parent != root else p.name))

    def start(self, *arguments: str, module: bool = False, **env: str) -> subprocess.Popen[str]:
        """Start it, in a session of its own: a signal to its group is a terminal's Ctrl-C."""
        what = ["-m", "longview.engine"] if module else [str(ROOT / "run.py")]
        keep = {k: v for k, v in os.environ.items() if k not in ("LONGVIEW_CONF", "LONGVIEW_TRACEBACK", "RANK", "WORLD_SIZE")}
        process = subprocess.Popen(
            [sys.executable, *what, *arguments],
            cwd=self.folder,
            env={**keep, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def new(self, *extra: str, **env: str) -> tuple[subprocess.Popen[str], Path]:
        """Start a small training; returns once its run directory is there."""
        before = set(self.runs)
        process = self.start(*SMALL, *extra, **env)
        return process, until(lambda: set(self.runs) - before, process, "run directory").pop()

    def finish(self, *arguments: str, expect: int = 0, module: bool = False, **env: str) -> tuple[str, str]:
        """Run it to its end; returns what it printed."""
        return ended(self.start(*arguments, module=module, **env), expect)


def ended(process: subprocess.Popen[str], expect: int) -> tuple[str, str]:
    """stdout and stderr of a process that must end with exit code ``expect``."""
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == expect, f"exit code {process.returncode}\n{out}\n{err}"
    return out, err


def breakfast(folder: Path) -> list[str]:
    """A tiny data set in the field's layout, observed through feature files; returns the arguments that choose it."""
    names = ["SIL", "pour_milk", "stir"]
    videos = [f"P{p:02d}_cam01_P{p:02d}_tea" for p in range(1, 9)]
    for part in ("groundTruth", "splits", "features"):
        (folder / part).mkdir(parents=True)
    (folder / "mapping.txt").write_text("".join(f"{i} {n}\n" for i, n in enumerate(names)))
    rng = np.random.default_rng(0)
    for v in videos:
        (folder / "groundTruth" / f"{v}.txt").write_text("".join(f"{names[t // 20 % 3]}\n" for t in range(120)))
        np.save(folder / "features" / f"{v}.npy", rng.normal(size=(8, 120)).astype("f4"))
    for split in range(1, 5):
        (folder / "splits" / f"train.split{split}.bundle").write_text("".join(f"{v}.txt\n" for v in videos[:6]))
        (folder / "splits" / f"test.split{split}.bundle").write_text("".join(f"{v}.txt\n" for v in videos[6:]))
    options = [a for a in SMALL if not a.startswith("data.")]
    return ["data=breakfast", f"data.root={folder}", "data.observe=features", *options, "trainer.max_epochs=200"]
