"""metrics.csv: one row a step, no gap and no repeat over resumes, readable whenever it is looked at."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from longview.engine.csv_logger import DropRepeatedRows, MetricsFile


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_of_one_step_share_a_row_and_new_ones_add_a_column(tmp_path: Path) -> None:
    log = MetricsFile(tmp_path / "metrics.csv")
    log.log_metrics({"loss": 0.5, "epoch": 0}, 0)
    log.save()
    log.log_metrics({"loss": torch.tensor(0.25), "epoch": 0}, 1)  # type: ignore[dict-item]
    log.log_metrics({"val/moc": 1 / 3, "epoch": 0}, 1)
    log.save()
    assert log.path.read_text() == "step,epoch,loss,val/moc\n0,0,0.5,\n1,0,0.25,0.33333333\n"


def test_a_value_that_arrives_after_its_row_was_saved_is_not_lost(tmp_path: Path) -> None:
    log = MetricsFile(tmp_path / "metrics.csv")
    log.log_metrics({"a": 1.0, "b": 1.0}, 0)
    log.save()
    log.log_metrics({"b": 2.0}, 0)  # no new column
    log.save()
    assert read(log.path) == [{"step": "0", "epoch": "", "a": "1", "b": "2"}]


def test_rows_are_appended_not_rewritten(tmp_path: Path) -> None:
    log = MetricsFile(tmp_path / "metrics.csv")
    log.log_metrics({"a": 0.0}, 0)
    log.save()
    before = log.path.stat().st_ino
    for step in range(1, 5):
        log.log_metrics({"a": float(step)}, step)
        log.save()
    assert log.path.stat().st_ino == before
    assert [row["a"] for row in read(log.path)] == ["0", "1", "2", "3", "4"]


def test_a_resumed_run_forgets_the_steps_it_repeats(tmp_path: Path) -> None:
    log = MetricsFile(tmp_path / "metrics.csv")
    for step in range(6):
        log.log_metrics({"a": step}, step)
    log.finalize("failed")
    again = MetricsFile(tmp_path / "metrics.csv")
    DropRepeatedRows(again).on_train_start(SimpleNamespace(global_step=4), None)  # type: ignore[arg-type]
    again.log_metrics({"a": 40}, 4)
    again.save()
    assert [(r["step"], r["a"]) for r in read(log.path)] == [("0", "0"), ("1", "1"), ("2", "2"), ("3", "3"), ("4", "40")]


def test_a_row_cut_off_by_a_crash_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,epoch,a\n0,0,1\n1,0,2\n2,0")
    log = MetricsFile(path)
    log.truncate_after(10)
    log.log_metrics({"a": 3, "epoch": 0}, 2)
    log.save()
    assert path.read_text() == "step,epoch,a\n0,0,1\n1,0,2\n2,0,3\n"


@pytest.mark.parametrize("text", ["", "step,ep", "step,epoch,a\nx,0,1\n,,\n"])
def test_a_file_without_a_whole_row_starts_anew(tmp_path: Path, text: str) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(text)
    log = MetricsFile(path)
    log.truncate_after(3)
    log.log_metrics({"a": 3, "epoch": 0}, 0)
    log.save()
    assert read(path) == [{"step": "0", "epoch": "0", "a": "3"}]


def test_nothing_logged_writes_nothing(tmp_path: Path) -> None:
    log = MetricsFile(tmp_path / "metrics.csv")
    log.save()
    log.finalize("success")
    assert list(tmp_path.iterdir()) == []
