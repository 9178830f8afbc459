"""Parsers of the field's three text files: mapping.txt, split bundles and frame-label files.

The layout is that of MS-TCN (Abu Farha and Gall, CVPR 2019), shared by most code for Breakfast, 50Salads and GTEA. Each
parser takes the bytes of a file and its name for messages, tolerates a UTF-8 byte-order mark and CRLF line ends, and
raises one DataError that names file and line for anything else. Standard library only.
"""

from __future__ import annotations

import codecs
import difflib
from pathlib import PurePosixPath

from longview.errors import DataError

__all__ = ["decode_text", "parse_bundle", "parse_labels", "parse_mapping"]

_BOM = codecs.BOM_UTF8


def decode_text(data: bytes, where: str) -> str:
    """UTF-8 text without its byte-order mark; raises DataError naming the line of the first wrong byte."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{where}: is UTF-16 text; save it as UTF-8")
    try:
        return data.removeprefix(_BOM).decode()
    except UnicodeDecodeError as error:
        body = data.removeprefix(_BOM)
        line = body[: error.start].count(b"\n") + 1
        raise DataError(f"{where}, line {line}: byte 0x{body[error.start]:02x} is not UTF-8; save the file as UTF-8") from None


def _lines(data: bytes, where: str) -> list[str]:
    """Stripped lines; blank ones at the end of the file are dropped, others kept as ''."""
    # Only \n, \r and \r\n end a line: str.splitlines would also break names at form feeds and the like.
    text = decode_text(data, where).replace("\r\n", "\n").replace("\r", "\n").rstrip()
    return [line.strip() for line in text.split("\n")] if text else []


def parse_mapping(data: bytes, where: str) -> tuple[str, ...]:
    """Class names by id from lines "id name"; the ids must be 0..K-1, each once, in any order."""
    names: dict[int, str] = {}
    line_of_id: dict[int, int] = {}
    line_of_name: dict[str, int] = {}
    for number, line in enumerate(_lines(data, where), 1):
        at = f"{where}, line {number}"
        fields = line.split(maxsplit=1)
        if len(fields) != 2 or not (fields[0].isascii() and fields[0].isdigit()):
            raise DataError(f"{at}: expected 'id name' such as '0 background', got {line!r}")
        label, name = int(fields[0]), fields[1]
        if label in names:
            raise DataError(f"{at}: id {label} stands already in line {line_of_id[label]} ({names[label]!r})")
        if name in line_of_name:
            raise DataError(f"{at}: name {name!r} stands already in line {line_of_name[name]}")
        names[label], line_of_id[label], line_of_name[name] = name, number, number
    if not names:
        raise DataError(f"{where}: is empty; expected one line 'id name' per class")
    if wrong := sorted(label for label in names if label >= len(names)):
        missing = next(label for label in range(len(names)) if label not in names)
        raise DataError(
            f"{where}, line {line_of_id[wrong[0]]}: id {wrong[0]} is too large for {len(names)} classes; "
            f"ids must be 0..{len(names) - 1}, and {missing} is missing"
        )
    return tuple(names[label] for label in range(len(names)))


def parse_bundle(data: bytes, where: str) -> list[str]:
    """Video names of a split list: a "<video>.txt" per line, with or without folder and ending; "#" lines are skipped.

    Raises DataError for an empty list, a name twice, and a name that leaves its folder.
    """
    seen: dict[str, int] = {}
    for number, line in enumerate(_lines(data, where), 1):
        if not line or line.startswith("#"):
            continue
        at = f"{where}, line {number}"
        path = PurePosixPath(line.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")):
            raise DataError(f"{at}: {line!r} leaves the data folder; expected a file name such as 'video.txt'")
        video = path.name.removesuffix(".txt")
        if not video or video.startswith(".") or not video.isprintable():
            raise DataError(f"{at}: {line!r} is not a video name; expected a file name such as 'video.txt'")
        if video in seen:
            raise DataError(f"{at}: {video!r} stands already in line {seen[video]}")
        seen[video] = number
    if not seen:
        raise DataError(f"{where}: lists no video")
    return list(seen)


def parse_labels(data: bytes, ids: dict[bytes, int], where: str) -> list[int]:
    """Class ids [L] of a label file, one class name per line (= frame).

    Args:
        data: The file.
        ids: Class name, as UTF-8 bytes, to class id: names are looked up undecoded, which is what makes this quick.
        where: File name for messages.
    """
    lines = data.removeprefix(_BOM).splitlines()
    try:
        codes = [ids[line] for line in lines]
    except KeyError:
        codes = _parse_labels_carefully(data, ids, where)
    if not codes:
        raise DataError(f"{where}: is empty; expected one class name per frame")
    return codes


def _parse_labels_carefully(data: bytes, ids: dict[bytes, int], where: str) -> list[int]:
    """The slow way: accepts blanks around names and at the end of the file, and says what is wrong where."""
    codes = []
    for number, line in enumerate(_lines(data, where), 1):
        label = ids.get(line.encode())
        if label is None:
            at = f"{where}, line {number}"
            if not line:
                raise DataError(f"{at}: is blank; every frame needs a class name")
            near = difflib.get_close_matches(line, [name.decode() for name in ids], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise DataError(f"{at}: label {line[:80]!r} is not in mapping.txt{hint}")
        codes.append(label)
    return codes
