"""Counted floating-point operations: torch's counter for matrix products and convolutions, the scan by its own formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from longview.models.blocks.scan_flops import counting_scans


def count_forward(function: Callable[..., Any], *args: Any) -> int:
    """FLOPs of ``function(*args)`` without gradients; a multiply-add counts two.

    Matrix products, convolutions and attention are counted by ``torch.utils.flop_counter``, selective scans by
    ``scan_flops`` (its own matrix products are taken out by running it outside the counter's sight); other element-wise work
    is not counted.
    """
    with torch.no_grad(), counting_scans() as scans, FlopCounterMode(display=False) as counter:
        function(*args)
    return int(counter.get_total_flops()) + scans.total
