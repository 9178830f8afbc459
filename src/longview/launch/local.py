"""Runs on this machine: in this process for one device, in one process per device otherwise."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from longview.runs.directory import RunDirectory

if TYPE_CHECKING:
    from longview.app import CheckedExperiment

GRACE = 30.0
"""Seconds the other ranks have to leave after one has failed."""


def launch(experiment: CheckedExperiment, *, argv: Sequence[str]) -> int:
    """Start, continue (``run.resume``) or score again (``run.test``) a run; returns its exit code."""
    settings = experiment.config.run
    mode = "test" if settings.test else "fit"
    existing = settings.resume or settings.test
    if existing:
        run = RunDirectory.open(existing)
    else:
        run = RunDirectory.create(Path(settings.root), experiment.name, experiment.resolved, experiment.overrides, argv)
        print(f"run directory: {run.path}", flush=True)
    if experiment.config.world_size == 1:
        from longview.engine.run import execute  # imports torch: only now, when everything has been checked

        return execute(run, "test" if mode == "test" else "fit")
    return _processes(run, mode, experiment.config.world_size)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _processes(run: RunDirectory, mode: str, size: int) -> int:
    """One engine process per rank. A terminal's Ctrl-C reaches all of them; they agree on the step to stop at."""
    command = [sys.executable, "-m", "longview.engine", str(run.path), *(["--test"] if mode == "test" else [])]
    common = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "NODE_RANK": "0"}
    ranks = [subprocess.Popen(command, env={**os.environ, **common, "RANK": str(r), "LOCAL_RANK": str(r)}) for r in range(size)]
    failed_at: float | None = None
    try:
        while any(p.poll() is None for p in ranks):
            time.sleep(0.2)
            if failed_at is None and any(p.poll() not in (None, 0) for p in ranks):
                failed_at = time.monotonic()
            if failed_at is not None and time.monotonic() - failed_at > GRACE:
                break  # a rank is gone; its peers would wait in a collective for ever
    except KeyboardInterrupt:
        for p in ranks:
            p.wait()  # they have had the same Ctrl-C and are saving
    finally:
        for p in ranks:
            if p.poll() is None:
                p.kill()
                p.wait()
    codes = [p.returncode for p in ranks]
    return next((c for c in codes if c > 0), 0) or (1 if any(codes) else 0)
