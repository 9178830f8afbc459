"""What `longview doctor` finds out about this machine: interpreter, packages, places, network. The SLURM side is beside it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

from longview.cluster import machine
from longview.cluster.places import within
from longview.cluster.site import Site
from longview.cluster.spec import ClusterConfig

Mark = Literal["ok", "!", "x", "-"]
"""Fine; worth a look; blocks a run; not known or not needed."""
OLD = 180
"""Days after which a fact of a cluster file should be looked up again."""
CACHES = {
    "HF_HOME": ".cache/huggingface",
    "TORCH_HOME": ".cache/torch",
    "PIP_CACHE_DIR": ".cache/pip",
    "WANDB_CACHE_DIR": ".cache/wandb",
    "TRITON_CACHE_DIR": ".triton/cache",
}
"""Variable -> where it points below the home folder if it is not set."""


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what was found, and what to do about it."""

    mark: Mark
    what: str
    found: str
    todo: str = ""


@dataclass
class Visit:
    """One visit of the doctor. Slow questions are asked at once, side by side, and answered when they are needed.

    Attributes:
        cluster: The chosen cluster.
        here: The cluster this machine was recognised as.
        site: SLURM.
        root: run.root.
        today: For the age of facts.
    """

    cluster: ClusterConfig
    here: str | None
    site: Site
    root: Path
    today: date = field(default_factory=date.today)

    def __post_init__(self) -> None:
        pool = ThreadPoolExecutor(3)
        self.driver: Future[machine.Driver | None] = pool.submit(machine.driver)
        self.compiler: Future[str | None] = pool.submit(machine.compiler)
        self.online: Future[bool] = pool.submit(machine.online)
        pool.shutdown(wait=False)

    @property
    def slurm(self) -> bool:
        """Whether the cluster has a scheduler."""
        return self.cluster.scheduler == "slurm"

    @property
    def at_home(self) -> bool:
        """Whether this machine is the one the runs are for, so that what is wrong with it blocks them."""
        return not self.slurm or self.here == self.cluster.name or (self.here is None and self.site.reachable())

    @property
    def rehearsal(self) -> bool:
        """Whether this is a stand-in of a cluster, whose GPUs cannot compute."""
        return machine.TWIN in os.environ

    def wrong(self, mark: Mark = "x") -> Mark:
        """The mark of what blocks a run if this is the machine it is for."""
        return mark if self.at_home else "!"


def python(visit: Visit) -> Iterator[Finding]:
    """Interpreter, architecture, torch and the packages that are compiled against it."""
    cluster = visit.cluster
    yield Finding("ok", "Python", f"{platform.python_version()} on {platform.machine()}, {sys.executable}")
    kinds = [cluster.node_types[p.node] for p in cluster.partitions.values() if p.node in cluster.node_types]
    wanted = {kind.arch or cluster.arch for kind in kinds} - {None} or {cluster.arch} - {None}
    if wanted and platform.machine() not in wanted:
        text = f"{platform.machine()} here, {cluster.name} is {' and '.join(sorted(map(str, wanted)))}"
        yield Finding(visit.wrong(), "architecture", text, "install Python packages on a login node of that kind")
    stacks = {kind.stack for kind in kinds if kind.stack and kind.gpus}
    if (stack := machine.stack()) and stacks and stack not in stacks:
        text = f"this interpreter comes from easybuild-{stack}, the GPU nodes need {' or '.join(sorted(map(str, stacks)))}"
        yield Finding(
            visit.wrong(), "software stack", text, "jobs would die with exit code 132; make the venv from the other stack"
        )
    problems = machine.requirement_problems("longview")
    for problem in problems or ():
        yield Finding("x", "packages", problem, 'pip install -e ".[dev]", or pip install -c constraints.txt')
    if problems is None:
        yield Finding("!", "packages", "longview itself is not installed, so its needs are not known", 'pip install -e "."')
    elif not problems:
        yield Finding("ok", "packages", "everything longview needs is installed, in versions that fit")
    yield from _torch(visit)
    for name in ("mamba-ssm", "causal-conv1d", "deepspeed"):
        yield _extra(name)


def _torch(visit: Visit) -> Iterator[Finding]:
    build, driver, cluster = machine.torch_build(), visit.driver.result(), visit.cluster
    if build is None:
        yield Finding("x", "torch", "not installed", "pip install torch, the build that fits the GPUs and their driver")
        return
    text = f"{build.version}, {build.accelerator} build" + (f" ({build.toolkit})" if build.toolkit else "")
    gpus = any((cluster.node_types[p.node].gpus or 0) > 0 for p in cluster.partitions.values() if p.node in cluster.node_types)
    wanted = "rocm" if cluster.gpu_vendor == "amd" else "cuda"
    if gpus and build.accelerator != wanted and not visit.rehearsal and not cluster.python and not cluster.container:
        todo = f"jobs on GPUs need a {wanted} build in the environment they run in"
        yield Finding(visit.wrong(), "torch", text, todo)
    else:
        yield Finding("ok", "torch", text + (", enough for a rehearsal" if gpus and build.accelerator != wanted else ""))
    if driver and build.accelerator == "cuda" and build.toolkit:
        fits = _major(driver.cuda) >= _major(build.toolkit)
        text = f"{driver.version}, serves CUDA {driver.cuda}; torch was built with {build.toolkit}"
        yield Finding(
            "ok" if fits else visit.wrong(), "driver", text, "" if fits else f"take a torch build for CUDA {_major(driver.cuda)}"
        )
    elif driver:
        yield Finding("!", "driver", f"{driver.version}, serves CUDA {driver.cuda}; this torch makes no use of it")
    else:
        yield Finding("-", "driver", "no NVIDIA driver on this machine" + (" (usual for login nodes)" if visit.slurm else ""))
    nvcc = visit.compiler.result()
    if nvcc and build.toolkit and build.accelerator == "cuda":
        same = _major(nvcc) == _major(build.toolkit)
        todo = "" if same else "mamba-ssm and causal-conv1d cannot be built with it; load a CUDA module that matches torch"
        yield Finding("ok" if same else "!", "nvcc", f"CUDA {nvcc}; torch was built with {build.toolkit}", todo)


def _extra(name: str) -> Finding:
    """An optional package that is compiled: there, and made for the torch that is there?"""
    version, build = machine.installed(name), machine.torch_build()
    if version is None:
        without = {"mamba-ssm": "longview's own scan is used", "causal-conv1d": "torch's convolution is used"}
        return Finding("-", name, f"not installed; {without.get(name, 'only needed for its strategies')}")
    if problems := machine.requirement_problems(name):
        return Finding("!", name, f"{version}; {'; '.join(problems)}", f"pip install -U {name}")
    torch, cuda = machine.built_for(name)
    if build and torch and not build.version.startswith(f"{torch}."):
        return Finding(
            "!", name, f"{version}, built for torch {torch}; {build.version} is here", "install the wheel for this torch"
        )
    if build and cuda and build.toolkit and _major(build.toolkit) != int(cuda):
        return Finding(
            "!", name, f"{version}, built for CUDA {cuda}; torch's is {build.toolkit}", "install the wheel for this CUDA"
        )
    return Finding("ok", name, version + (f", built for torch {torch}" if torch else ""))


def _major(version: str) -> int:
    return int(version.split(".")[0])


def facts(visit: Visit) -> Iterator[Finding]:
    """Which cluster this is, and how old what is known of it is."""
    cluster = visit.cluster
    if visit.rehearsal and os.environ[machine.TWIN] == cluster.name:
        yield Finding("ok", "this machine", f"a rehearsal of {os.environ[machine.TWIN]}: a real SLURM, GPUs that cannot compute")
    elif visit.here and visit.here != cluster.name:
        yield Finding(
            "!", "this machine", f"looks like {visit.here}, not {cluster.name}", f"longview doctor cluster={visit.here}"
        )
    elif visit.here:
        yield Finding("ok", "this machine", f"belongs to {visit.here}")
    elif visit.slurm:
        yield Finding("-", "this machine", "not one of the clusters in conf/cluster, as far as can be told")
    for what, name, day in (
        ("seen in use", "verified", cluster.verified),
        ("limits read", "limits_verified", cluster.limits_verified),
    ):
        if day:
            age = (visit.today - date.fromisoformat(day)).days
            todo = f"compare with the site's pages, then set cluster.{name}" if age > OLD else ""
            yield Finding("!" if age > OLD else "ok", what, f"{day}, {age} days ago", todo)
    for kind, modules in cluster.modules.items():
        if modules.valid_until and date.fromisoformat(modules.valid_until) < visit.today:
            text = f"cluster.modules.{kind} were meant to hold until {modules.valid_until}"
            yield Finding("!", "modules", text, "look up the site's present software stage")
    if cluster.notes:
        yield Finding("-", "to know", cluster.notes)


def places(visit: Visit) -> Iterator[Finding]:
    """Where runs, data and caches go, whether there is room, and what is deleted when."""
    storage, home = visit.cluster.storage, Path.home()
    yield _place(visit, "run.root", visit.root)
    for what, variable in (("work", storage.work), ("scratch", storage.scratch), ("data", storage.data)):
        if variable and (path := os.environ.get(variable)):
            purge = (
                f", untouched files are deleted after {storage.purge_days} days"
                if what == "scratch" and storage.purge_days
                else ""
            )
            yield _place(visit, f"${variable}", Path(path), purge)
        elif variable:
            yield Finding(
                "!" if visit.at_home else "-", f"${variable}", "not set here", f"it names the {what} folder of your project"
            )
    small = f" of {storage.home_gb:g} GB" if storage.home_gb else ""
    inside = [v for v, usual in CACHES.items() if within(os.environ.get(v) or str(_cache(home, usual)), str(home))]
    if inside and storage.home_gb:
        found = storage.workspace and storage.workspace.find
        root = f"${storage.cache_root}" if storage.cache_root else f"$({found} <name>)" if found else "<folder outside it>"
        todo = f"export XDG_CACHE_HOME={root}/cache TRITON_CACHE_DIR={root}/cache/triton   (in ~/.bashrc)"
        yield Finding("!" if visit.at_home else "-", "caches", f"below the home folder{small}: {', '.join(inside)}", todo)
    elif visit.slurm:
        yield Finding(
            "ok", "caches", "outside the home folder" if not inside else "below the home folder, whose size is not known"
        )
    for name in ("/dev/shm", os.environ.get("TMPDIR", "/tmp")):
        if (free := machine.free_gb(Path(name))) is not None and Path(name).is_dir():
            yield Finding("ok" if machine.writable(Path(name)) else "!", name, f"{free:.0f} GB free on this machine")
    yield from _workspaces(visit)


def _cache(home: Path, usual: str) -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base) / Path(usual).name if base and usual.startswith(".cache/") else home / usual


def _place(visit: Visit, what: str, path: Path, more: str = "") -> Finding:
    if not machine.writable(path):
        return Finding("x" if what == "run.root" else visit.wrong("!"), what, f"{path} cannot be written", "name another folder")
    free = machine.free_gb(path)
    low = free is not None and free < 10
    room = "" if free is None else f", {free:.0f} GB free on its file system"
    return Finding("!" if low else "ok", what, f"{path}{room}{more}", "a quota may be tighter still" if low else "")


def _workspaces(visit: Visit) -> Iterator[Finding]:
    workspace = visit.cluster.storage.workspace
    ends = visit.site.workspaces((workspace.list if workspace else None) or "ws_list")
    for folder, left in (ends or {}).items():
        soon = left.total_seconds() < 7 * 86400
        mark: Mark = "x" if soon and left.total_seconds() < 86400 and within(str(visit.root), folder) else "!" if soon else "ok"
        text = f"{folder} ends in {left.days} days {left.seconds // 3600} h"
        yield Finding(mark, "workspace", text, "extend it (ws_extend), or its files are deleted" if soon else "")
    if ends is None and workspace and visit.at_home:
        yield Finding("-", "workspace", f"{workspace.list or 'ws_list'} does not answer, so it is not known when yours end")


def network(visit: Visit) -> Iterator[Finding]:
    """What is reachable from here, and whether metrics can be uploaded."""
    internet, online = visit.cluster.internet, visit.online.result()
    expected = internet.login is False and visit.slurm
    text = "reachable from here" if online else "not reachable from here (pypi.org did not answer within 2 s)"
    todo = "bring packages, data and weights from a machine that is online" if not online and not expected else ""
    yield Finding("ok" if online else "-", "internet", text, todo)
    if visit.slurm and not internet.compute:
        known = "have none" if internet.compute is False else "may have none"
        yield Finding(
            "-", "compute nodes", f"{known}: fetch data and weights first; W&B runs offline, wandb sync uploads from here"
        )
    login = machine.wandb_login()
    yield Finding(
        "ok" if login else "-",
        "W&B login",
        f"found in {login}" if login else "none found; logger=wandb needs wandb login to upload",
    )


def commands(visit: Visit) -> Iterator[Finding]:
    """The site's own commands, to be run by hand."""
    cluster = visit.cluster
    pairs: tuple[tuple[str, Any], ...] = (
        ("your accounts", cluster.account.discover),
        ("budget left", cluster.info.budget_cmd),
        ("quota", cluster.info.quota_cmd),
        ("job reports", cluster.info.monitor),
        ("more", cluster.docs),
    )
    yield from (Finding("-", what, str(command)) for what, command in pairs if command)
