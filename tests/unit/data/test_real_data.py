"""The sources against the real files: counts of the data sets' own documentation. Skipped where the files are absent."""

from __future__ import annotations

import os
import time
from itertools import groupby
from pathlib import Path

import pytest

from longview.data.breakfast import Breakfast
from longview.data.salads import Salads
from longview.data.salads_scores import SaladsScores
from longview.data.segments import segments

DATA = Path(os.environ.get("LONGVIEW_DATA") or Path(__file__).resolve().parents[3].parent / "shared" / "data")


def needs(name: str) -> str:
    """Path of a real file, or a skip that names its folder."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"no {path.parent}; set LONGVIEW_DATA to the folder that holds {path.parent.name}")
    return str(path)


def test_breakfast() -> None:
    source = Breakfast(root=needs("breakfast_gt/breakfast.tar.xz"))
    begin = time.process_time()
    assert source.problems() == []
    quick = time.process_time() - begin
    problems, statistics = source.verify()
    thorough = time.process_time() - begin
    assert problems == []
    assert statistics is not None
    assert (statistics.videos, statistics.classes) == (1712, 48)
    assert (statistics.frames, statistics.segments) == (3_590_899, 11_656)
    assert (statistics.shortest, statistics.longest) == (130, 9741)
    assert statistics.splits == {
        "split1": (1460, 252),
        "split2": (1261, 451),
        "split3": (1279, 433),
        "split4": (1136, 576),
    }
    assert statistics.class_frames["SIL"] == pytest.approx(0.072 * statistics.frames, rel=0.01)
    assert quick < 0.25, "0.02 s where it was measured"
    assert thorough < 6, "0.9 s where it was measured"


@pytest.mark.parametrize("split", [1, 2, 3, 4])
def test_breakfast_validation_persons_are_their_own(split: int) -> None:
    source = Breakfast(root=needs("breakfast_gt/breakfast.tar.xz"), split=split, val_fraction=0.1)
    train, val, test = ({video[:3] for video in source.videos(part)} for part in ("train", "val", "test"))  # type: ignore[arg-type]
    assert train.isdisjoint(val)
    assert test.isdisjoint(train | val)
    assert len(val) == round(0.1 * len(train | val))


def test_50salads() -> None:
    source = Salads(root=needs("50salads_gt/50salads.tar.xz"), val_fraction=0.1)
    problems, statistics = source.verify()
    assert problems == []
    assert statistics is not None
    assert (statistics.videos, statistics.classes) == (50, 19)
    assert (statistics.frames, statistics.segments) == (577_595, 999)
    assert (statistics.shortest, statistics.longest) == (7555, 18_143)
    assert statistics.splits == {f"split{n}": (40, 10) for n in range(1, 6)}
    assert source.describe().parts == {"train": 36, "val": 4, "test": 10}, "both videos of two of twenty persons"


@pytest.mark.parametrize(("model", "steps"), [("svm", 16_596), ("tcnn", 12_453), ("edtcn", 9_966), ("dtcn", 9_966)])
def test_50salads_scores(model: str, steps: int) -> None:
    source = SaladsScores(root=needs("50salads_cnn_scores/50salads_mid_scores.npz"), model=model)  # type: ignore[arg-type]
    problems, statistics = source.verify()
    assert problems == []
    assert statistics is not None
    assert (statistics.videos, statistics.frames) == (50, steps)
    assert statistics.splits == {f"split{n}": (40, 10) for n in range(1, 6)}
    video = source.videos("test")[0]
    assert source.features(video, 20, 2).shape == (10, 18)


def test_score_names_tell_the_same_stories_as_the_label_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The score file has ids only: with the names given to them, the actions come in the order of the label files."""
    scores_file, labels_file = needs("50salads_cnn_scores/50salads_mid_scores.npz"), needs("50salads_gt/50salads.tar.xz")
    monkeypatch.setenv("LONGVIEW_DATA", str(DATA))
    scores, truth = SaladsScores(root=scores_file), Salads(root=labels_file)

    def story(source: SaladsScores | Salads, video: str) -> list[str]:
        names = source.describe().class_names
        told = (names[label] for label, _, _ in segments(source.labels(video)))
        return [name for name, _ in groupby(n for n in told if n != "background" and not n.startswith("action_"))]

    videos = [*scores.videos("train"), *scores.videos("test")]
    same = sum(story(scores, video) == story(truth, f"rgb-{video}") for video in videos)
    assert same >= 45, f"{same} of {len(videos)}"
