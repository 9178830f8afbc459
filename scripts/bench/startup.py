#!/usr/bin/env python
"""How long a user waits for what does not train: wall time of the commands, and what the check costs beside Hydra's composition.

    python scripts/bench/startup.py [--repeat 7] [--json FILE]

Every figure is the minimum of ``--repeat`` runs (warm file cache), which is what a loaded machine disturbs least.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sys.executable
LIMIT = 0.6
"""Seconds a command may take."""
RATIO = 1.3
"""Compose and check over compose alone."""
_COMPOSE = f"""
from hydra import compose, initialize_config_dir
with initialize_config_dir({str(ROOT / "conf")!r}, version_base="1.3"):
    compose("config")
"""
COMMANDS = {
    "run.py --help": [PYTHON, "run.py", "--help"],
    "run.py --cfg job": [PYTHON, "run.py", "--cfg", "job"],
    "longview check": [PYTHON, "-m", "longview.cli", "check"],
    "longview schema": [PYTHON, "-m", "longview.cli", "schema"],
}
FLOOR = {
    "python -c 'import hydra'": [PYTHON, "-c", "import hydra"],
    "bare Hydra compose": [PYTHON, "-c", _COMPOSE],
}


def least(work: Callable[[], object], repeat: int) -> float:
    """Shortest of ``repeat`` runs in seconds, after one that warms up."""
    work()
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def command(line: list[str]) -> Callable[[], object]:
    """Runs a command silently from the repository root."""
    environment = {k: v for k, v in os.environ.items() if k != "LONGVIEW_CONF"}
    return lambda: subprocess.run(line, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)


def in_process(repeat: int) -> tuple[float, float]:
    """Seconds of Hydra's composition and of longview's composition plus full check, nothing reused between two calls."""
    from hydra import compose, initialize_config_dir

    from longview.config.experiment import Checker

    def bare() -> None:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            compose("config", overrides=["seed=3"])

    def checked() -> None:
        Checker(ROOT / "conf").check(["seed=3"])

    pairs = [(least(bare, 1), least(checked, 1)) for _ in range(repeat)]  # in turn: a burst of other work hits both
    return min(b for b, _ in pairs), min(c for _, c in pairs)


def sweep(points: int = 50) -> float:
    """Seconds per point to compose and check a sweep over seeds."""
    from longview.config.experiment import Checker

    overrides = [f"seed=range({points})"]
    return least(lambda: Checker(ROOT / "conf").sweep(overrides), 2) / points


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    os.chdir(ROOT)
    bare, checked = in_process(max(5, options.repeat))
    figures: dict[str, float] = {f"{name} [s]": least(command(c), options.repeat) for name, c in {**FLOOR, **COMMANDS}.items()}
    figures["compose, in process [s]"] = bare
    figures["compose and check, in process [s]"] = checked
    figures["ratio"] = checked / bare
    figures["one point of a sweep of 50 [s]"] = sweep()
    for name, value in figures.items():
        print(f"{name:<40}{value:8.3f}")
    good = checked / bare <= RATIO and all(figures[f"{name} [s]"] < LIMIT for name in COMMANDS)
    print(f"{'ok' if good else 'FAILED'}: every command < {LIMIT} s, ratio <= {RATIO}")
    if options.json:
        options.json.write_text(json.dumps({"figures": figures, "ok": good}, indent=2) + "\n", encoding="utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
