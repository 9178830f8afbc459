"""What a cluster's YAML says, as SLURM understands it: nodes, partitions, QoS and limits. Pure data; nothing is started."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from longview.cluster.spec import ClusterConfig, NodeType, Partition
from longview.config.experiment import Checker
from longview.fields import clock

from .machine import TwinError

ACCOUNT = "twin"
"""What jobs on every twin are charged to."""
UNNAMED = "main"
"""Name of the partition of a purpose that names none (a site's default partition)."""
UNKNOWN_GPUS, UNKNOWN_CORES, UNKNOWN_GB = 4, 64, 512
"""Claimed of a node whose YAML does not say."""


@dataclass(frozen=True)
class Nodes:
    """The virtual nodes of one type."""

    type: str
    names: tuple[str, ...]
    cores: int
    memory_mb: int
    gpus: int
    gres_type: str | None

    @property
    def gres(self) -> str:
        """What they offer beside cores and memory; empty without GPUs."""
        return ":".join(["gpu", *([self.gres_type] if self.gres_type else []), str(self.gpus)]) if self.gpus else ""


@dataclass(frozen=True)
class Queue:
    """One SLURM partition: everything the purposes that lead there have in common."""

    name: str
    types: tuple[str, ...]
    max_time: timedelta | None
    default_time: timedelta | None
    min_nodes: int | None
    max_nodes: int | None
    exclusive: bool
    allow_qos: tuple[str, ...]
    own_qos: str | None = None
    default: bool = False


@dataclass(frozen=True)
class Quality:
    """One QoS and its limits, in sacctmgr's words."""

    name: str
    settings: dict[str, str]


@dataclass(frozen=True)
class Plan:
    """A whole cluster, in small."""

    cluster: ClusterConfig
    slurm_name: str
    nodes: tuple[Nodes, ...]
    queues: tuple[Queue, ...]
    qualities: tuple[Quality, ...] = ()
    accounting: bool = True
    notes: tuple[str, ...] = field(default=())

    @property
    def node_names(self) -> list[str]:
        """All node names, in order."""
        return [name for kind in self.nodes for name in kind.names]


def read_cluster(name: str, overrides: Sequence[str] = ()) -> ClusterConfig:
    """A cluster's YAML through longview's own check.

    Raises:
        ConfigError: With what is wrong with it.
        TwinError: For a cluster without SLURM.
    """
    checker = Checker()
    chosen = checker.composer.compose([f"cluster={name}"]).tree.get("cluster")
    if isinstance(chosen, dict) and chosen.get("scheduler") == "none":
        raise TwinError(f"cluster {name} has no SLURM (scheduler: none), so there is nothing to rehearse")
    return checker.check([f"cluster={name}", f"launch.account={ACCOUNT}", "resources.time=10m", *overrides]).config.cluster


def make_plan(cluster: ClusterConfig, *, nodes: int = 4, others: int = 2, accounting: bool = True) -> Plan:
    """Shrink a cluster to ``nodes`` nodes of its usual purpose's type and ``others`` of each other type that a purpose uses."""
    usual = cluster.partitions[cluster.purpose or ("gpu" if "gpu" in cluster.partitions else next(iter(cluster.partitions)))]
    kinds, counters = [], dict[str, int]()
    for name in dict.fromkeys([usual.node, *(p.node for p in cluster.partitions.values())]):
        kind = cluster.node_types[name]
        most = [p.max_nodes for p in cluster.partitions.values() if p.node == name]
        count = nodes if name == usual.node else min(others, max((m or others) for m in most))
        kinds.append(_nodes(name, kind, count, counters, bool(cluster.gpu_directive)))
    grouped: dict[str, list[Partition]] = {}
    for partition in cluster.partitions.values():
        grouped.setdefault(partition.partition or UNNAMED, []).append(partition)
    # A site's default partition is not where GPU jobs belong if it has one for staging: a job must name its own.
    default = (cluster.partitions.get("stage") or usual).partition or UNNAMED
    queues = [_queue(name, members, accounting, name == default) for name, members in grouped.items()]
    qualities = [*_purpose_qos(cluster.partitions.values()), *_partition_qos(grouped)] if accounting else []
    slurm_name = cluster.detect.slurm_cluster_name or cluster.name
    return Plan(
        cluster,
        re.sub(r"[^a-z0-9_]", "_", slurm_name.lower()),
        tuple(kinds),
        tuple(queues),
        tuple(qualities),
        accounting,
        tuple(_notes(cluster, accounting)),
    )


def _nodes(name: str, kind: NodeType, count: int, counters: dict[str, int], gpu_site: bool) -> Nodes:
    gpus = kind.gpus if kind.gpus is not None else UNKNOWN_GPUS if gpu_site else 0
    cores = kind.cores or gpus * (kind.cpus_per_gpu or 0) or UNKNOWN_CORES
    memory = kind.mem_gb_usable or gpus * (kind.mem_gb_per_gpu or 0) or UNKNOWN_GB
    pattern = kind.hostnames or f"{re.sub(r'[^A-Za-z0-9-]', '-', name)}-##"
    first = counters.get(pattern, 0) + 1  # several types may share a pattern
    counters[pattern] = first + count - 1
    names = tuple(_numbered(pattern, number) for number in range(first, first + count))
    return Nodes(name, names, cores, int(memory * 1024), gpus, kind.gres_type)


def _numbered(pattern: str, number: int) -> str:
    """``jwb####`` and 1 -> ``jwb0001``; all # are one number."""
    digits = iter(f"{number:0{pattern.count('#')}d}")
    return re.sub("#", lambda _: next(digits), pattern) if "#" in pattern else f"{pattern}{number}"


def _queue(name: str, members: Sequence[Partition], accounting: bool, default: bool) -> Queue:
    plain = [p for p in members if not (p.qos and accounting)]
    limiting = plain or members  # limits of purposes with a QoS stand in the QoS
    qos = [p.qos for p in members if p.qos] if accounting else []
    return Queue(
        name=name,
        types=tuple(dict.fromkeys(p.node for p in members)),
        max_time=_widest(p.max_time for p in limiting),
        default_time=next((p.default_time for p in limiting if p.default_time), None),
        min_nodes=min((p.min_nodes or 1 for p in limiting), default=1),
        max_nodes=_widest(p.max_nodes for p in limiting),
        exclusive=all(bool(p.exclusive) for p in members),
        allow_qos=tuple(dict.fromkeys([*(["normal"] if plain else []), *qos])) if qos else (),
        own_qos=f"part_{name}".lower() if accounting and _user_limits(plain) else None,
        default=default,
    )


Limit = TypeVar("Limit", int, timedelta)


def _widest(values: Iterable[Limit | None]) -> Limit | None:
    """The largest limit; None (not known: none) as soon as one is."""
    found = list(values)
    known = [value for value in found if value is not None]
    return max(known) if known and len(known) == len(found) else None


def _user_limits(members: Sequence[Partition]) -> dict[str, str]:
    """Limits on what one user has at a time, of purposes without a QoS of their own."""
    settings = {}
    if jobs := _widest(p.max_jobs_user for p in members):
        settings["MaxSubmitJobsPU"] = str(jobs)
    if gpus := _widest(p.max_gpus_user for p in members):
        settings["MaxTRESPU"] = f"gres/gpu={gpus}"
    if minutes := _widest(p.max_node_minutes for p in members):
        settings["MaxTRESMins"] = f"node={minutes}"
    return settings


def _partition_qos(grouped: dict[str, list[Partition]]) -> list[Quality]:
    found = []
    for name, members in grouped.items():
        if settings := _user_limits([p for p in members if not p.qos]):
            found.append(Quality(f"part_{name}".lower(), {**settings, "Flags": "DenyOnLimit"}))
    return found


def _purpose_qos(partitions: Iterable[Partition]) -> list[Quality]:
    grouped: dict[str, list[Partition]] = {}
    for partition in partitions:
        if partition.qos:
            grouped.setdefault(partition.qos, []).append(partition)
    found = []
    for name, members in grouped.items():
        settings = {}
        if longest := _widest(p.max_time for p in members):
            settings["MaxWall"] = clock(longest)
        if most := _widest(p.max_nodes for p in members):
            settings["MaxTRES"] = f"node={most}"
        if (fewest := min(p.min_nodes or 1 for p in members)) > 1:
            settings["MinTRES"] = f"node={fewest}"
        # A QoS replaces its partition's own limits, as it does on the sites that have them.
        flags = "DenyOnLimit,PartitionTimeLimit,PartitionMaxNodes,PartitionMinNodes"
        found.append(Quality(name, {**settings, **_user_limits(members), "Flags": flags}))
    return found


def _notes(cluster: ClusterConfig, accounting: bool) -> Iterable[str]:
    """What this twin does not do as the site would."""
    if cluster.mem_policy == "must_set":
        yield "the default memory is smaller than the site's, and a job above its memory is killed within seconds"
    yield "GPUs, cores and memory are claims: tasks are not bound to cores, GPUs are device files that cannot compute"
    if cluster.network.gloo_ifname or cluster.network.nccl_ifname:
        yield "network interfaces of the site are replaced by lo inside tasks"
    if cluster.visible_devices == "set_all":
        yield "the site narrows CUDA_VISIBLE_DEVICES to one GPU per task, the twin does not"
    if not accounting:
        yield "no accounting: no sacct, no QoS, any account is accepted"
