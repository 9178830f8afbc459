"""The state of a run from every combination of what its files, the queue and accounting say."""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from follow import iso, make_run
from longview.runs.queue import NOT_ASKED, Answer, Job
from longview.runs.records import Files, read_files
from longview.runs.status import GRACE, SILENCE, Kind, needs_accounting, needs_queue, span, state_of

NOW = 1_800_000_000.0
JOB = "7_3"
DOWN = Answer(problem="squeue: Unable to contact slurm controller")
GONE = Answer()
"""SLURM answered, and does not know the job."""


def job(state: str, reason: str = "", start: float | None = NOW - 1000, **more: Any) -> Answer:
    return Answer({JOB: Job(JOB, state, reason, "jwb0001", start, **more)})


def files(outcome: str | None = None, *, code: int | None = None, ago: float = 900, beat: float = 3, **more: Any) -> Files:
    """A run whose newest attempt began ``ago`` seconds ago and last gave a sign of life ``beat`` seconds ago."""
    attempt: dict[str, Any] = {}
    progress: dict[str, Any] = {}
    if outcome is not None:
        attempt = {"mode": "fit", "started": iso(NOW - ago), "host": "elsewhere", "pid": 1, "outcome": outcome, "job": JOB}
        progress = {"state": "training", "step": 40, "time": NOW - beat, "attempt": 1, "job": JOB}
        if outcome != "running":
            attempt["ended"] = iso(NOW - beat)
    defaults: dict[str, Any] = {
        "job": JOB,
        "submitted": NOW - 2000,
        "attempts": int(outcome is not None),
        "attempt": attempt,
        "fitted": outcome == "finished",
        "progress": progress,
        "exit": {} if code is None else {"code": code, "job": JOB, "time": NOW - 1},
    }
    return Files(**{**defaults, **more})


def older(given: Files) -> Files:
    """The same run put back into the queue as a new job."""
    return replace(given, job="9", submitted=NOW - 500)


FAILED = files("failed", code=1)
FAILED.attempt["error"] = "RuntimeError: boom\nmore"  # type: ignore[index]
STOPPED = files("stopped", code=130)
STOPPED.attempt["reason"] = "SIGUSR1"  # type: ignore[index]
RUNNING = files("running")
SILENT = files("running", beat=SILENCE + 100)
NONE = files()

CASES: list[tuple[str, Files, Answer, Answer, Kind, str]] = [
    # in the queue
    ("waits", NONE, job("PENDING", "Priority"), NOT_ASKED, Kind.PENDING, "other jobs come first"),
    ("waits for an unknown reason", NONE, job("PENDING", "Whatever"), NOT_ASKED, Kind.PENDING, "SLURM says: Whatever"),
    ("will never start", NONE, job("PENDING", "PartitionTimeLimit"), NOT_ASKED, Kind.PENDING, "will not start"),
    ("requeued after a stop", STOPPED, job("PENDING", "BeginTime"), NOT_ASKED, Kind.PENDING, "two minutes; attempt 2"),
    ("requeued after a failure", FAILED, job("PENDING", "Priority"), NOT_ASKED, Kind.PENDING, "attempt 2"),
    ("requeued without a word", RUNNING, job("PENDING", "BeginTime"), NOT_ASKED, Kind.PENDING, "attempt 2"),
    ("requeued and held", RUNNING, job("REQUEUE_HOLD"), NOT_ASKED, Kind.PENDING, "will not start: put back and held"),
    ("suspended", RUNNING, job("SUSPENDED"), NOT_ASKED, Kind.PENDING, "suspended"),
    ("just begun", NONE, job("RUNNING", start=NOW - 5), NOT_ASKED, Kind.STARTING, ""),
    ("nodes boot", NONE, job("CONFIGURING"), NOT_ASKED, Kind.STARTING, ""),
    ("runs", RUNNING, job("RUNNING"), NOT_ASKED, Kind.RUNNING, ""),
    ("runs, silent", SILENT, job("RUNNING"), NOT_ASKED, Kind.RUNNING, "no progress for 11 min"),
    ("builds", files("running", progress={"state": "starting", "time": NOW - 3}), job("RUNNING"), NOT_ASKED, Kind.STARTING, ""),
    ("begun again", STOPPED, job("RUNNING", start=NOW - 1), NOT_ASKED, Kind.STARTING, "attempt 2"),
    ("begun again after a kill", RUNNING, job("RUNNING", start=NOW - 5), NOT_ASKED, Kind.STARTING, "attempt 2"),
    (
        "a later job begun",
        older(FAILED),
        Answer({"9": Job("9", "RUNNING", start=NOW - 5)}),
        NOT_ASKED,
        Kind.STARTING,
        "attempt 2",
    ),
    ("about to leave", STOPPED, job("COMPLETING"), NOT_ASKED, Kind.RUNNING, "about to leave"),
    ("finished, job still there", files("finished"), job("COMPLETING"), NOT_ASKED, Kind.FINISHED, ""),
    ("failed, job still there", FAILED, job("COMPLETING"), NOT_ASKED, Kind.FAILED, "RuntimeError: boom"),
    # squeue shows a job for some minutes after its end
    ("timeout", SILENT, job("TIMEOUT"), NOT_ASKED, Kind.TIMEOUT, "step 40"),
    ("deadline", SILENT, job("DEADLINE"), NOT_ASKED, Kind.TIMEOUT, ""),
    ("timeout after the result", files("finished"), job("TIMEOUT"), NOT_ASKED, Kind.FINISHED, ""),
    ("stopped, then cancelled", STOPPED, job("CANCELLED"), NOT_ASKED, Kind.CANCELLED, ""),
    ("cancelled while it waited", NONE, job("CANCELLED"), NOT_ASKED, Kind.CANCELLED, ""),
    ("preempted", STOPPED, job("PREEMPTED"), NOT_ASKED, Kind.PREEMPTED, ""),
    ("node", RUNNING, job("NODE_FAIL"), NOT_ASKED, Kind.NODE_FAILURE, ""),
    ("node did not boot", NONE, job("BOOT_FAIL"), NOT_ASKED, Kind.NODE_FAILURE, ""),
    ("memory", files("running", code=137), job("OUT_OF_MEMORY"), NOT_ASKED, Kind.OUT_OF_MEMORY, ""),
    ("killed", files("running", code=137), job("FAILED"), NOT_ASKED, Kind.FAILED, "SIGKILL"),
    ("failed early", files(code=2), job("FAILED"), NOT_ASKED, Kind.FAILED, "before the run began: exit code 2"),
    ("failed without files", NONE, job("FAILED"), NOT_ASKED, Kind.FAILED, "before the run began"),
    ("completed without a word", NONE, job("COMPLETED"), NOT_ASKED, Kind.FAILED, "left no word"),
    ("stopped by signal", STOPPED, job("FAILED"), NOT_ASKED, Kind.STOPPED, "SIGUSR1"),
    ("stopped on request", files("stopped", code=143), job("FAILED"), NOT_ASKED, Kind.CANCELLED, ""),
    # gone from the queue
    ("finished", files("finished"), GONE, NOT_ASKED, Kind.FINISHED, ""),
    ("failed", FAILED, GONE, NOT_ASKED, Kind.FAILED, "RuntimeError: boom"),
    ("stopped", STOPPED, GONE, DOWN, Kind.STOPPED, "step 40"),
    ("term", files("running", code=143), GONE, DOWN, Kind.CANCELLED, ""),
    ("killed, no accounting", files("running", code=137), GONE, DOWN, Kind.FAILED, "SIGKILL"),
    ("accounting knows the timeout", SILENT, GONE, job("TIMEOUT"), Kind.TIMEOUT, ""),
    ("accounting knows who cancelled", NONE, GONE, job("CANCELLED", by="0"), Kind.CANCELLED, ""),
    ("accounting knows the memory", files("running", code=137), GONE, job("OUT_OF_MEMORY"), Kind.OUT_OF_MEMORY, ""),
    ("accounting contradicts", SILENT, GONE, job("RUNNING"), Kind.UNKNOWN, ""),
    ("just submitted", files(submitted=NOW - 2), GONE, GONE, Kind.PENDING, "just submitted"),
    ("just gone", RUNNING, GONE, GONE, Kind.UNKNOWN, "a moment ago"),
    ("lost", SILENT, GONE, GONE, Kind.LOST, "without a word"),
    ("lost, no accounting", SILENT, GONE, DOWN, Kind.LOST, "step 40"),
    ("lost before it began", NONE, GONE, GONE, Kind.LOST, ""),
    ("put back and lost", older(FAILED), GONE, GONE, Kind.LOST, ""),
    # SLURM does not answer
    ("finished, blind", files("finished"), DOWN, NOT_ASKED, Kind.FINISHED, ""),
    ("failed, blind", FAILED, DOWN, NOT_ASKED, Kind.FAILED, "boom"),
    ("put back, blind", older(FAILED), DOWN, NOT_ASKED, Kind.UNKNOWN, "Unable to contact"),
    ("stopped, blind", STOPPED, DOWN, NOT_ASKED, Kind.UNKNOWN, "may be back"),
    ("running, blind", RUNNING, DOWN, NOT_ASKED, Kind.RUNNING, "last sign of life 3 s ago"),
    ("silent, blind", SILENT, DOWN, NOT_ASKED, Kind.UNKNOWN, "11 min"),
    ("waiting, blind", NONE, DOWN, NOT_ASKED, Kind.UNKNOWN, "Unable to contact"),
    ("killed, blind", files("running", code=137, beat=SILENCE + 1), DOWN, NOT_ASKED, Kind.UNKNOWN, ""),
    # never in the queue
    ("never submitted", Files(exists=False), NOT_ASKED, NOT_ASKED, Kind.NEW, ""),
    ("being submitted", Files(submitting=True, submitter="process 7"), NOT_ASKED, NOT_ASKED, Kind.PENDING, "by process 7"),
    ("answer lost", Files(submitting=True, submitted=NOW - 1), NOT_ASKED, NOT_ASKED, Kind.UNKNOWN, "answer of sbatch was lost"),
    ("its turn comes", Files(scheduled=True, submitter="process 7"), NOT_ASKED, NOT_ASKED, Kind.PENDING, "being submitted"),
    ("made, not submitted", Files(scheduled=True, created=NOW - 1), NOT_ASKED, NOT_ASKED, Kind.NEW, "command of its sweep"),
    ("made, record damaged", Files(scheduled=True, unread="002.json"), NOT_ASKED, NOT_ASKED, Kind.UNKNOWN, "002.json"),
    ("local, made now", Files(created=NOW - 3), NOT_ASKED, NOT_ASKED, Kind.STARTING, ""),
    ("local, never begun", Files(created=NOW - 3000), NOT_ASKED, NOT_ASKED, Kind.STOPPED, "before its first attempt"),
    ("local, finished", files("finished", job=None), NOT_ASKED, NOT_ASKED, Kind.FINISHED, ""),
    ("local, failed", replace(FAILED, job=None), NOT_ASKED, NOT_ASKED, Kind.FAILED, "boom"),
    ("local, interrupted", replace(STOPPED, job=None), NOT_ASKED, NOT_ASKED, Kind.STOPPED, "SIGUSR1"),
    ("local, on another machine", replace(RUNNING, job=None), NOT_ASKED, NOT_ASKED, Kind.RUNNING, ""),
    ("local, silent on another machine", replace(SILENT, job=None), NOT_ASKED, NOT_ASKED, Kind.UNKNOWN, "elsewhere"),
]


@pytest.mark.parametrize(("given", "queue", "accounting", "kind", "detail"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_state(given: Files, queue: Answer, accounting: Answer, kind: Kind, detail: str) -> None:
    state = state_of(given, queue, accounting, NOW)
    assert (state.kind, detail in state.detail) == (kind, True), state


OUTCOMES = [None, "running", "finished", "failed", "stopped"]
CODES = [None, 0, 1, 2, 130, 137, 143]
QUEUES: Mapping[str, Answer] = {
    "down": DOWN,
    "gone": GONE,
    **{s: job(s) for s in ("PENDING", "RUNNING", "COMPLETING", "COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "ODD_NEW_STATE")},
}
ACCOUNTS = [NOT_ASKED, DOWN, GONE, job("TIMEOUT"), job("RUNNING"), job("COMPLETED"), job("ODD_NEW_STATE")]


@pytest.mark.parametrize(("outcome", "code"), [*itertools.product(OUTCOMES, CODES)])
def test_what_holds_for_every_combination(outcome: str | None, code: int | None) -> None:
    for beat, (name, queue), accounting in itertools.product((3.0, 5000.0), QUEUES.items(), ACCOUNTS):
        given = files(outcome, code=code, beat=beat, ago=max(900.0, beat))
        state = state_of(given, queue, accounting, NOW)
        where = (outcome, code, beat, name, accounting, state)
        if name == "PENDING" and outcome != "finished":
            assert state.kind is Kind.PENDING, where
        if name == "RUNNING" and outcome in (None, "running"):
            assert state.kind in (Kind.RUNNING, Kind.STARTING), where
        if name == "down":
            assert not state.kind.dead or outcome == "failed", f"nobody has said that it is over: {where}"
        if state.kind is Kind.LOST:
            assert name == "gone", f"lost only when SLURM says so: {where}"
        if state.kind is Kind.FINISHED:
            assert outcome == "finished", where
        if outcome == "finished":
            assert state.kind is Kind.FINISHED, where


def test_a_word_of_a_newer_slurm_is_not_taken_for_an_end() -> None:
    assert state_of(SILENT, job("ODD_NEW_STATE"), NOT_ASKED, NOW).kind is Kind.UNKNOWN
    assert state_of(NONE, job("ODD_NEW_STATE"), NOT_ASKED, NOW).detail == "SLURM says ODD_NEW_STATE"


def test_slurm_is_asked_only_where_it_must_be() -> None:
    assert not needs_queue(files("finished"))
    assert not needs_queue(Files(attempts=1))
    assert needs_queue(FAILED), "it may have been put back"
    assert needs_queue(NONE)
    assert not needs_accounting(FAILED, GONE), "its own record says it all"
    assert needs_accounting(SILENT, GONE)
    assert needs_accounting(STOPPED, GONE), "cancelled, pre-empted or out of time?"
    assert not needs_accounting(SILENT, DOWN), "the queue comes first"
    assert not needs_accounting(SILENT, job("RUNNING"))


# local runs ---------------------------------------------------------------------------------------------------------


def local(pid: int, **more: Any) -> Files:
    attempt = {"mode": "fit", "started": iso(time.time()), "host": socket.gethostname(), "pid": pid, "outcome": "running", **more}
    return Files(attempts=1, attempt=attempt, progress={"state": "training", "time": time.time(), "step": 2})


def test_a_process_that_lives_is_a_run_that_does() -> None:
    assert state_of(local(os.getpid()), now=time.time()).kind is Kind.RUNNING


def test_a_process_that_is_gone_is_lost_at_once() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    state = state_of(local(child), now=time.time())
    assert state.kind is Kind.LOST
    assert "process is gone" in state.detail


def test_a_process_number_that_was_given_away_again_is_another_process() -> None:
    assert state_of(local(os.getpid(), started="2020-01-01T00:00:00+00:00"), now=time.time()).kind is Kind.LOST


# reading ------------------------------------------------------------------------------------------------------------


def test_files_are_read(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "r-1", {"outcome": "stopped", "job": "5"}, {"job": "8"}, progress={"step": 4}, exit={"code": 1, "job": "5"}
    )
    found = read_files(str(run), job="5", submitted=1.0)
    assert (found.attempts, found.job, found.progress["step"]) == (2, "8", 4)
    assert found.code is None, "the end of an earlier job"


def test_the_job_after_a_resubmission_is_the_one_that_counts(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r-1", {"outcome": "stopped", "job": "5_1"}, exit={"code": 130, "job": "5_1", "next": "12"})
    assert read_files(str(run), job="5_1").job == "12"


def test_a_test_pass_does_not_take_a_result_back(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r-1", {"outcome": "finished"}, {"mode": "test", "outcome": "failed", "error": "x"})
    assert state_of(read_files(str(run)), now=NOW).kind is Kind.FINISHED


def test_half_written_files_are_as_good_as_none(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r-1", {"outcome": "finished"})
    (run / "attempts/002.json").touch()  # claimed, not yet written
    (run / "progress.json").write_text('{"state": "tra')
    (run / "exit.json").write_text("[]")
    found = read_files(str(run), job="5")
    assert (found.attempts, found.attempt, found.progress, found.exit) == (2, {}, {}, {})
    assert state_of(found, DOWN, NOT_ASKED, NOW).kind is Kind.UNKNOWN


def test_a_run_put_back_whose_submission_was_lost_is_not_judged_by_its_old_job(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r-1", {"outcome": "failed", "job": "5", "error": "x"})
    found = read_files(str(run), None, NOW - 900, submitting=True, older=("5",))
    assert state_of(found, GONE, GONE, NOW).kind is Kind.UNKNOWN


@pytest.mark.parametrize(
    ("length", "text"), [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3725, "1 h 02"), (90000, "1 d 1 h"), (-5, "0 s")]
)
def test_spans(length: float, text: str) -> None:
    assert span(length) == text
    assert GRACE < SILENCE
