"""Four ranks, as two nodes of two, under every strategy: they train what one does, resume to the bit, export plainly.

The nodes are told apart by the environment alone, as SLURM's are; all ranks are processes of this machine (gloo).
"""

from __future__ import annotations

import csv
import json
import os
import random
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import tiny
from longview.config.experiment import Checker
from longview.engine.export import export
from longview.runs.directory import RunDirectory
from program import PATIENCE, ROOT, metrics, same

STRATEGIES = ("ddp", "fsdp", "deepspeed_1", "deepspeed_2", "deepspeed_3")
EPOCHS, STEPS = 5, 15
SETTINGS = [
    "model.self_condition=0",  # the model is replaced; MANTA itself is refused under strategies that divide weights otherwise
    *tiny.RUN,
    "data.train_videos=8",  # three observations of each: 24 examples, 3 global batches of 8
    "data.val_videos=3",
    "data.test_videos=3",
    "data.mean_length=120",
    "data.stride=6",
    f"trainer.max_epochs={EPOCHS}",
    "loader.eval_batch_size=1",
    "trainer.gradient_clip=0.5",
    "task.weight_decay=0.05",  # added to the gradient: with it, unlike Adam alone, the gradient's scale counts
    "task.lr=0.01",
    "task.figures=0",
]
TOLERANCE = {"rtol": 0.0, "atol": 2e-5}
"""Four sums of two gradients round otherwise than one sum of eight: 1e-7 of a gradient, more of a step where the gradient is near
zero, since Adam divides by its size. A five-hundredth of one step of size 1e-2 is still seen."""


def make(root: Path, name: str, strategy: str, ranks: int) -> RunDirectory:
    """A run of the network of tests/divided.py with a global batch of 8."""
    config = Checker().check([*SETTINGS, f"strategy={strategy if ranks > 1 else 'auto'}", f"run.root={root}"]).resolved
    config["model"] = {"_target_": "longview.models.divided.Layers"}
    config["loader"]["batch_size"] = 8 // ranks
    if ranks > 1:
        config["resources"] |= {"nodes": 2, "devices": 2}
    if strategy == "fsdp":
        config["strategy"]["min_unit"] = 1
    run = RunDirectory.create(root, name, config, [], [])
    return RunDirectory(run.path.rename(run.path.with_name(name)))


def ports(count: int) -> str:
    """Free ports, one per attempt; below those that outgoing connections are given."""
    found: list[str] = []
    while len(found) < count:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", random.randrange(18_000, 32_000)))
            found.append(str(probe.getsockname()[1]))
    return ",".join(found)


def start(folder: Path, *runs: RunDirectory, ranks: int = 4) -> None:
    """Execute runs with so many ranks."""
    common = {
        **os.environ,
        "AUDIT": str(folder),
        "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "PORTS": ports(2 * len(runs)),
        "LONGVIEW_TRACEBACK": "1",
    }
    command = [sys.executable, str(ROOT / "tests" / "divided.py"), *(str(r.path) for r in runs)]
    started, end = [], time.monotonic() + 2 * PATIENCE
    for rank in range(ranks):
        env = {**common, "RANK": str(rank), "NODE_RANK": str(rank // 2), "LOCAL_RANK": str(rank % 2)}
        with (folder / f"{rank}.log").open("w") as log:
            started.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))
    try:
        while any(p.poll() is None for p in started) and not any(p.poll() for p in started) and time.monotonic() < end:
            time.sleep(0.2)  # where a rank fails, the others would wait for it
    finally:
        for process in started:
            process.kill()
    codes = [process.wait() for process in started]
    said = "\n".join((folder / f"{rank}.log").read_text()[-3000:] for rank in range(ranks))
    assert codes == [0] * ranks, said


def column(run: RunDirectory, name: str) -> list[float]:
    """A column of metrics.csv without its empty cells."""
    with run.metrics_file.open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def exported(run: RunDirectory, which: str, folder: Path) -> dict[str, Any]:
    """Weights of a run's plain checkpoint."""
    return torch.load(export(run, which, folder / f"{run.path.name}-{which}.ckpt"), weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """The run of one process."""
    folder = tmp_path_factory.mktemp("alone")
    run = make(folder, "alone", "auto", 1)
    start(folder, run, ranks=1)
    return run


@pytest.fixture(scope="module")
def all_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[RunDirectory, RunDirectory]]:
    """Strategy -> the run of four ranks, whole, and stopped in the middle and resumed.

    One set of processes makes them all, one after the other: most of the time goes into starting four interpreters.
    """
    folder = tmp_path_factory.mktemp("four")
    runs = {s: (make(folder, f"{s}-whole", s, 4), make(folder, f"{s}-stopped", s, 4)) for s in STRATEGIES}
    start(folder, *(run for pair in runs.values() for run in pair))
    return runs


@pytest.fixture(params=STRATEGIES)
def divided(request: pytest.FixtureRequest, all_runs: dict[str, Any]) -> tuple[RunDirectory, RunDirectory]:
    """The runs of one strategy."""
    found: tuple[RunDirectory, RunDirectory] = all_runs[request.param]
    return found


def test_four_ranks_train_what_one_process_does(
    divided: tuple[RunDirectory, RunDirectory], alone: RunDirectory, tmp_path: Path
) -> None:
    run = divided[0]
    one, four = exported(alone, "last", tmp_path), exported(run, "last", tmp_path)
    assert list(one) == list(four)
    for name, value in one.items():
        torch.testing.assert_close(four[name], value, msg=lambda text, name=name: f"{name}: {text}", **TOLERANCE)
    assert four["ema._extra_state"] == {"calls": STEPS, "started": True}
    # The task divides the mean over a batch by the batch's size, which is 8 in one process and 2 in each of four.
    assert [v * 2 for v in column(run, "train/loss_epoch")] == pytest.approx(
        [v * 8 for v in column(alone, "train/loss_epoch")], 1e-4
    )
    assert column(run, "val/loss") == pytest.approx(column(alone, "val/loss"), 1e-4)
    assert len(column(run, "val/loss")) == EPOCHS
    assert metrics(run.path) == pytest.approx(metrics(alone.path), abs=1e-6)


def test_a_resume_in_the_middle_of_an_epoch_is_exact(divided: tuple[RunDirectory, RunDirectory], tmp_path: Path) -> None:
    whole, parted = divided
    assert [parted.attempt(n)["outcome"] for n in (1, 2)] == ["stopped", "finished"]
    assert parted.attempt(1)["saved"] is True
    assert parted.metrics_file.read_text() == whole.metrics_file.read_text()
    for which in ("last", "best"):
        assert same(exported(parted, which, tmp_path), exported(whole, which, tmp_path))
    assert metrics(parted.path) == metrics(whole.path)


def test_other_ranks_than_the_first_write_files_of_their_own_alone(divided: tuple[RunDirectory, RunDirectory]) -> None:
    run = divided[0]
    for rank in range(4):
        lines = (run.path.parent / str(rank)).read_text().splitlines()
        made = [line for line in lines if Path(os.path.abspath(line)).is_relative_to(run.path)]
        foreign = [
            line
            for line in made
            if f"rank_{rank}_" not in line and f"rank-{rank:05d}" not in line and not line.endswith("/checkpoint")
        ]
        assert rank == 0 or foreign == []
        assert rank > 0 or any("result.json" in line for line in foreign)  # the audit does see writing


def test_an_exported_checkpoint_is_scored_by_one_process(
    divided: tuple[RunDirectory, RunDirectory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    import longview.models
    from longview.engine.run import attempt
    from longview.engine.stop import StopFlag

    run = divided[0]
    plain = make(tmp_path, "plain", "auto", 1)
    export(run, "best", plain.best_checkpoint)
    config = yaml.safe_load(plain.config_file.read_text())
    assert config["strategy"]["name"] == "auto"
    monkeypatch.setattr(longview.models, "__path__", [*longview.models.__path__, str(ROOT / "tests")])
    attempt(plain, "test", StopFlag(), Console(quiet=True), 0)
    assert metrics(plain.path) == pytest.approx(metrics(run.path), abs=1e-6)
    assert json.loads((plain.path / "progress.json").read_text())["state"] == "testing"
