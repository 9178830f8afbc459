"""Where data lie when nobody said where: the places longview looks in, and the message when nothing is there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from longview.errors import DataError

__all__ = ["ENVIRONMENT", "find", "places"]

ENVIRONMENT = "LONGVIEW_DATA"
"""Environment variable naming the folder that holds the data folders."""


def _checkout() -> Path | None:
    """The repository this package is run from, or None when it is installed elsewhere."""
    top = Path(__file__).resolve().parents[3]
    return top if (top / "pyproject.toml").is_file() else None


def places() -> list[Path]:
    """Folders searched, in order: $LONGVIEW_DATA; data and ../shared/data of the current folder and of the checkout."""

    def every() -> Iterator[Path]:
        if named := os.environ.get(ENVIRONMENT):
            yield Path(named).expanduser()
        for base in (Path.cwd(), _checkout()):
            if base is not None:
                yield base / "data"
                yield base.parent / "shared" / "data"

    return list(dict.fromkeys(Path(os.path.abspath(place)) for place in every()))


def find(root: str | None, candidates: Sequence[str], *, what: str, holds: str) -> Path:
    """The data root: ``root`` if given, else the first of ``candidates`` (relative to :func:`places`) that exists.

    A candidate ending in ``/`` stands for a folder in the field's layout and counts only if it holds ``mapping.txt``.

    Args:
        root: What the user wrote (``data.root``), or None.
        candidates: Paths relative to a place, most welcome first.
        what: Name of the data for the message ("Breakfast").
        holds: What a right root looks like, for the message.

    Raises:
        DataError: Nothing is there; the message lists every place looked in and how to name another.
    """
    if root is not None:
        if not root.strip():
            raise DataError(f"an empty path names nothing; give {holds}, or null to have it looked for")
        path = Path(os.path.expanduser(root))
        if not path.exists():
            raise DataError(f"{path} does not exist; data.root must be {holds}{_similar(path)}")
        return path
    if (named := os.environ.get(ENVIRONMENT)) and not Path(named).expanduser().is_dir():
        raise DataError(f"{ENVIRONMENT} names {named}, which is no folder; name the folder that contains the data, or unset it")
    searched = places()
    for place in searched:
        for candidate in candidates:
            path = place / candidate
            if (path / "mapping.txt").is_file() if candidate.endswith("/") else path.is_file():
                return path
    shown = "".join(f"\n       {place / candidate}" for place in searched for candidate in candidates)
    setting = "" if named else f" or set {ENVIRONMENT} to the folder that contains it"
    raise DataError(f"no {what} data found. Name it with data.root=... ({holds}){setting}. Looked for:{shown}")


def _similar(path: Path) -> str:
    """A hint at the nearest existing parent, so that a wrong mount can be told from a typing mistake."""
    for parent in path.parents:
        if parent.exists():
            return f" (its parent {parent} exists)" if parent == path.parent else f" (only {parent} exists)"
    return ""
