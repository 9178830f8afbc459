"""Folders of runs for the end-to-end tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from program import Program


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """One folder of runs per test file; nothing started is left running."""
    found = Program(tmp_path_factory.mktemp("e2e"))
    yield found
    for process in found.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
