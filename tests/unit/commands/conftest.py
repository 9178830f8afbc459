"""A root of runs, a stand-in for SLURM, and the command line as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from follow import Run, Slurm


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where runs are; the current directory is another one."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("LONGVIEW_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("LONGVIEW_TRACEBACK", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "runs"


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    """A stand-in for SLURM's commands (tests/follow.py)."""
    return Slurm.on_path(tmp_path / "bin", monkeypatch)


@pytest.fixture
def longview(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``longview ...``; returns what it printed, stderr at the end."""
    from longview.cli import main

    def call(*arguments: str, expect: int = 0) -> str:
        code = main(arguments)
        out, err = capsys.readouterr()
        assert code == expect, f"exit code {code}\n{out}\n{err}"
        assert "Traceback" not in err
        return out + err

    return call
