"""Two attempts never train one run directory: what is refused, what goes on, and that every rank leaves."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

import tiny
from longview.config.experiment import Checker
from longview.engine.company import CompanyError, begin, refuse_company
from longview.engine.run import execute
from longview.runs.directory import RunDirectory


def now() -> str:
    """As an attempt's record says it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


NOW = now()
THEIRS = {"outcome": "running", "job": "303_0", "host": "jwb0001", "pid": 7, "started": NOW}


def new(root: Path, *extra: str) -> RunDirectory:
    experiment = Checker().check([*tiny.DATA, *tiny.RUN, *tiny.MANTA, f"run.root={root}", *extra])
    return RunDirectory.create(root, experiment.name, experiment.resolved, [], [])


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Mocks for SLURM's commands, which answer with what a test says; tests/slurm/test_company.py has real ones."""

    def answer(state: str | None, code: int = 0) -> None:
        line = f"303_0|304|{state}|2026-11-20T08:00:00|jwb0001|None" if state else ""
        for name, text in (("squeue", line), ("scontrol", "Slurmctld(primary) at here is UP")):
            (tmp_path / "bin").mkdir(exist_ok=True)
            (tmp_path / "bin" / name).write_text(f"#!/bin/sh\necho '{text}'\nexit {code}\n")
            (tmp_path / "bin" / name).chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("LONGVIEW_JOB", raising=False)
    return answer


@pytest.mark.parametrize("state", ["RUNNING", "COMPLETING", "SUSPENDED"])
def test_a_job_that_trains_the_run_keeps_others_off(queue: Any, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    queue(state)
    since = datetime.fromisoformat(NOW).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    with pytest.raises(CompanyError) as refused:
        refuse_company(THEIRS)
    assert str(refused.value) == f"job 303_0 trains this run right now (since {since}); wait until it ends, or: scancel 303_0"
    monkeypatch.setenv("LONGVIEW_JOB", "303_1")
    with pytest.raises(CompanyError, match=r"cancel one of the two: scancel 303_0, or scancel 303_1$"):
        refuse_company(THEIRS)
    monkeypatch.setenv("LONGVIEW_JOB", "303_0")  # put back by SLURM after its node had died
    refuse_company(THEIRS)


@pytest.mark.parametrize(("state", "code"), [("PENDING", 0), ("TIMEOUT", 0), ("NODE_FAIL", 0), (None, 0), (None, 1)])
def test_a_job_that_is_gone_or_unknown_keeps_nobody_off(queue: Any, state: str | None, code: int) -> None:
    queue(state, code)
    refuse_company(THEIRS)


def test_an_attempt_that_has_ended_keeps_nobody_off(queue: Any) -> None:
    queue("RUNNING")
    for outcome in ("finished", "stopped", "failed"):
        refuse_company({**THEIRS, "outcome": outcome})
    refuse_company({})


def test_no_slurm_and_no_such_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    refuse_company(THEIRS)
    refuse_company({**THEIRS, "job": None, "host": socket.gethostname(), "pid": 2**22 - 1})
    refuse_company({**THEIRS, "job": "no id"})


def test_the_refused_attempt_writes_nothing_and_other_ranks_leave_at_once(
    queue: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new(tmp_path)
    monkeypatch.setenv("LONGVIEW_JOB", "303_0")
    assert begin(run, "fit", 0) == 1
    queue("RUNNING")
    assert begin(run, "fit", 1) == 0, "a rank of the same job goes on"
    monkeypatch.setenv("LONGVIEW_JOB", "303_1")
    before = sorted(str(p) for p in run.path.rglob("*"))
    monkeypatch.setenv("RANK", "1")
    assert execute(run) == 2
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(CompanyError):
        execute(run)
    assert sorted(str(p) for p in run.path.rglob("*")) == before


LOOK = """
import json, sys
from longview.engine.company import refuse_company
refuse_company(json.loads(sys.argv[1]), int(sys.argv[2]))
"""


def test_rank_0_of_the_same_launcher_is_no_company() -> None:
    """Ranks of one machine are started by one process, here this test: without a job the only sign that they are one attempt."""
    rank_0 = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "longview"])
    try:
        record = json.dumps({"outcome": "running", "host": socket.gethostname(), "pid": rank_0.pid, "started": now()})
        looks = [[sys.executable, "-c", LOOK, record, rank] for rank in ("1", "0")]
        one, other = (subprocess.run(command, capture_output=True, text=True, timeout=60) for command in looks)
        assert (one.returncode, one.stderr) == (0, "")
        assert f"process {rank_0.pid} trains this run right now" in other.stderr
    finally:
        rank_0.kill()
        rank_0.wait()


def test_of_attempts_that_begin_at_once_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, together, looked = new(tmp_path), threading.Barrier(8), threading.local()
    numbers = RunDirectory._numbers

    def all_see_none(self: RunDirectory) -> set[int]:
        found = numbers(self)
        if not hasattr(looked, "once"):
            looked.once = True
            together.wait(10)
        return found

    monkeypatch.setattr(RunDirectory, "_numbers", all_see_none)

    def allowed(record: Mapping[str, Any]) -> None:
        if record["outcome"] == "running":  # an empty record would be a KeyError
            raise CompanyError("one is at work")

    def tried(_: int) -> int | None:
        try:
            return run.begin_attempt("fit", allowed=allowed)
        except CompanyError:
            return None

    with ThreadPoolExecutor(8) as pool:
        assert [n for n in pool.map(tried, range(8)) if n] == [1]
    assert len(list(run.attempts.iterdir())) == 1


def test_two_terminals_on_one_run(tmp_path: Path) -> None:
    """Three processes, each of which imports torch."""
    run = new(tmp_path, "trainer.max_epochs=2000")
    command = [sys.executable, "-m", "longview.engine", str(run.path)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while not run.last_checkpoint.exists() and time.monotonic() < until:
            time.sleep(0.1)
        second = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (second.returncode, second.stdout) == (2, "")
        assert second.stderr.startswith(f"error: process {first.pid} trains this run right now (since 20")
        assert second.stderr.endswith(f"; wait until it ends, or stop it: kill {first.pid}\n")
        first.send_signal(signal.SIGTERM)
        assert first.wait(60) == 130
    finally:
        first.kill()
        first.wait()
    assert [p.name for p in run.attempts.iterdir()] == ["001.json"]
    (run.attempts / "001.json").write_text(json.dumps({**run.attempt(1), "outcome": "running"}))  # as if it had been killed
    third = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while not run.attempt(2) and time.monotonic() < until:
            time.sleep(0.1)
        assert run.attempt(2)["outcome"] == "running", "the process of the first is gone"
    finally:
        third.kill()
        third.wait()
