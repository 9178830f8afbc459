"""Sweepers that want a value, on a real SLURM: one job per trial, the next as soon as one has ended, nothing twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from slurm.twin import Twin

import tiny
from halving import install
from longview.runs.sweep import SweepDirectory
from twins import Twins

ROOT = Path(__file__).parents[2]
LIGHT = ["cluster=juwels", "model=repeat_last", "resources.devices=1", *tiny.DATA, "task.figures=0"]
SEARCH = ["-m", "data.seed=range(1,1000)", *LIGHT]
PATIENCE = 300
"""Seconds a search may take on a busy machine; most of it is SLURM's and the interpreter's start, per job."""


@pytest.fixture(scope="module")
def juwels(twin: Twins) -> Twin:
    return twin("juwels")


def start(twin: Twin, folder: Path, *arguments: str, **env: str) -> subprocess.Popen[str]:
    """run.py as a user of the login node, in a session of its own: a signal to its group is a terminal's Ctrl-C."""
    path = os.pathsep.join(p for p in (str(ROOT / "src"), env.pop("PYTHONPATH", "")) if p)
    return subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *arguments],
        cwd=folder,
        env={**twin.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str], expect: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == expect, f"exit code {process.returncode}\n{out}\n{err}"
    return out, err


def sweep(folder: Path) -> SweepDirectory:
    found = [p.parent for p in (folder / "runs").glob("*/sweep.json")]
    assert len(found) == 1, found
    return SweepDirectory.open(found[0])


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def attempts(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(p.read_text()) for p in sorted((directory / "attempts").glob("*.json"))]


def test_a_search_keeps_its_jobs_in_flight_and_is_taken_up_again_after_ctrl_c(juwels: Twin, tmp_path: Path) -> None:
    line = [*SEARCH, "search.trials=4", "search.parallel=2"]
    process = start(juwels, tmp_path, *line)
    end = time.monotonic() + PATIENCE
    while len([s for p in (tmp_path / "runs").glob("*") for s in SweepDirectory(p).all_submissions() if s.job]) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = ended(process, 130)
    assert "left; its jobs go on: longview status repeat_last-kitchen-search-" in err
    assert "The same command goes on with the search" in err
    found = sweep(tmp_path)
    jobs = [str(s.job) for s in found.all_submissions()]
    states = juwels.run("squeue", "-h", "-t", "all", "-j", ",".join(jobs), "-o", "%T").stdout.split()
    assert set(states) <= {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "COMPLETED"}

    out, err = ended(start(juwels, tmp_path, *line))
    assert "4 trials: 4 finished" in out
    assert "they are compared on the test part" in err  # a model without training has no validation score
    points, submissions = found.points(), found.all_submissions()
    assert [s.runs for s in submissions] == [[p.id] for p in points]  # none twice, each on its own
    assert len(points) == 4
    assert [len(attempts(found.run_path(p))) for p in points] == [1, 1, 1, 1]
    over = {p.id: moment(attempts(found.run_path(p))[-1]["ended"]) for p in points}
    for submission in submissions[2:]:
        before = [s.runs[0] for s in submissions if s.number < submission.number]
        assert sum(over[run] > moment(submission.created) for run in before) <= 1, "more than two in flight"
    values = {
        p.id: json.loads((found.run_path(p) / "result.json").read_text())["result"]["metrics"]["test/mean_moc"] for p in points
    }
    best = max(values, key=lambda run: values[run])
    assert f"best: test/mean_moc {values[best]:.5g}, run {best}" in out

    again, _ = ended(start(juwels, tmp_path, *line))
    assert "4 trials, 4 done" in again
    assert len(found.all_submissions()) == 4


def test_a_queue_that_takes_no_more_makes_the_search_narrower(juwels: Twin, tmp_path: Path) -> None:
    """A user's job limit, as a stand-in around sbatch: the twin's own limits are those of the whole site."""
    real, refusal = shutil.which("sbatch"), "sbatch: error: QOSMaxSubmitJobPerUserLimit"
    full = f'[ "$(squeue -h -A twin -o %i | wc -l)" = 0 ] || {{ echo "{refusal}" >&2; exit 1; }}'
    script = tmp_path / "bin" / "sbatch"
    script.parent.mkdir()
    script.write_text(f'#!/bin/bash\ncase "$*" in *test-only*) exec {real} "$@" ;; esac\n{full}\nexec {real} "$@"\n')
    script.chmod(0o755)
    for _ in range(100):  # jobs of the test before
        if not juwels.run("squeue", "-h", "-o", "%i").stdout.strip():
            break
        time.sleep(0.2)
    line = [*SEARCH, "search.trials=2", "search.parallel=2"]
    out, err = ended(start(juwels, tmp_path, *line, PATH=f"{script.parent}:{juwels.environ['PATH']}"))
    assert "trial 2 of 2: not taken now, so 1 at once from here on" in err
    assert "QOSMaxSubmitJobPerUserLimit" in err
    assert "2 trials: 2 finished" in out
    assert len(sweep(tmp_path).points()) == 2


def test_a_sweeper_of_hydra_s_gives_one_submission_a_batch(juwels: Twin, tmp_path: Path) -> None:
    site = install(tmp_path)
    line = ["-m", "hydra/sweeper=halving", "data.seed=interval(1,9)", *LIGHT]
    out, _ = ended(start(juwels, tmp_path, *line, **site))
    found = sweep(tmp_path)
    seeds = {p.id: int(p.values["data.seed"]) for p in found.points()}
    assert [[seeds[run] for run in s.runs] for s in found.all_submissions()] == [[1, 9], [5]]
    answers = json.loads((tmp_path / "answers.json").read_text())
    for seed, (status, ran, value) in answers:
        directory = next(found.run_path(p) for p in found.points() if seeds[p.id] == seed)
        result = json.loads((directory / "result.json").read_text())
        assert (status, ran, value) == ("COMPLETED", seed, result["result"]["metrics"]["test/mean_moc"])
    assert len(answers) == 4
    assert "4 points with a value" in out
