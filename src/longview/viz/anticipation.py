"""Timelines of one test video: what happened, what was seen, what every sampled future says and what most say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextToPath
from numpy.typing import ArrayLike, NDArray

from longview.errors import LongviewError
from longview.metrics.moc import mean_over_classes, window_counts
from longview.viz.palette import class_colors, class_names

Ints = NDArray[np.int64]

_INK, _SOFT, _LINE = "#20262e", "#6b7480", "#b9c0c8"
_WIDTH, _LEFT, _RIGHT = 11.0, 1.35, 0.9  # inches
_TITLE, _TICKS, _LEGEND_ROW = 0.72, 0.62, 0.205
_LEGEND_SIZE = 8.8  # points
_LEGEND_LIMIT = 40  # entries; more are summed up in one


def majority_vote(samples: ArrayLike) -> Ints:
    """Most frequent class of every frame: [S, T] to [T]; among equals the smallest id, -1 where no sample has one."""
    votes = np.asarray(samples, dtype=np.int64)
    counts = np.zeros((int(votes.max(initial=0)) + 1, votes.shape[1]), dtype=np.int64)
    sample, frame = (votes >= 0).nonzero()
    np.add.at(counts, (votes[sample, frame], frame), 1)
    winner: Ints = np.where(counts.any(0), counts.argmax(0), -1)
    return winner


def anticipation_strip(
    samples: ArrayLike,
    labels: ArrayLike,
    observation: float,
    *,
    num_classes: int,
    horizon: float = 0.5,
    stride: int = 1,
    names: Sequence[str] = (),
    video: str = "",
) -> Figure:
    """Strip plot of one video.

    Rows from the top: ground truth of the whole video, the observed part, the per-frame majority vote and every sample
    (with a single sample: the prediction). On the right, the MoC on this video of the vote and of the best sample. The
    line marks the end of the observed part; left of it a prediction is drawn pale. The dashed line marks the end of the
    scored window. White means "nothing here".

    Args:
        samples: Class ids [S, T] (or [T]) of frames 0, stride, 2 * stride, ..., observed frames included.
        labels: Class ids [L] at full rate, without padding.
        observation: Observed fraction of the video.
        num_classes: K.
        horizon: Fraction the MoC figures are for.
        stride: Full-rate frames per predicted frame.
        names: Class names; missing ones become "class k".
        video: Name for the title.

    Raises:
        LongviewError: no sample, no label, or a label outside 0..K-1.
    """
    observation = round(float(observation), 6)  # a batch carries it as float32
    drawn = np.atleast_2d(np.asarray(samples, dtype=np.int64))
    truth = np.asarray(labels, dtype=np.int64)
    if drawn.ndim != 2 or drawn.size == 0 or truth.ndim != 1 or truth.size == 0:
        raise LongviewError(f"strip plot: wants samples [S, T] and labels [L]; got {drawn.shape} and {truth.shape}")
    clean = class_names(names, num_classes)
    colors = class_colors(num_classes, clean)
    length, seen = truth.size, int(observation * truth.size)

    vote = majority_vote(drawn)
    scores = _scores(np.vstack([vote, drawn]), truth, observation, horizon, num_classes, stride)
    full = np.repeat(drawn, stride, axis=1)[:, :length]
    rows: list[tuple[str, Ints, float, float | None]] = [
        ("Ground truth", truth, 0.34, None),
        ("Observed", truth[:seen], 0.2, None),
    ]
    several = len(drawn) > 1
    if several:
        rows.append(("Majority vote", np.repeat(vote, stride)[:length], 0.34, scores[0]))
        thin = min(0.2, max(0.06, 3.0 / len(drawn)))
        best = _first_best(scores[1:])
        rows += [("", line, thin, scores[1 + s] if s == best else None) for s, line in enumerate(full)]
    else:
        rows.append(("Prediction", full[0], 0.34, scores[0]))

    gaps = [0.16 if label else max(0.012, 0.12 * height) for label, _, height, _ in rows]
    if several:
        gaps[3] = 0.16
    panel = sum(height for _, _, height, _ in rows) + sum(gaps[1:]) + 0.08
    entries = _legend_entries([truth, *full], clean, colors)
    columns = _legend_columns([name for name, _ in entries])
    legend = _LEGEND_ROW * -(-len(entries) // columns) + 0.12
    height = _TITLE + panel + _TICKS + legend

    figure = Figure(figsize=(_WIDTH, height), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((_LEFT / _WIDTH, (legend + _TICKS) / height, 1 - (_LEFT + _RIGHT) / _WIDTH, panel / height))
    axes.set_xlim(0, length)
    axes.set_ylim(panel, 0)  # inches from the top of the panel
    top, sample_span = 0.04, [panel, 0.0]
    for at, (label, line, thick, score) in enumerate(rows):
        top += gaps[at] if at else 0.0
        _draw_row(axes, line, top, thick, colors, pale_until=seen if at > 1 else 0)
        if label:
            _side_text(axes, label, top + thick / 2, left=True)
        else:
            sample_span = [min(sample_span[0], top), max(sample_span[1], top + thick)]
        if score is not None:
            note = f"{_percent(score)}" if label else f"best {_percent(score)}"
            _side_text(axes, note, top + thick / 2, left=False)
        top += thick
    if several:
        _side_text(axes, f"{len(drawn)} samples", sum(sample_span) / 2, left=True)
    _side_text(axes, "MoC", 0.04 + 0.17, left=False, color=_SOFT)
    axes.axvline(seen, color=_INK, linewidth=1.4, zorder=5)
    end = min(int((observation + horizon) * length), length)
    if end < length:
        axes.axvline(end, color=_SOFT, linewidth=0.9, linestyle=(0, (4, 3)), zorder=5)
    _time_axis(axes, length)
    _headline(figure, height, video, scores, observation, horizon, length)
    _draw_legend(figure, height, legend, entries, columns)
    return figure


def save_figure(figure: Figure, path: Path | str, dpi: int = 130) -> Path:
    """Write a figure (format by suffix), making the folder; the file is whole or absent, and equal for equal input."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.stem}.partial{target.suffix}")
    metadata = {"Software": None} if target.suffix.lower() == ".png" else None
    figure.savefig(partial, dpi=dpi, metadata=metadata)
    partial.replace(target)
    return target


def _scores(lines: Ints, truth: Ints, a: float, b: float, classes: int, stride: int) -> list[float]:
    counts = window_counts(torch.from_numpy(lines), torch.from_numpy(truth), a, (b,), classes, stride)
    return [float(v) for v in mean_over_classes(counts.right[:, 0], counts.support[0])]


def _first_best(scores: Sequence[float]) -> int:
    return int(np.argmax(np.nan_to_num(np.round(scores, 12))))


def _percent(score: float) -> str:
    return "–" if np.isnan(score) else f"{100 * score:.1f}"  # noqa: RUF001


def _draw_row(axes: Axes, line: Ints, top: float, thick: float, colors: NDArray[np.uint8], pale_until: int = 0) -> None:
    """One rectangle per segment: an image row would lose short segments to resampling."""
    if not line.size:
        return
    cuts = np.flatnonzero(np.diff(line)) + 1
    if 0 < pale_until < line.size:
        cuts = np.union1d(cuts, [pale_until])
    for start, end in zip([0, *cuts], [*cuts, line.size], strict=True):
        k = int(line[start])
        if not 0 <= k < len(colors):
            continue  # not a class: leave the gap white
        color = colors[k] / 255
        if start < pale_until:
            color = 1 - 0.35 * (1 - color)
        # Snapping to whole pixels keeps hairline gaps out of neighbouring segments.
        axes.add_patch(Rectangle((start, top), end - start, thick, facecolor=color, linewidth=0, snap=True))


def _side_text(axes: Axes, text: str, y: float, left: bool, color: str = _INK) -> None:
    axes.annotate(
        text,
        (0 if left else 1, y),
        xycoords=("axes fraction", "data"),
        xytext=(-8 if left else 8, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="center",
        fontsize=9.5,
        color=color,
        annotation_clip=False,
    )


def _time_axis(axes: Axes, length: int) -> None:
    marks = np.arange(0, 101, 10)
    axes.set_xticks(marks / 100 * length, [f"{m} %\n{round(m / 100 * length)}" for m in marks])
    axes.tick_params(axis="x", length=3, color=_LINE, labelcolor=_SOFT, labelsize=8.5)
    axes.set_yticks([])
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_LINE)
    axes.annotate(
        "of the video\nframe",
        (0, 0),
        xycoords="axes fraction",
        xytext=(-28, -6),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=8.5,
        color=_SOFT,
        annotation_clip=False,
    )


def _headline(
    figure: Figure, height: float, video: str, scores: list[float], observation: float, horizon: float, length: int
) -> None:
    name = "".join(c if c.isprintable() else " " for c in video).strip()
    name = _shortened(name, 13, _WIDTH - _LEFT - 0.3, bold=True)
    x = _LEFT / _WIDTH
    options: dict[str, Any] = {"ha": "left", "va": "top", "parse_math": False}  # "$" in a name is a dollar sign
    figure.text(x, 1 - 0.14 / height, name or "video", fontsize=13, fontweight="bold", color=_INK, **options)
    own = scores[1:]
    what = f"observed {100 * observation:g} % of {length} frames, MoC over the next {100 * horizon:g} %:  "
    if len(own) > 1:
        mean = float(np.mean(own))
        what += f"vote {_percent(scores[0])}   mean {_percent(mean)}   best {_percent(own[_first_best(own)])}"
    else:
        what += _percent(own[0])
    figure.text(x, 1 - 0.41 / height, what, fontsize=10, color=_SOFT, **options)


def _legend_entries(
    lines: Sequence[Ints], names: Sequence[str], colors: NDArray[np.uint8]
) -> list[tuple[str, NDArray[np.float64] | None]]:
    """Classes that occur: those of the ground truth in order of appearance, then predicted ones by number of frames."""
    truth = lines[0]
    present, first = np.unique(truth, return_index=True)
    order = [int(present[i]) for i in first.argsort()]
    rest = np.concatenate(lines[1:])
    counts = np.bincount(rest[(rest >= 0) & (rest < len(names))], minlength=len(names))
    order += [int(k) for k in counts.argsort(kind="stable")[::-1] if counts[k] and k not in set(order)]
    entries: list[tuple[str, NDArray[np.float64] | None]] = [
        (_shortened(names[k], _LEGEND_SIZE, 3.0), colors[k] / 255) for k in order
    ]
    if len(entries) > _LEGEND_LIMIT:
        entries[_LEGEND_LIMIT - 1 :] = [(f"+ {len(entries) - _LEGEND_LIMIT + 1} more", None)]
    return entries


def _legend_columns(names: Sequence[str]) -> int:
    widest = 0.42 + max(_text_width(name, _LEGEND_SIZE) for name in names)  # swatch and gaps, then the name
    return max(1, min(len(names), int((_WIDTH - _LEFT - _RIGHT) / widest), 8))


def _text_width(text: str, size: float, bold: bool = False) -> float:
    """Width in inches of text at a font size in points."""
    font = FontProperties(size=size, weight="bold" if bold else "normal")
    return float(TextToPath().get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def _shortened(text: str, size: float, room: float, bold: bool = False) -> str:
    """The text if it fits into ``room`` inches, else its beginning and an ellipsis."""
    text = text[:200]
    if _text_width(text, size, bold) <= room:
        return text
    while text and _text_width(text + "…", size, bold) > room:
        text = text[:-1]
    return text + "…"


def _draw_legend(
    figure: Figure,
    height: float,
    room: float,
    entries: Sequence[tuple[str, NDArray[np.float64] | None]],
    columns: int,
) -> None:
    """Legend by hand, in inches: row by row from the left, so that reading order is order of appearance."""
    axes = figure.add_axes((_LEFT / _WIDTH, 0, 1 - (_LEFT + _RIGHT) / _WIDTH, room / height))
    width = _WIDTH - _LEFT - _RIGHT
    axes.set_xlim(0, width)
    axes.set_ylim(room, 0)
    axes.axis("off")
    for at, (name, color) in enumerate(entries):
        x, y = (at % columns) * width / columns, (at // columns) * _LEGEND_ROW
        if color is not None:
            axes.add_patch(Rectangle((x, y + 0.02), 0.2, 0.13, facecolor=tuple(color), linewidth=0))
        axes.text(x + 0.27, y + 0.085, name, fontsize=_LEGEND_SIZE, va="center", color=_INK, parse_math=False)
