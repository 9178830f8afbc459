"""`longview resume`: which runs, and to whom they are handed. `resubmit` is a stand-in here; tests/slurm uses the real one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from follow import Run, Slurm, iso, make_run, make_sweep, queued
from longview.runs.sweep import SweepDirectory

END = {"ended": iso(time.time() - 100)}


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """What `resubmit` was called with; a stand-in that submits nothing."""
    import longview.launch.submit

    calls: list[tuple[str, list[str]]] = []

    def stand_in(sweep: SweepDirectory, runs: list[str]) -> int:
        calls.append((sweep.path.name, runs))
        return 0

    monkeypatch.setattr(longview.launch.submit, "resubmit", stand_in)
    return calls


@pytest.fixture
def sweep(root: Path, slurm: Slurm) -> SweepDirectory:
    """failed, stopped, timeout, cancelled, pending, finished, lost."""
    made = make_sweep(root, [{"seed": str(i)} for i in range(7)])
    paths = [made.run_path(point) for point in made.points()]
    make_run(paths[0], {"outcome": "failed", "job": "19_0", "error": "x", **END}, exit={"code": 1, "job": "19_0"})
    make_run(paths[1], {"outcome": "stopped", "job": "19_1", "reason": "SIGUSR1", **END})
    make_run(paths[2], {"job": "19_2", "started": iso(time.time() - 5000)})
    make_run(paths[3])
    make_run(paths[4])
    make_run(paths[5], {"outcome": "finished", "job": "19_5", **END})
    make_run(paths[6], {"job": "19_6"})
    slurm.says("squeue", queued("19_2", "TIMEOUT") + queued("19_3", "CANCELLED") + queued("19_4", "PENDING", "Priority"))
    return made


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], [0, 1, 2, 6]),
        (["--failed"], [0, 6]),
        (["--all-stopped"], [0, 1, 2, 3, 6]),
    ],
)
def test_which_of_a_sweep(
    sweep: SweepDirectory, handed: list[tuple[str, list[str]]], longview: Run, arguments: list[str], expected: list[int]
) -> None:
    text = longview("resume", "manta-abc123", *arguments)
    assert handed == [("manta-abc123", [f"aaaa000{i}" for i in expected])]
    assert "resumed aaaa0000  seed=0  (it was failed)" in text
    assert "left alone: 1 pending" in text


def test_a_run_that_is_named_is_meant(sweep: SweepDirectory, handed: list[tuple[str, list[str]]], longview: Run) -> None:
    longview("resume", "aaaa0003")
    assert handed == [("manta-abc123", ["aaaa0003"])]


@pytest.mark.parametrize(("name", "said"), [("aaaa0004", "1 pending"), ("aaaa0005", "1 finished")])
def test_what_runs_or_is_done_is_not(
    sweep: SweepDirectory, handed: list[tuple[str, list[str]]], longview: Run, name: str, said: str
) -> None:
    assert f"nothing to resume: {said}" in longview("resume", name, expect=2)
    assert handed == []


def test_unknown_is_never_resumed(
    sweep: SweepDirectory, handed: list[tuple[str, list[str]]], slurm: Slurm, longview: Run
) -> None:
    slurm.says("squeue", error="slurm_load_jobs error: Unable to contact slurm controller\n", code=1)
    assert "unknown may be alive and is never resumed" in longview("resume", "aaaa0002", expect=2)
    longview("resume", "manta-abc123")
    assert handed == [("manta-abc123", ["aaaa0000"])], "the one whose own record says that it failed"


def test_a_run_started_by_hand_goes_on_by_hand(root: Path, monkeypatch: pytest.MonkeyPatch, longview: Run) -> None:
    calls: list[list[str]] = []

    def stand_in(argv: list[str]) -> int:
        calls.append(argv)
        return 0

    monkeypatch.setattr("longview.app.main", stand_in)
    run = make_run(root / "r-56914f", {"outcome": "failed", "error": "x", **END})
    text = longview("resume", "56914f")
    assert calls == [[f"run.resume={run}"]]
    assert f"python run.py run.resume={run}" in text


def test_what_is_not_certain_is_said_to_be_so(
    root: Path, slurm: Slurm, longview: Run, handed: list[tuple[str, list[str]]]
) -> None:
    made = make_sweep(root, [{"seed": "1"}, {"seed": "2"}])
    paths = [made.run_path(point) for point in made.points()]
    make_run(paths[0], {"outcome": "failed", "job": "19_0", "error": "x", **END})
    make_run(paths[1], {"job": "19_1"}, progress={"state": "training", "job": "19_1"})
    slurm.says("scontrol", "Slurmctld(primary) at jwlogin is DOWN\n", code=1)
    said = "1 running?; not certain: SLURM is down"
    assert f"left alone: {said}" in longview("resume", "manta-abc123")
    assert f"nothing to resume: {said}" in longview("resume", "aaaa0001", expect=2)


def test_many_are_counted_and_not_listed(root: Path, slurm: Slurm, longview: Run, handed: list[tuple[str, list[str]]]) -> None:
    made = make_sweep(root, [{"seed": str(i)} for i in range(40)])
    for i, point in enumerate(made.points()):
        make_run(made.run_path(point), {"outcome": "failed", "job": f"19_{i}", "error": "x", **END})
    assert longview("resume", "abc123") == "resumed 40 runs of manta-abc123  (they were: 40 failed)\n"
