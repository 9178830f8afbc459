"""``longview logs``: what the ranks print, now and while it happens, across attempts."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from longview.commands.settle import settled
from longview.commands.show import name_of
from longview.errors import LongviewError
from longview.runs.evidence import batch_logs, log_folders, ranks_in
from longview.runs.find import cut, group_of, root_of
from longview.runs.group import Run
from longview.runs.look import Seen, look
from longview.runs.records import read_json, seconds
from longview.runs.status import Kind

OK = 0
POLL = 0.5
"""Seconds between two looks at the log files."""
ASK = 5.0
"""Seconds between two questions to SLURM."""
SETTLE = 20.0
"""Seconds an ending is watched before it is believed: a stopped run may be put back into the queue."""
_BLOCK = 65536


class LogsError(LongviewError):
    """There is no such log."""


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    groups = settled([group_of([options.name] if options.name is not None else [], root_of(options.root))])
    seen = _seen(groups[0].runs[0])
    files = wanted(seen, options)
    _say_waiting(seen)
    if not files and not options.follow:
        raise LogsError(_nothing(seen, options))
    for path, prefix in files:
        _print(last_lines(path, options.lines), prefix)
    if options.follow:
        try:
            _follow(seen, options, files)
        except KeyboardInterrupt:
            print("\n(left; the run goes on)" if seen.state.kind.alive else "")
    return OK


def _seen(target: Run) -> Seen:
    return look([target]).seen[0]


def _say_waiting(seen: Seen) -> None:
    if seen.state.kind is Kind.PENDING:
        print(f"pending: {seen.state.detail or 'in the queue'} (longview why {name_of(seen.run)})", flush=True)


def wanted(seen: Seen, options: argparse.Namespace) -> list[tuple[str, str]]:
    """Paths of the logs asked for, each with a prefix for its lines."""
    folder = _folder(seen, options)
    if options.batch:
        files = batch_logs(seen) if folder is None or folder == _newest(seen.run.path) else [f"{folder}/batch.log"]
        return [(path, "") for path in files if os.path.exists(path)]
    if folder is None:
        return []
    ranks = ranks_in(folder)
    if options.rank == "all":
        return [(path, f"[{rank}] ") for rank, path in ranks]
    if found := [(path, "") for rank, path in ranks if rank == options.rank]:
        return found
    if ranks:
        raise LogsError(f"--rank {options.rank}: {folder} has ranks {', '.join(str(rank) for rank, _ in ranks)}")
    return [(f"{folder}/batch.log", "")] if os.path.exists(f"{folder}/batch.log") else []  # no rank has begun


def _newest(path: str) -> str | None:
    return next(iter(reversed(log_folders(path))), None)


def _folder(seen: Seen, options: argparse.Namespace) -> str | None:
    folders = log_folders(seen.run.path)
    names = [os.path.basename(f) for f in folders]
    if options.job is not None:
        mine = [f for f in folders if os.path.basename(f) == options.job or os.path.basename(f).partition(".")[0] == options.job]
        if not mine:
            given = cut(options.job) or "''"
            raise LogsError(f"--job {given}: {seen.run.path}/logs holds {', '.join(names) or 'nothing'}")
        return mine[-1]
    if options.attempt is None:
        return folders[-1] if folders else None
    if not 1 <= options.attempt <= seen.files.attempts:
        raise LogsError(f"--attempt {options.attempt}: the run has had {seen.files.attempts} attempt(s)")
    record = read_json(f"{seen.run.path}/attempts/{options.attempt:03d}.json")
    began = seconds(record.get("started")) or 0.0
    mine = [f for f in folders if record.get("job") in (None, os.path.basename(f).partition(".")[0])]
    before = [f for f in mine if _opened(f) <= began + 1]
    return (before or mine or [None])[-1]  # type: ignore[list-item]


def _opened(folder: str) -> float:
    """When a job's log begins: the batch script writes the time first."""
    try:
        with open(f"{folder}/batch.log", encoding="utf-8", errors="replace") as file:
            return datetime.fromisoformat(file.readline().split(" ", 1)[0].replace("Z", "+00:00")).timestamp()
    except (OSError, ValueError):
        return 0.0


def _nothing(seen: Seen, options: argparse.Namespace) -> str:
    path = seen.run.path
    if seen.state.kind is Kind.PENDING:
        return f"{path} has no log yet: its job waits; -f waits with it"
    if seen.files.job is None:
        where = (
            f" The error of an attempt is in its attempts folder: longview why {name_of(seen.run)}"
            if seen.state.kind.dead
            else ""
        )
        return f"{path} has no log: it was started by hand and printed to its terminal.{where}"
    if options.batch:
        return f"{path} has no log of its batch script"
    return (
        f"{path} has no log of its ranks; --batch shows how far its job has come, longview why {name_of(seen.run)} what is known"
    )


def last_lines(path: str, count: int) -> bytes:
    """The last ``count`` lines of a file; all of them if it is 0."""
    try:
        with open(path, "rb") as file:
            if count == 0:
                return file.read()
            file.seek(0, os.SEEK_END)
            end, data = file.tell(), b""
            while end > 0 and data.count(b"\n") <= count:
                start = max(0, end - _BLOCK)
                file.seek(start)
                data = file.read(end - start) + data
                end = start
            return b"".join(data.splitlines(keepends=True)[-count:])
    except OSError:
        return b""


def _print(data: bytes, prefix: str) -> None:
    if not data:
        return
    text = data.decode("utf-8", errors="replace")
    if prefix:
        text = "".join(f"{prefix}{line}" for line in text.splitlines(keepends=True))
    print(text, end="" if text.endswith("\n") or not prefix else "\n", flush=True)


@dataclass
class _Tail:
    """Growing files, read from where they were left."""

    places: dict[str, int] = field(default_factory=dict)

    def start(self, path: str, at_end: bool) -> None:
        self.places.setdefault(path, Path(path).stat().st_size if at_end else 0)

    def new(self, path: str) -> bytes:
        try:
            size = os.stat(path).st_size
            if size < self.places[path]:
                self.places[path] = 0  # written anew
            with open(path, "rb") as file:
                file.seek(self.places[path])
                data = file.read()
        except OSError:
            return b""
        if len(self.places) > 1:
            data = data[: data.rfind(b"\n") + 1]  # merged logs change hands at the end of a line
        self.places[path] += len(data)
        return data


def _follow(seen: Seen, options: argparse.Namespace, files: list[tuple[str, str]]) -> None:
    """Print what is added, go over to the next attempt's logs, leave when the run is over."""
    tail = _Tail()
    for path, _ in files:
        tail.start(path, at_end=True)
    asked, over, said = time.monotonic(), 0.0, seen.state.detail
    newest = _newest(seen.run.path)
    while True:
        spoke = False
        for path, prefix in files:
            data = tail.new(path)
            _print(data, prefix)
            spoke = spoke or bool(data)
        if time.monotonic() - asked >= ASK or not seen.state.kind.alive:
            seen, asked = _seen(seen.run), time.monotonic()
            if seen.state.kind is Kind.PENDING and seen.state.detail != said:
                said = seen.state.detail
                _say_waiting(seen)
        for path, prefix in _later(seen, options, newest):
            if path not in tail.places:
                print(f"==> {path} <==", flush=True)
                tail.start(path, at_end=False)
                files.append((path, prefix))
        if seen.state.kind.alive or seen.state.kind is Kind.UNKNOWN or spoke:
            over = 0.0
        elif over == 0.0:
            over = time.monotonic()
        if over and time.monotonic() - over >= _patience(seen):
            print(_goodbye(seen), flush=True)
            return
        time.sleep(POLL)


def _later(seen: Seen, options: argparse.Namespace, newest: str | None) -> Iterator[tuple[str, str]]:
    """Logs that have come into being since: of this job, or of the one after it."""
    now = _newest(seen.run.path)
    if now is None or ((options.attempt or options.job is not None) and now != newest):
        return
    try:
        yield from wanted(seen, options)
    except LogsError:  # that rank has not begun yet
        return


def _patience(seen: Seen) -> float:
    """A result or an error is final; what was stopped may come back."""
    return 1.0 if seen.state.kind in (Kind.FINISHED, Kind.FAILED, Kind.CANCELLED) else SETTLE


def _goodbye(seen: Seen) -> str:
    detail = f": {seen.state.detail}" if seen.state.detail else ""
    hint = f" (longview why {name_of(seen.run)})" if seen.state.kind.dead else ""
    return f"--- {seen.state.kind.value}{detail}{hint}"
