#!/usr/bin/env python
"""How long `longview status` takes over many runs, against reading what a naive tool would read.

    python scripts/bench/status.py [--sweeps 10] [--runs 100] [--repeat 5] [--json FILE]

Makes run directories as a sweep leaves them (configuration, attempts, progress, result, logs) in a temporary folder. `status`
is timed as a command, interpreter start included, with jobs that have to be asked about: squeue and sacct are stand-ins that
answer at once, so that the figure is longview's own. Beside it, in the same run: a loop that loads every run's config.yaml, and
`ls -lR`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sys.executable
LIMIT = 1.0
"""Seconds for 1,000 runs."""
_NAIVE = """
import pathlib, sys, yaml
for path in pathlib.Path(sys.argv[1]).rglob("config.yaml"):
    yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
"""
STATES = ("finished", "finished", "finished", "failed", "running")
"""What every five runs are."""


def make(root: Path, sweeps: int, runs: int) -> int:
    """Run directories of ``sweeps`` x ``runs``; returns the number of files."""
    config = subprocess.run([PYTHON, "run.py", "--cfg", "job"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    queue = []
    for s in range(sweeps):
        sweep, job = root / f"manta-{s:06x}", str(1000 + s)
        points = []
        for r in range(runs):
            identity = f"{s:04x}{r:04x}"
            folder = f"lr-{r}_seed-{r % 3}-{identity}"
            points.append({"id": identity, "folder": folder, "values": {"task.lr": str(r), "seed": str(r % 3)}})
            state = STATES[r % len(STATES)]
            run(sweep / folder, identity, config, state, f"{job}_{r}")
            if state == "running":
                queue.append(f"{job}_{r}|{5000 + r}|RUNNING|{time.strftime('%Y-%m-%dT%H:%M:%S')}|jwb0001|None")
        about = {"format": 1, "id": f"{s:06x}", "name": "manta", "created": stamp(s), "points": points}
        write(sweep / "sweep.json", about)
        ids = [p["id"] for p in points]
        submission = {"number": 1, "uid": "u", "state": "submitted", "job": job, "array": True, "runs": ids}
        write(
            sweep / "submissions/001.json", {**submission, "cluster": "juwels", "request": {}, "code": "c", "created": stamp(s)}
        )
    (root / "bin").mkdir()
    (root / "bin/queue").write_text("\n".join(queue) + "\n")
    for name, body in (("squeue", f"cat {root}/bin/queue"), ("sacct", "true"), ("scontrol", "true")):
        (root / "bin" / name).write_text(f"#!/bin/sh\n# A stand-in: answers at once.\n{body}\n")
        (root / "bin" / name).chmod(0o755)
    return sum(1 for p in root.rglob("*") if p.is_file())


def run(path: Path, identity: str, config: str, state: str, job: str) -> None:
    """One run directory."""
    for part in ("attempts", "checkpoints", f"logs/{job}"):
        (path / part).mkdir(parents=True)
    (path / "config.yaml").write_text(config)
    write(path / "run.json", {"id": identity, "name": "manta-kitchen", "created": stamp(0), "overrides": ["seed=1"]})
    ended = {} if state == "running" else {"ended": stamp(0), "error": "RuntimeError: x"}
    write(path / "attempts/001.json", {"mode": "fit", "started": stamp(0), "host": "h", "outcome": state, "job": job, **ended})
    beat = {"state": "training", "epoch": 3, "epochs": 12, "step": 40, "steps": 480, "metric": {"name": "val/moc", "value": 0.3}}
    write(path / "progress.json", {**beat, "eta_seconds": 100.0, "time": time.time(), "host": "h", "job": job, "attempt": 1})
    write(path / "environment.json", {"python": "3.11"})
    (path / "metrics.csv").write_text("step,train/loss\n" + "1,0.5\n" * 200)
    (path / f"logs/{job}/rank-0.log").write_text("train 1/480\n" * 50)
    (path / f"logs/{job}/batch.log").write_text("job\n")
    if state != "running":
        write(path / "exit.json", {"code": int(state == "failed"), "job": job, "restart": 0, "time": int(time.time())})
    if state == "finished":
        write(path / "result.json", {"result": {"metrics": {f"test/m{i}": 0.5 for i in range(24)}}})


def stamp(ago: int) -> str:
    """ISO time, ``ago`` hours back."""
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() - 3600 * ago))


def write(path: Path, data: Any) -> None:
    """A JSON file and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


def least(command: list[str], environment: dict[str, str], repeat: int) -> float:
    """Shortest wall time of a command in seconds, after one run that warms the file cache."""
    times = []
    for _ in range(repeat + 1):
        begin = time.perf_counter()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - begin)
    return min(times[1:])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=10)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="longview-bench-") as folder:
        files = make(Path(folder), options.sweeps, options.runs)
        environment = {**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}"}
        longview = [PYTHON, "-m", "longview.cli"]
        commands = {
            "longview status": [*longview, "status", "--root", folder],
            "longview status --all": [*longview, "status", "--all", "--root", folder],
            "longview status --json": [*longview, "status", "--json", "--root", folder],
            "longview --version": [*longview, "--version"],
            "load every config.yaml (C loader)": [PYTHON, "-c", _NAIVE, folder],
            "ls -lR": ["ls", "-lR", folder],
        }
        figures = {f"{name} [s]": least(command, environment, options.repeat) for name, command in commands.items()}
    runs = options.sweeps * options.runs
    print(f"{runs:,} runs in {options.sweeps} sweeps, {files:,} files; shortest of {options.repeat}")
    for name, value in figures.items():
        print(f"{name:<40}{value:8.3f}")
    good = figures["longview status [s]"] < LIMIT * max(1.0, runs / 1000)
    print(f"{'ok' if good else 'FAILED'}: longview status < {LIMIT} s per 1,000 runs")
    if options.json:
        options.json.write_text(json.dumps({"runs": runs, "figures": figures, "ok": good}, indent=2) + "\n", encoding="utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
