"""The table before the first step."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from longview.engine.summary import Summary, human, measure_flops, show


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (12, "12"), (999, "999"), (1000, "1 k"), (1_388_272, "1.39 M"), (2.5e9, "2.5 G"), (7e12, "7 T")],
)
def test_numbers_for_people(number: float, text: str) -> None:
    assert human(number) == text


def test_the_table_says_what_is_about_to_be_trained() -> None:
    summary = Summary(1_388_272, 1_000_000, 614_000, "one pass", 30, 6, 7, 8, "cpu", "bf16-mixed", 2)
    out = io.StringIO()
    show(summary, "my-run", Console(file=out, width=120))
    text = out.getvalue()
    for expected in (
        "my-run",
        "1,388,272 (1,000,000 trained)",
        "614 k (one pass)",
        "30 train, 6 validation, 7 test",
        "8",
        "cpu, 2 process(es), precision bf16-mixed",
    ):
        assert expected in text
    out = io.StringIO()
    show(Summary(0, 0, None, "", 1, 1, 1, 0, "cpu", "32", 1), "control", Console(file=out, width=120))
    assert "FLOPs" not in out.getvalue()


class Linear:
    """A task of one matrix product and some dropout."""

    trainable = True

    def __init__(self) -> None:
        self.layer, self.training = torch.nn.Linear(5, 3, bias=False), True
        self.modes: list[bool] = []

    def eval(self) -> None:
        self.training = False

    def train(self, mode: bool) -> None:
        self.training = mode

    def forward_once(self, batch: Any) -> torch.Tensor:
        self.modes.append(self.training)
        return torch.nn.functional.dropout(self.layer(batch), 0.5)


def test_flops_are_counted_per_sample_and_looking_changes_nothing() -> None:
    task: Any = Linear()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert measure_flops(task, torch.ones(4, 5)) == 2 * 5 * 3
    assert torch.equal(torch.get_rng_state(), before)
    assert task.modes == [False]
    assert task.training is True


def test_a_control_has_no_flops() -> None:
    assert measure_flops(SimpleNamespace(trainable=False), None) is None  # type: ignore[arg-type]
