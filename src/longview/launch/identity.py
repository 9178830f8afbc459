"""Which run is which: names of sweeps and points follow from what is computed, so that the same command finds the same runs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from longview.config.experiment import CheckedExperiment, Sweep
from longview.runs.sweep import Point

ELSEWHERE = ("run", "launch", "search")
"""Blocks that say where, how and why a run takes place, not what is computed."""
_SIZE = ("nodes", "devices")
"""Of ``resources``, what changes the arithmetic: the number of processes."""
_LABEL = 60


def _digest(value: Any, length: int) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def computed(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a configuration that decides what comes out."""
    kept = {key: value for key, value in tree.items() if key not in ELSEWHERE}
    cluster, resources = kept.get("cluster"), kept.get("resources")
    if isinstance(cluster, Mapping):
        kept["cluster"] = cluster.get("name")
    if isinstance(resources, Mapping):
        kept["resources"] = {key: resources.get(key) for key in _SIZE}
    return kept


def sweep_id(sweep: Sweep) -> str:
    """Six digits that stay when values are added to a swept key, and change with everything else."""
    first = sweep.points[0]
    base = computed(sweep.base if sweep.keys else _sized(first))
    return _digest([first.config.launch.sweep, sorted(sweep.keys), base], 6)


def sweep_name(sweep: Sweep) -> str:
    """``launch.sweep``, else the points' common name, else that of the task."""
    first = sweep.points[0]
    names = {point.name for point in sweep.points}
    named = first.config.launch.sweep or (names.pop() if len(names) == 1 else first.config.task.name)
    return _clean(str(named))


def place_of(sweep: Sweep) -> Path:
    """The sweep's directory, absolute."""
    return Path(sweep.points[0].config.run.root).absolute() / f"{sweep_name(sweep)}-{sweep_id(sweep)}"


def point_of(sweep: Sweep, experiment: CheckedExperiment, identity: str) -> Point:
    """Identity, folder and values of one point of the sweep ``identity``."""
    run = _digest([identity, computed(_sized(experiment))], 8)
    values = sweep.values(experiment)
    label = _clean("_".join(f"{key.rpartition('.')[2]}-{value}" for key, value in values.items()) or experiment.name)
    return Point(run, f"{label[:_LABEL]}-{run}", values)


def _sized(experiment: CheckedExperiment) -> dict[str, Any]:
    """The resolved tree with the number of devices that null comes to."""
    config = experiment.config
    return {**experiment.resolved, "resources": {"nodes": config.resources.nodes, "devices": config.devices}}


def _clean(text: str) -> str:
    """Letters, digits and ``._+-`` only: safe in a path, in a shell and as a Hydra argument."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-.") or "run"
