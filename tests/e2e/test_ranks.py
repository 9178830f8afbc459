"""Two processes (gloo): one run directory, the scores of one process, and an end in every case: stop, kill, failure."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from longview.launch.local import GRACE
from program import Program, attempt, breakfast, ended, metrics, rows, same, until, weights

LONG = "trainer.max_epochs=24"
"""Long enough to be stopped in the middle twice: 96 steps of two ranks."""
PAIR = "resources.devices=2"
AUDIT = """
import os, sys
log = os.open(os.path.join(os.environ["AUDIT"], os.environ.get("RANK", "launcher")), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def hook(event, args):
    if event == "open" and isinstance(args[0], str) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        os.write(log, (args[0] + "\\n").encode())
    elif event in ("os.mkdir", "os.rename", "os.remove", "os.link"):
        os.write(log, (os.fspath(args[0] if event != "os.rename" else args[1]) + "\\n").encode())
sys.addaudithook(hook)
"""
"""Notes every file that a process of the run opens for writing, makes or removes."""


def written(folder: Path, who: str, run: Path) -> list[str]:
    """What a process has written inside the run directory."""
    lines = (folder / who).read_text().splitlines()
    return [line for line in lines if Path(os.path.abspath(line)).is_relative_to(run)]


@pytest.fixture(scope="module")
def finished(program: Program, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Path]:
    """An undisturbed run of two ranks, what it printed, and what its processes wrote."""
    folder = tmp_path_factory.mktemp("audit")
    (folder / "sitecustomize.py").write_text(AUDIT)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    process, directory = program.new(LONG, PAIR, AUDIT=str(folder), PYTHONPATH=path)
    out, err = ended(process, 0)
    assert "Traceback" not in err
    return directory, out, folder


def engines(run: Path) -> dict[int, int]:
    """Rank -> pid of the processes of a run, as /proc shows them."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            environment = (entry / "environ").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        if b"longview.engine" in command and str(run).encode() in command:
            rank = next((e for e in environment if e.startswith(b"RANK=")), b"RANK=-1")
            found[int(rank[5:])] = int(entry.name)
    return found


def test_two_ranks_leave_one_run_written_by_rank_0(program: Program, finished: tuple[Path, str, Path]) -> None:
    directory, out, audit = finished
    assert program.runs == [directory]
    assert out.count("Mean MoC") == 2  # one table: one row per observation
    assert "2 process(es)" in out
    assert [p.name for p in (directory / "attempts").iterdir()] == ["001.json"]
    assert attempt(directory, 1)["outcome"] == "finished"
    assert written(audit, "1", directory) == []
    names = {Path(p).name for p in written(audit, "0", directory)}
    assert {"result.json", "metrics.csv", "last.ckpt"} <= names  # the audit does see writing
    steps = [line.split(",")[0] for line in (directory / "metrics.csv").read_text().splitlines()[1:]]
    assert steps == [str(i) for i in range(97)]


def test_two_ranks_score_as_one_does(program: Program, finished: tuple[Path, str, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished[0], tmp_path / "copy"))
    config = copy / "config.yaml"
    config.write_text(config.read_text().replace("devices: 2", "devices: 1", 1))
    program.finish(f"run.test={copy}")
    alone, together = metrics(copy), metrics(finished[0])
    assert json.loads((copy / "result.json").read_text())["summary"]["processes"] == 1
    assert alone.keys() == together.keys()
    assert any(v > 0 for v in alone.values())
    for name, value in alone.items():
        assert together[name] == pytest.approx(value, abs=1e-6), name


def test_stopped_by_ctrl_c_and_by_sigterm_and_resumed(program: Program, finished: tuple[Path, str, Path]) -> None:
    process, directory = program.new(LONG, PAIR)
    until(lambda: rows(directory) >= 3, process, "step 3")
    os.killpg(process.pid, signal.SIGINT)  # a terminal's Ctrl-C
    out, err = ended(process, 130)
    assert f"stopped; continue with: python run.py run.resume=runs/{directory.name}\n" in out
    assert "Traceback" not in err
    record = attempt(directory, 1)
    assert (record["outcome"], record["reason"], record["saved"]) == ("stopped", "SIGINT", True)
    stopped_at = rows(directory)
    assert stopped_at < 96
    process = program.start(f"run.resume={directory}")
    until(lambda: rows(directory) > stopped_at, process, "a step more")
    process.send_signal(signal.SIGTERM)  # the launcher alone
    ended(process, 130)
    assert attempt(directory, 2)["reason"] == "SIGTERM"
    program.finish(f"run.resume={directory}")
    assert same(weights(directory), weights(finished[0]))
    assert (directory / "metrics.csv").read_text() == (finished[0] / "metrics.csv").read_text()
    assert metrics(directory) == metrics(finished[0])


@pytest.mark.skipif(sys.platform != "linux", reason="finds the ranks in /proc")
def test_a_killed_rank_ends_the_run(program: Program) -> None:
    process, directory = program.new("trainer.max_epochs=2000", PAIR)
    until(lambda: (directory / "checkpoints" / "last.ckpt").exists(), process, "first checkpoint")
    ranks = until(lambda: e if len(e := engines(directory)) == 2 else None, process, "two ranks")
    os.kill(ranks[1], signal.SIGKILL)
    since = time.monotonic()
    _, err = ended(process, 1)
    assert time.monotonic() - since < GRACE + 15
    assert engines(directory) == {}
    record = attempt(directory, 1)
    assert record["outcome"] == "failed"
    assert "rank 1 ended with SIGKILL" in record["ranks"]
    assert f"python run.py run.resume=runs/{directory.name}\n" in err


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_ranks_stop_when_the_launcher_is_killed(program: Program) -> None:
    process, directory = program.new("trainer.max_epochs=2000", PAIR)
    until(lambda: rows(directory) >= 3, process, "step 3")
    process.kill()
    process.wait()
    until(lambda: not engines(directory), what="the ranks' end")
    record = attempt(directory, 1)
    assert (record["outcome"], record["saved"]) == ("stopped", True)


def test_a_rank_that_fails_shows_its_traceback(program: Program, tmp_path: Path) -> None:
    arguments = breakfast(tmp_path / "data")
    before = set(program.runs)
    process = program.start(*arguments, PAIR)
    directory = until(lambda: set(program.runs) - before, process, "run directory").pop()
    until(lambda: rows(directory) >= 3, process, "step 3")
    shutil.rmtree(tmp_path / "data" / "features")
    since = time.monotonic()
    _, err = ended(process, 1)
    assert time.monotonic() - since < GRACE + 15
    assert re.search(r"^\[rank [01]\] Traceback", err, re.MULTILINE)
    assert re.search(r"^\[rank [01]\] error: .*does not exist", err, re.MULTILINE)
    assert attempt(directory, 1)["outcome"] == "failed"


def test_the_engine_alone_refuses_a_run_of_two_ranks(program: Program, finished: tuple[Path, str, Path]) -> None:
    _, err = program.finish(str(finished[0]), module=True, expect=2)
    assert err == f"error: {finished[0]} has 2 processes; start all of them: python run.py run.resume={finished[0]}\n"
