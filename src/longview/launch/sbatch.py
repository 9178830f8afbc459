"""Calling sbatch so that a job is submitted exactly once: SLURM's refusals are quoted, a controller that is away is waited for.

An answer that got lost ("Socket timed out") does not say whether the job was taken. Every submission carries a mark of its own in
the job's comment, so before sbatch is called again the queue is asked whether the job is there (F20).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from submitit.core.utils import FailedSubmissionError
from submitit.slurm.slurm import SlurmExecutor

from longview.errors import LongviewError

PAUSES = (1, 2, 4, 8, 15, 30, 30, 30)
"""Seconds between tries: two minutes in all, longer than a restart of slurmctld takes."""
AWAY = (
    "unable to contact slurm controller",
    "socket timed out",
    "connection refused",
    "connection timed out",
    "zero bytes were transmitted",
    "transport endpoint is not connected",
    "communication connection failure",
    "slurm backup controller in standby mode",
    "resource temporarily unavailable",
)
"""What sbatch says when nobody has judged the job."""
LOST = ("socket timed out", "zero bytes were transmitted", "connection timed out", "transport endpoint")
"""Of these, what may come after the job was taken."""


class SbatchError(LongviewError):
    """sbatch refused a job; the text quotes SLURM.

    Attributes:
        lost: Whether the job may be in the queue all the same.
    """

    def __init__(self, text: str, *, lost: bool = False) -> None:
        self.lost = lost
        super().__init__(text)


def submit(
    script: Path,
    uid: str,
    *,
    pauses: Sequence[float] = PAUSES,
    say: Callable[[str], None] | None = None,
    stop: Callable[[], object] = lambda: False,
) -> str:
    """Submit a batch script; returns SLURM's job id. Once ``stop`` is true, it is not tried again.

    Raises:
        SbatchError: SLURM refused it, or did not answer for two minutes.
    """
    said, lost = "", False
    for pause in (*pauses, None):
        done = _called(["sbatch", str(script)])
        if done.returncode == 0:
            return _job_id(done.stdout)
        said = _words(done.stderr or done.stdout)
        if not any(text in said.lower() for text in AWAY):
            raise SbatchError(f"sbatch refused the job: {said}")
        lost = lost or any(text in said.lower() for text in LOST)
        if pause is None or stop():
            break
        (say or _say)(f"SLURM does not answer ({said.splitlines()[-1]}); trying again in {pause:.0f} s")
        until = time.monotonic() + pause
        while time.monotonic() < until and not stop():
            time.sleep(min(0.2, pause))
        if lost and (found := find(uid)[1]):
            return found
    if lost and (found := find(uid)[1]):
        return found
    raise SbatchError(f"SLURM does not answer: {said}", lost=lost)


def find(uid: str) -> tuple[bool, str | None]:
    """Whether SLURM could be asked, and the id of the job whose comment is ``uid``."""
    try:
        done = _called(["squeue", "--noheader", "--me", "--states=all", "--format=%A %k"])
    except SbatchError:
        return False, None
    lines = (line.split(maxsplit=1) for line in done.stdout.splitlines())
    jobs = sorted({int(words[0]) for words in lines if len(words) == 2 and words[1].strip() == uid})
    return done.returncode == 0, str(jobs[0]) if jobs else None


def _called(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command of SLURM's, out of reach of a terminal's Ctrl-C and of variables that would change what it means."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("SBATCH_", "SQUEUE_"))}
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=env, start_new_session=True)
    except FileNotFoundError:
        raise SbatchError(f"there is no {command[0]} here; submit from a login node of the cluster") from None
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", "Socket timed out: no answer within five minutes")


def _job_id(answer: str) -> str:
    try:
        return SlurmExecutor._get_job_id_from_submission_command(answer)
    except FailedSubmissionError:
        raise SbatchError(f"sbatch's answer names no job: {_words(answer)}", lost=True) from None


def _words(text: str) -> str:
    lines = [line.removeprefix("sbatch: error: ").removeprefix("sbatch: ").strip() for line in text.splitlines()]
    return "; ".join(line for line in lines if line) or "no reason given"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
