"""Why a run ended: the right cause, the first rank that failed, its own line of code, what to do."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from follow import iso, make_run, make_sweep, submit, write
from longview.runs.diagnose import Diagnosis, diagnose
from longview.runs.find import find
from longview.runs.look import Seen, files_of
from longview.runs.queue import NOT_ASKED, Answer, Job
from longview.runs.status import state_of

TRACEBACK = """\
Traceback (most recent call last):
  File "/scratch/me/runs/.code/21c5/src/longview/engine/run.py", line 90, in _tried
    attempt(run, mode)
  File "/scratch/me/runs/.code/21c5/src/longview/models/manta.py", line 153, in forward
    y = self.mix(x)
  File "/env/lib/python3.11/site-packages/torch/nn/modules/module.py", line 1773, in _call_impl
    return forward_call(*args, **kwargs)
"""
PEER = (
    "RuntimeError: [gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:31633. This is typically caused by ..."
)
SRUN_KILLED = """\
2026-11-20T06:57:20Z job 19 (restart 0) on jwb[0002-0003]: /scratch/me/runs/two
ranks meet at 127.0.0.1:24316
srun: error: jwb0003: task 2: Killed
srun: launch/slurm: _step_signal: Terminating StepId=25.0
srun: error: jwb0003: task 3: Exited with exit code 1
srun: error: jwb0002: task 1: Exited with exit code 1
2026-11-20T06:58:26Z ended with exit code 137
"""
"""Captured from SLURM 22.05.8: rank 2 was killed on the second node."""


class Case:
    """A run of a sweep of one, and the pieces that its end may leave."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sweep = make_sweep(root, [{"seed": "1"}])
        self.path = self.sweep.run_path(self.sweep.points()[0])
        self.failed = 0

    def attempt(self, outcome: str = "running", **more: Any) -> None:
        ended = {} if outcome == "running" else {"ended": iso(time.time() - 10)}
        progress = {"state": "training", "step": 41, "time": time.time() - 10, "job": "19", "host": "jwb0001"}
        make_run(self.path, {"outcome": outcome, "job": "19", **ended, **more}, progress=progress)

    def failure(self, rank: int, host: str, error: str, ago: float, traceback: str = TRACEBACK, job: str = "19") -> None:
        record = {"rank": rank, "host": host, "error": error, "traceback": traceback, "time": time.time() - ago, "job": job}
        self.failed += 1
        write(self.path / f"failures/{host}-rank{rank}-{self.failed}.json", record)

    def log(self, name: str, text: str, job: str = "19") -> None:
        path = self.path / "logs" / job / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def exit(self, code: int) -> None:
        self.path.mkdir(exist_ok=True)
        (self.path / "attempts").mkdir(exist_ok=True)
        write(self.path / "exit.json", {"code": code, "job": "19", "restart": 0, "time": time.time()})

    def why(self, state: str | None = "FAILED", **job: Any) -> Diagnosis:
        run = find([str(self.root / "manta-abc123")], self.root)[0].runs[0]
        files, now = files_of(run), time.time()
        queue = Answer({"19": Job("19", state, **{"nodes": "jwb[0001-0002]", **job})}) if state else Answer()
        return diagnose(Seen(run, files, state_of(files, queue, NOT_ASKED, now)), now)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path / "runs")


def test_the_first_rank_that_failed_is_named_and_not_its_peers(case: Case) -> None:
    case.attempt("failed", error=PEER, traceback=TRACEBACK)
    case.failure(0, "jwb0001", PEER, ago=20)
    case.failure(3, "jwb0002", "ValueError: mask is empty", ago=19)
    case.failure(1, "jwb0001", PEER, ago=18)
    case.exit(1)
    found = case.why()
    assert found.where == "rank 3 on jwb0002"
    assert found.error == "ValueError: mask is empty"
    assert found.title == "an error in Python"
    assert found.frame == "/scratch/me/runs/.code/21c5/src/longview/models/manta.py:153 in forward: y = self.mix(x)"
    assert "ranks 0, 1 failed after it" in found.notes


def test_the_earlier_of_two_errors_counts(case: Case) -> None:
    case.attempt("failed", error="x")
    case.failure(2, "jwb0002", "KeyError: 'late'", ago=5)
    case.failure(1, "jwb0001", "KeyError: 'early'", ago=30)
    case.exit(1)
    assert (case.why().error, case.why().where) == ("KeyError: 'early'", "rank 1 on jwb0001")


def test_failures_of_an_earlier_job_do_not_count(case: Case) -> None:
    case.attempt("failed", error="KeyError: 'now'", traceback=TRACEBACK)
    case.failure(1, "jwb0009", "KeyError: 'before'", ago=100, job="12")
    case.failure(1, "jwb0009", "KeyError: 'long before'", ago=3000)
    case.exit(1)
    assert case.why().error == "KeyError: 'now'"


@pytest.mark.parametrize("order", [1, -1], ids=["as it happened", "as srun may print it"])
def test_a_rank_that_was_killed_leaves_no_record_but_srun_names_it(case: Case, order: int) -> None:
    case.attempt("failed", error=PEER, traceback=TRACEBACK)
    for rank in (0, 1, 3):
        case.failure(rank, "jwb0002", PEER, ago=10 - rank)
    case.log("batch.log", "\n".join(SRUN_KILLED.splitlines()[::order]))
    case.exit(137)
    found = case.why()
    assert (found.where, found.error) == ("rank 2 on jwb0003", "Killed")
    assert found.title.startswith("killed from outside")
    assert "exit code 137 (SIGKILL)" in found.notes


@pytest.mark.parametrize(
    ("error", "title", "advice"),
    [
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "out of memory on the GPU", "batch_size"),
        ("RuntimeError: HIP out of memory", "out of memory on the GPU", "batch_size"),
        ("MemoryError: ", "out of memory on the host", "num_workers"),
        ("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory", "out of memory on the host", "memory_gb"),
        ("OSError: [Errno 28] No space left on device: 'last.ckpt'", "disk full", "free space"),
        ("OSError: [Errno 122] Disk quota exceeded", "disk full", "quota"),
        ("DataError: P02_a.txt, line 2: label 'SILL' is not in mapping.txt", "data are damaged", "longview data check"),
        ("RuntimeError: unable to open shared memory object </torch_1>", "shared memory", "num_workers"),
        ("DistStoreError: Timed out after 1801 seconds waiting for clients", "did not find one another", "doctor"),
        ("RuntimeError: The server socket has failed to listen: EADDRINUSE", "did not find one another", "resume"),
        ("ModuleNotFoundError: No module named 'mamba_ssm'", "Python package is missing", "doctor"),
        ("LongviewError: last.ckpt is damaged and cannot be loaded (bad magic)", "checkpoint cannot be loaded", "names the file"),
        ("RuntimeError: CUDA error: uncorrectable ECC error encountered", "GPU or its driver", "exclude"),
        ("RuntimeError: NCCL error: unhandled system error", "communication between the ranks broke", "NCCL_DEBUG"),
        ("ValueError: the loss became nan at step 40", "not a number", "gradient_clip"),
        ("ZeroDivisionError: division by zero", "an error in Python", "traceback"),
    ],
)
def test_errors_of_a_rank(case: Case, error: str, title: str, advice: str) -> None:
    case.attempt("failed", error=error, traceback=TRACEBACK)
    case.failure(0, "jwb0001", error, ago=10)
    case.exit(1)
    found = case.why()
    assert title in found.title
    assert advice in found.advice
    assert found.error == error.strip()


def test_bad_input_is_not_called_a_python_error(case: Case) -> None:
    case.attempt(
        "failed", error="2 problems; nothing was run or written\n  1. trainer.max_epochs: -1 is impossible", traceback=""
    )
    case.exit(2)
    assert case.why().title == "bad input"


@pytest.mark.parametrize(
    ("log", "code", "title", "error"),
    [
        (
            "longview: error: this set-up line failed: module load X",
            2,
            "software could not be set up",
            "this set-up line failed: module",
        ),
        (
            "longview: error: MASTER_ADDR: jwb0002-zz does not resolve",
            2,
            "did not find one another",
            "jwb0002-zz does not resolve",
        ),
        (
            "longview: error: the copy of the code, /x, is gone; submit the run again",
            2,
            "copy of the code is gone",
            "/x, is gone",
        ),
        ("longview: error: the data could not be staged", 2, "could not be copied to the nodes", "could not be staged"),
        (
            "Lmod has detected the following error: The following module(s) are unknown: GCC",
            1,
            "software could not be set up",
            "Lmod",
        ),
        ("001.sh: line 40: srun: command not found", 127, "a command was not found", ""),
        ("slurmstepd: error: execve(): /no/python: No such file or directory", 2, "a command was not found", "/no/python"),
        (
            "slurmstepd-jwb0001: error: Detected 1 oom_kill event in StepId=23.0. Some of the step tasks have been OOM Killed.",
            137,
            "out of memory on the host",
            "oom_kill",
        ),
        ("srun: error: jwb0001: task 0: Out Of Memory", 137, "out of memory on the host", ""),
        ("srun: error: jwb0001: task 0: Illegal instruction (core dumped)", 132, "illegal instruction", ""),
        ("srun: error: jwb0001: task 0: Segmentation fault", 139, "segmentation fault", ""),
        ("srun: error: jwb0001: task 0: Bus error", 135, "shared memory", ""),
        ("srun: error: Unable to create step for job 23: ...", 1, "could not start the ranks", "Unable to create step"),
        (
            "slurmstepd-jwb0001: error: *** JOB 19 ON jwb0001 CANCELLED AT 2026-11-20T06:59:13 DUE TO TIME LIMIT ***",
            0,
            "the time limit was reached",
            "",
        ),
        (
            "slurmstepd: error: *** JOB 19 ON jwb0001 CANCELLED AT 2026-11-20T06:59:13 DUE TO PREEMPTION ***",
            0,
            "higher priority",
            "",
        ),
    ],
)
def test_what_the_batch_log_says(case: Case, log: str, code: int, title: str, error: str) -> None:
    case.log("batch.log", f"2026-11-20T06:57:20Z job 19\n{log}\n")
    case.exit(code)
    found = case.why()
    assert title in found.title
    assert error in found.error
    assert found.advice


def test_what_slurm_wrote_before_the_log_existed(case: Case) -> None:
    case.exit(1)
    (case.sweep.submissions / "001-19.out").write_text("mkdir: cannot create directory: Disk quota exceeded\n")
    assert "disk full" in case.why().title


def test_an_error_that_only_the_log_of_a_rank_holds(case: Case) -> None:
    case.log("rank-0.log", "starting\n")
    case.log("rank-1.log", f"{TRACEBACK}ImportError: libcudart.so.12: cannot open shared object file\n")
    case.log("batch.log", "srun: error: jwb0002: task 1: Exited with exit code 1\n")
    case.exit(1)
    found = case.why()
    assert (found.where, found.title) == ("rank 1 on jwb0002", "a Python package is missing or does not fit")
    assert found.error.startswith("ImportError: libcudart")


@pytest.mark.parametrize(
    ("state", "title"),
    [
        ("TIMEOUT", "the time limit was reached"),
        ("NODE_FAIL", "a node failed"),
        ("PREEMPTED", "higher priority"),
        ("OUT_OF_MEMORY", "out of memory on the host"),
    ],
)
def test_what_slurm_says_outweighs_what_falls_with_it(case: Case, state: str, title: str) -> None:
    case.attempt()
    case.failure(1, "jwb0002", PEER, ago=10)
    found = case.why(state)
    assert title in found.title
    assert "resume" in found.advice
    assert "Connection" not in found.error or state == "OUT_OF_MEMORY"


def test_memory_of_the_gpu_is_told_from_the_hosts(case: Case) -> None:
    case.attempt("failed", error="OutOfMemoryError: CUDA out of memory.", traceback=TRACEBACK)
    assert case.why("OUT_OF_MEMORY").title == "out of memory on the GPU"


def test_who_cancelled(case: Case) -> None:
    case.attempt()
    found = case.why("CANCELLED", by="0")
    assert found.title == "it was cancelled"
    assert "by root" in found.notes


def test_lost_is_said_plainly(case: Case) -> None:
    case.attempt()
    write(case.path / "progress.json", {"state": "training", "step": 7, "time": time.time() - 4000, "job": "19", "attempt": 1})
    found = case.why(None)
    assert "gone without a word" in found.title
    assert "it had come to step 7" in found.notes


def test_a_run_that_waits_says_for_what(case: Case) -> None:
    found = case.why("PENDING", reason="PartitionTimeLimit", nodes="")
    assert found.title == "it will not start: asks for more time than the partition allows"
    assert "resources.time" in found.advice
    held = case.why("PENDING", reason="JobHeldUser", nodes="")
    assert held.advice.endswith("scontrol release 19")
    soon = case.why("PENDING", reason="Resources", nodes="", start=time.time() + 601)
    assert "SLURM expects it to start in 10 min" in soon.notes


def test_a_run_that_does_not_move(case: Case) -> None:
    case.attempt()
    assert case.why("RUNNING", start=time.time() - 400).title == "it is running"
    write(case.path / "progress.json", {"state": "training", "step": 7, "time": time.time() - 290, "job": "19", "attempt": 1})
    record = {"mode": "fit", "started": iso(time.time() - 4000), "outcome": "running", "job": "19"}
    write(case.path / "attempts/001.json", record)
    write(case.path / "progress.json", {"state": "training", "step": 7, "time": time.time() - 1290, "job": "19", "attempt": 1})
    found = case.why("RUNNING", start=time.time() - 4001)
    assert found.title == "it runs, but does not move"
    assert "last sign of life 21 min ago, step 7" in found.notes


def test_stopped_says_by_what(case: Case) -> None:
    case.attempt("stopped", reason="SIGUSR1")
    case.exit(130)
    found = case.why()
    assert found.title == "it was asked to stop, and saved"
    assert any("time limit" in note for note in found.notes)
    assert not any("exit code" in note for note in found.notes), "130 is how the engine says so"


ENDED = """\
srun: error: jwb0002: task 1: Exited with exit code 7
srun: launch/slurm: _step_signal: Terminating StepId=25.0
slurmstepd-jwb0001: error: *** STEP 25.0 ON jwb0001 CANCELLED AT 2026-11-20T06:58:26 ***
srun: error: jwb0001: task 0: Exited with exit code 1
"""


@pytest.mark.parametrize("peer", [PEER, "DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:2251, unhandled system error"])
@pytest.mark.parametrize("log", ["batch.log", "rank-1.log"])
def test_a_rank_that_ended_by_itself_is_to_blame_and_not_the_network(case: Case, peer: str, log: str) -> None:
    case.attempt("failed", error=peer, traceback=TRACEBACK)
    case.log("rank-0.log", "starting\n")
    case.log("rank-1.log", "starting\n")
    case.log(log, ENDED)
    case.exit(7)
    found = case.why()
    assert found.title == "rank 1 ended by itself with exit code 7"
    assert (found.where, found.error) == ("rank 1 on jwb0002", "Exited with exit code 7")
    assert "network" not in found.advice
    assert "rank 0 failed after it" in found.notes


def test_what_that_rank_printed_comes_first(case: Case) -> None:
    case.attempt("failed", error=PEER, traceback=TRACEBACK)
    case.log("batch.log", ENDED)
    case.log("rank-1.log", "ImportError: libcudart.so.12: cannot open shared object file\n")
    case.exit(7)
    assert case.why().error.startswith("ImportError")
    assert case.why().where == "rank 1 on jwb0002"


@pytest.mark.parametrize(
    ("log", "line", "code", "name"),
    [
        ("rank-0.log", "slurmstepd: error: execve(): /no/such/python: No such file or directory", 2, "/no/such/python"),
        ("batch.log", "/sw/001.sh: line 40: apptainer: command not found", 127, "apptainer"),
        ("batch.log", "001.sh: ./tool: /opt/python: bad interpreter: No such file or directory", 126, "/opt/python"),
        ("rank-0.log", "/usr/bin/env: \u2018python3\u2019: No such file or directory", 127, "python3"),
    ],
)
def test_a_command_that_is_not_there_is_named(case: Case, log: str, line: str, code: int, name: str) -> None:
    case.log("rank-0.log", "")
    case.log("batch.log", f"srun: error: jwb0001: task 0: Exited with exit code {code}\n")
    case.log(log, f"{line}\n")
    case.exit(code)
    found = case.why()
    assert found.title == f"a command was not found: {name}"
    assert line in found.error


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ("FAILED", "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=19.0 cgroup."),
        ("FAILED", "slurmstepd: error: Exceeded job memory limit"),
        ("CANCELLED", "slurmstepd: error: Job 19 exceeded memory limit (2100 > 2048), being killed"),
        ("CANCELLED", "slurmstepd: error: Exceeded step memory limit"),
    ],
)
def test_memory_by_slurms_words(case: Case, state: str, line: str) -> None:
    case.attempt("failed", error=PEER, traceback=TRACEBACK)
    case.log("batch.log", f"{line}\nsrun: error: jwb0001: task 0: Killed\n")
    case.exit(1)
    assert case.why(state).title == "out of memory on the host"


def test_a_cancelled_run_is_nobodys_fault(case: Case) -> None:
    case.attempt("failed", error=PEER)
    case.log("rank-0.log", "")
    case.log("rank-1.log", "")
    case.log("batch.log", "srun: error: jwb0002: task 1: Exited with exit code 1\n")
    case.exit(143)
    found = case.why("CANCELLED")
    assert (found.title, found.where, found.error) == ("it was cancelled", "", "")


@pytest.mark.parametrize("queue", [None, "RUNNING", "CONFIGURING"])
def test_the_error_of_the_job_before_is_not_shown(case: Case, queue: str | None) -> None:
    now = time.time()
    error = {"error": "ValueError: of before", "traceback": TRACEBACK}
    make_run(
        case.path, {"outcome": "failed", "job": "19", "started": iso(now - 9000), "ended": iso(now - 8000), **error}, ago=9000
    )
    case.failure(0, "jwb0001", "ValueError: of before", ago=8000)
    case.log("rank-0.log", "ValueError: of before\n")
    submit(case.sweep, ["aaaa0000"], "31" if queue else None, ago=100)
    run = find([str(case.root / "manta-abc123")], case.root)[0].runs[0]
    files = files_of(run)
    answer = Answer({"31": Job("31", queue, start=now - 5)}) if queue else Answer(problem="no answer")
    found = diagnose(Seen(run, files, state_of(files, answer, NOT_ASKED, now)), now)
    assert "of before" not in f"{found.error} {found.frame} {found.notes}"
    assert "cannot be known" in found.title if queue is None else "has not spoken yet" in found.title


def test_words_fit_together(case: Case) -> None:
    assert case.why("PENDING", reason="Dependency", nodes="").title == "it waits for another job to end"
    assert case.why("PENDING", reason="Priority", nodes="").title == "it waits: other jobs come first"
