"""`longview logs`: the right file, its end, and what is added to it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from follow import Run, Slurm, iso, make_run, make_sweep, queued, write


@pytest.fixture
def run(root: Path, slurm: Slurm) -> Path:
    """A run of two ranks in its second attempt."""
    made = make_sweep(root, [{"seed": "1"}], ago=5000)
    path = made.run_path(made.points()[0])
    now = time.time()
    first = {"outcome": "stopped", "job": "19", "started": iso(now - 2000), "ended": iso(now - 1000)}
    make_run(path, first, {"job": "19", "started": iso(now - 300)}, progress={"state": "training", "step": 3, "job": "19"})
    for name, began in (("19", now - 2010), ("19.1", now - 310)):
        folder = path / "logs" / name
        folder.mkdir(parents=True)
        (folder / "batch.log").write_text(f"{iso(began).replace('+00:00', 'Z')} job 19\nbatch of {name}\n")
        for rank in (0, 1):
            (folder / f"rank-{rank}.log").write_text("".join(f"{name} rank {rank} line {i}\n" for i in range(100)))
    slurm.says("squeue", queued("19", began=320))
    return path


def test_the_end_of_rank_0_of_the_newest_attempt(run: Path, longview: Run) -> None:
    text = longview("logs", "aaaa0000")
    assert text.splitlines() == [f"19.1 rank 0 line {i}" for i in range(60, 100)]
    assert longview("logs", "aaaa0000", "-n", "2").splitlines() == ["19.1 rank 0 line 98", "19.1 rank 0 line 99"]
    assert len(longview("logs", "aaaa0000", "-n", "0").splitlines()) == 100


def test_another_rank_all_ranks_the_batch_script(run: Path, longview: Run) -> None:
    assert longview("logs", "aaaa0000", "--rank", "1", "-n", "1") == "19.1 rank 1 line 99\n"
    assert longview("logs", "aaaa0000", "--rank", "all", "-n", "1") == "[0] 19.1 rank 0 line 99\n[1] 19.1 rank 1 line 99\n"
    assert "batch of 19.1" in longview("logs", "aaaa0000", "--batch")


@pytest.mark.parametrize("noted", [True, False], ids=["job on record", "no job on record"])
def test_an_earlier_attempt_or_job(run: Path, longview: Run, noted: bool) -> None:
    for path in (run / "attempts").iterdir() if not noted else ():
        write(path, {k: v for k, v in json.loads(path.read_text()).items() if k != "job"})
    assert longview("logs", "aaaa0000", "--attempt", "1", "-n", "1") == "19 rank 0 line 99\n"
    assert longview("logs", "aaaa0000", "--attempt", "2", "-n", "1") == "19.1 rank 0 line 99\n"
    assert longview("logs", "aaaa0000", "--job", "19.1", "-n", "1") == "19.1 rank 0 line 99\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rank", "7"], "has ranks 0, 1"),
        (["--attempt", "3"], "the run has had 2 attempt(s)"),
        (["--job", "4"], "holds 19, 19.1"),
        (["--job", ""], "holds 19, 19.1"),
    ],
)
def test_a_log_that_is_not_there(run: Path, longview: Run, arguments: list[str], said: str) -> None:
    assert said in longview("logs", "aaaa0000", *arguments, expect=2)


def test_no_log_yet_says_why(root: Path, slurm: Slurm, longview: Run) -> None:
    made = make_sweep(root, [{"seed": "1"}])
    make_run(made.run_path(made.points()[0]))
    slurm.says("squeue", queued("19", "PENDING", "Resources"))
    text = longview("logs", expect=2)
    assert "pending: next in line, waits for free nodes" in text
    assert "-f waits with it" in text


def test_a_local_run_has_none(root: Path, longview: Run) -> None:
    make_run(root / "r-56914f", {"outcome": "failed", "error": "x"})
    assert "printed to its terminal" in longview("logs", "56914f", expect=2)


class Following:
    """`longview logs -f` in a process of its own, printing into a file."""

    def __init__(self, file: Path, *arguments: str) -> None:
        self.file = file
        command = [sys.executable, "-u", "-m", "longview.cli", "logs", "-f", *arguments]
        with file.open("w") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    def until(self, text: str) -> None:
        """Wait for a text to be printed."""
        end = time.monotonic() + 40
        while text not in (seen := self.file.read_text()):
            assert time.monotonic() < end, f"waited in vain for {text!r} in {seen!r}"
            time.sleep(0.05)


@pytest.fixture
def follow(tmp_path: Path) -> Iterator[Callable[..., Following]]:
    """Starts one; it is ended with the test."""
    started: list[Following] = []

    def start(*arguments: str) -> Following:
        started.append(Following(tmp_path / "followed.txt", *arguments))
        return started[-1]

    yield start
    for found in started:
        found.process.kill()
        found.process.wait()


def test_following_goes_over_to_the_next_attempt_and_ends_with_the_run(
    run: Path, slurm: Slurm, follow: Callable[..., Following]
) -> None:
    following = follow("aaaa0000", "-n", "1")
    following.until("19.1 rank 0 line 99")
    with (run / "logs/19.1/rank-0.log").open("a") as file:
        file.write("something new\n")
    following.until("something new")
    slurm.says("squeue", queued("19", "PENDING", "BeginTime"))  # requeued
    following.until("pending: put back after an attempt")
    slurm.says("squeue", queued("19", began=1))
    (run / "logs/19.2").mkdir()
    (run / "logs/19.2/rank-0.log").write_text("third time\n")
    following.until("third time")
    attempt = {"mode": "fit", "outcome": "finished", "job": "19", "started": iso(time.time()), "ended": iso(time.time())}
    write(run / "attempts/003.json", attempt)
    slurm.says("squeue", queued("19", "COMPLETED"))
    following.until("--- finished")
    assert following.process.wait(timeout=20) == 0
    assert slurm.calls("scancel") == []


def test_leaving_leaves_the_job_alone(run: Path, slurm: Slurm, follow: Callable[..., Following]) -> None:
    following = follow("aaaa0000", "-n", "1")
    following.until("line 99")
    following.process.send_signal(signal.SIGINT)
    following.until("the run goes on")
    assert following.process.wait(timeout=20) == 0
    assert slurm.calls("scancel") == []


def test_following_waits_for_a_job_to_begin(root: Path, slurm: Slurm, follow: Callable[..., Following]) -> None:
    made = make_sweep(root, [{"seed": "1"}])
    path = make_run(made.run_path(made.points()[0]))
    slurm.says("squeue", queued("19", "PENDING", "Priority"))
    following = follow()
    following.until("pending: other jobs come first")
    (path / "logs/19").mkdir(parents=True)
    (path / "logs/19/batch.log").write_text("job 19\n")
    slurm.says("squeue", queued("19", began=1))
    following.until("job 19")
    (path / "logs/19/rank-0.log").write_text("epoch 1\n")
    following.until("epoch 1")
