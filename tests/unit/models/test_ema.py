"""The published warm-up and decay of the weight average."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from longview.models.blocks.ema import ExponentialMovingAverage


def constant(value: float) -> nn.Linear:
    layer = nn.Linear(1, 1)
    for p in layer.parameters():
        nn.init.constant_(p, value)
    return layer


def weight(ema: ExponentialMovingAverage) -> float:
    return float(ema.averaged.weight)  # type: ignore[arg-type]


def test_decay_table() -> None:
    ema = ExponentialMovingAverage(constant(0))
    assert [ema.decay_at(c) for c in (0, 50, 100)] == [0.0, 0.0, 0.0]
    assert ema.decay_at(110) == pytest.approx(1 - 11 ** (-2 / 3))
    assert ema.decay_at(2900) < 0.995
    assert ema.decay_at(2930) == 0.995


def test_acts_every_tenth_call_copies_until_100_and_once_more_then_averages() -> None:
    model = constant(0)
    ema = ExponentialMovingAverage(model)
    seen = []
    for call in range(131):
        nn.init.constant_(model.weight, float(call))
        ema.update(model)
        seen.append(weight(ema))
    assert seen[9] == 0  # calls 1 to 9 change nothing
    assert seen[10] == 10
    assert seen[100] == 100
    assert seen[110] == 110  # the first averaging call copies once more
    decay = 1 - 21 ** (-2 / 3)
    assert seen[120] == pytest.approx(decay * 110 + (1 - decay) * 120)
    assert seen[129] == seen[120]


def test_counters_resume_with_the_weights() -> None:
    def run(stop: int | None) -> float:
        model = constant(0)
        ema = ExponentialMovingAverage(model)
        for call in range(200):
            if call == stop:
                saved = dict(ema.state_dict())
                ema = ExponentialMovingAverage(constant(-1))
                ema.load_state_dict(saved)
            nn.init.constant_(model.weight, float(call))
            ema.update(model)
        return weight(ema)

    assert run(None) == run(115) == run(153)


def test_average_is_never_trained_nor_in_training_mode() -> None:
    ema = ExponentialMovingAverage(nn.Dropout(0.5))
    ema.train()
    assert not ema.averaged.training
    assert not any(p.requires_grad for p in ExponentialMovingAverage(constant(1)).parameters())


def test_update_leaves_the_model_alone() -> None:
    model = constant(3)
    ema = ExponentialMovingAverage(model)
    before = model.weight.detach().clone()
    for _ in range(300):
        ema.update(model)
    assert torch.equal(model.weight, before)
    assert weight(ema) == 3
