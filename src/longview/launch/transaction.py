"""What one command writes for a sweep, so that a refusal leaves nothing half-made, and what SLURM has taken stays."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from longview.launch.signals import ENDING, collected
from longview.launch.snapshot import Snapshot
from longview.runs.directory import HEADER, RunDirectory, write_atomically
from longview.runs.sweep import CODE, SweepDirectory


class Transaction:
    """Writes, and after an error takes back what belongs to runs SLURM has not taken. The sweep has to be locked."""

    def __init__(self, directory: SweepDirectory) -> None:
        self.directory = directory
        self.code: Path | None = None
        self.made: dict[str, Path] = {}
        self.changed: dict[str, dict[Path, str | None]] = {}
        self.files: dict[Path, list[str]] = {}
        self.taken: set[str] = set()
        """Runs that are in the queue, or may be."""
        record = directory.record_file
        self.record = record.read_text(encoding="utf-8") if record.is_file() else None

    def __enter__(self) -> Transaction:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.take_back()

    def copy_code(self, code: Snapshot) -> None:
        """Copy the code, if nobody has before."""
        root = self.directory.path.parent
        if not code.place(root).is_dir():
            self.code = code.place(root)
        code.write(root)

    def run(self, identity: str, path: Path, about: dict[str, object], text: str) -> None:
        """Make a run directory, or give an existing one the configuration of another try (the same computation)."""
        if (path / "config.yaml").is_file():
            self._keep(identity, path / "config.yaml")
            self.forget_end(identity, path)
            write_atomically(path / "config.yaml", HEADER + text, durable=False)
            return
        if path.exists():  # a command was killed while it made this one: without a configuration it holds nothing
            shutil.rmtree(path)
        self.made[identity] = path
        RunDirectory.make(path, about, text, durable=False)

    def forget_end(self, identity: str, path: Path) -> None:
        """Remove how the last attempt's job ended, which would be taken for the end of the next (its logs and record stay)."""
        self._keep(identity, path / "exit.json")
        (path / "exit.json").unlink(missing_ok=True)

    def _keep(self, identity: str, path: Path) -> None:
        try:
            text: str | None = path.read_text(encoding="utf-8")
        except OSError:
            text = None
        self.changed.setdefault(identity, {}).setdefault(path, text)

    def file(self, path: Path, text: str, runs: list[str]) -> None:
        """Write a file that stands for ``runs``."""
        self.files[path] = runs
        write_atomically(path, text)

    def take_back(self) -> None:
        """Undo everything that belongs to runs not taken. Signals wait until it is done."""
        with collected(ENDING):
            for identity, path in self.made.items():
                if identity not in self.taken:
                    shutil.rmtree(path, ignore_errors=True)
            for identity, files in self.changed.items():
                if identity not in self.taken:
                    for path, text in files.items():
                        if text is not None:
                            write_atomically(path, text)
            for path, runs in self.files.items():
                if not self.taken.intersection(runs):
                    path.unlink(missing_ok=True)
            self._record()
            self._folders()

    def _record(self) -> None:
        if self.record is not None and not self.taken:
            write_atomically(self.directory.record_file, self.record)
        elif self.taken and self.directory.record_file.is_file():
            record = self.directory.record()
            record.pop("points")
            lost = self.made.keys() - self.taken
            self.directory.write(record, [p for p in self.directory.points() if p.id not in lost])
        elif not self.taken:
            self.directory.record_file.unlink(missing_ok=True)

    def _folders(self) -> None:
        """Empty folders, and the code, if no other sweep can have begun to use it: each makes its folder before it looks."""
        with suppress(OSError):
            self.directory.submissions.rmdir()
        root = self.directory.path.parent
        others = [p for p in root.iterdir() if p.name != CODE and p != self.directory.path]
        if self.code is not None and not self.taken and not others:
            shutil.rmtree(self.code, ignore_errors=True)
        with suppress(OSError):
            (root / CODE).rmdir()
