"""The copy of the code that a job runs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from longview.launch import snapshot


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of its own that looks like ours: longview is taken from there."""
    top = tmp_path / "checkout"
    (top / "src/longview/launch").mkdir(parents=True)
    (top / "src/longview/launch/snapshot.py").write_text("")
    (top / "src/longview/a.py").write_text("x = 1\n")
    (top / "run.py").write_text("#!/usr/bin/env python\n")
    (top / "run.py").chmod(0o755)
    (top / "link").symlink_to("run.py")
    (top / ".gitignore").write_text("*.big\n")
    for line in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "one"]):
        subprocess.run(["git", "-C", str(top), *line], check=True)
    monkeypatch.setattr(snapshot, "__file__", str(top / "src/longview/launch/snapshot.py"))
    return top


def test_local_changes_and_new_files_are_in_it_and_ignored_ones_are_not(checkout: Path, tmp_path: Path) -> None:
    (checkout / "src/longview/a.py").write_text("x = 2\n")
    (checkout / "src/longview/new.py").write_text("y = 3\n")
    (checkout / "weights.big").write_text("0" * 100)
    place = snapshot.read().write(tmp_path / "runs")
    assert (place / "src/longview/a.py").read_text() == "x = 2\n"
    assert (place / "src/longview/new.py").read_text() == "y = 3\n"
    assert not (place / "weights.big").exists()
    assert (place / "link").is_symlink()
    assert (place / "run.py").stat().st_mode & 0o111
    record = json.loads((place / ".longview/commit.json").read_text())
    assert (record["hash"], record["uncommitted"]) == (place.name, True)
    assert "+x = 2" in (place / ".longview/code.diff").read_text()


def test_a_deleted_file_is_not_in_it(checkout: Path, tmp_path: Path) -> None:
    (checkout / "src/longview/a.py").unlink()
    assert not (snapshot.read().write(tmp_path / "runs") / "src/longview/a.py").exists()


def test_the_hash_follows_from_the_content(checkout: Path, tmp_path: Path) -> None:
    first = snapshot.read()
    assert snapshot.read().hash == first.hash
    (checkout / "src/longview/a.py").write_text("x = 9\n")
    changed = snapshot.read()
    assert changed.hash != first.hash
    (checkout / "src/longview/a.py").write_text("x = 1\n")
    (checkout / "run.py").chmod(0o644)
    assert snapshot.read().hash not in (first.hash, changed.hash)


def test_editing_afterwards_changes_nothing(checkout: Path, tmp_path: Path) -> None:
    place = snapshot.read().write(tmp_path / "runs")
    (checkout / "src/longview/a.py").write_text("x = 'edited'\n")
    assert (place / "src/longview/a.py").read_text() == "x = 1\n"
    assert not (place / "src/longview/a.py").stat().st_mode & 0o222
    assert snapshot.verify(place)


def test_a_copy_that_was_changed_is_noticed(checkout: Path, tmp_path: Path) -> None:
    place = snapshot.read().write(tmp_path / "runs")
    (place / "src/longview/a.py").chmod(0o644)
    (place / "src/longview/a.py").write_text("x = 1 # \n")
    assert not snapshot.verify(place)


def test_the_same_code_is_copied_once(checkout: Path, tmp_path: Path) -> None:
    first, second = (snapshot.read().write(tmp_path / "runs") for _ in range(2))
    assert first == second
    assert [p.name for p in (tmp_path / "runs/.code").iterdir()] == [first.name]


def test_data_in_the_checkout_are_named(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "LARGEST", 1000)
    (checkout / "video.mp4").write_bytes(b"0" * 2000)
    with pytest.raises(snapshot.SnapshotError, match=r"add what is no code to .gitignore. Largest: video.mp4"):
        snapshot.read()


def test_a_place_that_cannot_be_written(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(snapshot.SnapshotError, match="the code cannot be copied to"):
        snapshot.read().write(tmp_path / "runs")


def test_without_git_the_package_alone_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages/longview"
    (package / "launch").mkdir(parents=True)
    (package / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(snapshot, "__file__", str(package / "launch/snapshot.py"))
    place = snapshot.read().write(tmp_path / "runs")
    assert (place / "src/longview/a.py").is_file()
    assert snapshot.verify(place)
