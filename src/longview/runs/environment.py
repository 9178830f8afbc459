"""What a run was made with: versions, commit, uncommitted changes, hardware. No environment variables: they hold secrets."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "longview",
    "torch",
    "lightning",
    "hydra-core",
    "omegaconf",
    "numpy",
    "torchmetrics",
    "wandb",
    "mamba-ssm",
    "deepspeed",
)


def _git(*arguments: str) -> str | None:
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def describe() -> dict[str, Any]:
    """Versions, commit and hardware of this process's machine (without torch)."""
    copy = code_copy()
    commit, changes = ("", "") if copy else (_git("rev-parse", "HEAD"), _git("status", "--porcelain"))
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {p: v for p in PACKAGES if (v := _version(p)) is not None},
        "commit": copy.get("commit") or (commit.strip() if commit else None),
        "uncommitted": bool(copy.get("uncommitted") or (changes and changes.strip())),
        "code": copy.get("hash"),
        "cpu": _cpu(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def code_copy() -> dict[str, Any]:
    """What a job's copy of the code says of itself; empty where the code was not copied.

    The copy has a name that follows from its content (``longview.launch.snapshot``), and ``folder`` shows whether this process
    runs it.
    """
    folder = os.environ.get("LONGVIEW_CODE")
    if not folder or not Path(__file__).resolve().is_relative_to(Path(folder).resolve()):
        return {}
    try:
        found = json.loads((Path(folder) / ".longview" / "commit.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {**found, "folder": folder} if isinstance(found, dict) else {}


def uncommitted_diff() -> str:
    """Changes against the commit, empty when there are none or git is absent."""
    if copy := code_copy():
        try:
            return (Path(copy["folder"]) / ".longview" / "code.diff").read_text(encoding="utf-8")
        except OSError:
            return ""
    return _git("diff", "HEAD") or ""
