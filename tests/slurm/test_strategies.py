"""Every strategy over two nodes of a real SLURM, two ranks each: they train what one process does, and export plainly."""

from __future__ import annotations

import csv
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from slurm.twin import Twin

import tiny
from cluster import ROOT, call, ended, logs, run
from longview.runs.sweep import SweepDirectory
from twins import Twins

STRATEGIES = ("ddp", "fsdp", "deepspeed_1", "deepspeed_2", "deepspeed_3")
SETTINGS = [
    *(a for a in tiny.RUN if not a.startswith(("resources", "loader", "trainer.max_epochs"))),
    "model=divided",
    "data.train_videos=8",  # three observations of each: 24 examples, 3 global batches of 8
    "data.val_videos=3",
    "data.test_videos=3",
    "data.mean_length=120",
    "data.stride=6",
    "trainer.max_epochs=3",
    "loader.eval_batch_size=1",
    "trainer.gradient_clip=0.5",
    "task.weight_decay=0.05",
    "task.lr=0.01",
    "task.figures=0",
]
TOLERANCE = {"rtol": 0.0, "atol": 2e-5}
"""As in tests/e2e/test_strategies.py: sums in another order, divided by Adam where a gradient is near zero."""


@pytest.fixture(scope="module")
def runs(twin: Twins, tmp_path_factory: pytest.TempPathFactory) -> tuple[Twin, dict[str, Path]]:
    """Strategy -> run directory, and "alone" -> that of one process; all submitted at once."""
    juwels, folder = twin("juwels"), tmp_path_factory.mktemp("strategies")
    conf = shutil.copytree(ROOT / "conf", folder / "conf")
    (conf / "model" / "divided.yaml").write_text("_target_: longview.models.divided.Layers\nwidth: 7\nlayers: 3\n")
    (folder / "site").mkdir()  # a model has to lie in longview.models; this one lies in tests/
    path = f"import longview.models\nlongview.models.__path__.append({str(ROOT / 'tests')!r})\n"
    (folder / "site" / "sitecustomize.py").write_text(path)
    env = {"LONGVIEW_CONF": str(conf), "PYTHONPATH": f"{folder / 'site'}:{ROOT / 'src'}"}
    line = ["cluster=juwels", "-m", *SETTINGS, f"run.root={folder / 'runs'}"]
    four = ["resources.nodes=2", "resources.devices=2", "loader.batch_size=2", f"strategy={','.join(STRATEGIES)}"]
    run(juwels, folder, *line, *four, "launch.sweep=four", **env)
    run(juwels, folder, *line, "resources.devices=1", "loader.batch_size=8", "launch.sweep=alone", **env)
    found = {}
    for path in (folder / "runs").glob("*/sweep.json"):
        sweep = SweepDirectory.open(path.parent)
        found |= {point.values.get("strategy", "alone"): sweep.run_path(point) for point in sweep.points()}
    for directory in found.values():
        assert ended(directory)["code"] == 0, logs(directory)
    return juwels, found


def column(directory: Path, name: str) -> list[float]:
    with (directory / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_nodes_train_what_one_process_does(runs: tuple[Twin, dict[str, Path]], strategy: str, tmp_path: Path) -> None:
    juwels, found = runs
    weights = []
    for name in ("alone", strategy):
        file = tmp_path / f"{name}.ckpt"
        line = ["export", str(found[name]), "--which", "last", "--out", str(file)]
        done = call(juwels, tmp_path, sys.executable, "-m", "longview.cli", *line)
        assert done.returncode == 0, done.stdout + done.stderr
        weights.append(torch.load(file, weights_only=True)["state_dict"])
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, **TOLERANCE)
    one, four = found["alone"], found[strategy]
    # the task divides the mean over a batch by the batch's size, which is 8 in one process and 2 in each of four
    losses = [loss * 2 for loss in column(four, "train/loss_epoch")]
    assert losses == pytest.approx([loss * 8 for loss in column(one, "train/loss_epoch")], 1e-4)
    assert column(four, "val/loss") == pytest.approx(column(one, "val/loss"), 1e-4)
    assert len(losses) == 3
    nodes = next((found[strategy] / "logs").glob("*/batch.log")).read_text().partition(" on ")[2].partition(": ")[0]
    assert re.fullmatch(r"jwb\[\d{4}[-,]\d{4}\]", nodes), nodes
