"""The controls on the real Breakfast labels: the figures every learned model has to be read against."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from longview.data.anticipation import IGNORE, AnticipationBatch
from longview.metrics.moc import MoC
from longview.models.nearest_neighbour import NearestNeighbour
from longview.models.repeat_last import RepeatLast

FOLDER = Path(os.environ.get("LONGVIEW_DATA", Path(__file__).resolve().parents[4] / "shared" / "data")) / "breakfast_gt"
pytestmark = pytest.mark.skipif(not (FOLDER / "breakfast.tar.xz").is_file(), reason=f"real labels are not there: {FOLDER}")
HORIZONS = (0.1, 0.2, 0.3, 0.5)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Thousands of tiny operations: threads only get into each other's way."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    with tarfile.open(FOLDER / "breakfast.tar.xz") as archive:
        members = [m for m in archive if m.isfile()]
        return {m.name.removeprefix("breakfast/"): archive.extractfile(m).read().decode() for m in members}  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def labels(files: dict[str, str]) -> dict[str, torch.Tensor]:
    ids = {name: int(k) for k, name in (line.split() for line in files["mapping.txt"].splitlines())}
    lines = {name.split("/")[1]: body.split() for name, body in files.items() if name.startswith("groundTruth/")}
    return {video: torch.tensor([ids[label] for label in line]) for video, line in lines.items()}


def batches(videos: list[str], labels: dict[str, torch.Tensor], observation: float) -> Iterator[AnticipationBatch]:
    """Full-rate batches of 8, longest first, as an evaluation loader gives them."""
    for at in range(0, len(videos), 8):
        names = sorted(videos[at : at + 8], key=lambda v: -labels[v].numel())
        full = torch.nn.utils.rnn.pad_sequence([labels[v] for v in names], batch_first=True, padding_value=IGNORE)
        lengths = torch.tensor([labels[v].numel() for v in names])
        steps = torch.arange(full.shape[1])
        ends = torch.tensor([int((observation + max(HORIZONS)) * n) for n in lengths.tolist()])
        seen = torch.tensor([int(observation * n) for n in lengths.tolist()])
        target = torch.where(steps < ends[:, None], full, IGNORE)[:, : int(ends.max())]
        past = (steps < seen[:, None])[:, : int(ends.max())]
        ratio = torch.full((len(names),), observation, dtype=torch.float32)
        width = torch.zeros(*target.shape, 1)
        yield AnticipationBatch(width, target, target != IGNORE, past, names, ratio, full, lengths, 1)


def score(
    control: type[RepeatLast] | type[NearestNeighbour], files: dict[str, str], labels: dict[str, torch.Tensor]
) -> list[float]:
    """Deterministic MoC in percent at observation 0.2, mean over the 4 splits."""
    splits = []
    for split in (1, 2, 3, 4):
        train, test = (files[f"splits/{part}.split{split}.bundle"].split() for part in ("train", "test"))
        model = control(48, 1)
        if isinstance(model, NearestNeighbour):
            model.memorise(batches(train, labels, 0.2))
        metric = MoC((0.2,), HORIZONS, 48)
        for batch in batches(test, labels, 0.2):
            for row, future in enumerate(model.anticipate(batch, 25)):
                metric.update(future, labels[batch.videos[row]], 0.2)
        splits.append(metric.compute()["moc"][0])
    return [float(v) for v in 100 * torch.stack(splits).mean(0)]


def test_repeat_last(files: dict[str, str], labels: dict[str, torch.Tensor]) -> None:
    # Counted frame by frame in plain Python: 63.69 50.29 43.79 34.70.
    assert score(RepeatLast, files, labels) == pytest.approx([63.694, 50.287, 43.792, 34.703], abs=1e-3)


def test_nearest_neighbour(files: dict[str, str], labels: dict[str, torch.Tensor]) -> None:
    # Counted by a separate numpy program of the definition: 44.08 37.53 35.22 30.18.
    assert score(NearestNeighbour, files, labels) == pytest.approx([44.08, 37.53, 35.22, 30.18], abs=0.006)
