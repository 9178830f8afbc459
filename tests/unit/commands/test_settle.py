"""Runs of which nobody knows whether they were submitted: what each command says and does; tests/slurm asks a real SLURM."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from follow import Run, Slurm, iso, make_run, make_sweep, queued, submit, write
from longview.runs.sweep import SweepDirectory

POINTS = [{"seed": "1"}, {"seed": "2"}]
DOWN = "Slurmctld(primary) at jwlogin is DOWN\n"


@pytest.fixture
def lost(root: Path, slurm: Slurm) -> SweepDirectory:
    """Two points whose sbatch was called and did not answer."""
    made = make_sweep(root, POINTS, job=None, ago=2)
    for point in made.points():
        make_run(made.run_path(point))
    return made


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What `resubmit` was called with; a stand-in that submits nothing."""
    calls: list[list[str]] = []
    monkeypatch.setattr("longview.launch.submit.resubmit", lambda sweep, runs: calls.append(runs) or 0)
    return calls


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """Another process, that lives."""
    found = subprocess.Popen(["sleep", "60"])
    yield found
    found.kill()
    found.wait()


def lock(sweep: SweepDirectory, pid: int, host: str = "") -> None:
    """As a command that submits the sweep holds it."""
    write(sweep.path / ".being-submitted", {"host": host or socket.gethostname(), "pid": pid, "started": iso(time.time())})


def ended() -> int:
    """The number of a process that is gone."""
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def held(job: str) -> str:
    return "".join(queued(f"{job}_{i}", "PENDING", "JobHeldUser") for i in range(2))


def test_a_job_whose_answer_was_lost_is_found_and_followed(lost: SweepDirectory, slurm: Slurm, longview: Run) -> None:
    slurm.marked("433 uid\n17 somebody:else\n", held("433"))
    text = longview("status")
    assert "2 pending" in text
    assert "433_1" in text
    assert lost.all_submissions()[0].job == "433", "on record from now on"
    assert "held by you" in longview("why", "aaaa0001")


def test_and_cancelled(lost: SweepDirectory, slurm: Slurm, longview: Run) -> None:
    slurm.marked("433 uid\n", held("433"))
    assert "cancelled aaaa0000" in longview("cancel", "manta-abc123")
    assert slurm.calls("scancel") == ["433_0 433_1"]


def test_what_slurm_surely_does_not_have_is_not_submitted_and_can_be_resumed(
    lost: SweepDirectory, slurm: Slurm, longview: Run, handed: list[list[str]]
) -> None:
    assert "2 not submitted" in longview("status")
    assert "nothing to cancel: 2 not submitted" in longview("cancel", "manta-abc123")
    longview("resume", "manta-abc123")
    assert handed == [["aaaa0000", "aaaa0001"]]


def test_a_resubmission_that_never_arrived_leaves_the_run_as_it_was(
    root: Path, slurm: Slurm, longview: Run, handed: list[list[str]]
) -> None:
    made = make_sweep(root, POINTS[:1], ago=5000)
    make_run(
        made.run_path(made.points()[0]), {"outcome": "failed", "job": "19", "error": "KeyError: 'x'", "ended": iso(time.time())}
    )
    submit(made, ["aaaa0000"], None, ago=5)
    text = longview("status")
    assert "failed" in text
    assert "KeyError: 'x'" in text
    longview("resume", "manta-abc123")
    assert handed == [["aaaa0000"]]


def test_when_slurm_cannot_be_asked_nothing_is_taken_for_cancelled_or_dead(
    lost: SweepDirectory, slurm: Slurm, longview: Run, handed: list[list[str]]
) -> None:
    slurm.says("scontrol", DOWN, code=1)
    assert "2 unknown" in longview("status")
    text = longview("cancel", "manta-abc123", expect=2)
    assert "the answer of sbatch for aaaa0000 and 1 more was lost" in text
    assert "its comment is uid" in text
    assert "unknown may be alive" in longview("resume", "manta-abc123", expect=2)
    assert (handed, slurm.calls("squeue"), slurm.calls("scancel")) == ([], [], [])


@pytest.mark.parametrize("reason", ["another user", "another SLURM"])
def test_an_answer_that_would_be_wrong_is_not_asked_for(
    root: Path, slurm: Slurm, longview: Run, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    made = make_sweep(root, POINTS[:1])
    submit(made, ["aaaa0000"], None, **({"slurm_cluster": "jureca"} if reason == "another SLURM" else {}))
    if reason == "another user":
        user = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: user + 1)
    assert "1 unknown" in longview("status")
    assert not any("%k" in call for call in slurm.calls("squeue"))


def test_it_is_looked_for_only_where_an_answer_was_lost(root: Path, slurm: Slurm, longview: Run) -> None:
    make_sweep(root, POINTS)
    longview("status")
    assert len(slurm.calls("squeue")) == 1
    assert "%k" not in slurm.calls("squeue")[0]


def test_a_sweep_that_is_being_submitted_is_left_to_who_does_it(
    lost: SweepDirectory, slurm: Slurm, longview: Run, process: subprocess.Popen[bytes]
) -> None:
    lock(lost, process.pid)
    text = longview("status")
    assert "2 pending" in text
    assert f"is being submitted by process {process.pid}" in text
    assert slurm.calls("squeue") == []
    assert "being submitted by process" in longview("cancel", "manta-abc123", expect=2)
    assert f"it is being submitted by process {process.pid}" in longview("why", "aaaa0000")


# directories without a submission -----------------------------------------------------------------------------------------


@pytest.fixture
def made(lost: SweepDirectory) -> SweepDirectory:
    """Directories just made, and then the command that made them was killed."""
    (lost.submissions / "001.json").unlink()
    return lost


@pytest.mark.parametrize("left", ["no lock", "a lock"])
def test_what_was_never_submitted_is_said_at_once(made: SweepDirectory, longview: Run, left: str) -> None:
    if left == "a lock":
        lock(made, ended())
    text = longview("status")
    assert "2 not submitted" in text
    assert "give the command of its sweep again" in text
    assert "longview resume" not in text, "it could not"
    assert "submitted by the command of its sweep" in longview("resume", "manta-abc123", expect=2)


def test_unless_somebody_submits_it_now(made: SweepDirectory, longview: Run, process: subprocess.Popen[bytes]) -> None:
    lock(made, process.pid)
    assert "2 pending" in longview("status")
    lock(made, 7, host="jwlogin07")
    assert "is being submitted by process 7 on jwlogin07" in longview("status"), "from here it cannot be seen to be gone"


def test_a_command_that_holds_the_lock_itself_sees_what_is_there(made: SweepDirectory, longview: Run) -> None:
    lock(made, os.getpid())
    assert "2 not submitted" in longview("status")


def test_a_damaged_record_of_a_submission_is_no_proof(made: SweepDirectory, longview: Run) -> None:
    (made.submissions / "001.json").write_text('{"number": 1, "uid"')
    text = longview("status")
    assert "2 unknown" in text
    assert "submissions/001.json cannot be read" in text


def test_a_point_of_a_sweep_on_this_machine_starts_for_a_while(root: Path, longview: Run) -> None:
    made = make_sweep(root, POINTS[:1])
    (made.submissions / "001.json").unlink()
    made.submissions.rmdir()
    made.write({"id": "abc123", "name": "manta", "cluster": "local"}, made.points())
    path = make_run(made.run_path(made.points()[0]))
    assert "1 starting" in longview("status")
    os.utime(path / "config.yaml", (time.time() - 500,) * 2)
    assert "1 stopped" in longview("status")


# damaged sweeps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"points": 3}', '{"points": [{"id": 1}]}', '{"points": [{"id": "a", "folder": "b", "values": 3}]}']
)
def test_one_damaged_sweep_does_not_hide_the_others(root: Path, slurm: Slurm, longview: Run, text: str) -> None:
    broken, good = make_sweep(root, POINTS, name="broken"), make_sweep(root, POINTS, ago=5000)
    for point in good.points():
        make_run(good.run_path(point), {"outcome": "finished"})
    broken.record_file.write_text(text)
    shown = longview("status")
    assert "2 finished" in shown
    line = next(line for line in shown.splitlines() if "broken-abc123" in line)
    assert "damaged" in line
    assert str(broken.record_file) in line
    for command in ("table", "why", "open", "_names"):
        longview(command)
    for name in ("broken-abc123", str(broken.path), str(broken.path / "submissions")):
        assert f"{broken.record_file} is damaged" in longview("status", name, expect=2)
    assert "is damaged" in longview("resume", "broken-abc123", expect=2)
    data, _, said = longview("status", "--json").partition("\nerror: ")
    assert [d["state"] for d in json.loads(data)] == ["finished", "finished"]
    assert "is damaged" in said


def test_only_a_damaged_sweep(root: Path, longview: Run) -> None:
    make_sweep(root, POINTS).record_file.write_text("{")
    assert "is damaged" in longview("status")
    assert "is damaged" in longview("table", expect=2)
