"""One command at a time per sweep."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from longview.errors import LongviewError
from longview.launch.lock import locked
from longview.runs.sweep import SweepDirectory


def test_a_second_command_is_refused_and_the_lock_goes(tmp_path: Path) -> None:
    directory = SweepDirectory(tmp_path / "sweep")
    with locked(directory), pytest.raises(LongviewError, match="being submitted by another command"), locked(directory):
        pass
    assert not directory.path.exists()  # nothing was made in it
    with locked(directory), locked(directory, "searched"):  # another matter
        (directory.path / "sweep.json").touch()
    assert [p.name for p in directory.path.iterdir()] == ["sweep.json"]


def test_the_lock_of_a_killed_command_is_taken_over(tmp_path: Path) -> None:
    directory = SweepDirectory(tmp_path)
    gone = subprocess.Popen([sys.executable, "-S", "-c", ""])
    gone.wait()
    (tmp_path / ".being-submitted").write_text(json.dumps({"host": socket.gethostname(), "pid": gone.pid}))
    with locked(directory):
        assert json.loads((tmp_path / ".being-submitted").read_text())["pid"] == os.getpid()
    assert not (tmp_path / ".being-submitted").exists()


def test_of_another_machine_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / ".being-submitted").write_text(json.dumps({"host": "login07", "pid": 1}))
    with pytest.raises(LongviewError, match="process 1 on login07"), locked(SweepDirectory(tmp_path)):
        pass


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(LongviewError, match=r"run\.root: .* cannot be written"),
        locked(SweepDirectory(tmp_path / "file" / "sweep")),
    ):
        pass
