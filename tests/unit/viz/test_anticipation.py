"""The strip plot: what is drawn where, and what the title says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Rectangle

from longview.errors import LongviewError
from longview.viz.anticipation import anticipation_strip, majority_vote, save_figure
from longview.viz.palette import class_colors

LABELS = np.repeat([0, 1, 2, 1, 0], 20)  # 100 frames
GOOD = LABELS[:70]
BAD = np.concatenate([LABELS[:20], np.full(50, 3)])
NAMES = ("SIL", "take_cup", "pour_milk", "never", "nor this")


def texts(figure: Figure) -> list[str]:
    inside = [t.get_text() for axes in figure.axes for t in axes.texts]
    return [t.get_text() for t in figure.texts] + inside


def rectangles(figure: Figure) -> list[Rectangle]:
    return [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]


def test_vote_is_the_most_frequent_class_of_each_frame() -> None:
    assert majority_vote([[1, 2, 3], [1, 3, 2], [0, 3, -100]]).tolist() == [1, 3, 2]
    assert majority_vote([[-100], [-100]]).tolist() == [-1]


def test_title_says_video_and_scores() -> None:
    # Window 20..69: classes 1 (30 frames), 2 (20 frames). GOOD is right everywhere, BAD nowhere.
    figure = anticipation_strip([BAD, GOOD, GOOD], LABELS, 0.2, num_classes=5, names=NAMES, video="P03_$x$_milk")
    head, line = (t.get_text() for t in figure.texts)
    assert head == "P03_$x$_milk"
    assert "observed 20 % of 100 frames" in line
    assert "next 50 %" in line
    assert line.endswith("vote 100.0   mean 66.7   best 100.0")
    assert {"Ground truth", "Observed", "Majority vote", "3 samples", "best 100.0"} <= set(texts(figure))


def test_rows_segments_and_borders() -> None:
    figure = anticipation_strip([BAD, GOOD], LABELS, 0.2, num_classes=5, names=NAMES)
    colors = class_colors(5, NAMES) / 255
    rows: dict[float, list[Rectangle]] = {}
    for patch in rectangles(figure):
        rows.setdefault(round(patch.get_y(), 4), []).append(patch)
    truth, observed, *rest = (rows[y] for y in sorted(rows))
    assert [(p.get_x(), p.get_width()) for p in truth] == [(20.0 * i, 20.0) for i in range(5)]
    assert all(np.allclose(p.get_facecolor()[:3], colors[k]) for p, k in zip(truth, [0, 1, 2, 1, 0], strict=True))
    assert [(p.get_x(), p.get_width()) for p in observed] == [(0.0, 20.0)]
    assert len(rest) == 3  # vote and two samples
    for row in rest:
        assert max(p.get_x() + p.get_width() for p in row) == 70  # white after the prediction's end
        assert min(p.get_facecolor()[0] for p in row if p.get_x() < 20) > 0.9  # pale before the border
    lines = [line.get_xdata()[0] for line in figure.axes[0].lines]
    assert lines == [20, 70]


def test_single_sample_has_no_vote() -> None:
    figure = anticipation_strip(torch.from_numpy(GOOD), torch.from_numpy(LABELS), 0.2, num_classes=5)
    assert "Prediction" in texts(figure)
    assert not any("vote" in t.lower() or "samples" in t for t in texts(figure))


def test_strided_prediction_is_stretched_to_full_rate() -> None:
    figure = anticipation_strip(GOOD[::3], LABELS, 0.2, num_classes=5, stride=3)
    assert max(p.get_x() + p.get_width() for p in rectangles(figure) if p.get_y() > 0.5) == 72


def test_legend_lists_only_what_occurs() -> None:
    shown = texts(anticipation_strip([GOOD, BAD], LABELS, 0.2, num_classes=5, names=NAMES))
    assert [t for t in shown if t in NAMES] == ["SIL", "take_cup", "pour_milk", "never"]


@pytest.mark.parametrize(("classes", "samples"), [(17, 25), (48, 25), (48, 1), (202, 100)])
def test_nothing_overlaps_or_leaves_the_page(classes: int, samples: int) -> None:
    rng = np.random.default_rng(classes)
    labels = np.repeat(rng.integers(0, classes, 20), 50)
    drawn = np.repeat(rng.integers(0, classes, (samples, 14)), 50, axis=1)
    names = [("place_cucumber_into_bowl" if k % 2 else "W" * 50) + f"_{k}" for k in range(classes)]
    figure = anticipation_strip(drawn, labels, 0.3, num_classes=classes, names=names, video="W" * 300)
    figure.canvas.draw()
    page = figure.bbox
    artists = [*figure.texts, *(t for axes in figure.axes for t in axes.texts), *figure.axes[0].get_xticklabels()]
    boxes = [(a.get_text(), a.get_window_extent()) for a in artists if a.get_text()]
    for name, box in boxes:
        assert box.x0 >= page.x0, name
        assert box.x1 <= page.x1, name
        assert box.y0 >= page.y0, name
        assert box.y1 <= page.y1, name
    for i, (name, box) in enumerate(boxes):
        for other, second in boxes[i + 1 :]:
            assert not box.overlaps(second), (name, other)
    assert figure.get_figwidth() == 11
    assert figure.get_figheight() < 15


def test_a_window_without_frames_has_no_score() -> None:
    figure = anticipation_strip([0, 0], [1, 1], 0.2, num_classes=2, horizon=0.1)
    assert figure.texts[1].get_text().endswith("–")  # noqa: RUF001


def test_hostile_names_are_drawn_as_text() -> None:
    figure = anticipation_strip(GOOD, LABELS, 0.2, num_classes=5, names=("$\\frac{$", "a\nb", "", "x" * 99), video="$^\n\x00{$")
    figure.canvas.draw()  # mathtext would raise
    assert "a b" in texts(figure)
    assert "class 2" in texts(figure)


def test_empty_input_is_named() -> None:
    with pytest.raises(LongviewError, match="strip plot"):
        anticipation_strip([], LABELS, 0.2, num_classes=5)
    with pytest.raises(LongviewError, match="strip plot"):
        anticipation_strip(GOOD, [], 0.2, num_classes=5)


def test_saved_picture_is_whole_and_reproducible(tmp_path: Path) -> None:
    paths = [tmp_path / "new" / f"{i}.png" for i in range(2)]
    for path in paths:
        save_figure(anticipation_strip([GOOD, BAD], LABELS, 0.2, num_classes=5), path, dpi=80)
    assert imread(paths[0]).shape[1] == 880
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(p.name for p in paths[0].parent.iterdir()) == ["0.png", "1.png"]


def test_pyplot_is_not_touched() -> None:
    code = (
        "import sys, numpy as np, matplotlib\n"
        "before = dict(matplotlib.rcParams)\n"
        "import longview.viz.anticipation as a, longview.viz.curves, longview.viz.index\n"
        "a.anticipation_strip(np.zeros(7, int), np.zeros(10, int), 0.2, num_classes=1)\n"
        "import matplotlib.pyplot as plt\n"  # torchmetrics imports it anyway: what counts is that it knows no figure
        "sys.exit(bool(plt.get_fignums()) or dict(matplotlib.rcParams) != before)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
