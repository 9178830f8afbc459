"""A user on the login node of a twin: run.py and longview in a folder, and the runs that come of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from slurm.twin import Twin

from longview.runs.sweep import SweepDirectory

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 300
"""Seconds a job may take on a busy machine."""


def call(twin: Twin, folder: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A command of a user of the login node, in ``folder``."""
    env = {**twin.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", **env}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=PATIENCE)


def run(twin: Twin, folder: Path, *arguments: str, root: Path = ROOT, expect: int = 0, **env: str) -> tuple[str, str]:
    """run.py as a user of the login node, in ``folder``; returns what it printed."""
    folder.mkdir(exist_ok=True)
    done = call(twin, folder, sys.executable, str(root / "run.py"), *arguments, **{"PYTHONPATH": str(root / "src"), **env})
    assert done.returncode == expect, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout, done.stderr


def longview(twin: Twin, folder: Path, *arguments: str, expect: int = 0) -> str:
    done = call(twin, folder, sys.executable, "-m", "longview.cli", *arguments)
    assert done.returncode == expect, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def sweep(folder: Path, pattern: str = "*") -> SweepDirectory:
    found = [p.parent for p in (folder / "runs").glob(f"{pattern}/sweep.json")]
    assert len(found) == 1, found
    return SweepDirectory.open(found[0])


def runs(folder: Path, pattern: str = "*") -> list[Path]:
    """Run directories of the only sweep, in its order."""
    found = sweep(folder, pattern)
    return [found.run_path(p) for p in found.points()]


def ended(directory: Path, patience: float = PATIENCE) -> dict[str, Any]:
    """What the batch script recorded of its end, as soon as it has."""
    end = time.monotonic() + patience
    while not (directory / "exit.json").exists():
        assert time.monotonic() < end, f"{directory} did not end:\n{logs(directory)}"
        time.sleep(0.1)
    return json.loads((directory / "exit.json").read_text())


def logs(directory: Path) -> str:
    return "\n".join(f"== {p.name}\n{p.read_text()[-3000:]}" for p in sorted(directory.glob("logs/*/*.log")))


def step(directory: Path) -> int:
    try:
        return int(json.loads((directory / "progress.json").read_text()).get("step") or 0)
    except OSError:
        return 0


def queue(twin: Twin) -> list[str]:
    return twin.run("squeue", "-h", "-r", "-o", "%i").stdout.split()
