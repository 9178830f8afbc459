"""`longview table` and `longview open`, as a user sees them."""

from __future__ import annotations

import csv
import io
import json
import re
import statistics
import time
from pathlib import Path

import pytest

from follow import Run, Slurm, iso, make_run, make_sweep, queued

VALUES = {"manta": [0.123456789012, 0.2, 0.31], "ltc": [0.4, 0.5]}


@pytest.fixture
def sweep(root: Path, slurm: Slurm) -> Path:
    """Two models with three seeds; the last one still runs."""
    points = [{"model": m, "seed": str(s)} for m in VALUES for s in range(3)]
    made = make_sweep(root, points)
    for i, point in enumerate(made.points()):
        model, seed = point.values["model"], int(point.values["seed"])
        if seed < len(VALUES[model]):
            value = VALUES[model][seed]
            result = {"result": {"metrics": {"test/f1": value, "test/edit": 1.0}}}
            result |= {"primary": {"name": "test/f1", "value": value, "mode": "max"}}
            end = {"ended": iso(time.time() - 60)}
            make_run(made.run_path(point), {"outcome": "finished", "job": f"19_{i}", **end}, result=result)
        else:
            make_run(made.run_path(point), {"job": f"19_{i}"}, progress={"state": "training", "job": f"19_{i}"})
    slurm.says("squeue", queued("19_5", began=310))
    return made.path


def test_mean_and_deviation_the_best_and_the_unfinished(sweep: Path, longview: Run) -> None:
    text = longview("table")
    mean, deviation = statistics.fmean(VALUES["manta"]), statistics.stdev(VALUES["manta"])
    assert re.search(rf"manta +3 +{mean:.4g} ± {deviation:.2g} *$", text, re.MULTILINE)
    assert re.search(r"ltc +2/3 +0.45 ± 0.071 \* +1 running", text)
    assert "* the best of its column" in text
    assert "mean ± standard deviation (n - 1) over seed" in text
    assert "more with --metric: test/edit" in text


def test_csv_has_every_digit(sweep: Path, longview: Run) -> None:
    rows = list(csv.DictReader(io.StringIO(longview("table", "manta-abc123", "--csv"))))
    assert [row["model"] for row in rows] == ["manta", "ltc"]
    assert float(rows[0]["test/f1"]) == statistics.fmean(VALUES["manta"])
    assert float(rows[0]["test/f1 std"]) == statistics.stdev(VALUES["manta"])
    assert (rows[1]["points"], rows[1]["finished"], rows[1]["runs"]) == ("3", "2", "aaaa0003 aaaa0004 aaaa0005")


def test_as_data(sweep: Path, longview: Run) -> None:
    data = json.loads(longview("table", "--json", "--metric", "test/*"))
    assert data[0]["metrics"]["test/edit"] == {"mean": 1.0, "std": 0.0, "n": 3}
    assert data[1]["unfinished"] == {"running": 1}


def test_each_run_for_itself(sweep: Path, longview: Run) -> None:
    text = longview("table", "--over", "", "--sort", "f1")
    assert [float(m) for m in re.findall(r"(?:ltc|manta) +\d +1 +([\d.]+)", text)] == [0.5, 0.4, 0.31, 0.2, 0.1235]


def test_wrong_names_are_bad_input(sweep: Path, longview: Run) -> None:
    assert "there are: test/f1, test/edit" in longview("table", "--metric", "acc", expect=2)
    assert "--over: 'nosuch': no run sets that; there are: seed, model" in longview("table", "--over", "model,nosuch", expect=2)
    assert "y" * 61 not in longview("table", "--over", "y" * 300, expect=2)
    assert "y" * 61 not in longview("table", "--metric", "y" * 300, expect=2)


def test_single_runs_stand_beside_one_another(root: Path, longview: Run) -> None:
    for i, name in enumerate(("a-000001", "a-000002")):
        make_run(root / name, {"outcome": "finished"}, result={"result": {"metrics": {"f1": 0.5 + i}}})
    text = longview("table")
    assert re.search(r"manta +2 +1 ± 0.71", text), "the settings on their command lines are their columns"


def test_open_says_where_things_are(sweep: Path, longview: Run) -> None:
    run = next(sweep.glob("manta_0*"))
    (run / "figures").mkdir()
    (run / "figures/index.html").write_text("<html>")
    (run / "wandb/offline-run-20261120_1-x").mkdir(parents=True)
    (run / "logs/19_0").mkdir(parents=True)
    text = longview("open", "aaaa0000")
    for part in ("result.json", "figures/index.html", "wandb/offline-run-20261120_1-x", "logs/19_0"):
        assert f"{run}/{part}" in text
    assert "best.ckpt" not in text, "only what is there"
    assert f"{run}" in longview("open", "manta-abc123")


def test_open_figures_without_a_display(sweep: Path, longview: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert "no figures yet" in longview("open", "aaaa0000", "--figures", expect=2)
    page = next(sweep.glob("manta_0*")) / "figures/index.html"
    page.parent.mkdir()
    page.write_text("<html>")
    text = longview("open", "aaaa0000", "--figures")
    assert str(page) in text
    assert "no display here" in text


def test_open_figures_with_a_browser(sweep: Path, longview: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = next(sweep.glob("manta_0*")) / "figures/index.html"
    page.parent.mkdir()
    page.write_text("<html>")
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\n# A stand-in.\necho "$1" > {tmp_path}/shown\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    longview("open", "aaaa0000", "--figures")
    end = time.monotonic() + 10
    while not (tmp_path / "shown").exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert (tmp_path / "shown").read_text() == f"{page}\n"
