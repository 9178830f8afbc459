"""The run directory: unique, complete or not there at all, never half a file, never an attempt overwritten."""

from __future__ import annotations

import json
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import longview.runs.directory as module
from longview.runs.directory import RunDirectory, RunDirectoryError, write_atomically

CONFIG = {"seed": 1, "run": {"name": None}, "model": {"name": "manta", "title": "Größe"}, "list": [0.2, 0.3]}


def create(root: Path, name: str = "manta-kitchen") -> RunDirectory:
    return RunDirectory.create(root, name, CONFIG, ["seed=1"], ["seed=1", "-m"])


def test_what_was_put_in_is_read_back(tmp_path: Path) -> None:
    made = create(tmp_path / "deep" / "runs")
    assert re.fullmatch(r"\d{8}-\d{6}-manta-kitchen-[0-9a-f]{6}", made.path.name)
    run = RunDirectory.open(made.path)
    assert run == made
    assert run.config() == CONFIG
    assert "run.resume=" in run.config_file.read_text().splitlines()[0]
    record = run.record()
    assert (record["name"], record["overrides"], record["command"]) == ("manta-kitchen", ["seed=1"], ["seed=1", "-m"])
    assert run.path.name.endswith(run.id)
    assert run.checkpoints.is_dir()


def test_launches_in_one_second_do_not_share_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = iter([f"{i % 7:06x}" for i in range(1000)])  # almost every id is taken already
    lock = threading.Lock()

    def token(size: int) -> str:
        with lock:
            return next(few)

    monkeypatch.setattr(module.secrets, "token_hex", token)
    with ThreadPoolExecutor(7) as pool:
        runs = list(pool.map(lambda _: create(tmp_path), range(7)))
    assert len({run.path for run in runs}) == 7
    assert all(run.record()["id"] == run.path.name[-6:] for run in runs)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create(tmp_path)
    run.write_json(run.result_file, {"score": 1})

    class Unprintable:
        def __str__(self) -> str:
            raise RuntimeError("cannot be written")

    with pytest.raises(RuntimeError):
        run.write_json(run.result_file, {"score": 2, "bad": Unprintable()})
    assert json.loads(run.result_file.read_text()) == {"score": 1}

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        run.write_json(run.result_file, {"score": 3})
    assert json.loads(run.result_file.read_text()) == {"score": 1}
    assert not [p for p in run.path.iterdir() if p.name.startswith(".")]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path, stop, seen = tmp_path / "x.json", threading.Event(), set[int]()
    write_atomically(path, json.dumps([0] * 20_000))

    def read() -> None:
        while not stop.is_set():
            seen.add(len(json.loads(path.read_text())))

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        for i in range(60):
            write_atomically(path, json.dumps([i] * (20_000 + i)))
        stop.set()
        reader.result()
    assert seen <= set(range(20_000, 20_060))


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0o002, 0o664)])
def test_files_follow_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        run = create(tmp_path)
        run.begin_attempt("fit")
        files = [run.config_file, run.record_file, run.attempts / "001.json"]
        assert {p.name: p.stat().st_mode & 0o777 for p in files} == {p.name: mode for p in files}
        assert run.path.stat().st_mode & 0o777 == 0o777 & ~mask
        assert os.umask(mask) == mask  # it has not been changed
    finally:
        os.umask(before)


def test_a_root_that_is_a_file_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match=r"^run.root: cannot make a run directory under .*give a writable run.root"):
        create(tmp_path / "file" / "runs")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_root_without_permission_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(RunDirectoryError, match="Permission denied"):
        create(tmp_path / "closed" / "runs")


@pytest.mark.parametrize("error", [OSError(122, "Disk quota exceeded"), KeyboardInterrupt()])
@pytest.mark.parametrize("existing", [False, True])
def test_nothing_is_left_of_a_directory_that_could_not_be_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, existing: bool
) -> None:
    root = tmp_path / "a" / "runs"
    if existing:
        root.mkdir(parents=True)
    monkeypatch.setattr(module, "write_atomically", raising(error))
    with pytest.raises(RunDirectoryError if isinstance(error, OSError) else KeyboardInterrupt):
        create(root)
    assert list(tmp_path.rglob("*")) == ([root.parent, root] if existing else [])


def raising(error: BaseException) -> Any:
    def fail(*args: Any, **_: Any) -> None:
        raise error

    return fail


def test_attempts_are_numbered_and_never_overwritten(tmp_path: Path) -> None:
    run = create(tmp_path)
    first = run.begin_attempt("fit")
    (run.attempts / "003.json").write_text("somebody else's")
    second, third = run.begin_attempt("fit"), run.begin_attempt("test")
    assert (first, second, third) == (1, 2, 4)
    run.end_attempt(second, "failed", error="x")
    assert run.attempt(first)["outcome"] == "running"
    assert (run.attempts / "003.json").read_text() == "somebody else's"
    record = run.attempt(second)
    assert (record["mode"], record["outcome"], record["error"], record["pid"]) == ("fit", "failed", "x", os.getpid())
    assert record["started"] <= record["ended"]
    assert run.attempt_of(os.getpid()) == 4
    assert run.attempt_of(-1) is None


def test_attempts_begun_at_once_get_numbers_of_their_own(tmp_path: Path) -> None:
    run = create(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: run.begin_attempt("fit"), range(24)))
    assert sorted(numbers) == list(range(1, 25))


def test_a_record_left_empty_by_a_crash_can_be_completed(tmp_path: Path) -> None:
    run = create(tmp_path)
    number = run.begin_attempt("fit")
    (run.attempts / "001.json").write_text("")
    run.end_attempt(number, "finished")
    assert run.attempt(number)["outcome"] == "finished"


def test_what_is_not_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"is not a run directory: it holds no config\.yaml"):
        RunDirectory.open(tmp_path)
    with pytest.raises(RunDirectoryError, match="is not a run directory"):
        RunDirectory.open(tmp_path / "absent")


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "\x00", ""])
def test_a_damaged_configuration_names_its_file(tmp_path: Path, text: str) -> None:
    run = create(tmp_path)
    run.config_file.write_text(text)
    with pytest.raises(RunDirectoryError, match=r"config\.yaml is damaged") as caught:
        run.config()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_damaged_record_names_its_file(tmp_path: Path, text: str) -> None:
    run = create(tmp_path)
    run.record_file.write_text(text)
    with pytest.raises(RunDirectoryError, match=r"run\.json is damaged"):
        _ = run.id
    run.record_file.unlink()
    with pytest.raises(RunDirectoryError, match=r"run\.json cannot be read"):
        _ = run.id
