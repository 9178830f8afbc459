"""docs/data.md: the messages it quotes are those that are printed, the options it names are there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from longview.cli import main
from longview.config.experiment import Checker

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
VIDEO = "P03_cam01_P03_tea"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A sound root: 20 training videos and one test video of 400 frames, the first with features of 1,100 channels."""
    videos = [f"P{n:02}_cam01_P{n:02}_tea" for n in range(1, 22)]
    for folder in ("groundTruth", "splits", "features"):
        (tmp_path / folder).mkdir()
    (tmp_path / "mapping.txt").write_text("0 SIL\n1 pour_water\n")
    for video in videos:
        (tmp_path / "groundTruth" / f"{video}.txt").write_text("pour_water\n" * 100)
        np.save(tmp_path / "features" / f"{video}.npy", np.zeros((1100, 100), "f4"))
    # the video of the text stands in line 4
    order = [v for v in videos[:-1] if v != VIDEO]
    order.insert(3, VIDEO)
    (tmp_path / "splits" / "train.split1.bundle").write_text("".join(f"{v}.txt\n" for v in order))
    (tmp_path / "splits" / "test.split1.bundle").write_text(f"{videos[-1]}.txt\n")
    return tmp_path


def quoted(kind: str) -> tuple[str, re.Match[str]]:
    """A message of the text, and the numbers in it."""
    (line,) = [line.strip() for line in TEXT.splitlines() if line.startswith("    /data/breakfast/") and kind in line]
    match = re.search(r"line (\d+).*?(?:line (\d+))?$|frame (\d+), channel (\d+)$", line)
    assert match
    return line, match


def printed(root: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    command = next(line.split()[1:] for line in TEXT.splitlines() if line.startswith("    longview data check"))
    arguments = [word.replace("/data/breakfast", str(root)) for word in command]
    assert main([*arguments, *options]) == 2
    return capsys.readouterr().err.replace(str(root), "/data/breakfast")


@pytest.fixture(autouse=True)
def _conf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGVIEW_CONF", str(ROOT / "conf"))


def test_label_that_is_not_in_the_mapping(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message, numbers = quoted("is not in mapping.txt")
    lines = ["pour_water"] * (int(numbers[1]) + 5)
    lines[int(numbers[1]) - 1] = "pour_watr"
    (root / "groundTruth" / f"{VIDEO}.txt").write_text("\n".join(lines))
    assert message in printed(root, capsys)


def test_video_that_is_listed_twice(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message, _ = quoted("stands already")
    path = root / "splits" / "train.split1.bundle"
    lines = path.read_text().splitlines()
    at = int(re.findall(r"line (\d+)", message)[0])
    lines.insert(at - 1, f"{VIDEO}.txt")
    path.write_text("\n".join(lines))
    assert message in printed(root, capsys)


def test_value_that_is_no_number(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message, numbers = quoted("value nan")
    matrix = np.zeros((1100, 100), "f4")
    matrix[int(numbers[4]), int(numbers[3])] = np.nan
    np.save(root / "features" / f"{VIDEO}.npy", matrix)
    assert message in printed(root, capsys, "data.observe=features")


def test_data_sets_and_options_are_those_of_conf() -> None:
    checker = Checker(ROOT / "conf")
    named = re.findall(r"^\| `(\w+)`", TEXT, re.MULTILINE)
    assert named == [o for o in ("kitchen", "breakfast", "salads", "salads_scores") if o in checker.conf.options("data")]
    assert sorted(named) == sorted(checker.conf.options("data"))
    known = {key for option in named for key in checker.composer.block("data", option)}
    options = set(re.findall(r"\bdata\.([a-z_]+)", TEXT)) - {"md"}
    assert options <= known, options - known
    read = {key for option in named if option != "kitchen" for key in checker.composer.block("data", option)}
    assert read - {"_target_"} <= options, "an option is not described"
