"""What a command writes is taken back unless SLURM has taken it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from longview.launch.snapshot import Snapshot
from longview.launch.transaction import Transaction
from longview.runs.sweep import Point, SweepDirectory

CODE = Snapshot(Path("/nowhere"), {"src/a.py": b"x = 1\n"}, {"src/a.py": 0o100644}, "abc", None, "")


@pytest.fixture
def sweep(tmp_path: Path) -> SweepDirectory:
    directory = SweepDirectory(tmp_path / "runs" / "s-1")
    directory.submissions.mkdir(parents=True)
    return directory


def begin(sweep: SweepDirectory, *ids: str) -> Transaction:
    written = Transaction(sweep)
    written.copy_code(CODE)
    for identity in ids:
        written.run(identity, sweep.path / identity, {"id": identity}, "seed: 1\n")
        written.file(sweep.submissions / f"{identity}.txt", "x", [identity])
    sweep.write({"id": "1"}, [Point(identity, identity) for identity in ids])
    return written


def files(path: Path) -> list[str]:
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())


def test_nothing_stays_of_what_was_not_taken(sweep: SweepDirectory, tmp_path: Path) -> None:
    written = begin(sweep, "a", "b")
    written.take_back()
    assert files(tmp_path / "runs") == []
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["s-1"]  # the lock's, which removes it


def test_what_was_taken_stays(sweep: SweepDirectory) -> None:
    written = begin(sweep, "a", "b")
    written.taken.add("a")
    written.take_back()
    assert [p.id for p in sweep.points()] == ["a"]
    assert (sweep.path / "a" / "config.yaml").is_file()
    assert not (sweep.path / "b").exists()
    assert files(sweep.submissions) == ["a.txt"]
    assert (sweep.path.parent / ".code" / "abc").is_dir()


def test_code_that_another_sweep_may_use_stays(sweep: SweepDirectory, tmp_path: Path) -> None:
    written = begin(sweep, "a")
    (tmp_path / "runs" / "other-2").mkdir()  # it has looked for the code after making its folder
    written.take_back()
    assert (tmp_path / "runs" / ".code" / "abc").is_dir()


def test_another_try_is_taken_back_to_what_was(sweep: SweepDirectory) -> None:
    first = begin(sweep, "a")
    first.taken.add("a")
    path = sweep.path / "a"
    (path / "exit.json").write_text(json.dumps({"code": 1}))
    before = {name: (path / name).read_text() for name in ("config.yaml", "exit.json")}
    record = sweep.record_file.read_text()
    again = Transaction(sweep)
    again.run("a", path, {"id": "a"}, "seed: 1\nresources: 2\n")
    assert not (path / "exit.json").exists()
    assert "resources" in (path / "config.yaml").read_text()
    again.take_back()
    assert {name: (path / name).read_text() for name in before} == before
    assert sweep.record_file.read_text() == record


def test_a_directory_whose_making_was_cut_short_is_made_anew(sweep: SweepDirectory) -> None:
    (sweep.path / "a" / "checkpoints").mkdir(parents=True)
    written = begin(sweep, "a")
    assert (sweep.path / "a" / "config.yaml").is_file()
    written.take_back()
    assert not (sweep.path / "a").exists()
