"""Where data are looked for, and what is said when they are nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from longview.data import roots
from longview.data.breakfast import Breakfast
from longview.errors import DataError

WANTED = ("set/", "set_gt/set.tar.xz")


def find(root: str | None = None) -> Path:
    return roots.find(root, WANTED, what="Example", holds="a folder")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("LONGVIEW_DATA", raising=False)


def make(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "mapping.txt").write_text("0 a\n")
    return path


def test_data_beside_the_work_is_found_and_the_environment_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = make(tmp_path / "shared" / "data" / "set")
    assert find() == shared
    near = make(tmp_path / "work" / "data" / "set")
    assert find() == near
    named = make(tmp_path / "else" / "set")
    monkeypatch.setenv("LONGVIEW_DATA", str(tmp_path / "else"))
    assert find() == named
    assert find(str(shared)) == shared, "what the user names wins"


def test_an_archive_is_found_where_there_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGVIEW_DATA", str(tmp_path / "d"))
    (tmp_path / "d" / "set_gt").mkdir(parents=True)
    (tmp_path / "d" / "set_gt" / "set.tar.xz").write_bytes(b"x")
    (tmp_path / "d" / "set").mkdir()  # a folder without mapping.txt is not the data set
    assert find() == tmp_path / "d" / "set_gt" / "set.tar.xz"


def test_nothing_found_lists_the_places_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        find()
    text = str(caught.value)
    assert "no Example data found. Name it with data.root=" in text
    assert "LONGVIEW_DATA" in text
    for place in (tmp_path / "work" / "data", tmp_path / "shared" / "data"):
        for candidate in WANTED:
            assert str(place / candidate) in text


def test_an_empty_root_is_not_the_current_folder(tmp_path: Path) -> None:
    make(tmp_path / "work" / "data" / "breakfast")
    (problem,) = Breakfast(root=" ").problems()
    assert problem.key == "data.root"
    assert "an empty path names nothing" in problem.message


def test_an_environment_variable_that_names_nothing_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "work" / "data" / "set")
    monkeypatch.setenv("LONGVIEW_DATA", str(tmp_path / "gone"))
    with pytest.raises(DataError, match=r"LONGVIEW_DATA names .*gone, which is no folder"):
        find()


def test_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find("~/work") == tmp_path / "work"
