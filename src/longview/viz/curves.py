"""Training curves from a run's metrics.csv: loss, validation metrics and learning rate over steps."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from longview.errors import LongviewError
from longview.viz.palette import class_colors

Points = tuple[list[float], list[float]]

_INK, _SOFT, _LINE = "#20262e", "#6b7480", "#d5d8dc"
_NOT_METRICS = ("step", "epoch")


def curves(csv_path: Path | str, title: str = "") -> Figure:
    """One panel each for losses, validation metrics and learning rates; a panel without data is left out.

    Columns are told apart by name: "lr" or "learning_rate" in front, "loss" anywhere, "val" in front. Empty cells,
    cells that are not numbers and rows out of order are put up with (of rows for one step the last counts); an empty
    file gives a figure that says so.

    Raises:
        LongviewError: the file cannot be read.
    """
    series = read_series(csv_path)
    panels: list[tuple[str, dict[str, Points]]] = [
        ("Loss", {n: p for n, p in series.items() if _kind(n) == "loss"}),
        ("Validation", {n: p for n, p in series.items() if _kind(n) == "val"}),
        ("Learning rate", {n: p for n, p in series.items() if _kind(n) == "lr"}),
    ]
    panels = [(name, lines) for name, lines in panels if lines]
    figure = Figure(figsize=(max(4.2 * len(panels), 5.5), 3.4), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)  # type: ignore[union-attr,call-arg]
    if title:
        figure.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold", color=_INK, parse_math=False)
    if not panels:
        figure.text(0.5, 0.45, "no training curves: nothing was logged", ha="center", fontsize=11, color=_SOFT)
        return figure
    for at, (name, lines) in enumerate(panels, 1):
        _panel(figure.add_subplot(1, len(panels), at), name, lines)
    return figure


def read_series(csv_path: Path | str) -> dict[str, Points]:
    """Steps and values of every column of a metrics.csv that has a number; without a ``step`` column rows are counted.

    Raises:
        LongviewError: the file cannot be read.
    """
    found: dict[str, dict[float, float]] = {}
    try:
        with Path(csv_path).open(newline="", encoding="utf-8", errors="replace") as file:
            for at, row in enumerate(csv.DictReader(file)):
                step = _number(row.get("step"))
                for name, cell in row.items():
                    value = _number(cell)
                    if isinstance(name, str) and name not in _NOT_METRICS and value is not None:
                        found.setdefault(name, {})[float(at) if step is None else step] = value
    except OSError as error:
        raise LongviewError(f"{csv_path}: cannot read the metrics: {error.strerror or error}") from error
    except csv.Error as error:
        raise LongviewError(f"{csv_path}: not a CSV file: {error}") from error
    return {name: (sorted(points), [points[s] for s in sorted(points)]) for name, points in found.items()}


def _number(cell: object) -> float | None:
    try:
        value = float(cell) if isinstance(cell, str) else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _kind(name: str) -> str:
    plain = name.lower()
    if plain.startswith(("lr", "learning_rate")):
        return "lr"
    if plain.startswith("test"):
        return ""
    if "loss" in plain:
        return "loss"
    return "val" if plain.startswith("val") else ""


def _panel(axes: Axes, name: str, lines: Mapping[str, Points]) -> None:
    # A value logged per step and per epoch: the first is drawn pale behind the second.
    order = sorted(lines, key=lambda n: (not n.endswith("_step"), n))
    settled = [n for n in order if not n.endswith("_step")]
    colors = class_colors(max(len(order), 1)) / 255
    for column in order:
        steps, values = lines[column]
        base = column.removesuffix("_step") + "_epoch"
        pale = column.endswith("_step") and base in lines
        owner = base if pale else column
        color = colors[settled.index(owner) if owner in settled else order.index(column)]
        axes.plot(
            steps,
            values,
            color=tuple(color),
            alpha=0.35 if pale else 1.0,
            linewidth=0.9 if pale else 1.8,
            marker="o" if len(steps) <= 25 and not pale else "",
            markersize=3.5,
            drawstyle="steps-post" if _kind(column) == "lr" else "default",
            label=column.replace("$", r"\$"),
        )
    axes.set_title(name, fontsize=10.5, color=_INK, loc="left")
    axes.set_xlabel("step", fontsize=9, color=_SOFT)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    _scale(axes, [v for _, values in lines.values() for v in values])
    axes.grid(color=_LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8.5, color=_LINE, labelcolor=_SOFT)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_LINE)
    axes.legend(fontsize=8, frameon=False, labelcolor=_INK)


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """Logarithmic where positive values span more than two decades."""
    if min(values) > 0 and max(values) > 100 * min(values):
        axes.set_yscale("log")
    else:
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.4g}")  # no offset text above the axis
