"""Places that do not last: workspaces that end, scratch that is purged."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from longview.cluster.request import Request
from longview.cluster.site import Site
from longview.errors import Problem

MARGIN = timedelta(days=1)
"""A workspace has to last so much longer than one attempt: the job waits first, and the result has to be fetched."""
SAMPLE = 200
"""Files looked at to see whether data are about to be deleted."""


def place_problems(experiment: Any, request: Request, site: Site) -> Iterator[Problem]:
    """Workspaces that end before the job does, and data that the site is about to delete."""
    workspace = experiment.cluster.storage.workspace
    ends = site.workspaces((workspace.list if workspace else None) or "ws_list") or {}
    time_limit = request.time or timedelta()
    data = data_root(experiment)
    for key, place in (("run.root", experiment.run.root), ("data.root", data)):
        for folder, left in ends.items():
            if place and within(place, folder) and left < time_limit + MARGIN:
                text = f"it lies in the workspace {folder}, which ends in {_days(left)}; the job may run {_days(time_limit)}"
                yield Problem(key, f"{text} and will wait before that; extend the workspace first (ws_extend)")
    if data:
        yield from _purged(experiment.cluster.storage, data)


def _purged(storage: Any, data: str) -> Iterator[Problem]:
    scratch = os.environ.get(storage.scratch or "")
    if storage.purge_days and scratch and within(data, scratch):
        days = untouched_days(Path(data))
        if days is not None and days > 0.8 * storage.purge_days:
            text = (
                f"'{data}' lies on scratch, where files untouched for {storage.purge_days} days are deleted; some are at {days}"
            )
            yield Problem("data.root", f"{text}; keep a copy elsewhere", warning=True)


def untouched_days(root: Path) -> int | None:
    """Days since the least recently used of some files below a folder was read or written; None if there are none."""
    times: list[float] = []
    for folder, _, names in os.walk(root):
        for name in names[: SAMPLE - len(times)]:
            try:
                stat = os.stat(os.path.join(folder, name))
            except OSError:
                continue
            times.append(max(stat.st_atime, stat.st_mtime))
        if len(times) >= SAMPLE:
            break
    return int((time.time() - min(times)) / 86400) if times else None


def data_root(experiment: Any) -> str | None:
    """The folder the data block names, if it names one."""
    root = getattr(experiment.data.params, "root", None)
    return str(root) if root else None


def within(place: str, folder: str) -> bool:
    """Whether a path lies in a folder, links followed."""
    return Path(os.path.realpath(place)).is_relative_to(os.path.realpath(folder))


def _days(length: timedelta) -> str:
    hours = int(length.total_seconds() // 3600)
    return f"{hours // 24} days" if hours >= 48 else f"{hours} h" if hours else f"{int(length.total_seconds() // 60)} min"
