"""Sampling futures: 25 samples, 50 DDIM steps, in one batched pass against 25 separate passes.

python scripts/bench/sampling.py [--length 128] [--rounds 3] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from longview.data.anticipation import AnticipationBatch
from longview.models.manta import Manta

CLASSES, WIDTH, SAMPLES = 48, 2048, 25


def video(length: int) -> AnticipationBatch:
    """One video of random features, 3/8 of it observed."""
    past = torch.arange(length)[None] < length * 3 // 8
    return AnticipationBatch(
        observed=torch.randn(1, length, WIDTH) * past[..., None],
        target=torch.zeros(1, length, dtype=torch.long),
        valid=torch.ones(1, length, dtype=torch.bool),
        past=past,
        videos=["bench"],
        observation=torch.tensor([0.3]),
        labels=None,
        lengths=torch.tensor([length]),
        stride=1,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=128, help="network steps T")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = Manta(CLASSES, WIDTH).eval().to(options.device)
    batch = video(options.length).to(options.device)

    def seconds(samples: int, passes: int) -> float:
        begun = time.perf_counter()
        for i in range(passes):
            model.anticipate(batch, samples, seed=i).cpu()
        return time.perf_counter() - begun

    seconds(1, 1)  # warm-up
    together = separate = float("inf")
    for _ in range(options.rounds):
        together = min(together, seconds(SAMPLES, 1))
        separate = min(separate, seconds(1, SAMPLES))
    where = f"T = {options.length}, {model.diffusion.sampling_steps} DDIM steps, {options.device}"
    print(f"{SAMPLES} samples in one pass: {together:.2f} s per video ({where})")
    print(f"{SAMPLES} separate passes:     {separate:.2f} s per video")
    print(f"cost per sample, one pass / separate: {together / separate:.2f}")
    if options.json:
        figures = {"one_pass_s": together, "separate_s": separate, "ratio": together / separate, "length": options.length}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
