"""Purpose, account, time and number of nodes: what a queue lets in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache
from typing import Any

from longview.cluster.checks.common import Check, elsewhere, limit, place, placed, warning, with_scheduler
from longview.cluster.request import account_of, devices_of, purpose_of, time_of
from longview.cluster.spec import NodeType, Partition, purposes
from longview.errors import Problem
from longview.fields import clock

SPARE = timedelta(minutes=2)
"""Beside the lead of the stop signal: SLURM may send it a minute early, and training has to start."""


@with_scheduler
def purpose_known(experiment: Any) -> Iterator[Problem]:
    """The purpose is one of the cluster's; a partition's or QoS's own name is told its purpose."""
    cluster, name = experiment.cluster, purpose_of(experiment)
    key = "resources.purpose" if experiment.resources.purpose else "cluster.purpose"
    if not cluster.partitions:
        yield Problem("cluster.partitions", f"'{cluster.name}' names no purposes, so there is nowhere to send the job; give one")
    elif name not in cluster.partitions:
        owners = [p for p, partition in cluster.partitions.items() if name in (partition.partition, partition.qos)]
        hint = f"; SLURM's '{name}' is the purpose {' or '.join(owners)} here" if owners else _nearest(name, cluster.partitions)
        yield Problem(key, f"'{name}' is no purpose of cluster '{cluster.name}'{hint}; there are: {purposes(cluster)}")


def _nearest(name: str, valid: Any) -> str:
    import difflib

    close = difflib.get_close_matches(name, list(valid), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


@with_scheduler
def node_known(experiment: Any) -> Iterator[Problem]:
    """The chosen purpose's kind of node is described."""
    cluster, name = experiment.cluster, purpose_of(experiment)
    partition = cluster.partitions.get(name)
    if partition is not None and partition.node not in cluster.node_types:
        known = ", ".join(cluster.node_types) or "none"
        yield Problem(f"cluster.partitions.{name}.node", f"'{partition.node}' is not one of cluster.node_types: {known}")


@placed
def partition_named(experiment: Any, partition: Partition, node: NodeType) -> Iterator[Problem]:
    """Where a site's other purposes name their partition, its default is another one (Leonardo: the serial queue)."""
    others = {p.partition for p in experiment.cluster.partitions.values() if p.partition}
    if not partition.partition and others:
        text = f"no partition, so the site's default would be taken; name one (this cluster has {', '.join(sorted(others))})"
        yield Problem(f"cluster.partitions.{purpose_of(experiment)}.partition", text)


@placed
def qos_is_qos(experiment: Any, partition: Partition, node: NodeType) -> Iterator[Problem]:
    """A QoS does not stand in the place of a partition, nor the reverse."""
    every, path = experiment.cluster.partitions.values(), f"cluster.partitions.{purpose_of(experiment)}"
    queues = {p.partition for p in every if p.partition and p is not partition}
    qualities = {p.qos for p in every if p.qos and p is not partition}
    if partition.partition in qualities - queues:
        yield Problem(f"{path}.partition", f"'{partition.partition}' is a QoS of this cluster; give it as {path}.qos")
    if partition.qos in queues - qualities:
        yield Problem(f"{path}.qos", f"'{partition.qos}' is a partition of this cluster; give it as {path}.partition")


@with_scheduler
def account_known(experiment: Any) -> Iterator[Problem]:
    """There is something to charge the job to. Where SLURM can be asked, it is, before anything is submitted."""
    account = experiment.cluster.account
    if not account.required or account_of(experiment):
        return
    form = f" (names look like {account.form})" if account.form else ""
    ways = ", or set " + " or ".join(account.env) if account.env else ""
    yours = f"; this lists yours: {account.discover}" if account.discover else ""
    asked = _slurm_is_here()
    text = f"{experiment.cluster.name} charges every job to an account and none is known; give launch.account=<name>{form}"
    only = "; if SLURM names just one of yours, it is taken" if asked else ""
    yield Problem("launch.account", f"{text}{ways}{yours}{only}", warning=asked or bool(experiment.launch.dry_run))


@lru_cache(maxsize=1)
def _slurm_is_here() -> bool:
    return shutil.which("sacctmgr") is not None


@placed
def time_known(experiment: Any, partition: Partition, node: NodeType) -> Iterator[Problem]:
    """A job without a time limit gets the site's default, which may be minutes or for ever."""
    if time_of(experiment) is None:
        text = (
            f"not given, and cluster '{experiment.cluster.name}' names no usual time for {place(experiment)}; give for example 2h"
        )
        yield Problem("resources.time", text)


@placed
def time_fits(experiment: Any, partition: Partition, node: NodeType) -> Iterator[Problem]:
    """SLURM may accept a time above the limit and never start the job."""
    time, most, purpose = time_of(experiment), partition.max_time, purpose_of(experiment)
    if time is None or most is None or time <= most:
        return
    key = "resources.time" if experiment.resources.time else f"cluster.partitions.{purpose}.default_time"
    text = f"{clock(time)} is more than the {clock(most)} of {place(experiment)}"
    yield limit(experiment, key, f"partitions.{purpose}.max_time", text, f"give at most {clock(most)}{elsewhere(experiment)}")


@with_scheduler
def lead_fits(experiment: Any) -> Iterator[Problem]:
    """There is time left to train before the job is told to save."""
    time, lead = time_of(experiment), experiment.cluster.resume.lead
    if time is None or time >= lead + SPARE:
        return
    head = f"{clock(time)}, and the job is told to save {clock(lead)} before its end (cluster.resume.lead)"
    if time <= lead:
        remedy = f"nothing would be trained; give at least {clock(lead + SPARE)}, or a shorter cluster.resume.lead"
        yield Problem("resources.time", f"{head}: {remedy}")
    else:
        text = f"hardly anything would be trained; {clock(lead + SPARE)} or more is better, or a shorter cluster.resume.lead"
        yield warning("resources.time", f"{head}: {text}")


@placed
def nodes_fit(experiment: Any, partition: Partition, node: NodeType) -> Iterator[Problem]:
    """Within the partition's or QoS's smallest and largest number of nodes."""
    nodes, fact = experiment.resources.nodes, f"partitions.{purpose_of(experiment)}"
    least, most, where = partition.min_nodes, partition.max_nodes, place(experiment)
    if most and nodes > most:
        text = f"{nodes} nodes are more than the {most} of {where}"
        yield limit(experiment, "resources.nodes", f"{fact}.max_nodes", text, f"give at most {most}{elsewhere(experiment)}")
    if least and nodes < least:
        text = f"{nodes} is fewer than the {least} nodes that {where} is for"
        yield limit(experiment, "resources.nodes", f"{fact}.min_nodes", text, f"give at least {least}{elsewhere(experiment)}")


@placed
def node_minutes_fit(experiment: Any, partition: Partition, node: NodeType) -> Iterator[Problem]:
    """Nodes times minutes, where a site bounds the product."""
    nodes, time, most = experiment.resources.nodes, time_of(experiment), partition.max_node_minutes
    if time is None or most is None or nodes * time <= timedelta(minutes=most):
        return
    text = f"{nodes} x {clock(time)} is more than the {most} node-minutes of {place(experiment)}"
    fact = f"partitions.{purpose_of(experiment)}.max_node_minutes"
    fits = f"give at most {most // nodes}m" if most >= nodes else f"give at most {most} nodes"
    yield limit(experiment, "resources.time", fact, text, f"{fits}{elsewhere(experiment)}")


@placed
def user_gpus_fit(experiment: Any, partition: Partition, node: NodeType) -> Iterator[Problem]:
    """One job alone stays within what a user may have at once."""
    most, nodes, devices = partition.max_gpus_user, experiment.resources.nodes, devices_of(experiment)
    if most and node.gpus and nodes * devices > most:
        text = f"{nodes} x {devices} GPUs are more than the {most} a user may have in {place(experiment)}"
        fact = f"partitions.{purpose_of(experiment)}.max_gpus_user"
        fits = f"give at most {max(1, most // devices)}{elsewhere(experiment)}"
        yield limit(experiment, "resources.nodes", fact, text, fits)


CHECKS: tuple[Check, ...] = (
    purpose_known,
    node_known,
    partition_named,
    qos_is_qos,
    account_known,
    time_known,
    time_fits,
    lead_fits,
    nodes_fit,
    node_minutes_fit,
    user_gpus_fit,
)
