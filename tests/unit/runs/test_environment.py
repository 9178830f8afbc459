"""What a run was made with; and that nothing of the environment's variables gets into the record."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path

import numpy
import pytest
import torch

from longview.runs import environment

SECRET = "local-0123456789abcdef0123456789abcdef01234567"


def test_versions_and_hardware_are_named() -> None:
    found = environment.describe()
    assert found["python"] == platform.python_version()
    assert found["packages"]["numpy"] == numpy.__version__
    assert torch.__version__.startswith(found["packages"]["torch"])
    assert found["cpus"] >= 1
    assert found["cpu"]
    assert "deepspeed" not in found["packages"] or found["packages"]["deepspeed"]


def test_no_environment_variable_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    assert SECRET not in json.dumps(environment.describe())


def repository(folder: Path) -> None:
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=folder, check=True)


def test_commit_and_uncommitted_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = tmp_path / "code.py"
    code.write_text("a = 1\n")
    repository(tmp_path)
    monkeypatch.setattr(environment, "__file__", str(code))
    clean = environment.describe()
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert (clean["commit"], clean["uncommitted"], environment.uncommitted_diff()) == (head.strip(), False, "")
    code.write_text("a = 2\n")
    assert environment.describe()["uncommitted"] is True
    assert "+a = 2" in environment.uncommitted_diff()


def test_outside_a_repository_and_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "code.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment.describe()["commit"] is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.describe()["commit"] is None
    assert environment.uncommitted_diff() == ""
