"""How fast and how lean the selective scan is on this machine's CPU.

    python scripts/bench/selective_scan.py [--threads 2] [--rounds 9] [--json figures.json]

Compared, forward + backward in float32 at B=1, L=1569, D=384, N=16: this project's scan, the parallel scan of ``mambapy``
(used as its own selective scan uses it), a PyTorch loop under autograd, and the floor, which is the exponentials alone.
All variants are timed in one process in turn, and the minimum over the rounds is reported: other programs can only make a
round slower. Peak memory is each variant's own process, beyond the process that only holds the inputs. Takes about two
minutes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from longview.models.blocks.selective_scan import selective_scan, selective_scan_reference

BATCH, LENGTH, DIM, STATE = 1, 1569, 384, 16
MANTA = {
    "train L=60": (2, 16, 60, True),
    "train L=250": (2, 16, 250, True),
    "sample L=50": (2, 25, 50, False),
    "sample L=300": (2, 25, 300, False),
}
Scan = Callable[..., Tensor]


def make(batch: int, length: int, dim: int, state: int, groups: int | None = None, grad: bool = True) -> list[Tensor]:
    """Inputs as a Mamba block makes them: A = -(1..N), dt in [1e-3, 0.1]."""
    torch.manual_seed(0)
    g = () if groups is None else (groups,)
    tensors = [
        torch.randn(*g, batch, length, dim),
        torch.rand(*g, batch, length, dim) * 0.099 + 1e-3,
        -torch.arange(1.0, state + 1).expand(*g, dim, state).contiguous(),
        torch.randn(*g, batch, length, state),
        torch.randn(*g, batch, length, state),
        torch.ones(*g, dim),
    ]
    return [x.requires_grad_(grad) for x in tensors]


def scan_mambapy(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """mambapy's selective scan: materialise [B, L, D, N], scan in parallel."""
    from mambapy.pscan import pscan

    decay = torch.exp(dt.unsqueeze(-1) * A)
    drive = dt.unsqueeze(-1) * B.unsqueeze(2) * u.unsqueeze(-1)
    states: Tensor = pscan(decay, drive)
    return (states @ C.unsqueeze(-1)).squeeze(3) + D * u


VARIANTS: dict[str, Scan] = {"ours": selective_scan, "loop": selective_scan_reference, "mambapy": scan_mambapy}


def step(scan: Scan, args: list[Tensor]) -> None:
    y = scan(*args)
    if y.requires_grad:
        torch.autograd.grad(y, args, torch.ones_like(y))


def in_turn(work: dict[str, Callable[[], object]], rounds: int, budget: float) -> dict[str, float]:
    """Least seconds of each, taken in turn for ``rounds`` rounds, or fewer (at least 3) when ``budget`` seconds are spent."""
    best = dict.fromkeys(work, float("inf"))
    start = time.perf_counter()
    for i in range(rounds + 1):  # the first one warms up
        for name, f in work.items():
            t = time.perf_counter()
            f()
            if i:
                best[name] = min(best[name], time.perf_counter() - t)
        if i >= 3 and time.perf_counter() - start > budget:
            break
    return best


def peak_resident() -> int:
    """Most bytes this process ever held."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux ru_maxrss starts from the parent's size, this one does not
        line = next(x for x in status.read_text(encoding="ascii").splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def peak_of(variant: str, length: int) -> int:
    """Peak resident bytes of this process after one forward + backward (``none``: after making the inputs)."""
    args = make(BATCH, length, DIM, STATE)
    small = make(1, 8, 8, 4)
    for scan in VARIANTS.values():  # load the libraries before, in every variant alike
        step(scan, small)
    if variant != "none":
        step(VARIANTS[variant], args)
    return peak_resident()


def peak_memory(length: int, threads: int, variants: list[str]) -> dict[str, float]:
    """MB beyond the inputs, each variant in a process of its own."""
    found = {}
    for variant in ["none", *variants]:
        call = [sys.executable, __file__, "--threads", str(threads), "--peak-of", variant, "--length", str(length)]
        found[variant] = int(subprocess.run(call, capture_output=True, text=True, check=True, timeout=120).stdout)
    return {v: (found[v] - found["none"]) / 1e6 for v in variants}


def bench_versus(rounds: int, threads: int) -> dict[str, dict[str, float]]:
    """Ours against the others and against the exponentials alone."""
    args = make(BATCH, LENGTH, DIM, STATE)
    fixed = [x.detach() for x in args]
    flat = (fixed[1].unsqueeze(-1) * fixed[2]).flatten()
    out = torch.empty_like(flat)
    work: dict[str, Callable[[], object]] = {name: partial(step, scan, args) for name, scan in VARIANTS.items()}
    work["ours, forward only"] = partial(selective_scan, *fixed)
    work["exp once"] = partial(torch.exp, flat, out=out)
    work["exp2 once"] = partial(torch.exp2, flat, out=out)
    seconds = in_turn(work, rounds, budget=60)
    ours = seconds["ours"]
    print(f"B={BATCH} L={LENGTH} D={DIM} N={STATE}, float32, {threads} threads, forward + backward")
    for name, s in seconds.items():
        print(f"  {name:20s} {s * 1e3:9.2f} ms   {s / ours:6.2f} x ours")
    floors = {f"{k} twice": ours / (2 * seconds[f"{k} once"]) for k in ("exp", "exp2")}
    for name, ratio in floors.items():
        print(f"  ours is {ratio:.2f} times the floor ({name})")
    speedup = {k: seconds[k] / ours for k in ("loop", "mambapy")}
    return {"seconds": seconds, "speedup": speedup, "times_the_floor": floors}


def bench_memory(threads: int) -> dict[str, float]:
    """Peak of ours against the others, in MB."""
    memory = peak_memory(LENGTH, threads, list(VARIANTS))
    print("peak memory beyond the inputs")
    for name, mb in memory.items():
        print(f"  {name:20s} {mb:9.1f} MB   {mb / memory['mambapy']:6.3f} of mambapy")
    return memory


def bench_manta(rounds: int) -> dict[str, dict[str, float]]:
    """Seconds at the shapes of the anticipation model."""
    print("MANTA's shapes, G=2 D=128 N=16 (train: B=16, forward + backward; sample: B=25, forward)")
    found: dict[str, dict[str, float]] = {}
    for name, (groups, batch, length, grad) in MANTA.items():
        args = make(batch, length, 128, 16, groups, grad)
        pair: dict[str, Callable[[], object]] = {k: partial(step, VARIANTS[k], args) for k in ("ours", "loop")}
        found[name] = in_turn(pair, rounds, budget=6)
        mine, loop = found[name]["ours"], found[name]["loop"]
        print(f"  {name:20s} ours {mine * 1e3:8.2f} ms   loop {loop * 1e3:8.2f} ms   {loop / mine:6.2f} x")
    return found


def bench_lengths(threads: int) -> dict[int, dict[str, float]]:
    """Time and memory of ours from 1k to 65k steps."""
    print(f"length, ours, forward + backward, B={BATCH} D={DIM} N={STATE}")
    found: dict[int, dict[str, float]] = {}
    for length in (1024, 2048, 4096, 8192, 16_384, 32_768, 65_536):
        args = make(BATCH, length, DIM, STATE)
        s = in_turn({"ours": partial(step, selective_scan, args)}, 5, budget=5)["ours"]
        mb = peak_memory(length, threads, ["ours"])["ours"]
        found[length] = {"seconds": s, "us_per_step": s / length * 1e6, "peak_mb": mb}
        print(f"  L={length:6d}   {s * 1e3:9.2f} ms   {s / length * 1e6:6.2f} us per step   peak {mb:8.1f} MB")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--peak-of", choices=["none", *VARIANTS], help=argparse.SUPPRESS)
    parser.add_argument("--length", type=int, default=LENGTH, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak_of:
        print(peak_of(options.peak_of, options.length))
        return

    figures = {
        "threads": options.threads,
        "versus": bench_versus(options.rounds, options.threads),
        "peak_mb": bench_memory(options.threads),
        "manta_seconds": bench_manta(options.rounds),
        "sweep": bench_lengths(options.threads),
    }
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
