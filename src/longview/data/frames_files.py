"""The two shapes a data root may have: a folder in the field's layout, or a tar archive of one, read in place.

    mapping.txt                          "id name" per class
    groundTruth/<video>.txt              one class name per frame
    splits/{train,test}.split<n>.bundle  "<video>.txt" per line
    features/<video>.npy                 optional, folders only

Standard library at import time; numpy only where labels are parsed.
"""

from __future__ import annotations

import lzma
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from longview.data.frames_text import parse_labels, parse_mapping
from longview.data.tar_stream import decompressed
from longview.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ARCHIVES", "ArchiveFiles", "FolderFiles", "Head", "LayoutFiles", "open_layout"]

ARCHIVES = (".tar", ".tar.xz", ".tar.gz", ".txz", ".tgz")
"""Endings of the archives a root may be."""

_BUNDLE = re.compile(r"(train|test)\.split([1-9][0-9]*)\.bundle")
_UNREADABLE = (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError)


@dataclass
class Head:
    """The small files of a root.

    Attributes:
        mapping: Bytes of mapping.txt, or None.
        bundles: (part, split number) -> bytes of the list.
        labels: Videos that have a label file, or None if that is not known without reading the whole archive.
        complete: Whether what is absent here is absent from the root (a quick look at an archive sees only its start).
    """

    mapping: bytes | None = None
    bundles: dict[tuple[str, int], bytes] = field(default_factory=dict)
    labels: set[str] | None = None
    complete: bool = True


class LayoutFiles(Protocol):
    """Read access to a root; ``root`` and ``name`` serve messages."""

    root: Path

    def name(self, relative: str) -> str:
        """How messages call a file of the root."""
        ...

    def glance(self) -> Head:
        """What can be known within milliseconds. Raises DataError if the root cannot be read at all."""
        ...

    def head(self) -> Head:
        """All small files. Raises DataError."""
        ...

    def labels(self, video: str) -> NDArray[np.unsignedinteger]:
        """Class ids [L] in the smallest unsigned type that holds K. Raises DataError naming file and line."""
        ...


def open_layout(root: Path) -> FolderFiles | ArchiveFiles:
    """A root of either shape; nothing is read yet. Raises DataError if it is neither."""
    if root.is_dir():
        return FolderFiles(root)
    if root.name.endswith(ARCHIVES):
        return ArchiveFiles(root)
    raise DataError(f"{root}: is neither a folder nor an archive ({', '.join(ARCHIVES)})")


class _Labels:
    """Parsed label files; a malformed one is remembered as its error, so that reading goes on."""

    def __init__(self, mapping: bytes, where: str) -> None:
        names = parse_mapping(mapping, where)
        self.ids = {name.encode(): label for label, name in enumerate(names)}
        self.parsed: dict[str, NDArray[np.unsignedinteger] | DataError] = {}

    def add(self, video: str, data: bytes, where: str) -> None:
        import numpy as np

        try:
            codes = parse_labels(data, self.ids, where)
            self.parsed[video] = np.array(codes, dtype=np.min_scalar_type(len(self.ids) - 1))
        except DataError as error:
            self.parsed[video] = error

    def get(self, video: str) -> NDArray[np.unsignedinteger]:
        found = self.parsed[video]
        if isinstance(found, DataError):
            raise found
        return found


class FolderFiles:
    """A folder in the field's layout; label files are read when asked for and kept."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._labels: _Labels | None = None

    def name(self, relative: str) -> str:
        """Path of a file of the root."""
        return str(self.root / relative)

    def glance(self) -> Head:
        """The same as :meth:`head`: small files of a folder are quick to read."""
        return self.head()

    def head(self) -> Head:
        """Mapping, bundles and the names of the label files; label files themselves are not opened."""
        head = Head(labels=set())
        try:
            if (self.root / "mapping.txt").is_file():
                head.mapping = (self.root / "mapping.txt").read_bytes()
            if (self.root / "splits").is_dir():
                for path in (self.root / "splits").iterdir():
                    if match := _BUNDLE.fullmatch(path.name):
                        head.bundles[match[1], int(match[2])] = path.read_bytes()
            if (self.root / "groundTruth").is_dir():
                names = (path.name for path in (self.root / "groundTruth").iterdir())
                head.labels = {name.removesuffix(".txt") for name in names if _is_label_file(name)}
        except OSError as error:
            raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from error
        return head

    def labels(self, video: str) -> NDArray[np.unsignedinteger]:
        """Class ids [L] of a video."""
        if self._labels is None:
            mapping = self.root / "mapping.txt"
            self._labels = _Labels(_read(mapping), str(mapping))
        if video not in self._labels.parsed:
            path = self.root / "groundTruth" / f"{video}.txt"
            self._labels.add(video, _read(path), str(path))
        return self._labels.get(video)


class ArchiveFiles:
    """A .tar, .tar.xz or .tar.gz of a folder in the field's layout, decompressed once, labels kept as small arrays.

    Members are read, never unpacked; a member with an absolute path or ``..`` in it makes the archive unacceptable.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._glance: Head | None = None
        self._head: Head | None = None
        self._labels: _Labels | None = None

    def name(self, relative: str) -> str:
        """Archive and member, as messages name them."""
        return f"{self.root}: {relative}"

    def glance(self) -> Head:
        """The members in front of the first label file; raises DataError if the file is no tar archive."""
        if (known := self._head or self._glance) is not None:
            return known
        head = Head(complete=False)
        for _, folder, name, data in self._members():
            if folder == "groundTruth":
                break
            _take(head, folder, name, data)
        self._glance = head
        return head

    def head(self) -> Head:
        """All small files and the names of the label files; reads the archive to its end, once."""
        if self._head is None:
            self._load()
        assert self._head is not None
        return self._head

    def labels(self, video: str) -> NDArray[np.unsignedinteger]:
        """Class ids [L] of a video."""
        self.head()
        if self._labels is None:
            raise DataError(f"{self.root}: holds no mapping.txt")
        if video not in self._labels.parsed:
            raise DataError(f"{self.root}: holds no groundTruth/{video}.txt")
        return self._labels.get(video)

    def _load(self) -> None:
        head = Head(labels=set())
        early: list[tuple[str, bytes]] = []  # label files in front of mapping.txt have to wait for it
        labels: _Labels | None = None
        tops = set()
        for top, folder, name, data in self._members():
            if folder == "groundTruth":
                if not _is_label_file(name):
                    continue
                video = name.removesuffix(".txt")
                assert head.labels is not None
                head.labels.add(video)
                if labels is None:
                    early.append((video, data))
                else:
                    labels.add(video, data, self.name(f"groundTruth/{name}"))
            elif _take(head, folder, name, data):
                tops.add(top)
                if len(tops) > 1:
                    raise DataError(f"{self.root}: holds several data sets ({', '.join(sorted(tops))}); expected one")
                if name == "mapping.txt" and head.mapping is not None:
                    labels = _Labels(head.mapping, self.name("mapping.txt"))
        if labels is not None:
            for video, early_data in early:
                labels.add(video, early_data, self.name(f"groundTruth/{video}.txt"))
        self._labels, self._head = labels, head

    def _members(self) -> Iterator[tuple[str, str, str, bytes]]:
        """(top folder, "groundTruth" | "splits" | "", file name, content) of the layout's files, in archive order."""
        try:
            with decompressed(self.root) as content, tarfile.open(fileobj=content, mode="r|") as archive:
                for member in archive:
                    parts = [part for part in member.name.split("/") if part not in ("", ".")]
                    if member.name.startswith("/") or ".." in parts or "\\" in member.name:
                        raise DataError(f"{self.root}: unsafe member name {member.name!r}; make the archive anew from its folder")
                    if not parts or not member.isfile():
                        continue
                    folder = parts[-2] if len(parts) > 1 and parts[-2] in ("groundTruth", "splits") else ""
                    top = "/".join(parts[: -2 if folder else -1])
                    stream = archive.extractfile(member)
                    if stream is not None and (folder or parts[-1] == "mapping.txt"):
                        yield top, folder, parts[-1], stream.read()
                content.finish()
        except FileNotFoundError:
            raise DataError(f"{self.root}: does not exist") from None
        except _UNREADABLE as error:
            raise DataError(f"{self.root}: is damaged, cut off or not a tar archive ({error})") from error


def _take(head: Head, folder: str, name: str, data: bytes) -> bool:
    """Put a small file into ``head``; False if it is none of the layout's."""
    if folder == "" and name == "mapping.txt":
        head.mapping = data
        return True
    match = _BUNDLE.fullmatch(name) if folder == "splits" else None
    if match:
        head.bundles[match[1], int(match[2])] = data
    return match is not None


def _is_label_file(name: str) -> bool:
    """Editors' backups (name.txt~), .history and the like are no label files; hidden .txt files no split list can name."""
    return name.endswith(".txt")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: does not exist") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
