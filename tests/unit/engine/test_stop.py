"""A signal sets a flag; the loop leaves at a step boundary with everything saved."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from longview.engine.resume import ExactResume
from longview.engine.stop import SIGNALS, NoSignals, RunStopped, StopAtStepBoundary, StopFlag
from longview.runs.directory import RunDirectory


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_sets_the_flag_and_nothing_else(number: signal.Signals) -> None:
    with StopFlag().listening() as flag:
        assert not flag
        os.kill(os.getpid(), number)
        assert flag
        assert flag.reason == number.name


def test_the_first_reason_stays(tmp_path: Path) -> None:
    with StopFlag().listening() as flag:
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        assert flag.reason == "SIGUSR1"


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), StopFlag().listening() as flag:  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        assert flag
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("went on")


def test_handlers_are_put_back_also_after_an_error() -> None:
    before = [signal.getsignal(s) for s in SIGNALS]
    with pytest.raises(ValueError, match="x"), StopFlag().listening():  # noqa: PT012
        assert [signal.getsignal(s) for s in SIGNALS] != before
        raise ValueError("x")
    assert [signal.getsignal(s) for s in SIGNALS] == before


def test_a_forked_process_with_the_inherited_handlers_stays_silent() -> None:
    with StopFlag().listening() as flag:
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            os._exit(7 if flag else 0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert not flag


class Line(L.LightningModule):
    """One weight; raises the flag at a moment of the test's choosing and counts what happens."""

    def __init__(self, flag: StopFlag, at: tuple[str, int]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.flag, self.at = flag, at
        self.seen = {"train": 0, "val": 0, "test": 0}

    def _step(self, what: str) -> None:
        self.seen[what] += 1
        if self.at == (what, self.seen[what]):
            self.flag.reason = "SIGTERM"

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self._step("train")
        return (self.weight - batch.mean()).square().sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._step("val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._step("test")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader() -> DataLoader[Any]:
    return DataLoader(torch.arange(6.0), batch_size=1)  # type: ignore[arg-type]


def trainer(run: RunDirectory, flag: StopFlag, **options: Any) -> L.Trainer:
    made = L.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[ExactResume(), StopAtStepBoundary(flag, run)],
        **options,
    )
    made._signal_connector = NoSignals(made)
    return made


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path, "x", {}, [], [])


@pytest.mark.parametrize(("at", "batches", "steps"), [(1, 1, 1), (4, 4, 4)])
def test_training_stops_after_the_step_it_is_in(run: RunDirectory, at: int, batches: int, steps: int) -> None:
    flag = StopFlag()
    model = Line(flag, ("train", at))
    with pytest.raises(RunStopped, match="SIGTERM"):
        trainer(run, flag).fit(model, loader())
    assert model.seen["train"] == batches
    saved = torch.load(run.last_checkpoint, weights_only=True)
    assert saved["global_step"] == steps
    assert torch.equal(saved["state_dict"]["weight"], model.weight)
    assert flag.underway


@pytest.mark.parametrize(("at", "batches"), [(1, 3), (3, 3), (4, 6)])
def test_no_gradient_of_an_accumulated_step_is_lost(run: RunDirectory, at: int, batches: int) -> None:
    flag = StopFlag()
    model = Line(flag, ("train", at))
    with pytest.raises(RunStopped):
        trainer(run, flag, accumulate_grad_batches=3).fit(model, loader())
    assert model.seen["train"] == batches
    assert torch.load(run.last_checkpoint, weights_only=True)["global_step"] == batches // 3


def test_validation_is_left_and_repeated(run: RunDirectory) -> None:
    flag = StopFlag()
    model = Line(flag, ("val", 2))
    with pytest.raises(RunStopped):
        trainer(run, flag).fit(model, loader(), loader())
    assert model.seen == {"train": 6, "val": 2, "test": 0}
    calm = StopFlag()
    again = Line(calm, ("", 0))
    trainer(run, calm).fit(again, loader(), loader(), ckpt_path=run.last_checkpoint, weights_only=True)
    assert again.seen == {"train": 6, "val": 12, "test": 0}  # both epochs' validations in full


def test_a_test_pass_is_left_without_touching_the_checkpoint(run: RunDirectory) -> None:
    flag = StopFlag()
    model = Line(flag, ("test", 2))
    with pytest.raises(RunStopped):
        trainer(run, flag).test(model, loader(), verbose=False)
    assert model.seen["test"] == 2
    assert not run.last_checkpoint.exists()


def test_lightning_leaves_the_handlers_alone(run: RunDirectory) -> None:
    seen = []

    class Look(Line):
        def on_train_start(self) -> None:
            seen.extend(signal.getsignal(s) for s in SIGNALS)

    with StopFlag().listening() as flag:
        ours = [signal.getsignal(s) for s in SIGNALS]
        trainer(run, flag).fit(Look(flag, ("", 0)), loader())
        assert seen == ours
        assert [signal.getsignal(s) for s in SIGNALS] == ours
