"""Runs on this machine: in this process for one device, in one process per device otherwise."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from longview.config.experiment import CheckedExperiment
from longview.config.schema import Experiment
from longview.errors import LongviewError
from longview.launch.pin import pinned
from longview.launch.signals import collected
from longview.runs.directory import RunDirectory

GRACE = 30.0
"""Seconds the other ranks have to leave after one has failed."""
POLL = 0.1
"""Seconds between two looks at the ranks."""
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
OK, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 130


def launch(experiment: CheckedExperiment, *, argv: Sequence[str]) -> int:
    """Start, continue (``run.resume``) or score again (``run.test``) a run; returns its exit code."""
    settings = experiment.config.run
    existing = settings.resume or settings.test
    if existing:
        run = RunDirectory.open(existing)
    else:
        run = RunDirectory.create(Path(settings.root), experiment.name, pinned(experiment), experiment.overrides, argv)
        print(f"run directory: {run.path}", flush=True)
    return run_in(run, experiment.config, "test" if settings.test else "fit")


def run_in(run: RunDirectory, config: Experiment, mode: Literal["fit", "test"]) -> int:
    """One attempt at a run, on this machine; returns its exit code."""
    if config.world_size > 1:
        return _processes(run, mode, config.world_size)
    with collected(FORWARDED) as received:  # torch takes seconds to import
        from longview.engine.run import execute  # only now, when everything has been checked
    if received:
        option = "run.test" if mode == "test" else "run.resume"
        print(f"stopped before the first step; go on with: python run.py {option}={run.path}", flush=True)
        return STOPPED
    return execute(run, mode)


def said(error: BaseException) -> None:
    """Print what a point of a sweep failed with; LONGVIEW_TRACEBACK=1 shows where."""
    if isinstance(error, LongviewError):
        print(f"error: {error}", file=sys.stderr, flush=True)
    elif os.environ.get("LONGVIEW_TRACEBACK") == "1":
        traceback.print_exception(error)
    else:
        print(f"error: {type(error).__name__}: {error}  (LONGVIEW_TRACEBACK=1 shows where)", file=sys.stderr, flush=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _processes(run: RunDirectory, mode: str, size: int) -> int:
    """One engine process per rank.

    Each rank is in a session of its own, so a terminal's Ctrl-C reaches this process alone and every rank gets each signal
    exactly once, from here. The ranks agree on the step to stop at; should this process be killed, they stop as well.
    """
    command = [sys.executable, "-m", "longview.engine", str(run.path), *(["--test"] if mode == "test" else [])]
    common = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "NODE_RANK": "0"}
    common["LONGVIEW_LAUNCHER"] = str(os.getpid())
    ranks: list[subprocess.Popen[bytes]] = []
    try:
        with collected(FORWARDED) as received:
            for r in range(size):
                env = {**os.environ, **common, "RANK": str(r), "LOCAL_RANK": str(r)}
                ranks.append(subprocess.Popen(command, env=env, start_new_session=True))
            stopping = _watch(ranks, received)
    finally:
        for p in ranks:
            if p.poll() is None:
                p.kill()
                p.wait()
    codes = [p.returncode for p in ranks]
    code = _exit_code(codes, stopping)
    _complete_record(run, ranks[0].pid, codes, code)
    return code


def _watch(ranks: Sequence[subprocess.Popen[bytes]], received: list[signal.Signals]) -> bool:
    """Wait for the ranks and hand signals on; returns whether a stop was asked for."""
    stopping, interrupts, failed_at = False, 0, None
    while any(p.poll() is None for p in ranks):
        time.sleep(POLL)
        while received:
            number = received.pop(0)
            stopping, interrupts = True, interrupts + (number == signal.SIGINT)
            for p in ranks:
                p.send_signal(number)
        gone = any(p.poll() not in (None, 0) for p in ranks)
        if failed_at is None and (gone or interrupts > 1):
            failed_at = time.monotonic()
        if interrupts > 2 or (failed_at is not None and time.monotonic() - failed_at > GRACE):
            break  # a rank is gone; its peers would wait in a collective for ever
    return stopping


def _exit_code(codes: Sequence[int], stopping: bool) -> int:
    """A failure of any rank counts more than a stop, a stop more than a rank that was killed."""
    if failures := [c for c in codes if c > 0 and c != STOPPED]:
        return failures[0]
    if STOPPED in codes or (stopping and any(codes)):
        return STOPPED
    return FAILED if any(codes) else OK


def _complete_record(run: RunDirectory, pid: int, codes: Sequence[int], code: int) -> None:
    """What rank 0 could not write about its attempt: how the other ranks ended, or that it was killed itself."""
    if code == OK:
        return
    number = run.attempt_of(pid)
    if number is None and set(codes) == {BAD_INPUT}:
        return  # refused before it began, with its reason
    ended = "; ".join(f"rank {r} ended with {_named(c)}" for r, c in enumerate(codes))
    unsaid = number is None or run.attempt(number)["outcome"] == "running"
    if number is not None:
        outcome = ("stopped" if code == STOPPED else "failed") if unsaid else run.attempt(number)["outcome"]
        run.end_attempt(number, outcome, ranks=ended)
    if unsaid:
        what = "stopped" if code == STOPPED else f"error: {ended}"
        print(f"{what}; continue with: python run.py run.resume={run.path}", file=sys.stderr, flush=True)


def _named(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
