"""`longview status`, as a user sees it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from follow import Run, Slurm, iso, make_run, make_sweep, queued, submit
from longview.runs.sweep import SweepDirectory

POINTS = [{"seed": str(i)} for i in range(5)]


@pytest.fixture
def sweep(root: Path, slurm: Slurm) -> SweepDirectory:
    """Five points: finished, running, pending, failed, and one whose job is in no list and left no word."""
    made = make_sweep(root, POINTS)
    paths = [made.run_path(point) for point in made.points()]
    end = {"ended": iso(time.time() - 60)}
    make_run(paths[0], {"outcome": "finished", "job": "19_0", **end}, result={"result": {"metrics": {"f1": 0.5}}})
    progress = {"state": "training", "epoch": 2, "epochs": 12, "step": 40, "steps": 480, "eta_seconds": 3725, "job": "19_1"}
    make_run(paths[1], {"job": "19_1"}, progress={**progress, "metric": {"name": "val/f1", "value": 0.41234567}})
    make_run(paths[2])
    make_run(
        paths[3], {"outcome": "failed", "job": "19_3", "error": "RuntimeError: boom", **end}, exit={"code": 1, "job": "19_3"}
    )
    make_run(
        paths[4],
        {"job": "19_4", "started": iso(time.time() - 5000)},
        progress={"state": "training", "step": 9, "time": time.time() - 4000, "job": "19_4"},
    )
    slurm.says("squeue", queued("19_1", began=350) + queued("19_2", "PENDING", "Priority"))
    return made


def row(text: str, identity: str) -> str:
    """The line of a run."""
    return next(line for line in text.splitlines() if identity in line)


def test_states_counts_and_progress(sweep: SweepDirectory, longview: Run) -> None:
    text = longview("status")
    assert re.search(r"abc123 +manta-abc123 +5 +1 pending, 1 running, 1 finished, 1 failed, 1 lost", text)
    for identity, state in (("0000", "finished"), ("0002", "pending"), ("0003", "failed"), ("0004", "lost")):
        assert re.search(rf"aaaa{identity} +seed=\d +{state}", text), text
    running = row(text, "aaaa0001")
    for part in ("running", "2/12", "40/480", "1 h 02", "val/f1 0.4123", "jwb0001", "19_1"):
        assert part in running
    assert "other jobs come first" in row(text, "aaaa0002")
    assert "RuntimeError: boom" in row(text, "aaaa0003")
    assert "longview why abc123" in text


def test_one_squeue_and_one_sacct_for_everything(sweep: SweepDirectory, slurm: Slurm, longview: Run) -> None:
    longview("status")
    assert len(slurm.calls("squeue")) == len(slurm.calls("sacct")) == 1
    slurm.says("squeue", "".join(queued(f"19_{i}") for i in range(5)))
    longview("status")
    assert len(slurm.calls("sacct")) == 1, "accounting is asked only about jobs that are gone"


def test_a_silent_slurm_kills_nobody(sweep: SweepDirectory, slurm: Slurm, longview: Run) -> None:
    slurm.says("squeue", error="slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n", code=1)
    text = longview("status")
    assert "Unable to contact slurm controller" in text
    assert "running?" in row(text, "aaaa0001"), "its progress is fresh"
    for identity in ("aaaa0002", "aaaa0004"):
        assert "unknown" in row(text, identity)
    assert "finished" in row(text, "aaaa0000")
    assert "lost" not in text


def test_without_slurm_at_all(sweep: SweepDirectory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, longview: Run) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    text = longview("status")
    assert "there is no squeue on this machine" in text
    assert "lost" not in text


def test_a_line_of_squeue_that_cannot_be_read(sweep: SweepDirectory, slurm: Slurm, longview: Run) -> None:
    slurm.says("squeue", queued("19_1", began=350) + "19_[2,3,...]|19|PENDING|N/A||Priority\n")
    text = longview("status")
    assert "unknown" in row(text, "aaaa0002")
    assert "unknown" in row(text, "aaaa0004")
    assert "1 line(s) of squeue could not be read" in text


def test_another_slurm_on_the_same_file_system_is_not_asked(root: Path, slurm: Slurm, longview: Run, tmp_path: Path) -> None:
    made = make_sweep(root, POINTS[:1])
    submit(made, ["aaaa0000"], "30", slurm_cluster="jureca")
    make_run(made.run_path(made.points()[0]))
    text = longview("status")
    assert "unknown" in row(text, "aaaa0000")
    assert "its job is in jureca, this is juwels" in text
    slurm.says("scontrol", "ClusterName             = jureca\n")
    assert "lost" in row(longview("status"), "aaaa0000")


def test_a_controller_that_hangs_is_asked_once(root: Path, slurm: Slurm, longview: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_sweep(root, POINTS[:1])
    submit(made, ["aaaa0000"], "30", slurm_cluster="juwels")
    make_run(made.run_path(made.points()[0]))
    monkeypatch.setattr("longview.runs.queue.PATIENCE", 0.3)
    for command in ("scontrol", "squeue"):
        (slurm.folder / command).write_text("#!/bin/sh\n# A stand-in.\nexec sleep 30\n")
    begin = time.monotonic()
    assert "unknown" in row(longview("status"), "aaaa0000")
    assert time.monotonic() - begin < 0.55


def test_a_run_that_ends_during_the_look_has_not_failed(root: Path, slurm: Slurm, longview: Run) -> None:
    made = make_sweep(root, POINTS[:1])
    path = make_run(made.run_path(made.points()[0]), {"job": "19"}, progress={"state": "testing", "job": "19"})
    final = {"mode": "fit", "started": iso(time.time() - 300), "ended": iso(time.time()), "outcome": "finished", "job": "19"}
    line = queued("19", "COMPLETED").strip()
    ends = f"echo '{json.dumps(final)}' > {path}/attempts/001.json"
    (slurm.folder / "squeue").write_text(f"#!/bin/sh\n# A stand-in: the run ends before SLURM answers.\n{ends}\necho '{line}'\n")
    assert "finished" in row(longview("status"), "aaaa0000")


def test_by_name_and_as_data(sweep: SweepDirectory, longview: Run) -> None:
    text = longview("status", "aaaa0003")
    assert "aaaa0000" not in text
    data = json.loads(longview("status", "--json"))
    assert [d["state"] for d in data] == ["finished", "running", "pending", "failed", "lost"]
    assert (data[1]["progress"]["step"], data[1]["nodes"], data[2]["reason"]) == (40, "jwb0001", "Priority")
    assert Path(data[0]["path"]).is_dir()


def test_wrong_names_are_bad_input(sweep: SweepDirectory, longview: Run) -> None:
    text = longview("status", "aaab0003", "manta-abc12", expect=2)
    assert text.startswith("error: ")
    assert "nearest: aaaa0003 (seed=3)" in text
    assert "manta-abc123" not in text, "the beginning of a name is a name"
    assert "no runs in" in longview("status", "--root", str(sweep.path / "submissions"), expect=2)


def test_local_runs_are_there_too(root: Path, slurm: Slurm, longview: Run) -> None:
    run = make_run(root / "20261120-063904-manta-kitchen-56914f", {"outcome": "failed", "error": "ValueError: x"})
    assert re.search(r"single runs +1 +1 failed", longview("status"))
    assert "ValueError: x" in longview("status", str(run))
    assert slurm.calls("squeue") == [], "nothing of these is in a queue"


def test_many_runs_are_cut_and_the_unfinished_are_not(root: Path, slurm: Slurm, longview: Run) -> None:
    made = make_sweep(root, [{"seed": str(i)} for i in range(80)])
    for i, point in enumerate(made.points()):
        make_run(made.run_path(point), {"outcome": "finished", "job": f"19_{i}"} if i else {"outcome": "failed", "error": "x"})
    text = longview("status")
    assert "79 more runs; --all shows them" in text
    assert "aaaa0000" in text
    assert "aaaa0079" in longview("status", "--all")


def test_watching_ends_when_everything_has(root: Path, slurm: Slurm, longview: Run) -> None:
    make_run(root / "r-56914f", {"outcome": "finished"})
    assert longview("status", "-w", "1").count("56914f") == 2, "once in each column, not for ever"
    assert "finished" in longview("status", "-w", "56914f"), "a name after -w is a name"


def test_watching_goes_on_while_something_runs(sweep: SweepDirectory, slurm: Slurm, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "longview.cli", "status", "-w", "1", "aaaa0001"]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert watching.stdout is not None
    assert "running" in "".join(watching.stdout.readline() for _ in range(2))
    slurm.says("squeue", queued("19_1", "TIMEOUT"))
    rest, _ = watching.communicate(timeout=30)
    assert "timeout" in rest
    assert watching.returncode == 0


def test_the_live_table_on_a_terminal(sweep: SweepDirectory, slurm: Slurm) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "longview.cli", "status", "-w", "1", "aaaa0001"]
    watching = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    seen = b""
    while b"Ctrl-C leaves, jobs go on" not in seen:
        seen += os.read(ours, 4096)
    assert b"running" in seen
    time.sleep(1.5)
    assert watching.poll() is None, "it goes on while the run does"
    slurm.says("squeue", queued("19_1", "TIMEOUT"))
    with suppress(OSError):  # what Linux answers when the other side has closed
        while more := os.read(ours, 4096):
            seen += more
    assert b"timeout" in seen
    assert watching.wait(timeout=30) == 0
    os.close(ours)


def test_it_fits_the_terminal(sweep: SweepDirectory, monkeypatch: pytest.MonkeyPatch, longview: Run) -> None:
    for columns in (80, 100, 140):
        monkeypatch.setenv("COLUMNS", str(columns))
        text = longview("status", "aaaa0001", "aaaa0002", "manta-abc123")
        assert max(map(len, text.splitlines())) <= columns
        assert re.search(r"aaaa0001 .*running .*40/480", text), "what matters most stays"


@pytest.mark.parametrize("command", ["status", "why", "table", "open", "status --json", "completion bash", "_names"])
def test_nothing_heavy_is_imported(sweep: SweepDirectory, command: str) -> None:
    heavy = "torch lightning numpy matplotlib wandb rich pydantic hydra" if "table" not in command else "torch lightning numpy"
    code = (
        f"import sys\nfrom longview.cli import main\nassert main({command.split()!r}) == 0\n"
        f"print('HEAVY', [m for m in {heavy!r}.split() if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1:] == ["HEAVY []"], done.stdout[-300:] + done.stderr


def test_the_command_that_is_offered_works(root: Path, slurm: Slurm, longview: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[list[str]] = []
    monkeypatch.setattr("longview.launch.submit.resubmit", lambda sweep, runs: handed.append(runs) or 0)  # submits nothing
    made = make_sweep(root, POINTS[:2])
    for point in made.points():
        make_run(made.run_path(point))
    slurm.says("squeue", queued("19_0", "CANCELLED") + queued("19_1", "CANCELLED"))
    assert "again: longview resume abc123 --all-stopped" in longview("status")
    longview("resume", "abc123", "--all-stopped")
    assert "again: longview resume aaaa0001\n" in longview("status", "aaaa0001")
    longview("resume", "aaaa0001")
    slurm.says("squeue", queued("19_0", "CANCELLED") + queued("19_1", "TIMEOUT"))
    assert "again: longview resume abc123\n" in longview("status")
    longview("resume", "abc123")
    assert handed == [["aaaa0000", "aaaa0001"], ["aaaa0001"], ["aaaa0001"]]


def test_a_command_that_is_offered_works_from_here(
    root: Path, slurm: Slurm, longview: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_sweep(root, POINTS[:2])
    for point in made.points():
        make_run(made.run_path(point), {"outcome": "failed", "error": "ValueError: x", "ended": iso(time.time())})
    assert "longview why abc123 " in longview("status")
    monkeypatch.delenv("LONGVIEW_RUNS")
    monkeypatch.chdir(root.parent)
    assert "longview why abc123 " in longview("status"), "./runs is looked in"
    monkeypatch.chdir(root.parent / "elsewhere")
    text = longview("status", "--root", str(root))
    name = re.search(r"longview why (\S+)", text)
    assert name is not None
    assert "2 runs" in longview("why", name[1])
    text = longview("why", "aaaa0001", "--root", str(root))
    assert f"longview resume {root}" not in text, "an error in Python is not cured by that"
    assert f"longview resume {made.run_path(made.points()[0])}" in longview("status", "aaaa0000", "--root", str(root))


def test_a_controller_that_is_down_is_found_out_at_once(sweep: SweepDirectory, slurm: Slurm, longview: Run) -> None:
    slurm.says("scontrol", "Slurmctld(primary) at jwlogin is DOWN\n", code=1)
    (slurm.folder / "squeue").write_text("#!/bin/sh\n# A stand-in for one that tries for long.\nexec sleep 20\n")
    begin = time.monotonic()
    text = longview("status")
    assert time.monotonic() - begin < 2
    assert "SLURM is down; scontrol ping: Slurmctld(primary) at jwlogin is DOWN" in text
    assert "unknown" in row(text, "aaaa0002")


def test_killed_for_memory_where_slurm_does_not_say_so(root: Path, slurm: Slurm, longview: Run) -> None:
    made = make_sweep(root, POINTS[:1])
    path = make_run(made.run_path(made.points()[0]), {"job": "19"}, exit={"code": 137, "job": "19", "time": time.time()})
    slurm.says("squeue", queued("19", "FAILED"))
    assert "failed" in row(longview("status"), "aaaa0000")
    (path / "logs/19").mkdir(parents=True)
    (path / "logs/19/batch.log").write_text("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=19.0 cgroup.\n")
    assert "out of memory" in row(longview("status"), "aaaa0000")


def test_a_rank_that_ended_by_itself_does_not_look_cancelled(root: Path, slurm: Slurm, longview: Run) -> None:
    made = make_sweep(root, POINTS[:1])
    path = make_run(made.run_path(made.points()[0]), {"job": "19"}, exit={"code": 143, "job": "19", "time": time.time()})
    (path / "logs/19").mkdir(parents=True)
    log = path / "logs/19/batch.log"
    log.write_text(
        "srun: error: jwb0002: task 1: Exited with exit code 7\nsrun: launch/slurm: _step_signal: Terminating StepId=1.0\n"
        "srun: error: jwb0001: task 0: Terminated\nsrun: Force Terminated StepId=1.0\n"
    )  # captured from SLURM 22.05.8 with --kill-on-bad-exit=1
    slurm.says("squeue", queued("19", "FAILED"))
    assert re.search("failed .*rank 1 ended by itself with exit code 7", row(longview("status"), "aaaa0000"))
    assert "rank 1 ended by itself with exit code 7" in longview("why")
    slurm.says("squeue", queued("19", "CANCELLED"))
    assert "cancelled" in row(longview("status"), "aaaa0000"), "where SLURM says so"
    log.write_text("srun: error: jwb0001: tasks 0-1: Exited with exit code 130\n")
    slurm.says("squeue", queued("19", "FAILED"))
    assert "cancelled" in row(longview("status"), "aaaa0000"), "the ranks saved and left, as they were told to"
