"""What the small files of a root in the field's layout show before any label or feature file is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from longview.data.frames_files import ARCHIVES, ArchiveFiles, FolderFiles, Head
from longview.data.frames_text import parse_bundle, parse_mapping
from longview.errors import DataError, Problem

__all__ = ["HOLDS", "bundle", "look_at", "split_numbers"]

HOLDS = f"a folder with mapping.txt, groundTruth/ and splits/, or an archive of it ({', '.join(ARCHIVES[:3])})"
"""What a right root is, for messages."""


def bundle(part: str, number: int) -> str:
    """Path of a split list in its root."""
    return f"splits/{part}.split{number}.bundle"


def split_numbers(head: Head) -> list[int]:
    """Numbers of the splits that have both lists."""
    return sorted(n for part, n in head.bundles if part == "train" and ("test", n) in head.bundles)


def look_at(
    files: FolderFiles | ArchiveFiles,
    head: Head,
    split: int,
    splits: Sequence[int],
    observe: str,
    hold_out: Callable[[Sequence[str]], object],
) -> Iterator[Problem]:
    """Problems of a root.

    Args:
        files: The root.
        head: Its small files.
        split: The chosen split; it must be there.
        splits: Numbers of the splits whose lists are looked at.
        observe: "features" or "labels".
        hold_out: Raises DataError if a training list cannot give a validation part.
    """
    if head.mapping is None and head.complete:
        yield Problem("data.root", f"{files.root} holds no mapping.txt; data.root must be {HOLDS}{_nearby(files.root)}")
        return
    if head.mapping is not None:
        try:
            parse_mapping(head.mapping, files.name("mapping.txt"))
        except DataError as error:
            yield Problem("", str(error))
    if observe == "features" and isinstance(files, ArchiveFiles):
        yield Problem(
            "data.observe",
            f"features are read from a folder, and {files.root} is an archive; unpack it, put <video>.npy files "
            "into its features/ and give that folder as data.root, or use data.observe=labels",
        )
    if not head.bundles and not head.complete:
        return
    present = split_numbers(head)
    if split not in present:
        lost = " and ".join(bundle(part, split) for part in ("train", "test") if (part, split) not in head.bundles)
        shown = ", ".join(map(str, present)) or "none"
        yield Problem("data.split", f"{files.root} has no {lost}; splits that are there: {shown}")
    for number in splits:
        if number in present:
            yield from _split(files, head, number, observe, hold_out)


def _split(
    files: FolderFiles | ArchiveFiles, head: Head, number: int, observe: str, hold_out: Callable[[Sequence[str]], object]
) -> Iterator[Problem]:
    lists: dict[str, list[str]] = {}
    for part in ("train", "test"):
        try:
            lists[part] = parse_bundle(head.bundles[part, number], files.name(bundle(part, number)))
        except DataError as error:
            yield Problem("", str(error))
    if len(lists) < 2:
        return
    tested = set(lists["test"])
    if both := [video for video in lists["train"] if video in tested]:
        at = files.name(bundle("test", number))
        yield Problem("", f"{at}: {len(both)} of {len(tested)} videos stand in the training list too ({_some(both)})")
    named = list(dict.fromkeys([*lists["train"], *lists["test"]]))
    if head.labels is not None and (lost := [video for video in named if video not in head.labels]):
        where = files.name("groundTruth")
        yield Problem("", f"{where}: no label file for {len(lost)} of {len(named)} videos of split {number} ({_some(lost)})")
    if observe == "features" and isinstance(files, FolderFiles):
        yield from _features(files.root / "features", named)
    try:
        hold_out(lists["train"])
    except DataError as error:
        yield Problem("data.val_fraction", str(error))


def _features(folder: Path, videos: Sequence[str]) -> Iterator[Problem]:
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else None
    if present is None:
        yield Problem("data.observe", f"{folder} does not exist; put <video>.npy files there or use data.observe=labels")
    elif lost := [video for video in videos if f"{video}.npy" not in present]:
        yield Problem("", f"{folder}: no feature file for {len(lost)} of {len(videos)} videos ({_some(lost)})")


def _nearby(root: Path) -> str:
    """Names a right root inside a wrong one: the folder above it is the commonest mistake."""
    if not root.is_dir():
        return ""
    for path in sorted(root.iterdir()):
        if (path / "mapping.txt").is_file() or (path.is_file() and path.name.endswith(ARCHIVES)):
            return f"; did you mean {path}?"
    return ""


def _some(videos: Sequence[str]) -> str:
    return ", ".join(videos[:3]) + (", ..." if len(videos) > 3 else "")
