"""The run directory: the only state of a run. Made once, found by its path, never renamed.

<root>/<date>-<time>-<name>-<id>/
    config.yaml        the resolved configuration: all that a job needs to know
    run.json           id, name, creation time, command line, overrides
    environment.json   versions, commit, hardware of the latest attempt; code.diff: uncommitted changes
    attempts/001.json  start, end and outcome of every attempt, never overwritten
    checkpoints/       last.ckpt, best.ckpt
    metrics.csv  result.json  predictions.npz  figures/  wandb/
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from longview.errors import LongviewError


class RunDirectoryError(LongviewError):
    """A path that is not a run directory, or one that cannot be made."""


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` whole or not at all: temporary file beside it, then a rename."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes private files; a run directory follows the user's umask
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _remove(path: Path | None, parents: Sequence[Path]) -> None:
    """Take back a directory that could not be completed, and the empty parents that were made for it."""
    if path is not None:
        shutil.rmtree(path, ignore_errors=True)
    for folder in parents:
        with suppress(OSError):
            folder.rmdir()


def _parsed(path: Path, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunDirectoryError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise RunDirectoryError(f"{path} is damaged: {reason}") from error


@dataclass(frozen=True)
class RunDirectory:
    """Paths and small records of one run."""

    path: Path

    @classmethod
    def create(
        cls, root: Path, name: str, config: Mapping[str, Any], overrides: Sequence[str], command: Sequence[str]
    ) -> RunDirectory:
        """Make a new run directory under ``root``.

        Raises:
            RunDirectoryError: If the place cannot be written.
        """
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        absent = [folder for folder in (root, *root.parents) if not folder.exists()]
        path: Path | None = None
        try:
            root.mkdir(parents=True, exist_ok=True)
            while path is None:
                identity = secrets.token_hex(3)
                candidate = root / f"{stamp}-{name}-{identity}"
                try:
                    candidate.mkdir()  # two launches in one second never share a directory
                    path = candidate
                except FileExistsError:
                    continue
            run = cls(path.resolve())
            run.attempts.mkdir()
            run.checkpoints.mkdir()
            header = "# The resolved configuration of this run. Continue it with: python run.py run.resume=<this directory>\n"
            record = {
                "id": identity,
                "name": name,
                "created": _now(),
                "command": list(command),
                "overrides": list(overrides),
            }
            write_atomically(run.record_file, json.dumps(record, indent=2) + "\n")
            # Last: a directory with a config.yaml is a complete one.
            write_atomically(run.config_file, header + yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
        except BaseException as error:
            _remove(path, absent)
            if not isinstance(error, OSError):
                raise
            raise RunDirectoryError(
                f"run.root: cannot make a run directory under {root}: {error.strerror}; give a writable run.root=..."
            ) from error
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """An existing run directory.

        Raises:
            RunDirectoryError: If ``path`` holds no run.
        """
        run = cls(Path(path).resolve())
        if not run.config_file.is_file():
            raise RunDirectoryError(f"{path} is not a run directory: it holds no config.yaml")
        return run

    @property
    def config_file(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def record_file(self) -> Path:
        """Identity of the run."""
        return self.path / "run.json"

    @property
    def attempts(self) -> Path:
        """One record per attempt."""
        return self.path / "attempts"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        """Where training goes on from."""
        return self.checkpoints / "last.ckpt"

    @property
    def best_checkpoint(self) -> Path:
        """The best on the validation part."""
        return self.checkpoints / "best.ckpt"

    @property
    def metrics_file(self) -> Path:
        """Metrics by step."""
        return self.path / "metrics.csv"

    @property
    def result_file(self) -> Path:
        """The result of the last test pass."""
        return self.path / "result.json"

    @property
    def figures(self) -> Path:
        """Folder of figures."""
        return self.path / "figures"

    @property
    def id(self) -> str:
        """Identity of the run; also its W&B id."""
        return str(self.record()["id"])

    def config(self) -> dict[str, Any]:
        """The resolved configuration as plain data; raises RunDirectoryError if the file is damaged."""
        loaded = _parsed(self.config_file, yaml.safe_load)
        if not isinstance(loaded, dict):
            raise RunDirectoryError(f"{self.config_file} is damaged: it holds no mapping")
        return loaded

    def record(self) -> dict[str, Any]:
        """What run.json says; raises RunDirectoryError if the file is absent or damaged."""
        loaded = _parsed(self.record_file, json.loads)
        if not isinstance(loaded, dict) or "id" not in loaded:
            raise RunDirectoryError(f"{self.record_file} is damaged: it names no id")
        return loaded

    def write_json(self, path: Path, data: Any) -> None:
        """Write plain data, whole or not at all."""
        write_atomically(path, json.dumps(data, indent=2, default=str) + "\n")

    def begin_attempt(self, mode: str) -> int:
        """Record that an attempt starts; returns its number. Raises RunDirectoryError if nothing can be written."""
        record = {"mode": mode, "started": _now(), "host": socket.gethostname(), "pid": os.getpid(), "outcome": "running"}
        try:
            self.attempts.mkdir(exist_ok=True)
            number = 1
            while True:
                path = self._attempt(number)
                try:
                    path.touch(exist_ok=False)  # claims the number; the record follows in one piece
                    break
                except FileExistsError:
                    number += 1
            self.write_json(path, record)
        except OSError as error:
            raise RunDirectoryError(f"{self.attempts} cannot be written: {error.strerror}") from error
        return number

    def end_attempt(self, number: int, outcome: str, **details: Any) -> None:
        """Complete the record of attempt ``number``: outcome "finished", "stopped" or "failed"."""
        record = self.attempt(number)
        self.write_json(self._attempt(number), {**record, "ended": _now(), "outcome": outcome, **details})

    def attempt(self, number: int) -> dict[str, Any]:
        """The record of an attempt; empty if a crash has left none."""
        try:
            loaded = json.loads(self._attempt(number).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return loaded if isinstance(loaded, dict) else {}

    def attempt_of(self, pid: int) -> int | None:
        """Number of the newest attempt of this machine's process ``pid``, None if it has begun none."""
        numbers = sorted((int(p.stem) for p in self.attempts.glob("*.json") if p.stem.isdecimal()), reverse=True)
        mine = {"pid": pid, "host": socket.gethostname()}
        return next((n for n in numbers if mine.items() <= self.attempt(n).items()), None)

    def _attempt(self, number: int) -> Path:
        return self.attempts / f"{number:03d}.json"
