"""Data to node-local scratch: copied whole, compared, and what cannot be copied is said before training begins."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from longview.config.experiment import Checker
from longview.engine.build import build
from longview.engine.run import load
from longview.launch import stage as module
from longview.launch.pin import pinned
from longview.launch.stage import StageError, main, stage
from longview.runs.directory import RunDirectory
from program import breakfast

CONF = Path(__file__).resolve().parents[3] / "conf"


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run on a small data set in the field's layout."""
    options = breakfast(tmp_path / "data")
    experiment = Checker(CONF).check([*options, f"run.root={tmp_path / 'runs'}"])
    return RunDirectory.create(tmp_path / "runs", "s", pinned(experiment), [], [])


def test_everything_is_copied_and_the_engine_reads_it(run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = stage(run, tmp_path / "node")
    assert target == tmp_path / "node" / "data"
    before = {p.relative_to(tmp_path / "data"): p.read_bytes() for p in (tmp_path / "data").rglob("*") if p.is_file()}
    assert {p.relative_to(target): p.read_bytes() for p in target.rglob("*") if p.is_file()} == before
    shutil.rmtree(tmp_path / "data")
    monkeypatch.setenv("LONGVIEW_STAGED", str(tmp_path / "node"))
    built = build(load(run))
    assert len(built.data.examples("train")) > 0
    assert str(built.source.place) == str(target)  # type: ignore[attr-defined]


def test_a_copy_that_differs_is_refused(run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken disk, played by a copy that turns one bit."""

    def broken(source: Path, target: Path) -> None:
        content = bytearray(Path(source).read_bytes())
        content[0] ^= 1
        Path(target).write_bytes(content)

    monkeypatch.setattr(module.shutil, "copyfile", broken)
    with pytest.raises(StageError, match=r"differs from .* after copying"):
        stage(run, tmp_path / "node")


def test_too_little_room_is_said_before_copying(run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage(10, 10, 0))
    with pytest.raises(StageError, match=r"0\.0 GB free and the data have"):
        stage(run, tmp_path / "node")
    assert list((tmp_path / "node").iterdir()) == []


def test_generated_data_need_no_staging(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDirectory.create(tmp_path, "k", Checker(CONF).check([]).resolved, [], [])
    assert main([str(run.path), str(tmp_path / "node")]) == 0
    assert "these data need no staging" in capsys.readouterr().out
    assert not (tmp_path / "node").exists()


def test_a_place_that_cannot_be_written(run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "node").write_text("a file")
    assert main([str(run.path), str(tmp_path / "node")]) == 2
    assert "longview: error:" in capsys.readouterr().out
