"""The launcher's watch over its ranks, with plain processes in their place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from longview.launch import local
from longview.launch.signals import collected

FOREVER = "import time; time.sleep(600)"


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    found: list[subprocess.Popen[bytes]] = []
    yield found
    for p in found:
        p.kill()
        p.wait()


def start(started: list[subprocess.Popen[bytes]], *codes: str) -> list[subprocess.Popen[bytes]]:
    started.extend(subprocess.Popen([sys.executable, "-S", "-c", code], start_new_session=True) for code in codes)
    return started


@pytest.mark.parametrize("end", ["raise SystemExit(3)", "import os; os.kill(os.getpid(), 9)"])
def test_ranks_that_wait_for_a_dead_one_are_given_up(
    started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(local, "GRACE", 0.5)
    ranks = start(started, FOREVER, end)
    begun = time.monotonic()
    assert local._watch(ranks, []) is False
    assert 0.5 <= time.monotonic() - begun < 60
    assert [p.poll() is None for p in ranks] == [True, False]  # the one that hangs is the caller's to kill


def test_a_rank_that_is_done_early_hurries_nobody(
    started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "GRACE", 0.0)
    ranks = start(started, "import time; time.sleep(1)", "")
    local._watch(ranks, [])
    assert [p.poll() for p in ranks] == [0, 0]


def test_every_signal_is_handed_on_once_and_in_order(started: list[subprocess.Popen[bytes]]) -> None:
    ranks = start(started, FOREVER, FOREVER)
    with collected(local.FORWARDED) as received:
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == [signal.SIGUSR1, signal.SIGTERM]
        assert local._watch(ranks, received) is True
        assert received == []
    assert [p.returncode for p in ranks] == [-signal.SIGUSR1, -signal.SIGUSR1]


@pytest.mark.parametrize(
    ("codes", "stopping", "code"),
    [
        ([0, 0], False, 0),
        ([0, 0], True, 0),  # it was done before it noticed
        ([130, 130], False, 130),
        ([130, 1], True, 1),
        ([2, 2], False, 2),
        ([0, -9], False, 1),
        ([-9, 1], False, 1),
        ([-2, 130], True, 130),
        ([-15, -15], True, 130),
    ],
)
def test_exit_code_of_several_ranks(codes: list[int], stopping: bool, code: int) -> None:
    assert local._exit_code(codes, stopping) == code
