"""What this machine and this interpreter are, found without importing torch: builds, drivers, places, logins."""

from __future__ import annotations

import importlib.util
import json
import netrc
import os
import re
import shutil
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from longview.cluster.request import Request
from longview.cluster.site import Runner, run
from longview.errors import Problem

TWIN = "LONGVIEW_TWIN"
"""Set on a rehearsal cluster, whose GPUs are stand-ins: CPU builds of torch are right there."""
_PATH = re.compile(r"easybuild-([A-Za-z0-9_]+)")


@dataclass(frozen=True)
class TorchBuild:
    """The installed torch; ``accelerator`` is cpu, cuda or rocm, ``toolkit`` the CUDA or ROCm version it was built with."""

    version: str
    accelerator: str
    toolkit: str | None = None


@lru_cache(maxsize=1)
def torch_build() -> TorchBuild | None:
    """torch's own record of its build, read as text; None if there is no torch."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        return torch_record((Path(spec.origin).parent / "version.py").read_text(encoding="utf-8"))
    except OSError:
        return None


def torch_record(text: str) -> TorchBuild | None:
    """torch/version.py."""
    found = dict(re.findall(r"^(__version__|cuda|hip)\b[^=\n]*= *'([^']+)'", text, re.MULTILINE))
    if "__version__" not in found:
        return None
    kind = "rocm" if "hip" in found else "cuda" if "cuda" in found else "cpu"
    return TorchBuild(found["__version__"], kind, found.get("hip") or found.get("cuda"))


@dataclass(frozen=True)
class Driver:
    """The NVIDIA driver: its version and the newest CUDA it serves."""

    version: str
    cuda: str


def driver(runner: Runner = run) -> Driver | None:
    """Of this machine, which on a login node may have none or another than the compute nodes."""
    found = re.search(r"Driver Version:\s*([\d.]+).*?CUDA Version:\s*([\d.]+)", runner(["nvidia-smi"], "", 5.0).out)
    return Driver(found[1], found[2]) if found else None


def compiler(runner: Runner = run) -> str | None:
    """CUDA version of nvcc, which mamba-ssm and causal-conv1d are built with."""
    found = re.search(r"release\s+([\d.]+)", runner(["nvcc", "--version"], "", 5.0).out)
    return found[1] if found else None


def installed(name: str) -> str | None:
    """Version of a distribution; None if it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def requirement_problems(name: str) -> list[str] | None:
    """What a distribution's own requirements say against what is installed, without its extras; None if it is not installed."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        wanted = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return None
    found = []
    for text in wanted:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        there = installed(requirement.name)
        if there is None:
            found.append(f"{name} needs {requirement.name}, which is not installed")
        elif not requirement.specifier.contains(there, prereleases=True):
            found.append(f"{name} needs {requirement.name}{requirement.specifier}, and {there} is installed")
    return found


def built_for(name: str) -> tuple[str | None, str | None]:
    """(torch, CUDA) a wheel says in its file name that it was built for, such as ("2.5", "12"); None where it does not say."""
    try:
        record = metadata.distribution(name).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return None, None
    url = str(json.loads(record).get("url", "")) if record else ""
    torch, cuda = re.search(r"torch(\d+\.\d+)", url), re.search(r"[+_-]cu(\d\d)\d*", url)
    return torch[1] if torch else None, cuda[1] if cuda else None


def stack() -> str | None:
    """The EasyBuild software stack this interpreter comes from (INTEL, AMD, ...), by its path."""
    for path in (sys.base_prefix, os.path.realpath(sys.executable)):
        if found := _PATH.search(path):
            return found[1]
    return None


def interpreter_problems(experiment: Any, request: Request, environment: Mapping[str, str] = os.environ) -> Iterator[Problem]:
    """The torch that a GPU job will import, if it is this interpreter's."""
    cluster, build = experiment.cluster, torch_build()
    if cluster.python or cluster.container or not request.gpus or TWIN in environment or build is None:
        return
    wanted = "rocm" if cluster.gpu_vendor == "amd" else "cuda"
    if build.accelerator != wanted and (build.accelerator == "cpu" or cluster.gpu_vendor in ("nvidia", "amd")):
        text = f"torch {build.version} of this interpreter is a {build.accelerator} build, and the job asks for GPUs"
        yield Problem("cluster.python", f"{text}; install a {wanted} build, or name the jobs' interpreter here")


def free_gb(path: Path) -> float | None:
    """Free space where a path is or would be made; a quota may be tighter."""
    try:
        return shutil.disk_usage(next(p for p in (path, *path.absolute().parents) if p.exists())).free / 1e9
    except (OSError, StopIteration):
        return None


def writable(path: Path) -> bool:
    """Whether a path is, or could be made, a folder this user may write to."""
    present = next((p for p in (path, *path.absolute().parents) if p.exists()), None)
    return present is not None and present.is_dir() and os.access(present, os.W_OK | os.X_OK)


def online(host: str = "pypi.org", port: int = 443, patience: float = 2.0) -> bool:
    """Whether a TCP connection comes about; neither it nor the name server is waited for any longer."""
    reached = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection((host, port), patience).close()
            reached.set()
        except OSError:
            return

    thread = threading.Thread(target=connect, daemon=True)  # looking up a name has no time limit of its own
    thread.start()
    thread.join(patience)
    return reached.is_set()


def wandb_login(environment: Mapping[str, str] = os.environ) -> str | None:
    """Where Weights & Biases would find a key: a variable or the netrc file. The key itself is not looked at."""
    if environment.get("WANDB_API_KEY"):
        return "WANDB_API_KEY"
    home = Path(environment.get("HOME", "~")).expanduser()
    host = re.sub(r"^https?://|/.*$", "", environment.get("WANDB_BASE_URL", "api.wandb.ai"))
    for path in filter(None, (environment.get("NETRC"), home / ".netrc", home / "_netrc")):
        try:
            if host in netrc.netrc(str(path)).hosts:
                return str(path)
        except (OSError, netrc.NetrcParseError):
            continue
    return None
