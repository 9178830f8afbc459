"""metrics.csv: one row per logged step, one column per metric; goes on without gaps or repeats when a run is resumed."""

from __future__ import annotations

import csv
import io
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from longview.runs.directory import write_atomically


class MetricsFile(Logger):
    """Appends rows to ``path``; a new metric rewrites the file with one more column.

    Rows after the step a run is resumed from are dropped first, so each step appears once.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._columns: list[str] = []
        self._rows: list[dict[str, str]] = []
        self._written = 0
        self._header_dirty = True
        if path.exists():
            text = path.read_text(encoding="utf-8")
            reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))  # a crash may have left half a row
            self._columns = [c for c in reader.fieldnames or [] if c not in ("step", "epoch")]
            self._rows = [dict(row) for row in reader if (row.get("step") or "").isdecimal()]

    @property
    def name(self) -> str:
        """Lightning asks for one."""
        return "csv"

    @property
    def version(self) -> str:
        """There is one file a run."""
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> MetricsFile:
        """The logger itself."""
        return self

    @rank_zero_only
    def truncate_after(self, step: int) -> None:
        """Forget rows of steps beyond ``step``: they will be trained again."""
        kept = [row for row in self._rows if int(row["step"]) <= step]
        self._header_dirty = self._header_dirty or len(kept) < len(self._rows)
        self._rows = kept

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The configuration stands in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add metrics of a step; several calls for one step share its row."""
        values = {k: f"{float(v):.8g}" for k, v in metrics.items() if k != "epoch"}
        new = [k for k in values if k not in self._columns]
        if new:
            self._columns += new
            self._header_dirty = True
        epoch = str(int(metrics["epoch"])) if "epoch" in metrics else ""
        if self._rows and self._rows[-1]["step"] == str(step or 0):
            self._rows[-1].update({**values, "epoch": epoch or self._rows[-1].get("epoch", "")})
            self._header_dirty = self._header_dirty or len(self._rows) <= self._written
        else:
            self._rows.append({"step": str(step or 0), "epoch": epoch, **values})

    def _text(self, rows: list[dict[str, str]], header: bool) -> str:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, ["step", "epoch", *self._columns], restval="", lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return buffer.getvalue()

    @rank_zero_only
    def save(self) -> None:
        """Bring the file up to date."""
        if not self._rows:
            return
        if self._header_dirty or not self.path.exists():
            write_atomically(self.path, self._text(self._rows, header=True))
        elif self._written < len(self._rows):
            with self.path.open("a", encoding="utf-8") as file:
                file.write(self._text(self._rows[self._written :], header=False))
        self._written, self._header_dirty = len(self._rows), False

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Last save."""
        self.save()


class DropRepeatedRows(Callback):
    """When a run continues from a checkpoint, forget the rows of steps that will be trained again."""

    def __init__(self, file: MetricsFile) -> None:
        self.file = file

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Rows are numbered from 0: the row of the last finished step is ``global_step - 1``."""
        self.file.truncate_after(trainer.global_step - 1)
