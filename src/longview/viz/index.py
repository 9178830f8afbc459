"""The page of a run's figures: index.html (table and pictures, nothing fetched from outside) and contact_sheet.png."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from longview.errors import LongviewError

_STYLE = """
:root { color-scheme: light dark; --ink: #20262e; --soft: #6b7480; --line: #d5d8dc; --page: #f6f7f8; --card: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaed; --soft: #9aa3ad; --line: #3a4149; --page: #16191d; --card: #20242a; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem 3rem; max-width: 90rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 1rem; overflow-wrap: anywhere; }
p.note { color: var(--soft); margin: .5rem 0 2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; background: var(--card); border: 1px solid var(--line); border-radius: 6px; }
th, td { padding: .4rem .9rem; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; }
tr:last-child td { border-bottom: 0; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 34rem), 1fr)); gap: 1.2rem;
  align-items: start; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 6px; overflow: hidden; }
figure img { display: block; width: 100%; height: auto; background: #fff; }
figcaption { padding: .5rem .9rem; color: var(--soft); overflow-wrap: anywhere; }
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
{table}
{sheet}
</body>
</html>
"""


def write_index(
    folder: Path | str,
    title: str,
    images: Sequence[Path | str],
    *,
    columns: Sequence[str] = (),
    rows: Sequence[Sequence[str | float]] = (),
    note: str = "",
    captions: Sequence[str] = (),
) -> Path:
    """Write ``folder/index.html``: the result table, then the pictures in the given order. All text is escaped.

    Args:
        folder: Folder of the figures; made if absent.
        title: Heading.
        images: Picture files inside ``folder`` (relative paths are taken from there).
        columns: Heads of the table; no table without ``rows``.
        rows: Cells; numbers are shown with one decimal ("–" for nan), anything else as it is.
        note: A line under the table.
        captions: One per picture, or none.

    Raises:
        LongviewError: a picture that is not in ``folder``, a row or caption too few or too many.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    if captions and len(captions) != len(images):
        raise LongviewError(f"index.html: {len(images)} pictures but {len(captions)} captions")
    bad = next((r for r in rows if len(r) != len(columns)), None)
    if bad is not None:
        raise LongviewError(f"index.html: a row has {len(bad)} cells for {len(columns)} columns: {list(bad)}")
    cards = []
    for at, image in enumerate(images):
        inside = _inside(place, image)
        caption = captions[at] if captions else ""
        source, text = escape(quote(inside), quote=True), escape(caption)
        label = f"<figcaption>{text}</figcaption>" if caption else ""
        alt = escape(caption or inside, quote=True)
        cards.append(f'<figure><a href="{source}"><img src="{source}" alt="{alt}" loading="lazy"></a>{label}</figure>')
    sheet = f'<div class="sheet">\n{"".join(c + chr(10) for c in cards)}</div>' if cards else "<p>No figures.</p>"
    text = _PAGE.format(title=escape(title), style=_STYLE, table=_table(columns, rows, note), sheet=sheet)
    return _replace(place / "index.html", text)


def contact_sheet(images: Sequence[Path | str], path: Path | str, columns: int = 2, width: int = 900) -> Path:
    """Put pictures into one grid, in the given order, each scaled to ``width`` pixels; a row is as high as its tallest.

    Raises:
        LongviewError: no picture, or one that cannot be read.
    """
    if not images:
        raise LongviewError("contact sheet: there is no picture to put on it")
    tiles = [_tile(image, width) for image in images]
    columns, gap = min(columns, len(tiles)), 16
    lines = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile in line) for line in lines]
    size = (columns * width + (columns + 1) * gap, sum(heights) + (len(lines) + 1) * gap)
    sheet = Image.new("RGB", size, "#eceef0")
    top = gap
    for line, height in zip(lines, heights, strict=True):
        for at, tile in enumerate(line):
            sheet.paste(tile, (gap + at * (width + gap), top))
        top += height + gap
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    sheet.save(partial, format="PNG", optimize=True)
    os.replace(partial, target)
    return target


def _tile(image: Path | str, width: int) -> Image.Image:
    try:
        with Image.open(image) as opened:
            picture = opened.convert("RGB")
    except OSError as error:
        raise LongviewError(f"contact sheet: cannot read the picture {image}: {error}") from error
    return picture.resize((width, max(1, round(picture.height * width / picture.width))), Image.Resampling.LANCZOS)


def _inside(place: Path, image: Path | str) -> str:
    path = Path(image)
    if path.is_absolute() or not (place / path).exists():
        try:
            path = path.resolve().relative_to(place.resolve())
        except ValueError:
            raise LongviewError(f"index.html: the picture {image} is not in {place}") from None
    if ".." in path.parts or not (place / path).is_file():
        raise LongviewError(f"index.html: the picture {image} is not in {place}")
    return path.as_posix()


def _table(columns: Sequence[str], rows: Sequence[Sequence[str | float]], note: str) -> str:
    line = f'<p class="note">{escape(note)}</p>' if note else ""
    if not rows:
        return line
    numeric = [all(not isinstance(row[at], str) for row in rows) for at in range(len(columns))]
    side = [' class="number"' if n else "" for n in numeric]
    head = "".join(f"<th{s}>{escape(name)}</th>" for s, name in zip(side, columns, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td{s}>{escape(_cell(v))}</td>" for s, v in zip(side, row, strict=True)) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table>\n<tr>{head}</tr>\n{body}\n</table></div>\n{line}'


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value)
    return "–" if math.isnan(value) else f"{value:.1f}"  # noqa: RUF001


def _replace(target: Path, text: str) -> Path:
    """Whole or absent: written beside the target, then renamed."""
    partial = target.with_name(f".{target.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, target)
    return target
