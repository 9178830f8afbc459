"""What the follow commands say about jobs of a real SLURM: waiting, held, running, failed, cancelled, not known, silent."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm.twin import Twin

from follow import make_run, make_sweep
from longview.cli import main
from longview.runs.queue import ask_sacct, ask_squeue
from twins import Twins

SMALL = {"nodes": 2, "others": 1, "overrides": ("cluster.limits.max_array_size=50", "cluster.limits.max_submit=60")}
"""As in test_twin.py: one twin serves both files."""
JOB = """#!/bin/bash
case $SLURM_ARRAY_TASK_ID in
  0) exit 0 ;;
  1) exit 3 ;;
esac
sleep 300
"""
BOOSTER = ("-A", "twin", "-p", "booster", "-N", "1", "--gres=gpu:4", "-t", "5", "-o", "/dev/null")


@pytest.fixture
def juwels(twin: Twins, monkeypatch: pytest.MonkeyPatch) -> Iterator[Twin]:
    """Two Booster nodes; this process talks to their SLURM."""
    found = twin("juwels", **SMALL)
    for name, value in found.env.items():
        monkeypatch.setenv(name, value)
    yield found
    found.run("scancel", "--me")


def until(condition: object, what: str) -> None:
    """Wait for SLURM."""
    assert callable(condition)
    end = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.3)


def test_an_array_from_queue_to_end(juwels: Twin, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "job.sh"
    script.write_text(JOB)
    job = juwels.run("sbatch", "--parsable", "--array=0-5", *BOOSTER, str(script)).stdout.strip()
    sweep = make_sweep(tmp_path / "runs", [{"seed": str(i)} for i in range(6)], job=job, ago=1)
    paths = [sweep.run_path(point) for point in sweep.points()]
    make_run(paths[0], {"outcome": "finished", "job": f"{job}_0"})

    def states() -> list[str]:
        assert main(["status", "--root", str(tmp_path / "runs"), "--json"]) == 0
        return re.findall(r'"state": "(.*)",\n +"certain"', capsys.readouterr().out)

    expected = ["finished", "failed", "starting", "starting", "pending", "pending"]
    until(lambda: states() == expected, f"{expected}, not {states()}")
    juwels.run("scontrol", "uhold", f"{job}_5")
    assert main(["why", f"{job}_5", "--root", str(tmp_path / "runs")]) == 0
    assert "held by you" in capsys.readouterr().out
    assert main(["cancel", f"{job}_2", "--root", str(tmp_path / "runs")]) == 0
    assert f"(job {job}_2, it was starting)" in capsys.readouterr().out
    expected = ["finished", "failed", "cancelled", "starting", "starting", "pending"]
    until(lambda: states() == expected, f"{expected}, not {states()}")
    assert main(["cancel", "manta-abc123", "--pending", "--root", str(tmp_path / "runs")]) == 0
    assert main(["cancel", "manta-abc123", "-y", "--root", str(tmp_path / "runs")]) == 0
    expected = ["finished", "failed", *["cancelled"] * 4]
    until(lambda: states() == expected, f"{expected}, not {states()}")
    assert juwels.run("squeue", "-h", "-j", job).stdout == ""
    until(lambda: f"{job}_2" in ask_sacct([f"{job}_2"]).jobs, "accounting, which comes seconds later")
    record = ask_sacct([f"{job}_2"]).jobs[f"{job}_2"]
    assert (record.state, record.by) == ("CANCELLED", str(os.getuid()))


def test_folded_and_unfolded_arrays_say_the_same(juwels: Twin, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text(JOB)
    job = juwels.run("sbatch", "--parsable", "--hold", "--array=0-40:2%3", *BOOSTER, str(script)).stdout.strip()
    juwels.run("scancel", f"{job}_8")
    unfolded = ask_squeue([job])
    assert unfolded.complete
    waiting = {name for name, found in unfolded.jobs.items() if found.state == "PENDING" and "_" in name}
    assert waiting == {f"{job}_{i}" for i in range(0, 41, 2) if i != 8}
    from longview.runs.queue import parse_squeue

    folded = parse_squeue(juwels.run("squeue", "-h", "-o", "%i|%A|%T|%S|%N|%r", "-j", job, SLURM_BITSTR_LEN="0").stdout)
    assert folded.complete
    assert waiting <= set(folded.jobs)
    assert {folded.jobs[name].reason for name in waiting} == {"JobHeldUser"}


def test_a_job_nobody_knows_and_a_controller_that_is_silent(
    juwels: Twin, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = make_sweep(tmp_path / "runs", [{"seed": "1"}], job="98765", ago=5000)
    make_run(sweep.run_path(sweep.points()[0]))
    assert main(["status", "--root", str(tmp_path / "runs")]) == 0
    assert "lost" in capsys.readouterr().out
    monkeypatch.setattr("longview.runs.queue.PATIENCE", 3.0)
    pid = int((Path(juwels.env["SLURM_CONF"]).parent / "run/slurmctld.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        assert main(["status", "--root", str(tmp_path / "runs")]) == 0
    finally:
        os.kill(pid, signal.SIGCONT)
    out = capsys.readouterr().out
    assert "unknown" in out
    assert "lost" not in out
    assert "scontrol did not answer within 3 s" in out


def test_a_controller_that_is_away_is_known_at_once(
    juwels: Twin, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = make_sweep(tmp_path / "runs", [{"seed": "1"}], job="98765", ago=5000)
    make_run(sweep.run_path(sweep.points()[0]))
    conf = Path(juwels.env["SLURM_CONF"])
    away = conf.with_name("away.conf")  # the same SLURM, asked where nobody listens
    away.write_text(re.sub(r"(?m)^SlurmctldPort=.*$", "SlurmctldPort=1", conf.read_text()))
    monkeypatch.setenv("SLURM_CONF", str(away))
    begin = time.monotonic()
    assert main(["status", "--root", str(tmp_path / "runs")]) == 0
    assert time.monotonic() - begin < 2
    out = capsys.readouterr().out
    assert "SLURM is down; scontrol ping: Slurmctld(primary) at" in out
    assert "1 unknown" in out


def test_a_job_whose_answer_was_lost(juwels: Twin, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "job.sh"
    script.write_text(JOB)
    root = ["--root", str(tmp_path / "runs")]
    sweep = make_sweep(tmp_path / "runs", [{"seed": "0"}, {"seed": "1"}], job=None, ago=1)
    for point in sweep.points():
        make_run(sweep.run_path(point))
    assert main(["status", *root]) == 0
    assert "2 not submitted" in capsys.readouterr().out, "SLURM surely does not have it"
    mark = sweep.all_submissions()[0].uid
    job = juwels.run("sbatch", "--parsable", "--hold", f"--comment={mark}", "--array=0-1", *BOOSTER, str(script)).stdout.strip()
    assert main(["status", *root]) == 0
    out = capsys.readouterr().out
    assert "2 pending" in out
    assert f"{job}_1" in out
    assert sweep.all_submissions()[0].job == job
    assert main(["cancel", "manta-abc123", "-y", *root]) == 0
    assert f"cancelled aaaa0001  seed=1  (job {job}_1, it was pending)" in capsys.readouterr().out
    assert juwels.run("squeue", "-h", "-j", job).stdout == ""
