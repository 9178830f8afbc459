"""Weights & Biases offline: what it would upload, read from its own files."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from rich.console import Console
from wandb.proto.wandb_internal_pb2 import Record

import stops
import tiny
from longview.config.experiment import Checker
from longview.engine.run import attempt
from longview.engine.stop import RunStopped, StopFlag
from longview.runs.directory import RunDirectory

CHECKER = Checker()
SECRET = "local-0123456789abcdef0123456789abcdef01234567"


def records(path: Path) -> Iterator[Record]:
    """Records of a .wandb file: W&B's header of 7 bytes, then LevelDB's log format (32 KiB blocks of chunks)."""
    data, at, parts = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        parts, at = parts + data[at + 7 : at + 7 + length], at + 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def name(item: Any) -> str:
    return item.key or "/".join(item.nested_key)


class Upload:
    """What the offline files of a run directory hold together."""

    def __init__(self, run: RunDirectory) -> None:
        self.ids: set[str] = set()
        self.names: set[str] = set()
        self.config: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.exits: list[int] = []
        self.files = sorted(run.path.glob("wandb/offline-run-*/*.wandb"))
        for path in self.files:
            for record in records(path):
                if record.WhichOneof("record_type") == "run":
                    self.ids.add(record.run.run_id)
                    self.names.add(record.run.display_name)
                    self.config |= {name(u): json.loads(u.value_json) for u in record.run.config.update}
                elif record.WhichOneof("record_type") == "history":
                    self.history.append({name(i): json.loads(i.value_json) for i in record.history.item})
                elif record.WhichOneof("record_type") == "summary":
                    self.summary |= {name(u): json.loads(u.value_json) for u in record.summary.update}
                elif record.WhichOneof("record_type") == "exit":
                    self.exits.append(record.exit.exit_code)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RunDirectory]]:
    """Two runs of one process, as in a sweep; the first was stopped and resumed."""
    root = tmp_path_factory.mktemp("wandb")
    made = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_API_KEY", SECRET)
        patch.setenv("HOME", str(root))
        patch.chdir(root)
        for seed in (1, 2):
            arguments = [*tiny.DATA, *tiny.RUN, *tiny.MANTA, "logger=wandb", "logger.wandb.tags=[a,b]", f"seed={seed}"]
            experiment = CHECKER.check([*arguments, f"run.root={root}"])
            run = RunDirectory.create(root, experiment.name, experiment.resolved, [], [])
            made.append(run)
            if seed == 1:
                with pytest.raises(RunStopped):
                    attempt(run, "fit", stops.StopAfter(10), Console(quiet=True), 0)
                time.sleep(1.1)  # W&B names its folders by the second
            attempt(run, "fit", StopFlag(), Console(quiet=True), 0)
            assert wandb.run is None  # the next point of a sweep must not go on with this one
        yield made


def test_a_stopped_and_resumed_run_is_one_run(runs: list[RunDirectory]) -> None:
    found = Upload(runs[0])
    assert len(found.files) == 2
    assert found.ids == {runs[0].wandb_id}
    assert found.names == {runs[0].path.name}
    assert found.exits == [0, 0]  # being stopped is no failure


def test_points_of_a_sweep_are_runs_of_their_own(runs: list[RunDirectory]) -> None:
    assert Upload(runs[1]).ids == {runs[1].wandb_id}
    assert Upload(runs[1]).config["seed"] == 2
    assert Upload(runs[0]).config["seed"] == 1


def test_configuration_metrics_and_figures_are_there(runs: list[RunDirectory]) -> None:
    found = Upload(runs[0])
    config = runs[0].config()
    assert {k: v for k, v in found.config.items() if k in config} == config
    losses = [row["trainer/global_step"] for row in found.history if "train/loss" in row]
    assert losses == list(range(24))
    assert any("val/moc" in row for row in found.history)
    result = json.loads(runs[0].result_file.read_text())["result"]["metrics"]
    figures = [k for row in found.history for k in row if k.startswith("figures")]
    assert figures
    last = list(runs[0].path.glob("wandb/offline-run-*/files/media/images/**/*.png"))
    assert len(last) >= 2
    assert {k: v for k, v in found.summary.items() if k in result} == result


def test_no_key_is_written(runs: list[RunDirectory]) -> None:
    files = [p for run in runs for p in run.path.rglob("*") if p.is_file()]
    assert len(files) > 20
    for path in files:
        assert SECRET.encode() not in path.read_bytes(), path
