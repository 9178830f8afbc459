"""Two jobs on one run directory, in a real SLURM: one trains, the other says why it does not."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import tiny
from longview.config.experiment import Checker
from longview.runs.directory import RunDirectory
from twins import Twins

ROOT = Path(__file__).parents[2]
SCRIPT = """#!/bin/bash
#SBATCH --account=twin --partition=booster --nodes=1 --ntasks-per-node=1 --time=10 --array=0-1 --output={folder}/%a.log
export LONGVIEW_RANKS=slurm LONGVIEW_JOB=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID PYTHONPATH={source}
exec srun --kill-on-bad-exit=1 {python} -m longview.engine {run}
"""


def test_two_elements_of_an_array_on_one_run_directory(twin: Twins, tmp_path: Path) -> None:
    """What SBATCH_ARRAY_INX in the shell once did to a run. The engine starts twice, at the same moment."""
    juwels = twin("juwels", nodes=2, others=1)
    arguments = [*tiny.DATA, *tiny.RUN, *tiny.MANTA, f"run.root={tmp_path}", "trainer.max_epochs=2000"]
    experiment = Checker().check(arguments)
    run = RunDirectory.create(tmp_path, experiment.name, experiment.resolved, [], [])
    text = SCRIPT.format(folder=tmp_path, source=ROOT / "src", python=sys.executable, run=run.path)
    (tmp_path / "job.sh").write_text(text)
    submitted = juwels.run("sbatch", "--parsable", str(tmp_path / "job.sh"), OMP_NUM_THREADS=os.environ["OMP_NUM_THREADS"])
    job = submitted.stdout.strip()
    assert job, submitted.stderr

    def said() -> list[str]:
        return [(tmp_path / f"{i}.log").read_text() if (tmp_path / f"{i}.log").exists() else "" for i in (0, 1)]

    def at_work() -> list[str]:
        return juwels.run("squeue", "-h", "-r", "-j", job, "-t", "R", "-o", "%i").stdout.split()

    try:
        until = time.monotonic() + 90
        while time.monotonic() < until and not any("error: " in text for text in said()):
            time.sleep(0.5)
        (refused,) = (text for text in said() if "error: " in text)
        loser = said().index(refused)
        winner = f"{job}_{1 - loser}"
        assert refused.startswith(f"error: job {winner} trains this run right now (since 20")
        assert f"; cancel one of the two: scancel {winner}, or scancel {job}_{loser}\n" in refused
        while time.monotonic() < until and at_work() != [winner]:
            time.sleep(0.5)
        assert at_work() == [winner]
        assert [p.name for p in run.attempts.iterdir()] == ["001.json"]
        assert (run.attempt(1)["job"], run.attempt(1)["outcome"]) == (winner, "running")
    finally:
        juwels.run("scancel", job)
        while time.monotonic() < until and juwels.run("squeue", "-h", "-j", job).stdout:
            time.sleep(0.5)
