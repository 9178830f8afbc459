"""What one job asks SLURM for. The one place where ``resources`` and a cluster's facts become directives, srun options and
environment; sbatch, srun, the trainer and the dry run all read it from here (specs: T17, T18, T20)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from longview.cluster.spec import NodeType, Partition
from longview.fields import clock

if TYPE_CHECKING:
    from longview.config.schema import Experiment

USUAL_TIME = timedelta(hours=24)
"""Asked for at most when nobody has said how long or for what purpose."""


def purpose_of(experiment: Any) -> str:
    """Name of the chosen purpose: the user's, the cluster's, ``gpu``, or the only one there is."""
    cluster = experiment.cluster
    named = experiment.resources.purpose or cluster.purpose
    return str(named or ("gpu" if "gpu" in cluster.partitions else next(iter(cluster.partitions), "gpu")))


def partition_of(experiment: Any) -> Partition | None:
    """The chosen partition; None where there is no scheduler or no such purpose."""
    found: Partition | None = experiment.cluster.partitions.get(purpose_of(experiment))
    return found


def node_of(experiment: Any) -> NodeType | None:
    """The kind of node of the chosen partition; None if it is not known."""
    partition = partition_of(experiment)
    found: NodeType | None = experiment.cluster.node_types.get(partition.node) if partition else None
    return found


def devices_of(experiment: Any) -> int:
    """Processes per node: what was asked for, else the cluster's usual number, else one per GPU, else 1."""
    asked = experiment.resources.devices or experiment.cluster.devices
    if asked:
        return int(asked)
    node = node_of(experiment)
    return (node.gpus if node else None) or 1


def time_of(experiment: Any) -> timedelta | None:
    """Time limit of an attempt: asked for, else the purpose's default, else the longest allowed; None: not known.

    Of the purpose nobody named, 24 h at most: a week's limit would wait longer in the queue.
    """
    asked: timedelta | None = experiment.resources.time
    partition = partition_of(experiment)
    if asked or partition is None:
        return asked
    if partition.default_time or partition.max_time is None:
        return partition.default_time
    return partition.max_time if experiment.resources.purpose else min(partition.max_time, USUAL_TIME)


def cpus_of(experiment: Any) -> int | None:
    """CPU cores per process: asked for, else the GPU's fair share, else an equal part of the node; None: not known."""
    asked: int | None = experiment.resources.cpus_per_device
    node, partition = node_of(experiment), partition_of(experiment)
    if asked or node is None:
        return asked
    devices = devices_of(experiment)
    if partition and partition.exclusive and node.cores and not node.cpus_per_gpu_exact:
        return max(1, node.cores // devices)
    if node.gpus and node.cpus_per_gpu:
        return node.cpus_per_gpu
    return max(1, node.cores // devices) if node.cores else None


def memory_of(experiment: Any) -> float | None:
    """GB per node to ask for; None: the site's default, or a site where it must not be given."""
    cluster, node = experiment.cluster, node_of(experiment)
    if experiment.resources.memory_gb:
        return float(experiment.resources.memory_gb)
    if cluster.mem_policy != "must_set" or node is None:
        return None
    if node.gpus and node.mem_gb_per_gpu:
        share = node.mem_gb_per_gpu * devices_of(experiment)
        return float(min(share, node.mem_gb_usable or share))
    if node.mem_gb_usable and node.cores:
        used = min(1.0, devices_of(experiment) * (cpus_of(experiment) or 1) / node.cores)
        return float(int(node.mem_gb_usable * used)) or 1.0
    return None


def account_of(experiment: Any, environment: Mapping[str, str] = os.environ) -> str | None:
    """What the job is charged to: ``launch.account``, else the first set environment variable the cluster names."""
    if experiment.launch.account:
        return str(experiment.launch.account)
    return next((environment[name] for name in experiment.cluster.account.env if environment.get(name)), None)


@dataclass(frozen=True)
class Request:
    """One job's size and place, ready to be written down.

    Attributes:
        nodes, tasks, cpus: Nodes, processes per node, CPU cores per process (None: site default).
        gpus: GPUs per node; 0 on CPU nodes.
        memory_gb: Per node; None: not written.
        time: Limit of one attempt; None: the site's default.
        charged_gpus, charged_cores: What is paid for per node: all of it where jobs have nodes alone.
    """

    cluster: str
    purpose: str
    partition: str | None
    qos: str | None
    nodes: int
    tasks: int
    cpus: int | None
    gpus: int
    memory_gb: float | None
    time: timedelta | None
    account: str | None
    options: tuple[tuple[str, str | int | bool], ...]
    charged_gpus: int
    charged_cores: int

    @property
    def core_hours(self) -> float | None:
        """CPU core-hours of one attempt at most; None without a time limit."""
        return self._hours(self.nodes * self.charged_cores)

    @property
    def gpu_hours(self) -> float | None:
        """GPU-hours of one attempt at most; None without a time limit."""
        return self._hours(self.nodes * self.charged_gpus)

    def _hours(self, units: int) -> float | None:
        return None if self.time is None else units * self.time.total_seconds() / 3600

    def directives(self) -> dict[str, str | int | bool]:
        """sbatch options by long name, further options of the cluster and the user last."""
        values: dict[str, str | int | bool | None] = {
            "account": self.account,
            "partition": self.partition,
            "qos": self.qos,
            "nodes": self.nodes,
            "ntasks-per-node": self.tasks,
            "cpus-per-task": self.cpus,
            "mem": _memory(self.memory_gb),
            "time": clock(self.time) if self.time else None,
            **dict(self.options),
        }
        return {key: value for key, value in values.items() if value is not None and value is not False}


def _memory(gb: float | None) -> str | None:
    return None if gb is None else f"{int(gb)}G" if gb == int(gb) else f"{int(gb * 1024)}M"


def request_of(experiment: Experiment, *, account: str | None = None) -> Request:
    """The request of a checked experiment; ``account`` where it was found by asking SLURM."""
    cluster, partition, node = experiment.cluster, partition_of(experiment), node_of(experiment)
    devices = devices_of(experiment)
    given = bool(cluster.gpu_directive or (partition and partition.exclusive))  # whole nodes bring their GPUs unasked
    gpus = devices if node is not None and node.gpus != 0 and given else 0
    options: dict[str, str | int | bool] = {}
    if gpus and cluster.gpu_directive:
        key, _, value = cluster.gpu_directive.partition("=")
        count = gpus * experiment.resources.nodes if key == "gpus" else gpus
        options[key] = value.format(n=count, type=(node.gres_type or node.gpu) if node else "")
    if cluster.threads_per_core:
        options["threads-per-core"] = cluster.threads_per_core
    if partition and partition.exclusive:
        options["exclusive"] = True
    options |= {**cluster.sbatch, **(partition.sbatch if partition else {}), **experiment.launch.sbatch}
    cores = devices * (cpus_of(experiment) or 1)
    alone = (partition and partition.exclusive) or options.get("exclusive") is True  # "exclusive: user" shares with one's own
    whole = node if alone else None
    return Request(
        cluster=cluster.name,
        purpose=purpose_of(experiment),
        partition=partition.partition if partition else None,
        qos=partition.qos if partition else None,
        nodes=experiment.resources.nodes,
        tasks=devices,
        cpus=cpus_of(experiment),
        gpus=gpus,
        memory_gb=memory_of(experiment),
        time=time_of(experiment),
        account=account_of(experiment) or account,
        options=tuple(options.items()),
        charged_gpus=(whole.gpus if whole else None) or gpus,
        charged_cores=max(cores, (whole.cores if whole else None) or 0),
    )
