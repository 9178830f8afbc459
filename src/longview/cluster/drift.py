"""The cluster file against the live SLURM: which limits count now, and which of the file's facts have changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from longview.cluster.answers import Association, LivePartition, NodeGroup
from longview.cluster.site import Site
from longview.cluster.spec import ClusterConfig, NodeType, Partition
from longview.fields import clock


@dataclass(frozen=True)
class Bound:
    """A limit and whose it is: "partition booster", "QoS boost_qos_dbg"."""

    value: Any
    source: str


@dataclass(frozen=True)
class Limits:
    """What SLURM lets one job have; None: no limit."""

    time: Bound | None = None
    max_nodes: Bound | None = None
    min_nodes: Bound | None = None
    gpus: Bound | None = None


def limits_of(site: Site, partition: LivePartition, qos: str | None) -> Limits:
    """The limits of a partition together with its own QoS and the job's, which some sites let override the partition's."""
    known = site.qos or {}
    chosen = [known[name] for name in dict.fromkeys((qos, partition.qos)) if name and name in known]
    flags = {flag for q in chosen for flag in q.flags}
    place = f"partition {partition.name}"
    times = [] if "PartitionTimeLimit" in flags else [Bound(partition.max_time, place)]
    most = [] if "PartitionMaxNodes" in flags else [Bound(partition.max_nodes, place)]
    least = [] if "PartitionMinNodes" in flags else [Bound(partition.min_nodes, place)]
    gpus: list[Bound] = []
    for q in chosen:
        name = f"QoS {q.name}"
        times.append(Bound(q.max_wall, name))
        most.extend(Bound(dict(limits).get("node"), name) for limits in (q.max_tres, q.max_tres_user))
        least.append(Bound(dict(q.min_tres).get("node"), name))
        gpus.extend(Bound(dict(limits).get("gres/gpu"), name) for limits in (q.max_tres, q.max_tres_user))
    return Limits(_least(times), _least(most), _most(least), _least(gpus))


def _least(bounds: list[Bound]) -> Bound | None:
    return min((b for b in bounds if b.value is not None), key=lambda b: b.value, default=None)


def _most(bounds: list[Bound]) -> Bound | None:
    return max((b for b in bounds if b.value is not None), key=lambda b: b.value, default=None)


def live_partition(site: Site, name: str | None) -> LivePartition | None:
    """A partition by name, or the site's default one; None if there is no such, or if SLURM does not say."""
    known = site.partitions or {}
    return known.get(name) if name else next((p for p in known.values() if p.default), None)


def association_of(site: Site, account: str | None, partition: str | None) -> Association | None:
    """The user's row that a job of this account and partition comes under, if it is known."""
    rows = [a for a in site.associations or () if account is None or a.account.lower() == account.lower()]
    exact = [a for a in rows if a.partition and a.partition == partition]
    return next(iter([*exact, *(a for a in rows if a.partition is None)]), None)


def submit_cap(cluster: ClusterConfig, site: Site, row: Association | None = None, qos: str | None = None) -> Bound | None:
    """How many jobs one user may have in the queue, array elements counted one by one; None: not known."""
    known = site.qos or {}
    name = qos or (row.default_qos if row else None)
    live = [Bound(row.max_submit if row else None, "SLURM: your association")]
    if name in known:
        live.append(Bound(known[name].max_submit_user, f"SLURM: QoS {name}"))
    return _least(live) or _least([Bound(cluster.limits.max_submit, "the cluster file")])


@dataclass(frozen=True)
class Drift:
    """A fact of the cluster file that SLURM contradicts.

    Attributes:
        purpose: Whose fact it is; empty for one of the whole cluster.
        key: Key path in the tree, to override it: ``cluster.partitions.gpu.max_time``.
        file, live: Both values, as people write them.
        evidence: What the file says of its source.
        override: ``key=value`` that takes the live value over; empty where there is none to take.
        blocks: Whether jobs of this purpose cannot be submitted at all.
    """

    purpose: str
    key: str
    file: str
    live: str
    evidence: str
    override: str = ""
    blocks: bool = False


def drift(cluster: ClusterConfig, site: Site) -> list[Drift]:
    """Every contradiction; facts that the file or SLURM does not know are none."""
    if site.partitions is None:
        return []
    found = [d for name, partition in cluster.partitions.items() for d in _of_purpose(cluster, site, name, partition)]
    array = site.number("MaxArraySize")
    if cluster.limits.max_array_size and array and array != cluster.limits.max_array_size:
        found.append(_drift(cluster, "", "limits.max_array_size", cluster.limits.max_array_size, array))
    rows = [row.max_submit for row in site.associations or () if row.max_submit]
    if cluster.limits.max_submit and rows and cluster.limits.max_submit not in rows:
        found.append(_drift(cluster, "", "limits.max_submit", cluster.limits.max_submit, max(rows)))
    return list({d.key: d for d in found}.values())


def _of_purpose(cluster: ClusterConfig, site: Site, purpose: str, partition: Partition) -> Iterator[Drift]:
    path = f"partitions.{purpose}"
    live = live_partition(site, partition.partition)
    if live is None:
        if partition.partition:
            yield _drift(cluster, purpose, f"{path}.partition", partition.partition, "no such partition", blocks=True)
        return
    if partition.qos and site.qos is not None and partition.qos not in site.qos:
        yield _drift(cluster, purpose, f"{path}.qos", partition.qos, "no such QoS", blocks=True)
    limits = limits_of(site, live, partition.qos)
    pairs: tuple[tuple[str, Any, Any], ...] = (
        ("max_time", partition.max_time, limits.time and limits.time.value),
        ("max_nodes", partition.max_nodes, limits.max_nodes and limits.max_nodes.value),
        ("min_nodes", partition.min_nodes, limits.min_nodes.value if limits.min_nodes else 1),
        ("default_time", partition.default_time, live.default_time),
        ("exclusive", partition.exclusive, live.exclusive),
    )
    for key, file, now in pairs:
        # a default of the file above none of SLURM's is no contradiction: longview always writes a time
        if file is not None and file != now and not (key == "default_time" and now is None):
            yield _drift(cluster, purpose, f"{path}.{key}", file, now)
    node, groups = cluster.node_types.get(partition.node), (site.nodes or {}).get(live.name, [])
    if node and groups:
        yield from _of_nodes(cluster, purpose, partition.node, node, groups)


def _of_nodes(cluster: ClusterConfig, purpose: str, name: str, node: NodeType, groups: list[NodeGroup]) -> Iterator[Drift]:
    path, gpus = f"node_types.{name}", {g.gpu_count for g in groups}
    if node.gpus is not None and node.gpus not in gpus:
        yield _drift(cluster, purpose, f"{path}.gpus", node.gpus, max(gpus))
    kinds = {kind for g in groups for kind, _ in g.gpus if kind}
    if node.gres_type and kinds and node.gres_type not in kinds:
        yield _drift(cluster, purpose, f"{path}.gres_type", node.gres_type, " or ".join(sorted(kinds)))
    cores, memory = max(g.cores for g in groups), int(max(g.memory_gb for g in groups))
    if node.cores and cores and node.cores > cores:
        yield _drift(cluster, purpose, f"{path}.cores", node.cores, cores)
    if node.mem_gb_usable and memory and node.mem_gb_usable > memory:
        yield _drift(cluster, purpose, f"{path}.mem_gb_usable", node.mem_gb_usable, memory)


def _drift(cluster: ClusterConfig, purpose: str, fact: str, file: Any, live: Any, *, blocks: bool = False) -> Drift:
    evidence = cluster.evidence_of(fact)
    about = f"{evidence.certainty}, {evidence.source}, {evidence.date}" if evidence else "no source given"
    value = "null" if live is None else shown(live)
    override = "" if isinstance(live, str) else f"cluster.{fact}={value}"
    return Drift(purpose, f"cluster.{fact}", shown(file), "no limit" if live is None else value, about, override, blocks)


def shown(value: Any) -> str:
    """A fact as people write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return clock(value) if isinstance(value, timedelta) else str(value)


def usable(groups: list[NodeGroup]) -> tuple[int, int]:
    """Nodes of a partition that start jobs, and all of them."""
    return sum(g.count for g in groups if g.serves), sum(g.count for g in groups)
