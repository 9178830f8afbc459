"""``longview open``: where everything of a run lies."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

from longview.commands.show import columns, short
from longview.errors import LongviewError
from longview.runs.evidence import log_folders
from longview.runs.find import find, root_of
from longview.runs.group import Group, Run

OK = 0
_PLACES = (
    ("configuration", "config.yaml"),
    ("result", "result.json"),
    ("metrics", "metrics.csv"),
    ("figures", "figures/index.html"),
    ("predictions", "predictions.npz"),
    ("best checkpoint", "checkpoints/best.ckpt"),
    ("last checkpoint", "checkpoints/last.ckpt"),
    ("uncommitted code", "code.diff"),
    ("failures", "failures"),
)


class NothingToOpen(LongviewError):
    """No figures, or nothing to show them with."""


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    groups = find(options.names, root_of(options.root))
    if options.figures:
        return _figures([run for group in groups for run in group.runs])
    print("\n\n".join("\n".join(_group(group)) for group in groups))
    return OK


def _group(group: Group) -> list[str]:
    if len(group.runs) == 1:
        return _rows([("run", group.runs[0].path), *places(group.runs[0])])
    head = [("sweep", str(group.sweep.path)), ("submissions", str(group.sweep.submissions))] if group.sweep else []
    rows = [[run.id, run.label, short(run.path)] for run in group.runs]
    return [*_rows(head), *columns(("ID", "RUN", "DIRECTORY"), rows)]


def _rows(pairs: list[tuple[str, str]]) -> list[str]:
    return [f"{name:<18}{short(path)}" for name, path in pairs]


def places(run: Run) -> Iterator[tuple[str, str]]:
    """Name and path of what a run has."""
    yield from ((name, f"{run.path}/{place}") for name, place in _PLACES if os.path.exists(f"{run.path}/{place}"))
    if folders := log_folders(run.path):
        yield "logs", folders[-1]
    try:
        offline = sorted(e.path for e in os.scandir(f"{run.path}/wandb") if e.name.startswith("offline-run-"))
    except OSError:
        offline = []
    yield from (("W&B, offline", path) for path in offline)


def _figures(runs: list[Run]) -> int:
    pages = [page for run in runs if os.path.exists(page := f"{run.path}/figures/index.html")]
    if not pages:
        raise NothingToOpen(f"no figures yet: {runs[0].path}/figures/index.html is not there; they are drawn after the test pass")
    print("\n".join(pages))
    browser = os.environ.get("BROWSER") or shutil.which("xdg-open")
    if not browser or not (os.environ.get("BROWSER") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        print("(no display here: copy the figures folder, each page holds together with its pictures)", file=sys.stderr)
        return OK
    try:
        subprocess.Popen([browser, *pages[:1]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        raise NothingToOpen(f"$BROWSER: '{browser}' cannot be started: {error.strerror}") from None
    return OK
