"""One command at a time per sweep: two terminals that submit the same sweep must not both call sbatch."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from longview.errors import LongviewError
from longview.runs.sweep import SweepDirectory


@contextmanager
def locked(directory: SweepDirectory) -> Iterator[None]:
    """Hold the sweep for the duration of the block. A lock file, since flock does not reach other login nodes everywhere.

    Raises:
        LongviewError: Another command holds it, or the place cannot be written.
    """
    lock, mine = directory.path / ".submitting", f"{socket.gethostname()} {os.getpid()}"
    try:
        directory.submissions.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                with lock.open("x", encoding="utf-8") as file:
                    file.write(mine)
                break
            except FileExistsError:
                if not _abandoned(lock):
                    raise LongviewError(f"another command ({_holder(lock)}) is submitting this sweep; wait for it") from None
                lock.unlink(missing_ok=True)
    except OSError as error:
        raise LongviewError(f"run.root: {directory.path} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _holder(lock: Path) -> str:
    try:
        host, _, pid = lock.read_text(encoding="utf-8").partition(" ")
    except OSError:
        return "unknown"
    return f"process {pid} on {host}; delete {lock} if it is gone"


def _abandoned(lock: Path) -> bool:
    """Whether the process that holds it was on this machine and is gone."""
    try:
        host, _, pid = lock.read_text(encoding="utf-8").partition(" ")
        if host != socket.gethostname():
            return False
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError):
        return False
    return False
