"""What no single value shows: pairs that do not fit, and a machine or data that are not there.

A check takes the tree (typed, possibly partial) and yields Problems. Values that are wrong themselves were reported before;
touching one ends the check quietly. Rules of one task, model or data format live beside it, torch-free:
``longview.<room>.rules.<module>.problems(experiment)`` is called if it exists.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from longview.cluster.checks import CHECKS as PREFLIGHT
from longview.cluster.request import devices_of, node_of
from longview.config.signature import ROOMS
from longview.config.validate import Unknown
from longview.errors import LongviewError, Problem

Check = Callable[[Any], Iterator[Problem]]


def run_checks(experiment: Any, *, stored: bool = False) -> list[Problem]:
    """Every check on a tree; a check that needs a value which is wrong says nothing.

    Args:
        experiment: The tree, typed, possibly partial.
        stored: Whether it is a run's own config.yaml: what was asked of the cluster was judged when the run was made, against
            facts and evidence that are not part of it.
    """
    found: list[Problem] = []
    for check in (*CHECKS, *(() if stored else PREFLIGHT), *_rules(experiment)):
        try:
            found.extend(check(experiment))
        except Unknown:
            continue
    return found


def _rules(experiment: Any) -> Iterator[Check]:
    for group, room in ROOMS.items():
        try:
            module = f"{room}.rules.{getattr(experiment, group).name}"
        except Unknown:
            continue
        try:
            known = importlib.util.find_spec(module)
        except ModuleNotFoundError:  # the room has no rules at all
            continue
        if known:
            yield importlib.import_module(module).problems


def cpus() -> int:
    """CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> int:
    """NVIDIA devices of this machine, found without torch."""
    return len([p for p in Path("/dev").glob("nvidia[0-9]*") if p.name[6:].isdigit()])


def accelerator(experiment: Any) -> str:
    """What ``auto`` comes to where the run will be."""
    named = str(experiment.trainer.accelerator)
    if named != "auto":
        return named
    node = None if _here(experiment) else node_of(experiment)
    there = gpus() if _here(experiment) else node.gpus if node and node.gpus is not None else 1
    return "cuda" if there else "cpu"


def _here(experiment: Any) -> bool:
    """Whether the run starts on this machine, so that its hardware counts."""
    return bool(experiment.cluster.scheduler == "none")


def _nodes(experiment: Any) -> Iterator[Problem]:
    if _here(experiment) and experiment.resources.nodes > 1:
        text = f"{experiment.resources.nodes} nodes need a scheduler; cluster '{experiment.cluster.name}' is one machine, give 1"
        yield Problem("resources.nodes", text)


def _devices_fit(experiment: Any) -> Iterator[Problem]:
    if not _here(experiment):
        return
    key = "resources.devices" if experiment.resources.devices else "cluster.devices"
    devices, kind = devices_of(experiment), accelerator(experiment)
    if kind == "cpu" and devices > cpus():
        yield Problem(key, f"{devices} processes on {cpus()} CPUs; give at most {cpus()}")
    if kind == "cuda" and 0 < gpus() < devices:
        yield Problem(key, f"{devices} devices, but this machine has {gpus()} GPUs; give at most {gpus()}")


def _cores_fit(experiment: Any) -> Iterator[Problem]:
    each = experiment.resources.cpus_per_device
    if _here(experiment) and each and each * min(devices_of(experiment), cpus()) > cpus():
        most = max(1, cpus() // devices_of(experiment))
        yield Problem(
            "resources.cpus_per_device", f"{devices_of(experiment)} x {each} CPUs on a machine of {cpus()}; give at most {most}"
        )


def _cuda(experiment: Any) -> Iterator[Problem]:
    if _here(experiment) and experiment.trainer.accelerator == "cuda" and not gpus():
        yield Problem(
            "trainer.accelerator", "'cuda' needs an NVIDIA GPU and its driver, and there is none here; give cpu or auto"
        )


def _precision(experiment: Any) -> Iterator[Problem]:
    if experiment.trainer.precision == "16-mixed" and accelerator(experiment) == "cpu":
        yield Problem(
            "trainer.precision", "'16-mixed' cannot run on a CPU; give 'bf16-mixed' or '32', or trainer.accelerator=cuda"
        )


def _strategy(experiment: Any) -> Iterator[Problem]:
    chosen, world = experiment.strategy, experiment.resources.nodes * devices_of(experiment)
    if chosen.name == "single" and world > 1:
        yield Problem(
            "strategy.name", f"'single' is one process, but nodes x devices is {world}; give strategy=ddp or strategy=auto"
        )
    if chosen.name in ("fsdp", "deepspeed") and experiment.trainer.precision == "16-mixed":
        text = f"'16-mixed' cannot be combined with strategy '{chosen.name}'; give bf16-mixed or 32"
        yield Problem("trainer.precision", text)
    if chosen.name != "deepspeed":
        return
    if importlib.util.find_spec("deepspeed") is None:
        yield Problem("strategy.name", "the package deepspeed is not installed; pip install deepspeed, or give strategy=fsdp")
    if chosen.stage is None:
        yield Problem("strategy.stage", "null; give strategy=deepspeed_1, deepspeed_2 or deepspeed_3")
    if experiment.trainer.precision == "64":
        yield Problem("trainer.precision", "'64' cannot be combined with strategy 'deepspeed'; give 32 or bf16-mixed")
    if chosen.offload_parameters and chosen.stage in (1, 2):
        text = f"stage {chosen.stage} does not divide the weights, so they cannot leave the GPU; give strategy=deepspeed_3"
        yield Problem("strategy.offload_parameters", text)
    for name in ("offload_optimizer", "offload_parameters"):
        if getattr(chosen, name) and accelerator(experiment) == "cpu":
            yield Problem(f"strategy.{name}", "moves state from a GPU to the CPU's memory, and this run has no GPU; give false")


def _unused(experiment: Any) -> Iterator[Problem]:
    owners = {
        "find_unused_parameters": "ddp",
        "min_unit": "fsdp",
        "stage": "deepspeed",
        "offload_optimizer": "deepspeed",
        "offload_parameters": "deepspeed",
    }
    for option, owner in owners.items():
        if getattr(experiment.strategy, option) and experiment.strategy.name != owner:
            file = "deepspeed_1, deepspeed_2 or deepspeed_3" if owner == "deepspeed" else owner
            text = f"strategy '{experiment.strategy.name}' has no such setting; give strategy={file} with it"
            yield Problem(f"strategy.{option}", text)


def _length(experiment: Any) -> Iterator[Problem]:
    if experiment.trainer.max_epochs is None and experiment.trainer.max_steps is None:
        yield Problem(
            "trainer.max_epochs", "null, and trainer.max_steps is null too, so training would never end; give one of them"
        )


def _validation(experiment: Any) -> Iterator[Problem]:
    epochs, every = experiment.trainer.max_epochs, experiment.trainer.validate_every
    if epochs is not None and every > epochs:
        text = f"{every} is more than trainer.max_epochs ({epochs}), so nothing would be validated; give at most {epochs}"
        yield Problem("trainer.validate_every", text)


def _workers(experiment: Any) -> Iterator[Problem]:
    most = max(64, 4 * cpus())
    if _here(experiment) and experiment.loader.num_workers > most:
        yield Problem(
            "loader.num_workers", f"{experiment.loader.num_workers} loader processes on {cpus()} CPUs; give at most {most}"
        )


def _wandb(experiment: Any) -> Iterator[Problem]:
    if experiment.logger.wandb is not None and importlib.util.find_spec("wandb") is None:
        yield Problem("logger.wandb", "the package wandb is not installed; pip install wandb, or give logger=csv")


def _root(experiment: Any) -> Iterator[Problem]:
    root = Path(experiment.run.root).expanduser()
    present = next(p for p in (root, *root.absolute().parents) if p.exists())
    if not present.is_dir():
        yield Problem("run.root", f"'{root}' is no folder: {present} is a file")
    elif not os.access(present, os.W_OK):
        yield Problem("run.root", f"'{root}' cannot be made or written: no right to write in {present}")


def _serves_task(experiment: Any) -> Iterator[Problem]:
    """The pair itself; ``longview.config.experiment`` adds which options would fit."""
    for group in ("model", "data"):
        block, task = getattr(experiment, group), experiment.task.name
        if task not in block.tasks:
            serves = ", ".join(block.tasks) or "no task"
            yield Problem(group, f"'{block.name}' does not serve task '{task}' (it serves: {serves})")


CHECKS: tuple[Check, ...] = (
    _nodes,
    _devices_fit,
    _cores_fit,
    _cuda,
    _precision,
    _strategy,
    _unused,
    _length,
    _validation,
    _workers,
    _wandb,
    _root,
    _serves_task,
)


def data_problems(block: Any) -> list[Problem]:
    """The data source's own quick look: root, split and mapping are there and well formed."""
    try:
        source = block.build()
        found: list[Problem] = source.problems()
    except LongviewError as error:
        return list(getattr(error, "problems", ())) or [Problem("data", str(error))]
    return found
