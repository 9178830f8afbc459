"""Signals that have to wait until something is whole."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What a terminal or a system that goes down sends to a command."""


@contextmanager
def collected(signals: Sequence[signal.Signals]) -> Iterator[list[signal.Signals]]:
    """Signals that arrive during the block, in order, instead of their usual effect."""
    received: list[signal.Signals] = []
    before = {s: signal.signal(s, lambda number, frame: received.append(signal.Signals(number))) for s in signals}
    try:
        yield received
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
