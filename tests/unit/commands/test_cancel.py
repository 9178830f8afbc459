"""`longview cancel`: the right jobs, said afterwards, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from follow import Run, Slurm, iso, make_run, make_sweep, queued, submit
from longview.runs.sweep import SweepDirectory


@pytest.fixture
def sweep(root: Path, slurm: Slurm) -> SweepDirectory:
    """A running, a pending and a finished point."""
    made = make_sweep(root, [{"seed": str(i)} for i in range(3)])
    paths = [made.run_path(point) for point in made.points()]
    make_run(paths[0], {"job": "19_0"}, progress={"state": "training", "job": "19_0"})
    make_run(paths[1])
    make_run(paths[2], {"outcome": "finished", "job": "19_2", "ended": iso(time.time())})
    slurm.says("squeue", queued("19_0", began=310) + queued("19_1", "PENDING", "Priority"))
    return made


def test_a_sweep(sweep: SweepDirectory, slurm: Slurm, longview: Run) -> None:
    text = longview("cancel", "manta-abc123")
    assert slurm.calls("scancel") == ["19_0 19_1"]
    assert "cancelled aaaa0000  seed=0  (job 19_0, it was running)" in text
    assert "left alone: 1 run (1 finished)" in text


def test_one_run(sweep: SweepDirectory, slurm: Slurm, longview: Run) -> None:
    longview("cancel", "aaaa0000")
    assert slurm.calls("scancel") == ["19_0"]


def test_only_what_waits(sweep: SweepDirectory, slurm: Slurm, longview: Run) -> None:
    longview("cancel", "manta-abc123", "--pending")
    assert slurm.calls("scancel") == ["19_1"]


def test_what_has_ended_is_left_alone(sweep: SweepDirectory, slurm: Slurm, longview: Run) -> None:
    assert "nothing to cancel: 1 finished" in longview("cancel", "aaaa0002")
    assert slurm.calls("scancel") == []


def test_the_job_that_follows_is_cancelled_with_the_one_that_runs(root: Path, slurm: Slurm, longview: Run) -> None:
    made = make_sweep(root, [{"seed": "1"}])
    make_run(made.run_path(made.points()[0]), {"job": "19"}, progress={"state": "training", "job": "19"})
    submit(made, ["aaaa0000"], "31", ago=10)
    slurm.says("squeue", queued("19", "COMPLETING", began=310) + queued("31", "PENDING", "Dependency"))
    longview("cancel", "aaaa0000")
    assert slurm.calls("scancel") == ["19 31"]


def test_a_silent_slurm_is_told(sweep: SweepDirectory, slurm: Slurm, longview: Run) -> None:
    slurm.says("squeue", error="slurm_load_jobs error: Unable to contact slurm controller\n", code=1)
    text = longview("cancel", "manta-abc123", expect=2)
    assert "nothing was cancelled" in text
    assert slurm.calls("scancel") == []


def test_a_refusal_is_told(sweep: SweepDirectory, slurm: Slurm, longview: Run) -> None:
    slurm.says("scancel", error="scancel: error: Kill job error on job id 19_0: Access/permission denied\n", code=1)
    assert "Access/permission denied" in longview("cancel", "aaaa0000", expect=1)


def test_several_are_asked_about_on_a_terminal(sweep: SweepDirectory, slurm: Slurm) -> None:
    import pty

    for typed, calls in ((b"n\n", []), (b"y\n", ["19_0 19_1"])):
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "longview.cli", "cancel", "manta-abc123"]
        process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        seen = b""
        while b"[y/N]" not in seen:
            seen += os.read(ours, 1024)
        assert b"cancel 2 jobs?" in seen
        os.write(ours, typed)
        assert process.wait(timeout=30) == 0
        os.close(ours)
        assert slurm.calls("scancel") == calls


def test_a_process_that_is_not_the_run_is_not_touched(root: Path, longview: Run) -> None:
    import socket

    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        record = {"host": socket.gethostname(), "pid": sleeper.pid, "started": iso(time.time())}
        make_run(root / "r-56914f", record, progress={"state": "training"})
        assert "not certainly this run" in longview("cancel", "56914f", expect=1)
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_run_on_another_machine(root: Path, longview: Run) -> None:
    make_run(root / "r-56914f", {"host": "jwlogin07"}, progress={"state": "training"})
    assert "runs on jwlogin07: cancel it there" in longview("cancel", "56914f", expect=1)


def test_a_large_array_is_one_line(root: Path, slurm: Slurm, longview: Run) -> None:
    made = make_sweep(root, [{"seed": str(i)} for i in range(300)])
    make_run(made.run_path(made.points()[0]), {"job": "19_0"}, progress={"state": "training", "job": "19_0"})
    slurm.says("squeue", queued("19_0", began=310) + "".join(queued(f"19_{i}", "PENDING", "Priority") for i in range(1, 300)))
    text = longview("cancel", "abc123")
    assert text == "cancelled 300 runs of manta-abc123  (job 19, they were: 299 pending, 1 running)\n"
    assert len(slurm.calls("scancel")[0].split()) == 300
