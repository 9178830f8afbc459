"""What the files of a run hold about its end: the first rank that failed, its own line of code, what the batch log says."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from longview.runs.causes import SECONDARY
from longview.runs.look import Seen
from longview.runs.records import read_json, seconds

_TAIL = 256 * 1024
"""Bytes of a log's end that are read."""
_FRAME = re.compile(r'^\s*(?:\[rank\d+\]:?\s*)?File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<where>.+)$')
_FOREIGN = ("/site-packages/", "/dist-packages/", "<frozen", "/lib/python3")
_SRUN = re.compile(r"srun: error: (?P<host>[\w.-]+): tasks? (?P<rank>[\d,-]+): (?P<what>.+)")
_RANK_LOG = re.compile(r"rank-(\d+)\.log")
_ERROR = re.compile(r"^(?:\[rank ?\d+\]:? )*(?:[A-Za-z_][\w.]*(?:Error|Exception|Interrupt)\b.*|error: .*|longview: error: .*)$")


@dataclass(frozen=True)
class Failure:
    """What one rank said when it failed.

    Attributes:
        rank, host: Where; None and "" if not known.
        error: One line or more.
        traceback: As printed; may be empty.
        time: Unix seconds; None if not known.
        source: File it was read from.
    """

    rank: int | None
    host: str
    error: str
    traceback: str
    time: float | None
    source: str

    @property
    def secondary(self) -> bool:
        """Whether it only says that a peer had failed before."""
        return bool(SECONDARY.search(self.error))

    @property
    def frame(self) -> str:
        """``file:line in function: code`` of the last frame outside of installed packages; "" without a traceback."""
        lines = self.traceback.splitlines()
        frames = [
            (m, lines[i + 1].strip() if i + 1 < len(lines) else "") for i, text in enumerate(lines) if (m := _FRAME.match(text))
        ]
        own = [pair for pair in frames if not any(part in pair[0]["file"] for part in _FOREIGN)] or frames
        if not own:
            return ""
        match, code = own[-1]
        code = "" if _FRAME.match(code) else re.sub(r"^\[rank\d+\]:?\s*", "", code)
        return f"{match['file']}:{match['line']} in {match['where']}{f': {code}' if code else ''}"


def failures(seen: Seen) -> list[Failure]:
    """Everything ranks have said about the newest job or attempt, the earliest first, what only followed from it last."""
    found = [*_recorded(seen), *_attempted(seen)]
    if all(failure.secondary for failure in found):  # the first to fail may not have come to leave a record
        known = {failure.rank for failure in found}
        found += [failure for failure in _printed(seen) if failure.rank not in known]
    return sorted(found, key=lambda f: (f.secondary, f.time is None, f.time or 0.0, f.rank is None, f.rank or 0))


def _recorded(seen: Seen) -> Iterator[Failure]:
    since = (seen.files.started or 0) - 60
    try:
        names = sorted(os.listdir(f"{seen.run.path}/failures"))
    except OSError:
        return
    for name in names:
        path = f"{seen.run.path}/failures/{name}"
        record = read_json(path) if name.endswith(".json") else {}
        when = seconds(record.get("time"))
        job = record.get("job")
        if not record or (when or 0) < since or (seen.files.job and job and job != seen.files.job):
            continue  # of an attempt before
        rank = record.get("rank")
        yield Failure(
            rank if isinstance(rank, int) else None,
            str(record.get("host", "")),
            str(record.get("error", "")),
            str(record.get("traceback", "")),
            when,
            path,
        )


def _attempted(seen: Seen) -> Iterator[Failure]:
    attempt = seen.files.attempt
    if not seen.files.current or attempt.get("outcome") != "failed" or not attempt.get("error"):
        return
    path = f"{seen.run.path}/attempts/{seen.files.attempts:03d}.json"
    host, traceback = str(attempt.get("host", "")), str(attempt.get("traceback", ""))
    yield Failure(0, host, str(attempt["error"]), traceback, seconds(attempt.get("ended")), path)


def _printed(seen: Seen) -> Iterator[Failure]:
    """Errors in the logs of ranks that left no record: those that never came to it."""
    for rank, path in rank_logs(seen):
        text = tail(path)
        start = text.rfind("Traceback (most recent call last)")
        lines = text[start if start >= 0 else 0 :].splitlines()
        error = next((line for line in reversed(lines) if _ERROR.match(line)), "")
        if error:
            yield Failure(
                rank, "", re.sub(r"^(\[rank ?\d+\]:? )+", "", error), "\n".join(lines) if start >= 0 else "", _changed(path), path
            )


def _changed(path: str) -> float | None:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return None


def log_folder(seen: Seen) -> str | None:
    """The folder of the newest job's logs: ``logs/<job>``, with ``.<restart>`` after a requeue."""
    folders = log_folders(seen.run.path)
    job = seen.files.job
    mine = [f for f in folders if job and os.path.basename(f).partition(".")[0] == job]
    found = mine if job else folders
    return found[-1] if found else None


def log_folders(run: str) -> list[str]:
    """Every job's folder of logs, the oldest first."""
    try:
        with os.scandir(f"{run}/logs") as entries:
            found = [entry.path for entry in entries if entry.is_dir()]
    except OSError:
        return []
    return sorted(found, key=_order)


def _order(path: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", os.path.basename(path)))


def rank_logs(seen: Seen) -> list[tuple[int, str]]:
    """Rank and path of the newest job's logs."""
    folder = log_folder(seen)
    if folder is None:
        return []
    return ranks_in(folder)


def ranks_in(folder: str) -> list[tuple[int, str]]:
    """Rank and path of the logs in one job's folder."""
    return sorted((int(m[1]), f"{folder}/{name}") for name in os.listdir(folder) if (m := _RANK_LOG.fullmatch(name)))


def batch_logs(seen: Seen) -> list[str]:
    """What the batch script wrote, and what SLURM wrote beside it, of the newest job."""
    folder = log_folder(seen)
    found = [f"{folder}/batch.log"] if folder else []
    if seen.run.sweep and seen.run.submission and seen.files.job:
        found.append(f"{seen.run.sweep.submissions}/{seen.run.submission.number:03d}-{seen.files.job}.out")
    return [path for path in found if os.path.exists(path)]


def batch_text(seen: Seen) -> str:
    """The end of the batch logs."""
    return "\n".join(tail(path) for path in batch_logs(seen))


def first_task(text: str, followers: Collection[int | None] = ()) -> Failure | None:
    """The first task that srun says failed by itself: not ended by srun, nor one of ``followers``, who fell with another."""
    for match in _SRUN.finditer(text):
        rank = next((rank for rank in _ranks(match["rank"]) if rank not in followers), None)
        if "Terminated" not in match["what"] and rank is not None:
            return Failure(rank, match["host"], match["what"].strip(), "", None, "")
    return None


def _ranks(text: str) -> Iterator[int]:
    """The ranks in srun's list: ``3``, ``0,2-5``."""
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.isdecimal():
            yield from range(int(first), int(last if last.isdecimal() else first) + 1)


def placed(failure: Failure, seen: Seen) -> Failure:
    """With the node, where only srun has said it."""
    if failure.host:
        return failure
    task = first_task(batch_text(seen))
    return replace(failure, host=task.host) if task and task.rank == failure.rank else failure


def tail(path: str, size: int = _TAIL) -> str:
    """The end of a text file; nothing if it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - size))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
