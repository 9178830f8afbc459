"""One command at a time per sweep: two terminals that submit the same sweep must not both call sbatch."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone

from longview.errors import LongviewError
from longview.runs.process import lives
from longview.runs.records import read_json
from longview.runs.sweep import SweepDirectory


@contextmanager
def locked(directory: SweepDirectory, doing: str = "submitted") -> Iterator[None]:
    """Hold the sweep for the duration of the block. A lock file, since flock does not reach other login nodes everywhere.

    The lock of a process that was on this machine and is gone is taken over.

    Raises:
        LongviewError: Another command holds it, or the place cannot be written.
    """
    lock = directory.path / f".being-{doing}"
    absent = [folder for folder in directory.path.parents if not folder.exists()]
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "started": datetime.now(timezone.utc).isoformat()}
    try:
        directory.path.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                with lock.open("x", encoding="utf-8") as file:
                    file.write(json.dumps(mine))
                break
            except FileExistsError:
                other = read_json(lock)
                if lives(other) is not False:
                    who = f"process {other.get('pid')} on {other.get('host')}"
                    text = f"this sweep is being {doing} by another command ({who}); wait for it, or delete {lock} if it is gone"
                    raise LongviewError(text) from None
                lock.unlink(missing_ok=True)
    except OSError as error:
        raise LongviewError(f"run.root: {directory.path} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        with suppress(OSError):  # not empty, as it should be
            for folder in (directory.path, *absent):
                folder.rmdir()
