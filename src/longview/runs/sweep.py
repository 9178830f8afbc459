"""The sweep directory: what was asked for in one command, and what was given to SLURM for it. A single run is a sweep of one.

<root>/<name>-<id>/
    sweep.json            id, name, command, the swept keys and every point: run id, folder, values
    submissions/001.json  one record per sbatch call, never overwritten: job id, runs in array order, resources, code
    submissions/001.sh    the batch script; 001.txt: the run directories in array order; 001-<index>.out: its own output
    <label>-<run id>/     run directories (longview/runs/directory.py)

Everything is found by reading; there is no index to fall out of step.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from longview.errors import LongviewError
from longview.runs.directory import write_atomically

FORMAT = 1
CODE = ".code"
"""Folder of code snapshots under run.root, shared by its sweeps."""


class SweepError(LongviewError):
    """A path that is not a sweep, or one whose record is damaged."""


@dataclass(frozen=True)
class Point:
    """One run of a sweep.

    Attributes:
        id: Run id, eight hexadecimal digits that follow from configuration and sweep.
        folder: Name of its run directory inside the sweep's.
        values: Swept key -> value as typed.
    """

    id: str
    folder: str
    values: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Submission:
    """One call of sbatch.

    Attributes:
        number: 1, 2, ...
        uid: Marks the job in SLURM (its comment), so that a submission whose answer was lost is found again.
        state: "submitting" until SLURM has answered, then "submitted".
        job: SLURM's job id, None while it is not known.
        array: Whether the runs are elements of an array: run i is job ``<job>_<i>``, else the only one is job ``<job>``.
        runs: Run ids in array order.
        cluster: Name of the cluster file.
        request: Resources as in ``longview.cluster.request.Request``, plain.
        code: Hash of the code snapshot.
        created: ISO time.
    """

    number: int
    uid: str
    state: str
    job: str | None
    array: bool
    runs: list[str]
    cluster: str
    request: dict[str, Any]
    code: str | None
    created: str

    def job_of(self, run: str) -> str | None:
        """SLURM's job id of a run, as squeue prints it."""
        if self.job is None or run not in self.runs:
            return None
        return f"{self.job}_{self.runs.index(run)}" if self.array else self.job


@dataclass(frozen=True)
class SweepDirectory:
    """Paths and records of one sweep."""

    path: Path

    @classmethod
    def open(cls, path: str | Path) -> SweepDirectory:
        """An existing sweep; raises SweepError if there is none."""
        sweep = cls(Path(path).resolve())
        if not sweep.record_file.is_file():
            raise SweepError(f"{path} is not a sweep: it holds no sweep.json")
        return sweep

    @property
    def record_file(self) -> Path:
        """What was asked for."""
        return self.path / "sweep.json"

    @property
    def submissions(self) -> Path:
        """One record per sbatch call."""
        return self.path / "submissions"

    def record(self) -> dict[str, Any]:
        """sweep.json as plain data; raises SweepError if it is damaged."""
        return _read(self.record_file)

    def points(self) -> list[Point]:
        """Every point, in the order in which it was first asked for."""
        try:
            return [Point(str(p["id"]), str(p["folder"]), dict(p.get("values", {}))) for p in self.record()["points"]]
        except (KeyError, TypeError) as error:
            raise SweepError(f"{self.record_file} is damaged: {error!r}") from error

    def write(self, record: Mapping[str, Any], points: Sequence[Point]) -> None:
        """Write sweep.json whole."""
        plain = {"format": FORMAT, **record, "points": [asdict(p) for p in points]}
        write_atomically(self.record_file, json.dumps(plain, indent=1) + "\n")

    def run_path(self, point: Point) -> Path:
        """Run directory of a point."""
        return self.path / point.folder

    def script(self, number: int) -> Path:
        """Batch script of a submission."""
        return self.submissions / f"{number:03d}.sh"

    def submission_file(self, number: int) -> Path:
        """Record of a submission."""
        return self.submissions / f"{number:03d}.json"

    def all_submissions(self) -> list[Submission]:
        """Records in order; one that cannot be read is left out."""
        found = []
        for path in sorted(self.submissions.glob("[0-9]*.json")):
            try:
                found.append(Submission(**json.loads(path.read_text(encoding="utf-8"))))
            except (OSError, ValueError, TypeError):
                continue
        return found

    def write_submission(self, submission: Submission) -> None:
        """Write the record of a submission whole."""
        write_atomically(self.submission_file(submission.number), json.dumps(asdict(submission), indent=1) + "\n")

    def jobs(self) -> dict[str, tuple[str | None, Submission]]:
        """Run id -> newest job id and its submission; runs never submitted are absent."""
        latest: dict[str, tuple[str | None, Submission]] = {}
        for submission in self.all_submissions():
            for run in submission.runs:
                latest[run] = (submission.job_of(run), submission)
        return latest


def _read(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SweepError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SweepError(f"{path} is damaged: {error}") from error
    if not isinstance(loaded, dict):
        raise SweepError(f"{path} is damaged: it holds no mapping")
    return loaded


def sweeps_under(root: Path) -> Iterator[SweepDirectory]:
    """Every sweep directly under ``root``, newest first."""
    found = [p.parent for p in root.glob("*/sweep.json")]
    for path in sorted(found, key=lambda p: p.stat().st_mtime, reverse=True):
        yield SweepDirectory(path)
