"""What the loader costs and what reading only the needed frames saves.

(a) Batches per second of ResumableLoader against a plain torch DataLoader with the same examples and batch sampler; the
    runs alternate, the fastest of ``--repeats`` counts. Limit: at most 3 % slower, judged on the time per batch.
(b) Frames per second from files [D, L] and [L, D] read through a memory map with a stride, against np.load of the whole.

    python scripts/bench/loader.py [--videos 200] [--repeats 7] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from longview.data.anticipation import AnticipationExamples
from longview.data.loader import ResumableLoader
from longview.data.sampler import BucketBatchSampler
from longview.data.source import Description

DIM, STRIDE, CLASSES = 512, 3, 48


class Files:
    """Videos of Breakfast-like length (log-normal around 1,373 frames), features [L, D] as .npy files."""

    def __init__(self, root: Path, videos: int) -> None:
        rng = np.random.default_rng(0)
        self.root = root
        self.frames = {f"v{i:04d}": int(np.clip(rng.lognormal(7.2, 0.6), 130, 4000)) for i in range(videos)}
        for name, length in self.frames.items():
            np.save(root / f"{name}.npy", rng.standard_normal((length, DIM), dtype=np.float32))

    def describe(self) -> Description:
        return Description("files", CLASSES, tuple(map(str, range(CLASSES))), DIM, STRIDE)

    def videos(self, part: str) -> list[str]:
        return list(self.frames)

    def labels(self, video: str) -> NDArray[np.int64]:
        return np.arange(self.frames[video]) * CLASSES // self.frames[video]

    def features(self, video: str, stop: int, stride: int) -> NDArray[np.float32]:
        return np.ascontiguousarray(np.load(self.root / f"{video}.npy", mmap_mode="r")[:stop:stride])


def seconds(batches: Iterable[Any]) -> float:
    """Time to go through an epoch from the first batch on: starting workers is not part of it."""
    iterator = iter(batches)
    next(iterator)
    start = time.perf_counter()
    for _ in iterator:
        pass
    return time.perf_counter() - start


def loaders(source: Files, workers: int, repeats: int) -> dict[str, float]:
    """Milliseconds per batch of both loaders and their ratio."""
    examples = AnticipationExamples(source, "train", observations=[0.2, 0.3, 0.5], random_observation=0.4)  # type: ignore[arg-type]

    def sampler() -> BucketBatchSampler:
        return BucketBatchSampler(examples.lengths, 16, shuffle=True)

    ours = ResumableLoader(examples, sampler(), num_workers=workers)
    plain: DataLoader[Any] = DataLoader(
        examples,
        batch_sampler=sampler(),
        num_workers=workers,
        collate_fn=examples.collate,
        persistent_workers=workers > 0,
    )
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    for repeat in range(repeats + 1):
        for name in ("plain", "ours") if repeat % 2 else ("ours", "plain"):
            times[name].append(seconds(ours if name == "ours" else plain))
    ours.close()
    steps = len(ours) - 1
    best = {name: min(t[1:]) / steps * 1e3 for name, t in times.items()}  # the first round warms caches and workers
    return {"plain_ms": best["plain"], "ours_ms": best["ours"], "ratio": best["ours"] / best["plain"]}


def reading(root: Path, frames: int = 2000, observed: float = 0.2, repeats: int = 7) -> dict[str, float]:
    """Observed frames per second by layout and way of reading (file in the page cache)."""
    array = np.random.default_rng(1).standard_normal((frames, 2048), dtype=np.float32)
    np.save(root / "time_first.npy", array)
    np.save(root / "channels_first.npy", np.ascontiguousarray(array.T))
    stop = int(observed * frames)
    ways: dict[str, Callable[[], NDArray[np.float32]]] = {
        "time_first_mmap": lambda: np.array(np.load(root / "time_first.npy", mmap_mode="r")[:stop:STRIDE]),
        "time_first_whole": lambda: np.load(root / "time_first.npy")[:stop:STRIDE].copy(),
        "channels_first_mmap": lambda: np.array(np.load(root / "channels_first.npy", mmap_mode="r")[:, :stop:STRIDE].T),
        "channels_first_whole": lambda: np.load(root / "channels_first.npy")[:, :stop:STRIDE].T.copy(),
    }
    rates = {}
    for name, read in ways.items():
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            count = len(read())
            times.append(time.perf_counter() - start)
        rates[name] = count / min(times)
    return rates


def main() -> None:
    """Prints the table; with ``--json`` writes it too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {"torch": torch.__version__, "machine": platform.machine()}
    with tempfile.TemporaryDirectory() as folder:
        source = Files(Path(folder), options.videos)
        for workers in (0, 2):
            row = loaders(source, workers, options.repeats)
            result[f"workers_{workers}"] = row
            print(
                f"workers {workers}: plain {row['plain_ms']:.3f} ms, ours {row['ours_ms']:.3f} ms per batch, "
                f"ratio {row['ratio']:.3f} (limit 1.03)"
            )
        result["frames_per_second"] = reading(Path(folder))
        for name, rate in result["frames_per_second"].items():
            print(f"{name:22s} {rate:12,.0f} frames/s")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
