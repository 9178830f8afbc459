"""What every task is: a LightningModule that turns any fitting model into losses, metrics, a result and figures.

A task's constructor takes what the engine supplies by position (model, description) and its configuration by keyword.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from longview.data.loader import Examples
from longview.data.source import Description, FrameSource, Part


@dataclass
class Result:
    """What a run came to.

    Attributes:
        metrics: Flat figures by name ("test/mean_moc/obs0.2/horizon0.1"), fractions where they are rates.
        columns: Heads of the result table.
        rows: Its rows; numbers as they are to be shown.
        note: One line under the table (protocol, number of samples, ...).
    """

    metrics: dict[str, float]
    columns: list[str]
    rows: list[list[str | float]]
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for result.json."""
        return asdict(self)


@dataclass(frozen=True)
class Picture:
    """A figure file and what it shows."""

    path: Path
    caption: str


class Task(L.LightningModule):
    """Base of all tasks; ``batch_size`` of a batch is ``len(batch)``."""

    model: nn.Module
    description: Description
    monitor: str
    """Metric by which the best checkpoint is chosen on the validation part."""
    monitor_mode: str = "max"
    primary: str = ""
    """The one of the result's metrics by which finished runs are compared; none by default."""
    primary_mode: str = "max"

    @property
    def trainable(self) -> bool:
        """Whether the model is fitted by gradient steps; controls are not."""
        return bool(getattr(self.model, "trainable", True))

    def on_fit_start(self) -> None:
        """Give every rank its own noise and dropout: Lightning seeds all ranks alike. A resume restores what each rank had."""
        if self.trainer.world_size > 1:
            torch.manual_seed(torch.initial_seed() + 1_000_003 * self.trainer.global_rank)

    @abstractmethod
    def examples(self, source: FrameSource, part: Part) -> Examples[Any]:
        """The examples this task makes of a source's part."""

    @abstractmethod
    def memory(self, source: FrameSource) -> Examples[Any]:
        """The training part in evaluation form: what a control without training may look at."""

    @abstractmethod
    def result(self) -> Result:
        """Figures of the last test pass; the same on every rank."""

    @abstractmethod
    def draw(self, folder: Path) -> Sequence[Picture]:
        """Draw the figures of the last test pass into ``folder``, those worth a look first."""

    @abstractmethod
    def save_predictions(self, path: Path) -> None:
        """Write what was predicted in the last test pass to ``path`` (.npz)."""

    @abstractmethod
    def forward_once(self, batch: Any) -> Tensor:
        """One forward pass of the network on a batch; what FLOPs are counted on."""

    def size_of(self, batch: Any) -> str:
        """The size of a batch's samples in words, for the statement of FLOPs."""
        return f"{len(batch)} sample(s)"
