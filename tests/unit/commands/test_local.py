"""A real run on this machine, followed from another process: running, stopped by `cancel`, taken up again by `resume`."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from follow import Run, Slurm
from program import SMALL, Program, ended, until


@pytest.fixture
def program(root: Path) -> Iterator[Program]:
    """run.py whose runs are those of ``root``; nothing is left running."""
    found = Program(root.parent)
    yield found
    for process in found.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_local_run_from_start_to_end(program: Program, slurm: Slurm, longview: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    process = program.start(*SMALL, "trainer.max_epochs=2000")
    until(lambda: program.runs, process, "run directory")
    until(lambda: "running" in longview("status"), process, "sign of life")
    (run,) = program.runs
    identity = run.name.rpartition("-")[2]
    assert "it is running" in longview("why", identity)
    assert f"stopping {identity}" in longview("cancel", identity)
    ended(process, 130)
    assert "told to end (SIGTERM)" in longview("status", identity)
    assert "it was asked to stop, and saved" in longview("why", identity)
    assert "nothing to cancel: 1 stopped" in longview("cancel", identity)
    calls: list[list[str]] = []
    monkeypatch.setattr("longview.app.main", lambda argv: calls.append(argv) or 0)  # a stand-in: 2,000 epochs are too many
    longview("resume", identity)
    assert calls == [[f"run.resume={run}"]]


def test_a_run_that_is_killed_is_lost(program: Program, slurm: Slurm, longview: Run) -> None:
    process = program.start(*SMALL, "trainer.max_epochs=2000")
    until(lambda: program.runs and "running" in longview("status"), process, "sign of life")
    process.kill()
    process.wait()
    text = longview("status")
    assert "lost" in text
    assert "its process is gone without a word" in text
    assert "go on" in longview("why")
