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
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from longview.errors import LongviewError

HEADER = "# The resolved configuration of this run. Continue it with: python run.py run.resume=<this directory>\n"


class RunDirectoryError(LongviewError):
    """A path that is not a run directory, or one that cannot be made."""


def write_atomically(path: Path, text: str, *, durable: bool = True) -> None:
    """Write ``text`` whole or not at all: temporary file beside it, then a rename; ``durable``: wait for the disk."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes private files; a run directory follows the user's umask
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def config_text(config: Mapping[str, Any]) -> str:
    """A configuration as YAML, block by block: points of a sweep share most blocks, and writing YAML is slow."""
    return "".join(_block_text(key, json.dumps(value)) for key, value in config.items())


@lru_cache(maxsize=4096)
def _block_text(key: str, value: str) -> str:
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump({key: json.loads(value)}, Dumper=dumper, sort_keys=False, allow_unicode=True))


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
        """Make a new run directory under ``root``, with an id of its own.

        Raises:
            RunDirectoryError: If the place cannot be written.
        """
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        while True:
            identity = secrets.token_hex(3)
            record = {"id": identity, "name": name, "command": list(command), "overrides": list(overrides)}
            with suppress(FileExistsError):  # two launches in one second never share a directory
                return cls.make(root / f"{stamp}-{name}-{identity}", record, config_text(config))

    @classmethod
    def make(cls, path: Path, record: Mapping[str, Any], text: str, *, durable: bool = True) -> RunDirectory:
        """Make the run directory ``path``, whole or not at all.

        Args:
            path: Must not exist.
            record: run.json; the creation time is added.
            text: config.yaml.
            durable: Wait until it is on the disk; a sweep of a thousand runs would wait a thousand times.

        Raises:
            FileExistsError: If there is one.
            RunDirectoryError: If the place cannot be written.
        """
        absent = [folder for folder in path.parents if not folder.exists()]
        made = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
            made = True
            run = cls(path.resolve())
            run.attempts.mkdir()
            run.checkpoints.mkdir()
            write_atomically(run.record_file, json.dumps({**record, "created": _now()}, indent=2) + "\n", durable=durable)
            # Last: a directory with a config.yaml is a complete one.
            write_atomically(run.config_file, HEADER + text, durable=durable)
        except FileExistsError:
            if made:
                _remove(path, absent)
            raise
        except BaseException as error:
            _remove(path if made else None, absent)
            if not isinstance(error, OSError):
                raise
            raise RunDirectoryError(
                f"run.root: cannot make a run directory under {path.parent}: {error.strerror}; give a writable run.root=..."
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
        """Identity of the run."""
        return str(self.record()["id"])

    @property
    def wandb_id(self) -> str:
        """Id in W&B: with the creation time, since the same command in another place makes a run of the same id."""
        record = self.record()
        digits = "".join(c for c in str(record.get("created", "")) if c.isdigit())
        return f"{record['id']}-{digits[:14]}" if digits else str(record["id"])

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

    def begin_attempt(self, mode: str, *, allowed: Callable[[Mapping[str, Any]], None] | None = None) -> int:
        """Record that an attempt starts; returns its number.

        Args:
            mode: "fit" or "test".
            allowed: Given the record of the newest attempt, raises if none may begin beside it. Of attempts that begin at once it
                lets one through and sees that one's record before the next.

        Raises:
            RunDirectoryError: If nothing can be written.
        """
        record = {"mode": mode, "started": _now(), "host": socket.gethostname(), "pid": os.getpid(), "outcome": "running"}
        if job := os.environ.get("LONGVIEW_JOB"):
            record["job"] = job
        try:
            self.attempts.mkdir(exist_ok=True)
            taken = self._numbers()
            while True:
                if allowed is not None and taken:
                    allowed(self._settled(max(taken)))
                number = next(n for n in range(1, len(taken) + 2) if n not in taken)
                path = self._attempt(number)
                try:
                    path.touch(exist_ok=False)  # claims the number; the record follows in one piece
                    break
                except FileExistsError:
                    taken |= {number, *self._numbers()}
            self.write_json(path, record)
        except OSError as error:
            raise RunDirectoryError(f"{self.attempts} cannot be written: {error.strerror}") from error
        return number

    def newest_attempt(self) -> dict[str, Any]:
        """The record of the newest attempt; empty if there is none."""
        taken = self._numbers()
        return self._settled(max(taken)) if taken else {}

    def _numbers(self) -> set[int]:
        return {int(p.stem) for p in self.attempts.glob("*.json") if p.stem.isdecimal()}

    def _settled(self, number: int) -> dict[str, Any]:
        """The record of an attempt; one that was claimed just now is given a second to be written."""
        until = time.monotonic() + 1.0
        with suppress(OSError):
            while not self._attempt(number).stat().st_size and time.monotonic() < until:
                time.sleep(0.02)
        return self.attempt(number)

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
