"""Counted FLOPs: matrix products by torch, the scan by its formula and not twice."""

from __future__ import annotations

import torch
from torch import nn

from longview.engine.flops import count_forward
from longview.models.blocks.mamba import BidirectionalMamba
from longview.models.blocks.scan_flops import counting_scans, scan_flops
from longview.models.blocks.selective_scan import selective_scan


def test_linear_layer_counts_two_per_multiply_add() -> None:
    assert count_forward(nn.Linear(8, 5), torch.randn(3, 8)) == 2 * 3 * 8 * 5


def test_scan_counts_by_formula_alone() -> None:
    u, dt = torch.randn(2, 10, 4), torch.rand(2, 10, 4)
    a, b, c, d = -torch.rand(4, 6), torch.randn(2, 10, 6), torch.randn(2, 10, 6), torch.randn(4)
    by_hand = 2 * 10 * 4 * (7 * 6 + 3)
    assert scan_flops(u, 6, skip=True) == by_hand
    assert count_forward(selective_scan, u, dt, a, b, c, d) == by_hand
    assert count_forward(selective_scan, u, dt, a, b, c) == by_hand - 2 * u.numel()


def test_mixer_counts_projections_and_both_directions() -> None:
    batch, steps, dim, state = 2, 12, 32, 4
    mixer = BidirectionalMamba(dim, d_state=state, d_conv=3)
    inner, rank = 2 * dim, 2
    products = dim * 2 * inner + inner * dim + 2 * (inner * (rank + 2 * state) + rank * inner)
    scans = 2 * inner * (7 * state + 3)
    counted = count_forward(mixer, torch.randn(batch, steps, dim))
    assert counted == batch * steps * (2 * products + scans)


def test_counting_ends_with_the_block() -> None:
    with counting_scans() as outer:
        pass
    selective_scan(torch.randn(1, 3, 2), torch.rand(1, 3, 2), -torch.ones(2, 2), torch.ones(1, 3, 2), torch.ones(1, 3, 2))
    assert outer.total == 0
