"""The page of figures: complete, self-contained, safe against what a file or a video may be called."""

from __future__ import annotations

import math
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

from longview.errors import LongviewError
from longview.viz.index import contact_sheet, write_index


def picture(path: Path, size: tuple[int, int] = (200, 100), color: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


class Page(HTMLParser):
    """Tags with their attributes, and the text of the table's cells."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.cells and self.tags[-1][0] in ("td", "th"):
            self.cells[-1] += data.strip()

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def test_table_and_pictures_in_the_given_order(tmp_path: Path) -> None:
    images = [picture(tmp_path / name) for name in ("worst.png", "sub/best.png")]
    rows: list[list[str | float]] = [["20 %", 24.04, 7], ["30 %", math.nan, 8]]
    written = write_index(
        tmp_path, "manta", images, columns=["Observed", "Mean MoC", "videos"], rows=rows, note="percent", captions=["a", "b"]
    )
    page = Page(written)
    assert written == tmp_path / "index.html"
    assert [i["src"] for i in page.named("img")] == ["worst.png", "sub/best.png"]
    assert page.cells == ["Observed", "Mean MoC", "videos", "20 %", "24.0", "7", "30 %", "–", "8"]  # noqa: RUF001
    assert "percent" in page.text
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_relative_paths_are_taken_from_the_folder(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    assert Page(write_index(tmp_path, "t", ["a.png"])).named("img")[0]["src"] == "a.png"


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script>&amp;'
    image = picture(tmp_path / "a'\"<b>#?%20 é.png")
    page = Page(write_index(tmp_path, evil, [image], columns=[evil], rows=[[evil]], note=evil, captions=[evil]))
    assert page.named("script") == []
    assert page.named("b") == []
    assert page.text.count(evil) == 6  # title, heading, head cell, cell, note, caption
    source = page.named("img")[0]["src"]
    assert source is not None
    assert (tmp_path / unquote(source)).is_file()


def test_nothing_is_fetched_from_outside(tmp_path: Path) -> None:
    text = write_index(tmp_path, "t", [picture(tmp_path / "a.png")]).read_text()
    assert "//" not in text


def test_without_figures_or_table(tmp_path: Path) -> None:
    page = Page(write_index(tmp_path / "new", "t", []))
    assert page.named("table") == []
    assert "No figures." in page.text


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    inside, outside = picture(tmp_path / "f" / "a.png"), picture(tmp_path / "b.png")
    folder = tmp_path / "f"
    for image in (outside, "../b.png", "absent.png"):
        with pytest.raises(LongviewError, match="is not in"):
            write_index(folder, "t", [image])
    with pytest.raises(LongviewError, match="1 pictures but 2 captions"):
        write_index(folder, "t", [inside], captions=["a", "b"])
    with pytest.raises(LongviewError, match="2 cells for 1 columns"):
        write_index(folder, "t", [], columns=["a"], rows=[["1", "2"]])


def test_contact_sheet_places_every_picture(tmp_path: Path) -> None:
    images = [picture(tmp_path / f"{c}.png", (200, h), c) for c, h in (("red", 100), ("blue", 50), ("lime", 100))]
    sheet = contact_sheet(images, tmp_path / "out" / "contact_sheet.png", columns=2, width=100)
    with Image.open(sheet) as opened:
        assert opened.size == (2 * 100 + 3 * 16, 2 * 50 + 3 * 16)
        where = {"red": (66, 41), "blue": (182, 28), "lime": (66, 107)}
        found = {name: opened.convert("RGB").getpixel(at) for name, at in where.items()}
    assert found == {"red": (255, 0, 0), "blue": (0, 0, 255), "lime": (0, 255, 0)}


def test_contact_sheet_of_nothing_or_of_no_picture(tmp_path: Path) -> None:
    with pytest.raises(LongviewError, match="no picture"):
        contact_sheet([], tmp_path / "c.png")
    broken = tmp_path / "broken.png"
    broken.write_text("not a picture")
    with pytest.raises(LongviewError, match=r"broken\.png"):
        contact_sheet([broken], tmp_path / "c.png")
