"""The code a job runs: a copy made at submit, named by its hash, so that editing afterwards changes nothing (T43, F27).

<run.root>/.code/<hash>/            tracked files as they are now, local changes included, and untracked ones git does not ignore
<run.root>/.code/<hash>/.longview/  commit.json: hash, commit, whether there were changes; code.diff: changes against the commit
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

from longview.errors import LongviewError
from longview.runs.sweep import CODE

LARGEST = 200 * 2**20
"""Bytes a snapshot may have; more is data that nobody meant to be code."""
NOTES = ".longview"


class SnapshotError(LongviewError):
    """The code cannot be copied."""


@dataclass(frozen=True)
class Snapshot:
    """Files to copy, read but not yet written.

    Attributes:
        hash: Of every file's path, kind and content, and of the commit.
    """

    top: Path
    files: dict[str, bytes]
    modes: dict[str, int]
    hash: str
    commit: str | None
    diff: str

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(len(content) for content in self.files.values())

    def place(self, root: Path) -> Path:
        """Where it lies, or would lie, under ``root``."""
        return root / CODE / self.hash

    def write(self, root: Path) -> Path:
        """Copy it there, whole or not at all; a copy that exists is used again.

        Raises:
            SnapshotError: If the place cannot be written.
        """
        place = self.place(root)
        if place.is_dir():
            return place
        temporary = place.with_name(f".{self.hash}-{uuid.uuid4().hex[:8]}")
        try:
            for name, content in self.files.items():
                path = temporary / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if stat.S_ISLNK(self.modes[name]):
                    path.symlink_to(os.fsdecode(content))
                else:
                    path.write_bytes(content)
                    path.chmod(0o555 if self.modes[name] & 0o100 else 0o444)
            notes = temporary / NOTES
            notes.mkdir()
            record = {"hash": self.hash, "commit": self.commit, "uncommitted": bool(self.diff), "from": str(self.top)}
            (notes / "commit.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            (notes / "code.diff").write_text(self.diff, encoding="utf-8")
            os.replace(temporary, place)
        except BaseException as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if not isinstance(error, OSError):
                raise
            if place.is_dir():  # somebody else was quicker with the same code
                return place
            raise SnapshotError(f"the code cannot be copied to {place}: {error.strerror}") from error
        return place


def read() -> Snapshot:
    """Read the code this process runs.

    Raises:
        SnapshotError: It is too large to be code, or cannot be read.
    """
    package = Path(__file__).resolve().parents[1]
    top = package.parents[1]
    names = _git(top, "ls-files", "-z", "--cached", "--others", "--exclude-standard") if (top / ".git").exists() else None
    if names is None:
        top, listed = package.parent, sorted(p.relative_to(package.parent) for p in package.rglob("*") if p.is_file())
        files, modes = _contents(top, [str(p) for p in listed if "__pycache__" not in p.parts])
        files = {f"src/{name}": content for name, content in files.items()}
        modes = {f"src/{name}": mode for name, mode in modes.items()}
        commit, diff = None, ""
    else:
        files, modes = _contents(top, sorted({name for name in names.split("\0") if name}))
        commit, diff = (_git(top, "rev-parse", "HEAD") or "").strip() or None, _git(top, "diff", "HEAD") or ""
    return Snapshot(top, files, modes, fingerprint(files, modes, commit), commit, diff)


def fingerprint(files: dict[str, bytes], modes: dict[str, int], commit: str | None) -> str:
    """Sixteen digits that follow from every path, kind and content."""
    digest = hashlib.sha256(f"{commit}".encode())
    for name in sorted(files):
        kind = "l" if stat.S_ISLNK(modes[name]) else "x" if modes[name] & 0o100 else "f"
        digest.update(f"\0{kind}{name}\0{len(files[name])}\0".encode(errors="surrogateescape"))
        digest.update(files[name])
    return digest.hexdigest()[:16]


def verify(place: Path) -> bool:
    """Whether a copy still is what its name says."""
    try:
        record = json.loads((place / NOTES / "commit.json").read_text(encoding="utf-8"))
        names = [str(p.relative_to(place)) for p in place.rglob("*") if not p.is_dir() or p.is_symlink()]
        kept = [n for n in names if not n.startswith(f"{NOTES}/") and "__pycache__" not in n]
        files, modes = _contents(place, kept)
    except (OSError, ValueError, SnapshotError):
        return False
    return bool(fingerprint(files, modes, record.get("commit")) == place.name == record.get("hash"))


def _contents(top: Path, names: list[str]) -> tuple[dict[str, bytes], dict[str, int]]:
    files: dict[str, bytes] = {}
    modes: dict[str, int] = {}
    sizes = {}
    for name in names:
        try:
            info = (top / name).lstat()
        except FileNotFoundError:  # deleted, and not yet in a commit
            continue
        if stat.S_ISLNK(info.st_mode) or stat.S_ISREG(info.st_mode):
            sizes[name], modes[name] = info.st_size, info.st_mode
    if (total := sum(sizes.values())) > LARGEST:
        largest = sorted(sizes, key=lambda n: -sizes[n])[:3]
        shown = ", ".join(f"{n} ({sizes[n] / 2**20:.0f} MB)" for n in largest)
        raise SnapshotError(
            f"the code would be {total / 2**20:.0f} MB, more than {LARGEST // 2**20} MB; "
            f"add what is no code to .gitignore. Largest: {shown}"
        )
    for name in list(modes):
        path = top / name
        try:
            files[name] = os.fsencode(os.readlink(path)) if stat.S_ISLNK(modes[name]) else path.read_bytes()
        except OSError as error:
            raise SnapshotError(f"{path} cannot be read: {error.strerror}; a job could not run this code") from error
    return files, modes


def _git(top: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(top), *arguments], capture_output=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="surrogateescape")
