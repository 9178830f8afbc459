"""The picture of a search: every trial and the best so far, and what mattered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from longview.launch.study import Trials

_INK, _SOFT, _LINE = "#20262e", "#6b7480", "#d5d8dc"
_TRIAL, _BEST, _FAILED = "#9aa3af", "#2563a8", "#c0392b"


def draw(trials: Trials, path: Path) -> Path:
    """Draw history and importance into ``path`` (.png), whole or not at all; returns it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    importances = trials.importances()
    figure = Figure(figsize=(9.6 if importances else 6.4, 3.8), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    ratios = {"width_ratios": [2, 1]} if importances else {}
    axes = figure.subplots(1, 2 if importances else 1, squeeze=False, gridspec_kw=ratios)[0]
    history = axes[0]
    values = [t.value for t in trials.finished()]
    at = [i for i, v in enumerate(values, 1) if v is not None]
    known = [v for v in values if v is not None]
    history.scatter(at, known, s=24, color=_TRIAL, zorder=2, label="trial")
    better = max if trials.mode == "max" else min
    best = [better(known[: i + 1]) for i in range(len(known))]
    if best:
        history.step([*at, len(values)], [*best, best[-1]], where="post", color=_BEST, lw=1.8, zorder=3, label="best so far")
    if failed := [i for i, v in enumerate(values, 1) if v is None]:
        below = history.get_xaxis_transform()
        history.plot(failed, [0.02] * len(failed), "x", color=_FAILED, transform=below, label="failed")
    history.set_xlabel("trial")
    history.set_ylabel(trials.metric or "objective")
    history.xaxis.set_major_locator(MaxNLocator(integer=True))
    history.margins(y=0.08)
    history.legend(frameon=False, fontsize=9, labelcolor=_INK, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderpad=0)
    if importances:
        bars = axes[1]
        names = list(reversed(importances))
        bars.barh(names, [importances[n] for n in names], color=_BEST, height=0.55)
        bars.set_xlabel("importance (PED-ANOVA)")
        bars.set_xlim(0, 1)
    for axis in axes:
        axis.tick_params(labelsize=9, color=_LINE, labelcolor=_INK)
        axis.xaxis.label.set_color(_SOFT)
        axis.yaxis.label.set_color(_SOFT)
        axis.grid(color=_LINE, linewidth=0.6, axis="y" if axis is history else "x")
        axis.set_axisbelow(True)
        for side, spine in axis.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(_LINE)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    figure.savefig(temporary, dpi=150, format="png")
    temporary.replace(path)
    return path
