"""Sweeps and runs on disk as a job leaves them, and a stand-in for SLURM's commands, for tests of what follows runs.

The stand-in prints lines captured from a real SLURM 22.05.8 (or lines in its format). It exists because states such as a node
failure or a hung controller cannot be had within a unit test; the same commands are run against a real SLURM in tests/slurm.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from longview.runs.sweep import Point, Submission, SweepDirectory

Run = Callable[..., str]
"""``longview ...`` as a fixture: arguments, expected exit code -> what it printed."""


def iso(moment: float) -> str:
    """The time as records have it."""
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="seconds")


def write(path: Path, data: Any) -> None:
    """A JSON file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


def make_run(path: Path, *attempts: Mapping[str, Any], ago: float = 300.0, **files: Any) -> Path:
    """A run directory; ``progress``, ``exit`` and ``result`` become the files of that name."""
    now = time.time()
    (path / "attempts").mkdir(parents=True)
    (path / "config.yaml").write_text("seed: 1\n")
    write(
        path / "run.json", {"id": path.name.rpartition("-")[2], "name": "manta-kitchen", "overrides": ["model=manta", "seed=1"]}
    )
    for i, attempt in enumerate(attempts, 1):
        record = {"mode": "fit", "started": iso(now - ago), "host": "jwb0001", "pid": 1, "outcome": "running", **attempt}
        write(path / f"attempts/{i:03d}.json", record)
    for name, data in files.items():
        write(path / f"{name}.json", {"time": now - 5, "attempt": len(attempts), **data} if name == "progress" else data)
    return path


def make_sweep(
    root: Path, points: Sequence[Mapping[str, str]], *, name: str = "manta", job: str | None = "19", ago: float = 600.0
) -> SweepDirectory:
    """A sweep with one submission; run i has the id ``aaaa000i``. ``job=None``: sbatch has not answered."""
    sweep = SweepDirectory(root / f"{name}-abc123")
    sweep.submissions.mkdir(parents=True)
    made = [Point(f"aaaa{i:04d}", "_".join([*values.values(), f"aaaa{i:04d}"]), dict(values)) for i, values in enumerate(points)]
    sweep.write({"id": "abc123", "name": name, "created": iso(time.time() - ago)}, made)
    submit(sweep, [p.id for p in made], job, ago=ago)
    return sweep


def submit(sweep: SweepDirectory, runs: list[str], job: str | None, *, ago: float = 600.0, **request: Any) -> None:
    """One more submission."""
    number = len(sweep.all_submissions()) + 1
    state = "submitted" if job else "submitting"
    created = iso(time.time() - ago)
    sweep.write_submission(Submission(number, "uid", state, job, len(runs) > 1, runs, "juwels", request, "code", created))


@dataclass
class Slurm:
    """Stand-in for squeue, sacct, scancel and scontrol: programs on PATH that print what they were told and note their calls."""

    folder: Path

    def says(self, command: str, text: str = "", *, error: str = "", code: int = 0) -> None:
        """What a command prints and returns from now on."""
        (self.folder / f"{command}.out").write_text(text)
        (self.folder / f"{command}.err").write_text(error)
        program = self.folder / command
        program.write_text(
            f'#!/bin/sh\n# A stand-in.\necho "$@" >> {self.folder}/{command}.calls\n'
            f"cat {self.folder}/{command}.out\ncat {self.folder}/{command}.err >&2\nexit {code}\n"
        )
        program.chmod(0o755)

    def marked(self, marks: str, queue: str = "") -> None:
        """squeue: every job with its comment where that is asked for, else lines in our format."""
        self.says("squeue", queue)
        (self.folder / "marks").write_text(marks)
        program = self.folder / "squeue"
        program.write_text(
            program.read_text().replace("cat ", f'case "$*" in *%k*) cat {self.folder}/marks; exit;; esac\ncat ', 1)
        )

    def calls(self, command: str) -> list[str]:
        """Arguments of every call so far."""
        path = self.folder / f"{command}.calls"
        return path.read_text().splitlines() if path.exists() else []

    @classmethod
    def on_path(cls, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
        """With an empty queue and no accounting."""
        folder.mkdir()
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        slurm = cls(folder)
        slurm.says("squeue")
        slurm.says("sacct", error="sacct: error: Slurm accounting storage is disabled", code=1)
        slurm.says("scancel")
        slurm.says("scontrol", "ClusterName             = juwels\n")
        return slurm


def queued(job: str, state: str = "RUNNING", reason: str = "None", *, began: float = 400.0, nodes: str = "jwb0001") -> str:
    """A line of squeue in our format."""
    start = datetime.fromtimestamp(time.time() - began).isoformat(timespec="seconds") if state != "PENDING" else "N/A"
    return f"{job}|{job.partition('_')[0]}|{state}|{start}|{nodes if state != 'PENDING' else ''}|{reason}\n"
