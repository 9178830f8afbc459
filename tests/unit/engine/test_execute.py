"""How an attempt ends: exit code, record, and what the terminal says."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from longview.config.experiment import Checker
from longview.engine.run import execute
from longview.errors import DataError
from longview.runs.directory import RunDirectory, RunDirectoryError
from longview.tasks.anticipation import Anticipation

CHECKER = Checker()


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LONGVIEW_TRACEBACK", raising=False)

    def make(*extra: str) -> RunDirectory:
        arguments = [*tiny.DATA, *tiny.RUN, "trainer.max_epochs=1", *extra]
        if not any(e.startswith("model=") for e in extra):
            arguments += tiny.MANTA
        experiment = CHECKER.check([*arguments, f"run.root={tmp_path}"])
        return RunDirectory.create(tmp_path, experiment.name, experiment.resolved, [], [])

    return make


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, what: Any) -> None:
    """Call ``what`` in training step number ``step``."""
    step_of, seen = Anticipation.training_step, []

    def training_step(self: Anticipation, batch: Any, batch_idx: int) -> Any:
        seen.append(batch_idx)
        if len(seen) == step:
            what()
        return step_of(self, batch, batch_idx)

    monkeypatch.setattr(Anticipation, "training_step", training_step)


def fail(error: BaseException) -> Any:
    def raise_it() -> None:
        raise error

    return raise_it


def test_a_finished_run(new: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run = new()
    assert execute(run) == 0
    record = run.attempt(1)
    assert (record["outcome"], record["mode"]) == ("finished", "fit")
    assert capsys.readouterr().err == ""


def test_a_second_ctrl_c_stops_at_once_and_says_how_to_continue(
    new: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    at_step(monkeypatch, 3, twice)
    run = new("trainer.max_epochs=2")
    before = signal.getsignal(signal.SIGINT)
    assert execute(run) == 130
    assert signal.getsignal(signal.SIGINT) is before
    record = run.attempt(1)
    assert (record["outcome"], record["reason"], record["saved"]) == ("stopped", "interrupted", False)
    assert f"stopped; continue with: python run.py run.resume={run.path.name}\n" in capsys.readouterr().out


def test_an_error_in_training_is_one_line_and_a_recorded_traceback(
    new: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at_step(monkeypatch, 10, fail(ZeroDivisionError("no step")))
    run = new("trainer.max_epochs=2")
    assert execute(run) == 1
    record = run.attempt(1)
    assert (record["outcome"], record["error"]) == ("failed", "ZeroDivisionError: no step")
    assert "training_step" in record["traceback"]
    name = run.path.name
    assert capsys.readouterr().err == (
        "error: ZeroDivisionError: no step\n"
        f"the traceback is in {name}/attempts; continue with: python run.py run.resume={name}\n"
    )


def test_an_error_before_the_first_checkpoint_promises_no_resume(
    new: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at_step(monkeypatch, 1, fail(ZeroDivisionError("no step")))
    monkeypatch.setenv("LONGVIEW_TRACEBACK", "1")
    assert execute(new()) == 1
    err = capsys.readouterr().err
    assert "run.resume" not in err
    assert "Traceback" in err


@pytest.mark.parametrize(("step", "code"), [(None, 2), (2, 1)])
def test_an_error_of_ours_is_bad_input_before_training_and_a_failed_run_within(
    new: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], step: int | None, code: int
) -> None:
    if step is None:
        monkeypatch.setattr("longview.engine.run.build", lambda config: fail(DataError("x.npy: is not there"))())
    else:
        at_step(monkeypatch, step, fail(DataError("x.npy: is not there")))
    run = new()
    assert execute(run) == code
    assert run.attempt(1)["outcome"] == "failed"
    assert capsys.readouterr().err.splitlines()[0] == "error: x.npy: is not there"


def test_a_disk_that_is_full_at_the_end_hides_nothing(
    new: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at_step(monkeypatch, 1, fail(ZeroDivisionError("no step")))
    monkeypatch.setattr(RunDirectory, "end_attempt", lambda *a, **k: fail(OSError(28, "No space left on device"))())
    assert execute(new()) == 1
    err = capsys.readouterr().err
    assert "error: ZeroDivisionError: no step" in err
    assert "No space left on device" in err


def test_an_attempt_that_cannot_be_recorded_is_refused(new: Any) -> None:
    run = new()
    shutil.rmtree(run.attempts)
    run.attempts.write_text("a file")
    with pytest.raises(RunDirectoryError, match="attempts cannot be written"):
        execute(run)


def test_scoring_needs_a_checkpoint(new: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run = new()
    assert execute(run, "test") == 2
    assert f"has no checkpoint to test; train it first: python run.py run.resume={run.path}" in capsys.readouterr().err


def test_a_file_that_is_no_checkpoint_of_a_run_is_refused(new: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run = new()
    torch.save({"weights": 1}, run.last_checkpoint)
    assert execute(run) == 2
    assert "last.ckpt is no checkpoint of a run: it lacks state_dict, loops" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["nearest_neighbour", "repeat_last"])
def test_a_control_is_scored_again_with_the_same_figures(new: Any, model: str) -> None:
    run = new(f"model={model}")
    assert execute(run) == 0
    first = json.loads(run.result_file.read_text())["result"]
    assert execute(run, "test") == 0
    assert json.loads(run.result_file.read_text())["result"] == first
    assert run.attempt(2)["mode"] == "test"


def test_a_run_directory_that_was_moved_keeps_its_best(new: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_step(monkeypatch, 20, lambda: os.kill(os.getpid(), signal.SIGTERM))  # in the third epoch
    run = new("trainer.max_epochs=4")
    scores = iter([0.9, 0.5, 0.2, 0.1])
    monkeypatch.setattr(Anticipation, "on_validation_epoch_end", lambda self: self.log("val/moc", torch.tensor(next(scores))))
    assert execute(run) == 130
    best = run.best_checkpoint.read_bytes()
    assert torch.load(run.best_checkpoint, weights_only=True)["epoch"] == 0
    moved = RunDirectory(Path(shutil.move(run.path, tmp_path / "elsewhere")))
    assert execute(moved) == 0
    assert moved.best_checkpoint.read_bytes() == best
    assert json.loads(moved.result_file.read_text())["epochs"] == 4
    assert not run.path.exists()


def test_files_of_an_earlier_attempt_do_not_pass_for_this_ones(new: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    diffs = iter(["+a\n", ""])
    monkeypatch.setattr("longview.runs.environment.uncommitted_diff", lambda: next(diffs))
    run = new("model=repeat_last")
    execute(run)
    assert (run.path / "code.diff").read_text() == "+a\n"
    execute(run, "test")
    assert not (run.path / "code.diff").exists()


def test_in_a_job_paths_are_whole_since_its_output_is_read_elsewhere(
    new: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = new("model=repeat_last")
    assert execute(run) == 0
    here = capsys.readouterr().out
    assert f"everything is in {run.path.name}\n" in here
    assert f"figures: {run.path.name}/figures/index.html\n" in here
    monkeypatch.setenv("LONGVIEW_RANKS", "slurm")
    assert execute(run, "test") == 0
    job = capsys.readouterr().out
    assert f"everything is in {run.path}\n" in job
    assert f"figures: {run.figures / 'index.html'}\n" in job
