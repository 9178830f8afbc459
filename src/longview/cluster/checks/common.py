"""What the checks share: who is asked, how a limit is told, and which other purposes would fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from longview.cluster.request import devices_of, node_of, partition_of, purpose_of
from longview.cluster.spec import ClusterConfig, NodeType, Partition
from longview.errors import Problem

Check = Callable[[Any], Iterator[Problem]]


def with_scheduler(check: Check) -> Check:
    """A check of jobs that go into a queue."""

    @wraps(check)
    def guarded(experiment: Any) -> Iterator[Problem]:
        if experiment.cluster.scheduler != "none":
            yield from check(experiment)

    return guarded


def placed(check: Callable[[Any, Partition, NodeType], Iterator[Problem]]) -> Check:
    """A check of jobs whose purpose and kind of node are known; where they are not, that is said elsewhere."""

    @wraps(check)
    def guarded(experiment: Any) -> Iterator[Problem]:
        if experiment.cluster.scheduler == "none":
            return
        partition, node = partition_of(experiment), node_of(experiment)
        if partition is not None and node is not None:
            yield from check(experiment, partition, node)

    return guarded


def limit(experiment: Any, key: str, fact: str, text: str, remedy: str) -> Problem:
    """A limit of the cluster file that is passed, told with its evidence; only a warning where that is unverified.

    Args:
        experiment: The tree.
        key: The key path that is to be changed.
        fact: Key path of the limit within the cluster file.
        text: What is wrong.
        remedy: What would be right.
    """
    found = ClusterConfig.evidence_of(experiment.cluster, fact)  # by name: the block may be a partial one
    told = f"{found.source}, {found.date}" if found else ""
    about = f" ({found.certainty}; {told})" if found else ""
    return Problem(key, f"{text}{about}; {remedy}", warning=found is not None and found.certainty == "unverified")


def warning(key: str, text: str) -> Problem:
    """What is not refused but should be known."""
    return Problem(key, text, warning=True)


def place(experiment: Any) -> str:
    """The chosen partition as SLURM calls it: "partition booster", "partition acc with QoS acc_debug"."""
    partition = partition_of(experiment)
    name = f"partition {partition.partition}" if partition and partition.partition else f"purpose {purpose_of(experiment)}"
    return f"{name} with QoS {partition.qos}" if partition and partition.qos else name


def devices_key(experiment: Any) -> str:
    """The key that made the number of devices what it is."""
    return "cluster.devices" if experiment.cluster.devices and not experiment.resources.devices else "resources.devices"


def purposes_with(experiment: Any, *, gpus: bool) -> str:
    """``resources.purpose=a, b`` of a cluster's purposes with or without GPUs; empty if there is none."""
    cluster = experiment.cluster
    kinds = {name: cluster.node_types.get(partition.node) for name, partition in cluster.partitions.items()}
    found = [name for name, node in kinds.items() if node is not None and node.gpus is not None and bool(node.gpus) == gpus]
    return f"resources.purpose={' or '.join(found)}" if found else ""


def elsewhere(experiment: Any) -> str:
    """ ", or resources.purpose=big" of the purposes where the job would be within every known limit."""
    here, chosen = node_of(experiment), purpose_of(experiment)
    nodes, devices, time = experiment.resources.nodes, devices_of(experiment), experiment.resources.time
    found = []
    for name, partition in experiment.cluster.partitions.items():
        node = experiment.cluster.node_types.get(partition.node)
        if name == chosen or node is None or here is None or (node.gpus == 0) != (here.gpus == 0):
            continue
        too_long = time and partition.max_time and time > partition.max_time
        too_wide = nodes < (partition.min_nodes or 1) or nodes > (partition.max_nodes or nodes)
        too_deep = devices > (node.gpus or node.cores or devices)
        too_much = time and partition.max_node_minutes and nodes * time.total_seconds() / 60 > partition.max_node_minutes
        too_many = node.gpus and partition.max_gpus_user and nodes * devices > partition.max_gpus_user
        if not (too_long or too_wide or too_deep or too_much or too_many):
            found.append(name)
    return f", or resources.purpose={' or '.join(found)}" if found else ""
