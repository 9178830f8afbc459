"""Seconds to score a Breakfast-sized test set (252 videos x 25 samples x 8 pairs): MoC against a numpy reference.

The reference has no loop over frames but one over samples and classes, as a straightforward evaluator would.

    python scripts/bench/moc.py [--videos 252] [--samples 25] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from longview.metrics.moc import MoC

OBSERVATIONS, HORIZONS, STRIDE = (0.2, 0.3), (0.1, 0.2, 0.3, 0.5), 3
Ints = NDArray[np.int64]


def make_set(videos: int, samples: int, classes: int, seed: int) -> list[tuple[Ints, Ints]]:
    """Timelines of about seven segments (predictions [S, T], labels [L]) of about 2,000 frames (log-normal)."""
    rng = np.random.default_rng(seed)

    def line(length: int) -> Ints:
        cuts = np.sort(rng.integers(1, length, 6))
        return np.repeat(rng.integers(0, classes, 7), np.diff([0, *cuts, length]))

    out = []
    for length in np.clip(rng.lognormal(np.log(1400), 0.85, videos), 130, 9741).astype(int):
        labels = line(int(length))
        noisy = [np.where(rng.random(labels.size) < 0.6, labels, line(int(length))) for _ in range(samples)]
        out.append((np.stack(noisy)[:, ::STRIDE], labels))
    return out


def reference(data: list[tuple[Ints, Ints]], classes: int, best: bool) -> NDArray[np.float64]:
    """[A, H] scores, one numpy pass per sample and class."""
    scores = np.zeros((len(OBSERVATIONS), len(HORIZONS)))
    for i, a in enumerate(OBSERVATIONS):
        for j, b in enumerate(HORIZONS):
            right, total = np.zeros(classes), np.zeros(classes)
            for prediction, labels in data:
                top, chosen = -1.0, (np.zeros(classes), np.zeros(classes))
                for sample in prediction:
                    long = np.repeat(sample, STRIDE)
                    window = slice(int(a * labels.size), min(int((a + b) * labels.size), long.size, labels.size))
                    truth, guess = labels[window], long[window]
                    n = np.array([(truth == k).sum() for k in range(classes)])
                    t = np.array([((truth == k) & (guess == k)).sum() for k in range(classes)])
                    if not best:
                        right, total = right + t, total + n
                    elif n.sum() and round(float((t[n > 0] / n[n > 0]).mean()), 12) > top:
                        top, chosen = round(float((t[n > 0] / n[n > 0]).mean()), 12), (t, n)
                right, total = right + chosen[0], total + chosen[1]
            scores[i, j] = (right[total > 0] / total[total > 0]).mean()
    return scores


def ours(data: list[tuple[Ints, Ints]], classes: int, best: bool) -> NDArray[np.float64]:
    """[A, H] scores of ``longview.metrics.moc.MoC``."""
    metric = MoC(OBSERVATIONS, HORIZONS, classes, select="best" if best else "all")
    for prediction, labels in data:
        for a in OBSERVATIONS:
            metric.update(torch.from_numpy(prediction), torch.from_numpy(labels), a, STRIDE)
    return np.asarray(metric.compute()["moc"].numpy(), dtype=np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=252)
    parser.add_argument("--samples", type=int, default=25)
    parser.add_argument("--classes", type=int, default=48)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    data = make_set(args.videos, args.samples, args.classes, seed=0)
    report: dict[str, object] = {
        "videos": len(data),
        "samples": args.samples,
        "classes": args.classes,
        "pairs": len(OBSERVATIONS) * len(HORIZONS),
        "mean_frames": round(float(np.mean([labels.size for _, labels in data])), 1),
        "threads": args.threads,
        "torch": torch.__version__,
        "machine": platform.processor() or platform.machine(),
    }
    for best in (False, True):
        name = "top1" if best else "mean"
        started = time.perf_counter()
        scores = ours(data, args.classes, best)
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        expected = reference(data, args.classes, best)
        reference_seconds = time.perf_counter() - started
        report[name] = {
            "seconds": round(seconds, 3),
            "reference_seconds": round(reference_seconds, 1),
            "speed_up": round(reference_seconds / seconds, 1),
            "largest_difference": float(np.abs(scores - expected).max()),
        }
    text = json.dumps(report, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
