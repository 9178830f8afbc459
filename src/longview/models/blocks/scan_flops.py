"""Counting the scan's floating-point operations, which torch's counter of matrix products cannot see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes


@dataclass
class ScanCount:
    """FLOPs of the scans run inside ``counting_scans``."""

    total: int = 0


_counters: list[ScanCount] = []


def scan_flops(u: Tensor, state: int, skip: bool) -> int:
    """FLOPs of one scan over u [..., L, D] with ``state`` = N.

    Per time step, channel and state: dt*A, exp, decay*h, (dt*u)*B, the sum, and C*h with its sum (7; exp counted as one). Per
    time step and channel: dt*u (1), and D*u with its sum (2).
    """
    return u.numel() * (7 * state + 1 + 2 * skip)


@contextmanager
def record_scan(u: Tensor, state: int, skip: bool) -> Iterator[None]:
    """Add the scan that runs in the block to every listening counter; torch's own counter does not see its products."""
    if not _counters:
        yield
        return
    for counter in _counters:
        counter.total += scan_flops(u, state, skip)
    with _disable_current_modes():
        yield


@contextmanager
def counting_scans() -> Iterator[ScanCount]:
    """Count the scans of the block; contexts may nest."""
    counter = ScanCount()
    _counters.append(counter)
    try:
        yield counter
    finally:
        _counters.remove(counter)
