"""Counting the scan's floating-point operations, which torch's counter of matrix products cannot see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor


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


def record_scan(u: Tensor, state: int, skip: bool) -> None:
    """Add a scan to every counter that is listening."""
    for counter in _counters:
        counter.total += scan_flops(u, state, skip)


@contextmanager
def counting_scans() -> Iterator[ScanCount]:
    """Count the scans of the block; contexts may nest."""
    counter = ScanCount()
    _counters.append(counter)
    try:
        yield counter
    finally:
        _counters.remove(counter)
