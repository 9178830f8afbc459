"""Which process of a run this is, and whether its node gives it what the configuration says: checked before anything is built.

Processes are told who they are by RANK, LOCAL_RANK, NODE_RANK and WORLD_SIZE: set by the launcher on one machine, derived from
SLURM's own variables where a batch script says ``LONGVIEW_RANKS=slurm``. Nothing is guessed from a SLURM that happens to be
around, such as an interactive allocation. ``LONGVIEW_TWIN`` marks a test cluster whose virtual nodes claim more than there is.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Literal

from longview.cluster.request import cpus_of, devices_of, request_of
from longview.config.schema import Experiment
from longview.errors import LongviewError

SLURM_NAMES = {
    "RANK": "SLURM_PROCID",
    "LOCAL_RANK": "SLURM_LOCALID",
    "NODE_RANK": "SLURM_NODEID",
    "WORLD_SIZE": "SLURM_NTASKS",
}
INTERFACES = Path("/sys/class/net")
Environment = MutableMapping[str, str]


class RankError(LongviewError):
    """This process is not what the configuration says, or its node lacks what it needs."""


def adopt(environment: Environment = os.environ) -> None:
    """Take rank and size from SLURM where the batch script asks for it; raises RankError if they are not there."""
    asked = environment.get("LONGVIEW_RANKS")
    if asked is None:
        return
    if asked != "slurm":
        raise RankError(f"LONGVIEW_RANKS={asked} is unknown; set LONGVIEW_RANKS=slurm inside srun, or leave it out")
    if missing := [name for name in SLURM_NAMES.values() if name not in environment]:
        text = f"LONGVIEW_RANKS=slurm, but {', '.join(missing)} is not set"
        raise RankError(f"{text}; start the processes with srun, or submit with python run.py cluster=<name>")
    code, here = environment.get("LONGVIEW_CODE"), Path(__file__).resolve()
    if code and not here.is_relative_to(Path(code).resolve()):
        text = f"the job is to run the copy of the code in {code}, but Python found {here.parents[1]}"
        raise RankError(f"{text}; a set-up line, the container or -E has changed PYTHONPATH")
    for name, theirs in SLURM_NAMES.items():
        environment[name] = environment[theirs]


def check(config: Experiment, environment: Environment = os.environ) -> None:
    """Refuse to start what would hang or run elsewhere than meant; raises RankError with everything that is wrong."""
    found = list(_size(config, environment))
    if config.world_size > 1:
        found += [*_interfaces(environment), *_address(environment)]
    if found:
        raise RankError(f"{socket.gethostname()}: {'; '.join(found)}")


def _size(config: Experiment, environment: Environment) -> Iterator[str]:
    """SLURM's numbers against the one resource block; with others the ranks would wait for one another for ever."""
    if "RANK" not in environment:
        return
    size, devices, nodes = config.world_size, devices_of(config), config.resources.nodes
    meant = f"the configuration says nodes={nodes}, devices={devices}"
    if int(started := environment.get("WORLD_SIZE", "1")) != size:
        yield f"{started} process(es) were started, but {meant}, which is {size}"
    elif int(environment.get("LOCAL_RANK", 0)) >= devices:
        yield f"a process has number {environment['LOCAL_RANK']} on its node, but {meant}; use --ntasks-per-node={devices}"
    elif int(environment["RANK"]) != int(environment.get("NODE_RANK", 0)) * devices + int(environment.get("LOCAL_RANK", 0)):
        yield "processes are not numbered node by node; use srun --distribution=block"
    if environment.get("LONGVIEW_RANKS") == "slurm" and int(environment.get("SLURM_NNODES", nodes)) != nodes:
        yield f"the job has {environment['SLURM_NNODES']} nodes, but {meant}; submit it again with python run.py"


def _interfaces(environment: Environment) -> Iterator[str]:
    """Network interfaces that were chosen for this cluster have to exist on this node."""
    present = sorted(p.name for p in INTERFACES.iterdir()) if INTERFACES.is_dir() else []
    for variable in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"):
        named = environment.get(variable)
        if not present or not named or _present(named, present, prefix=variable.startswith("NCCL")):
            continue
        if environment.get("LONGVIEW_TWIN"):
            del environment[variable]  # the virtual nodes of a test cluster have the machine's interfaces alone
            continue
        key = variable.split("_")[0].lower()
        yield f"{variable}={named}, but the node has only {', '.join(present)}; put cluster.network.{key}_ifname right"


def _present(named: str, present: Sequence[str], *, prefix: bool) -> bool:
    """Whether one of the listed names exists. NCCL takes beginnings, ``=name`` for a whole one, ``^name`` for all others."""
    if prefix and named.startswith("^"):
        return True
    names = [n for n in named.lstrip("=" if prefix else "").split(",") if n]
    whole = not prefix or named.startswith("=")
    return any(p == n or (not whole and p.startswith(n)) for n in names for p in present)


def _address(environment: Environment) -> Iterator[str]:
    address = environment.get("MASTER_ADDR")
    if not address:
        if environment.get("LONGVIEW_RANKS") == "slurm":
            yield "MASTER_ADDR is not set; the batch script has to export the first node's address"
        return
    try:
        socket.getaddrinfo(address, environment.get("MASTER_PORT"))
    except OSError as error:
        cure = "see cluster.network.master_suffix and master_fqdn"
        yield f"MASTER_ADDR={address} does not resolve ({error.strerror}), so the ranks cannot meet; {cure}"


def cpus() -> int:
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def affinity(config: Experiment, environment: Environment = os.environ) -> dict[str, Any] | None:
    """What to tell if this process may use fewer CPUs than it was given in the configuration; else None.

    From SLURM 22.05 to 23.02 srun forgets ``--cpus-per-task`` of the batch script: not an error, only slow.
    """
    asked, there = cpus_of(config), cpus()
    if environment.get("LONGVIEW_RANKS") != "slurm" or environment.get("LONGVIEW_TWIN") or asked is None or there >= asked:
        return None
    fix = f"start the ranks with srun --cpus-per-task={asked}, and --cpu-bind=none where the site binds too narrowly"
    return {"asked": asked, "usable": there, "host": socket.gethostname(), "fix": fix}


def threads(config: Experiment, environment: Environment = os.environ) -> int:
    """Threads for this process' arithmetic: its share of the CPUs it may use, at least 1."""
    devices, there, asked = devices_of(config), cpus(), cpus_of(config)
    if environment.get("LONGVIEW_TWIN"):  # all virtual nodes are one machine
        return max(1, min(there // config.world_size, asked or there))
    if environment.get("LONGVIEW_RANKS") == "slurm":
        return max(1, min(asked or int(environment.get("SLURM_CPUS_PER_TASK", there // devices)), there))
    return asked or max(1, there // devices)


def accelerator(config: Experiment, environment: Environment = os.environ) -> tuple[Literal["cpu", "cuda"], str]:
    """What to compute on, and a line to print where that is not what the cluster promises.

    Raises:
        RankError: GPUs were asked for and this process sees too few: it must not train on a CPU unnoticed.
    """
    import torch

    named = config.trainer.accelerator
    if named == "cpu":
        return "cpu", ""
    visible = torch.cuda.device_count() if torch.cuda.is_available() else 0
    promised = config.cluster.scheduler == "slurm" and request_of(config).gpus > 0
    if not (promised or named == "cuda"):
        return ("cuda" if visible else "cpu"), ""
    if not visible and named == "auto" and environment.get("LONGVIEW_TWIN"):
        return "cpu", "the nodes of this test cluster have no GPU: training on the CPU"
    host, shown = socket.gethostname(), environment.get("CUDA_VISIBLE_DEVICES", "not set")
    if not visible:
        look = f"CUDA_VISIBLE_DEVICES={shown}, torch {torch.__version__} is built for CUDA {torch.version.cuda}"
        cure = "look at nvidia-smi on that node, at the modules and at the driver; or give trainer.accelerator=cpu"
        raise RankError(f"{host}: a GPU was asked for, but torch sees none ({look}); {cure}")
    if visible < (devices := devices_of(config)):
        text = f"{host}: {devices} processes per node, but this one sees {visible} GPU(s) (CUDA_VISIBLE_DEVICES={shown})"
        raise RankError(f"{text}; every process has to see all GPUs of its node: no --gpus-per-task, no --gpu-bind")
    return "cuda", ""
