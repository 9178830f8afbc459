"""A network without chance, and one rank of a run of four: for tests of strategies that divide the work.

``python tests/divided.py RUN_DIR...`` is one rank: it executes each directory once, or twice if its name ends in "stopped", and
then stops the first attempt at step 10, in the middle of an epoch. $AUDIT/<rank> lists the files it makes,
$PORTS are the master ports of its attempts.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from longview.types import InputDim, NumClasses, PositiveInt

if TYPE_CHECKING:
    from longview.data.anticipation import AnticipationBatch


class Layer(nn.Module):
    """Residual layer over channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Linear(width, width)
        self.gain = nn.Parameter(torch.full((width,), 0.5))

    def forward(self, h: Tensor) -> Tensor:
        return h + self.gain * torch.tanh(self.mix(self.norm(h)))


class Layers(nn.Module):
    """Frame-wise class scores from the observed part; the loss is a mean over videos, each a mean over its own frames."""

    tasks: ClassVar[tuple[str, ...]] = ("anticipation",)

    def __init__(self, num_classes: NumClasses, input_dim: InputDim, *, width: PositiveInt = 7, layers: PositiveInt = 3) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.linspace(-1, 1, width))
        self.inner = nn.Linear(input_dim, width)
        self.layers = nn.ModuleList(Layer(width) for _ in range(layers))
        self.head = nn.Linear(width, num_classes)
        self.register_buffer("scale", torch.tensor(0.1))

    def forward(self, batch: AnticipationBatch) -> Tensor:
        seen = batch.observed.sum(1, keepdim=True) / batch.past.sum(1)[:, None, None].clamp_min(1)
        h = self.inner(batch.observed + seen) * self.scale + self.start
        for layer in self.layers:
            h = layer(h)
        out: Tensor = self.head(h)
        return out

    def training_loss(self, batch: AnticipationBatch) -> Tensor:
        """Mean over videos."""
        errors = F.cross_entropy(self(batch).transpose(1, 2), batch.target, ignore_index=-100, reduction="none")
        return (errors.sum(1) / batch.valid.sum(1)).mean()

    @torch.no_grad()
    def anticipate(self, batch: AnticipationBatch, num_samples: int, seed: int = 0) -> Tensor:
        """The likeliest classes, as often as asked for."""
        return self(batch).argmax(-1)[:, None].expand(-1, num_samples, -1)


def audit(path: str) -> None:
    """From now on, note in ``path`` every file that this process opens for writing, makes or removes."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def hook(event: str, args: Any) -> None:
        if event == "open" and isinstance(args[0], str) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            os.write(log, f"{args[0]}\n".encode())
        elif event in ("os.mkdir", "os.rename", "os.remove", "os.link"):
            os.write(log, f"{os.fspath(args[event == 'os.rename'])}\n".encode())

    sys.addaudithook(hook)


def install() -> None:
    """Make ``longview.models.divided.Layers`` of this file: a model has to lie in longview.models."""
    import longview.models

    longview.models.__path__.append(str(Path(__file__).parent))


def main() -> int:
    """One rank."""
    install()
    audit(f"{os.environ['AUDIT']}/{os.environ['RANK']}")
    import longview.engine.run as engine
    from longview.engine.stop import StopFlag
    from longview.models.blocks.ema import ExponentialMovingAverage
    from longview.runs.directory import RunDirectory

    class Asked(StopFlag):
        def __bool__(self) -> bool:
            self.reason = self.reason or "asked"
            return True

    # The average of a hundred steps' warm-up would only copy in these short runs.
    ExponentialMovingAverage.__init__.__kwdefaults__ = {"every": 2, "warmup": 2, "decay": 0.9}  # type: ignore[attr-defined]
    size, ports = os.environ["WORLD_SIZE"], iter(os.environ["PORTS"].split(","))
    for path in sys.argv[1:]:
        for attempt in range(1 + path.endswith("stopped")):
            first = path.endswith("stopped") and attempt == 0
            engine.StopFlag = Asked if first else StopFlag  # type: ignore[misc]
            os.environ |= {"WORLD_SIZE": size, "MASTER_PORT": next(ports)}  # Lightning takes the size away
            code = engine.execute(RunDirectory.open(path))
            if code != (130 if first else 0):
                return code or 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
