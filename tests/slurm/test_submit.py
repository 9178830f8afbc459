"""Submitting twice, at the same time, interrupted or killed: never two jobs for one run, nothing that is stuck afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm.twin import Twin

import tiny
from cluster import ROOT, call, longview, queue, run, runs, sweep
from program import until
from twins import Twins

HELD = ["cluster=juwels", "model=repeat_last", "resources.devices=1", *tiny.DATA, "launch.sbatch={hold: true}", "seed=1,2", "-m"]


@pytest.fixture(scope="module")
def juwels(twin: Twins) -> Twin:
    return twin("juwels")


@pytest.fixture(autouse=True)
def _empty(juwels: Twin) -> Iterator[None]:
    """Every test begins and ends with an empty queue."""
    yield
    juwels.run("scancel", "-u", "root")
    while queue(juwels):
        time.sleep(0.1)


def start(twin: Twin, folder: Path, *arguments: str, **env: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    values = {**twin.environ, "PYTHONPATH": str(ROOT / "src"), **env}
    line = [sys.executable, str(ROOT / "run.py"), *arguments]
    return subprocess.Popen(line, cwd=folder, env=values, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def slow(tmp_path: Path, *, before: float = 0.0, after: float = 0.0) -> dict[str, str]:
    """A PATH on which sbatch takes its time before it asks SLURM, or before it answers; $mark is touched when it begins."""
    lines = ["#!/bin/bash", f"real={shutil.which('sbatch')}", 'case "$*" in *test-only*) exec $real "$@" ;; esac']
    lines += [
        f"touch {tmp_path}/asked; sleep {before}",
        'answer=$($real "$@"); code=$?',
        f"sleep {after}; echo $answer; exit $code",
    ]
    path = tmp_path / "bin" / "sbatch"
    path.parent.mkdir()
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o755)
    return {"PATH": f"{path.parent}:{os.environ['PATH']}"}


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def jobs(folder: Path) -> set[str]:
    """Elements that the records know."""
    return {f"{s.job}_{i}" for s in sweep(folder).all_submissions() for i in range(len(s.runs))}


def test_two_terminals_at_once(juwels: Twin, tmp_path: Path) -> None:
    processes = []
    for _ in range(3):
        processes.append(start(juwels, tmp_path, *HELD))
        time.sleep(0.3)
    codes = [p.wait(timeout=120) for p in processes]
    said = [p.communicate()[1] for p in processes]
    assert 0 in codes
    assert all(c == 0 or "is being submitted by another command" in s for c, s in zip(codes, said, strict=True)), said
    assert len(queue(juwels)) == 2
    assert jobs(tmp_path) == set(queue(juwels))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_while_sbatch_is_asked(juwels: Twin, tmp_path: Path, number: signal.Signals) -> None:
    """The answer is waited for and goes on record."""
    home = tmp_path / "home"
    process = start(juwels, home, *HELD, **slow(tmp_path, after=2))
    wait_for(tmp_path / "asked", process)
    time.sleep(0.5)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "2 runs" in out
    assert jobs(home) == set(queue(juwels))
    out, _ = run(juwels, home, *HELD)
    assert "2 of 2 runs waiting or running: left alone" in out
    assert len(queue(juwels)) == 2


def test_interrupted_before_sbatch_leaves_nothing(juwels: Twin, tmp_path: Path) -> None:
    """Ctrl-C in the check, as early as it takes: no directory, no job."""
    home = tmp_path / "home"
    process = start(juwels, home, *HELD)
    time.sleep(0.25)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert not queue(juwels) or jobs(home) == set(queue(juwels))
    if not queue(juwels):
        assert not list(home.rglob("*.yaml"))


@pytest.mark.parametrize("moment", [{"before": 2.0}, {"after": 2.0}], ids=["before SLURM knows", "before SLURM has answered"])
def test_killed_while_sbatch_is_asked(juwels: Twin, tmp_path: Path, moment: dict[str, float]) -> None:
    """KILL: what SLURM has taken is found by its mark, and submitted neither twice nor never."""
    home = tmp_path / "home"
    process = start(juwels, home, *HELD, **slow(tmp_path, **moment))
    wait_for(tmp_path / "asked", process)
    time.sleep(0.8)
    process.kill()
    process.communicate()
    time.sleep(2)  # sbatch itself was not killed
    out, _ = run(juwels, home, *HELD)
    assert len(queue(juwels)) == 2, out
    assert jobs(home) >= set(queue(juwels))
    assert not (sweep(home).path / ".being-submitted").exists()


@pytest.mark.parametrize("delay", [0.6, 0.9, 1.2])
def test_killed_at_any_moment_the_same_command_does_the_rest(juwels: Twin, tmp_path: Path, delay: float) -> None:
    process = start(juwels, tmp_path, *HELD)
    time.sleep(delay)
    process.kill()
    process.communicate()
    time.sleep(1)
    run(juwels, tmp_path, *HELD)
    assert len(queue(juwels)) == 2
    assert jobs(tmp_path) >= set(queue(juwels))


def test_a_directory_that_was_cut_short_is_no_obstacle(juwels: Twin, tmp_path: Path) -> None:
    run(juwels, tmp_path, *HELD)
    juwels.run("scancel", "-u", "root")
    while queue(juwels):
        time.sleep(0.1)
    first = runs(tmp_path)[0]
    record = sweep(tmp_path).path
    shutil.rmtree(record / "submissions")
    (first / "config.yaml").unlink()
    run(juwels, tmp_path, *HELD)
    assert len(queue(juwels)) == 2
    assert (first / "config.yaml").is_file()


def test_a_run_that_waits_is_not_resumed(juwels: Twin, tmp_path: Path) -> None:
    run(juwels, tmp_path, *HELD)
    first = runs(tmp_path)[0]
    _, err = run(juwels, tmp_path, f"run.resume={first}", expect=2)
    assert "is waiting or running" in err
    assert len(queue(juwels)) == 2


def test_resume_in_two_terminals(juwels: Twin, tmp_path: Path) -> None:
    run(juwels, tmp_path, *HELD)
    longview(juwels, tmp_path, "cancel", sweep(tmp_path).path.name, "-y")
    until(lambda: "2 cancelled" in longview(juwels, tmp_path, "status", sweep(tmp_path).path.name), what="the accounting to know")
    line = [sys.executable, "-m", "longview.cli", "resume", runs(tmp_path)[0].name]
    env = {**juwels.environ, "PYTHONPATH": str(ROOT / "src")}
    both = [
        subprocess.Popen(line, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    said = [p.communicate(timeout=120)[0] for p in both]
    assert len(queue(juwels)) == 1, said
    assert sorted(p.returncode for p in both) == [0, 2], said


def test_settings_of_the_shell_do_not_change_the_script(juwels: Twin, tmp_path: Path) -> None:
    env = {"SBATCH_PARTITION": "develbooster", "SBATCH_ARRAY_INX": "0-3", "SBATCH_TIMELIMIT": "1", "SQUEUE_PARTITION": "devel"}
    run(juwels, tmp_path, *HELD, **env)
    assert len(queue(juwels)) == 2
    job = str(sweep(tmp_path).all_submissions()[0].job)
    shown = juwels.run("scontrol", "show", "job", job).stdout
    assert "Partition=booster" in shown
    assert "TimeLimit=1-00:00:00" in shown


def test_what_is_no_computation_is_not_swept(juwels: Twin, tmp_path: Path) -> None:
    line = [a for a in HELD if not a.startswith("seed")]
    for swept in ("resources.time=1h,2h", "launch.parallel=1,2", "run.name=a,b", "launch.dry_run=false,true"):
        _, err = run(juwels, tmp_path, *line, swept, expect=2)
        assert f"{swept.partition('=')[0]}: says how a run is launched" in err
    assert list(tmp_path.iterdir()) == []
    out, _ = run(juwels, tmp_path, *line, "seed=1,1,2")
    assert "3 points, of which 2 differ" in out
    assert len(queue(juwels)) == 2


def test_a_place_with_odd_characters(juwels: Twin, tmp_path: Path) -> None:
    """Spaces, quotes and other scripts are fine; what SLURM or a shell would expand is refused."""
    fine = tmp_path / "it's a möbius  place"
    run(juwels, fine, *[a for a in HELD if "hold" not in a], "launch.wait=true")
    assert all((r / "result.json").is_file() for r in runs(fine))
    for odd in ("p%j", "p`id`", 'p"q', "p$HOME"):
        done = call(juwels, tmp_path, sys.executable, str(ROOT / "run.py"), *HELD, f"run.root='{tmp_path / odd}'")
        assert done.returncode == 2, done.stdout
        assert "run.root" in done.stderr


def test_in_a_maintenance_jobs_are_taken_and_wait(juwels: Twin, tmp_path: Path) -> None:
    """sbatch --test-only calls drained nodes a refusal; sbatch itself takes the job."""
    nodes = "jwb[0001-0004]"
    juwels.run("scontrol", "update", f"nodename={nodes}", "state=drain", "reason=maintenance")
    try:
        _, err = run(juwels, tmp_path, *[a for a in HELD if "hold" not in a])
        assert "so the job will wait" in err or "would wait" in err
        assert len(queue(juwels)) == 2
        assert "pending" in longview(juwels, tmp_path, "status")
    finally:
        juwels.run("scancel", "-u", "root")
        juwels.run("scontrol", "update", f"nodename={nodes}", "state=resume")
