"""One process: train, stop, resume, score, sweep, and fail, through real processes and signals."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from program import SMALL, Program, attempt, breakfast, ended, metrics, rows, same, until, weights

LONG = "trainer.max_epochs=12"
"""Long enough to be stopped in the middle: 96 steps."""
SECRET = "local-0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def finished(program: Program) -> tuple[Path, str]:
    """An undisturbed run and what it printed."""
    out, err = ended(program.start(*SMALL, LONG, WANDB_API_KEY=SECRET, MY_TOKEN=SECRET), 0)
    assert err == ""
    (directory,) = program.runs
    return directory, out


@pytest.fixture
def copy(finished: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the undisturbed run, to be spoilt."""
    return Path(shutil.copytree(finished[0], tmp_path / "copy"))


def test_a_run_leaves_everything_and_prints_its_scores(finished: tuple[Path, str]) -> None:
    directory, out = finished
    left = {str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()}
    assert left >= {
        "config.yaml",
        "run.json",
        "environment.json",
        "attempts/001.json",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
        "metrics.csv",
        "result.json",
        "predictions.npz",
        "figures/index.html",
        "figures/curves.png",
    }
    assert not [name for name in left if Path(name).name.startswith(".")]  # no half-written files
    assert out.count("run directory:") == 1
    assert "Mean MoC" in out
    assert "FLOPs per sample" in out
    shown = re.search(r"30 % +│ Mean MoC +│ +([\d.]+)", out)
    assert shown is not None
    assert float(shown[1]) == round(100 * metrics(directory)["test/mean_moc/obs0.3/horizon0.1"], 1)
    assert attempt(directory, 1)["outcome"] == "finished"
    steps = [line.split(",")[0] for line in (directory / "metrics.csv").read_text().splitlines()[1:]]
    assert steps == [str(i) for i in range(97)]  # 96 steps, then the test
    assert json.loads((directory / "result.json").read_text())["epochs"] == 12


def test_no_secret_is_written(finished: tuple[Path, str]) -> None:
    for path in finished[0].rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def test_stopped_by_every_signal_and_resumed_it_equals_the_undisturbed_run(program: Program, finished: tuple[Path, str]) -> None:
    process, directory = program.new(LONG)
    for i, number in enumerate((signal.SIGINT, signal.SIGTERM, signal.SIGUSR1), 1):
        until(lambda at=20 * i: rows(directory) >= at, process, f"step {20 * i}")
        process.send_signal(number)
        out, err = ended(process, 130)
        assert f"stopped; continue with: python run.py run.resume=runs/{directory.name}\n" in out
        assert err == ""
        record = attempt(directory, i)
        assert (record["outcome"], record["reason"], record["saved"]) == ("stopped", number.name, True)
        assert not (directory / "result.json").exists()
        process = program.start(f"run.resume=runs/{directory.name}")
    out, _ = ended(process, 0)
    assert f"resuming from runs/{directory.name}/checkpoints/last.ckpt" in out
    assert "run directory:" not in out  # none was made
    assert same(weights(directory), weights(finished[0]))
    assert same(weights(directory, "best"), weights(finished[0], "best"))
    assert (directory / "metrics.csv").read_text() == (finished[0] / "metrics.csv").read_text()
    assert metrics(directory) == metrics(finished[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_while_still_starting_up(program: Program, number: signal.Signals) -> None:
    process, directory = program.new(LONG)  # the directory is there, torch is being imported
    process.send_signal(number)
    out, err = ended(process, 130)
    assert err == ""
    assert re.search(rf"stopped.*: python run.py run.resume=\S*{directory.name}\n", out)
    assert rows(directory) <= 1


def test_scoring_again_gives_the_same_figures(program: Program, copy: Path) -> None:
    before = json.loads((copy / "result.json").read_text())
    history = (copy / "metrics.csv").read_text()
    (copy / "predictions.npz").unlink()
    out, err = program.finish(f"run.test={copy}")
    assert err == ""
    assert "Mean MoC" in out
    after = json.loads((copy / "result.json").read_text())
    assert after["result"] == before["result"]
    assert (after["epochs"], after["seconds"]["fit"]) == (before["epochs"], before["seconds"]["fit"])
    assert (copy / "metrics.csv").read_text() == history
    assert (copy / "predictions.npz").exists()
    assert attempt(copy, 2)["mode"] == "test"


def test_interrupted_in_the_test_pass(program: Program, copy: Path) -> None:
    before = (copy / "result.json").read_bytes()
    process = program.start(f"run.test={copy}")
    until(lambda: (copy / "attempts" / "002.json").exists(), process, "second attempt")
    process.send_signal(signal.SIGINT)
    out, err = ended(process, 130)
    assert f"stopped; score with: python run.py run.test={copy}\n" in out
    assert err == ""
    assert attempt(copy, 2)["outcome"] == "stopped"
    assert (copy / "result.json").read_bytes() == before


def test_a_sweep_leaves_a_run_per_point_and_the_seed_decides_it(program: Program, finished: tuple[Path, str]) -> None:
    before = set(program.runs)
    out, _ = program.finish("-m", *SMALL, LONG, "seed=1,2")
    assert "all 2 points finished" in out
    first, second = (r for r in program.runs if r not in before)
    assert same(weights(first), weights(finished[0]))  # the same seed, launched another way
    assert metrics(first) == metrics(finished[0])
    assert not same(weights(second), weights(finished[0]))
    assert metrics(second) != metrics(finished[0])


def test_the_engine_continues_a_run_directory_and_refuses_others(program: Program, copy: Path, tmp_path: Path) -> None:
    out, err = program.finish(str(tmp_path), module=True, expect=2)
    assert (out, err) == ("", f"error: {tmp_path} is not a run directory: it holds no config.yaml\n")
    record = (copy / "run.json").read_bytes()
    shutil.rmtree(copy / "figures")
    out, _ = program.finish(str(copy), module=True)  # finished already: nothing to train, scored again
    assert "resuming from" in out
    assert attempt(copy, 2)["outcome"] == "finished"
    assert (copy / "figures" / "index.html").exists()
    assert (copy / "run.json").read_bytes() == record


@pytest.mark.parametrize(("what", "keep"), [("run.resume", "last"), ("run.test", "best")])
def test_a_damaged_checkpoint_is_one_clear_message(program: Program, copy: Path, what: str, keep: str) -> None:
    path = copy / "checkpoints" / f"{keep}.ckpt"
    path.write_bytes(path.read_bytes()[:-3000])
    _, err = program.finish(f"{what}={copy}", expect=2)
    assert err.startswith(f"error: {path} is damaged and cannot be loaded (")
    assert "Traceback" not in err
    assert err.count("\n") <= 2
    assert attempt(copy, 2)["outcome"] == "failed"


@pytest.mark.parametrize("text", ["seed: [1\n", "seed: 1\n", "\x00"])
def test_a_damaged_configuration_is_one_clear_message(program: Program, copy: Path, text: str) -> None:
    (copy / "config.yaml").write_text(text)
    _, err = program.finish(f"run.resume={copy}", expect=2)
    assert err.startswith("error: ")
    assert "config.yaml" in err or "missing" in err
    assert "Traceback" not in err
    assert not (copy / "attempts" / "002.json").exists()  # nothing was begun


def test_data_that_vanish_in_training_are_a_failed_run_that_can_be_continued(program: Program, tmp_path: Path) -> None:
    arguments = breakfast(tmp_path / "data")
    before = set(program.runs)
    process = program.start(*arguments)
    directory = until(lambda: set(program.runs) - before, process, "run directory").pop()
    until(lambda: (directory / "checkpoints" / "last.ckpt").exists(), process, "first checkpoint")
    features = tmp_path / "data" / "features"
    os.rename(features, tmp_path / "away")
    _, err = ended(process, 1)
    first, second = err.splitlines()
    assert re.fullmatch(rf"error: {features}/P0\d_cam01_P0\d_tea.npy: does not exist; .*", first)
    assert second == (
        f"the traceback is in runs/{directory.name}/attempts; continue with: python run.py run.resume=runs/{directory.name}"
    )
    record = attempt(directory, 1)
    assert record["outcome"] == "failed"
    assert "does not exist" in record["error"]
    assert "Traceback" in record["traceback"]
    os.rename(tmp_path / "away", features)
    process = program.start(f"run.resume=runs/{directory.name}")
    reached = rows(directory)
    until(lambda: rows(directory) > reached, process, "continued training")
    process.send_signal(signal.SIGTERM)
    ended(process, 130)
