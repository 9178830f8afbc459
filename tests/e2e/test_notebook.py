"""The notebook's cells run on a finished run; no Jupyter is needed for that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from rich.console import Console

import tiny
from longview.config.experiment import Checker
from longview.engine.run import attempt
from longview.engine.stop import StopFlag
from longview.runs.directory import RunDirectory

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "read_a_run.ipynb"


def test_every_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    done = Checker().check([*tiny.DATA, *tiny.RUN, *tiny.MANTA, "recipe=null", "trainer.max_epochs=1", "trainer.progress=false"])
    run = RunDirectory.create(tmp_path, done.name, done.resolved, done.overrides, [])
    attempt(run, "fit", StopFlag(), Console(quiet=True), 0)
    monkeypatch.setenv("LONGVIEW_RUN", str(run.path))
    scope: dict[str, Any] = {}
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec("".join(cell["source"]), scope)
    assert "Mean MoC" in capsys.readouterr().out
    assert isinstance(scope["figure"], Figure)
    assert isinstance(scope["strip"], Figure)
