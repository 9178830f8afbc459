"""What `longview doctor` finds out about SLURM, and where the cluster file is behind it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from longview.cluster.drift import Drift, drift, limits_of, live_partition, shown, usable
from longview.cluster.live import array_limit, only_account, submit_room
from longview.cluster.spec import Detect
from longview.commands.findings import Finding, Mark, Visit

NOTES = (
    ((22, 5), (23, 11), "srun does not take over --cpus-per-task; longview's scripts say it again, do so in your own"),
    ((23, 11), (999,), "contradicting CPU variables stop srun; longview's scripts set none"),
)
"""From version, to version, what to know (Slurm changelog, 22.05 and 23.11)."""


def slurm(visit: Visit, *, names: bool) -> Iterator[Finding]:
    """Whether SLURM answers, and the settings that matter; ``names``: whether accounts may be named."""
    site = visit.site
    if not site.reachable():
        if not site.installed or (visit.cluster.detect != Detect() and visit.here != visit.cluster.name):
            text = f"this is not {visit.cluster.name}, so it cannot be asked; what follows is what its file says"
            yield Finding(
                "!", "SLURM", text, "to submit, log in to the cluster; launch.dry_run=true shows batch scripts anywhere"
            )
        else:
            yield Finding(
                "x", "SLURM", f"does not answer ({site.silences[-1]})", "wait, or ask the site; nothing can be submitted"
            )
        return
    version = site.version or ()
    note = next((text for first, last, text in NOTES if first <= version < last), "")
    yield Finding("ok", "SLURM", f"{site.config.get('SLURM_VERSION')} answers, cluster {site.config['ClusterName']}", note)
    enforces = site.config.get("EnforcePartLimits", "")
    if enforces in ("ALL", "ANY"):
        yield Finding("ok", "limits", "SLURM refuses jobs that can never start")
    else:
        text = "SLURM accepts jobs above a partition's limits and never starts them (EnforcePartLimits is NO)"
        yield Finding("!", "limits", text, "longview checks before it submits; sbatch of your own does not")
    if site.number("JobRequeue") == 0:
        asked = visit.cluster.resume.strategy == "requeue"
        yield Finding("!" if asked else "ok", "requeue", "SLURM does not put jobs back by itself; longview resume does")
    if site.config.get("TrackWCKey", "No").lower() == "yes":
        yield Finding("-", "wckey", "tracked here; longview writes none, give launch.sbatch.wckey if your site wants one")
    yield _accounts(visit, names)
    yield _queue(visit)


def _accounts(visit: Visit, names: bool) -> Finding:
    site, cluster = visit.site, visit.cluster
    accounts, lookup = site.accounts(), f"see {cluster.account.discover}" if cluster.account.discover else ""
    if accounts is None:
        why = next((s for s in reversed(site.silences) if s.startswith(("sshare", "sacctmgr"))), "no database")
        return Finding("-", "accounts", f"not known ({why})", lookup)
    if not accounts:
        return Finding("x" if site.enforced else "!", "accounts", "you have none here", "apply for one at the site")
    listed = f": {', '.join(accounts)}" if names else ""
    named = next((v for v in cluster.account.env if os.environ.get(v)), None)
    if named and os.environ[named].lower() not in map(str.lower, accounts):
        mark: Mark = "x" if site.enforced else "!"
        return Finding(mark, "accounts", f"{len(accounts)}{listed}; what ${named} holds is none of them", f"unset {named}")
    todo = "it is used unless launch.account says otherwise" if only_account(site) else "choose with launch.account=<name>"
    return Finding("ok", "accounts", f"{len(accounts)}{listed}", todo)


def _queue(visit: Visit) -> Finding:
    site, cluster = visit.site, visit.cluster
    queued, room, array = site.queued(), submit_room(cluster, site), array_limit(cluster, site)
    parts = ["number of your jobs not known" if queued is None else f"{queued} jobs of yours"]
    parts.append(f"room for {room} more" if room is not None else "no limit known")
    if array:
        parts.append(f"arrays of up to {array}")
    return Finding("!" if room == 0 else "ok", "queue", ", ".join(parts), "wait until some have ended" if room == 0 else "")


def table(visit: Visit) -> list[tuple[str, ...]]:
    """Rows of purpose, partition, nodes, longest time, most nodes, GPUs per node: SLURM's values where it answers."""
    rows: list[tuple[str, ...]] = []
    cluster, site = visit.cluster, visit.site
    for purpose, spec in cluster.partitions.items():
        node, live = cluster.node_types.get(spec.node), live_partition(site, spec.partition)
        name = spec.partition or (live.name if live else "the site's default")
        head = (f"{purpose}{' *' if purpose == _usual(visit) else ''}", f"{name} / {spec.qos}" if spec.qos else name)
        if live is None:
            state = "missing" if site.partitions is not None else "?"
            gpus = "?" if node is None or node.gpus is None else str(node.gpus)
            rows.append((*head, state, _or(spec.max_time), _or(spec.max_nodes), gpus))
            continue
        limits, groups = limits_of(site, live, spec.qos), (site.nodes or {}).get(live.name, [])
        up, every = usable(groups)
        nodes = f"{up} of {every}" if live.state == "UP" else live.state
        time = limits.time.value if limits.time else "no limit"
        most = limits.max_nodes.value if limits.max_nodes else "no limit"
        rows.append((*head, nodes, shown(time), shown(most), str(max((g.gpu_count for g in groups), default=0))))
    return rows


def partitions(visit: Visit) -> Iterator[Finding]:
    """Every fact of the cluster file that SLURM contradicts, and partitions that start nothing now."""
    cluster, site = visit.cluster, visit.site
    if site.partitions is None:
        return
    found = drift(cluster, site)
    gone = [d for d in found if d.blocks and d.key.endswith(".partition")]
    if len(gone) > 2:
        text = f"SLURM has none of {', '.join(d.file for d in gone)}; it has {', '.join(site.partitions)}"
        yield Finding(_blocks(visit, gone), "partitions", text, "is this the right cluster, and is its file up to date?")
    for d in found:
        if d in gone and len(gone) > 2:
            continue
        mark = _blocks(visit, [d])
        todo = f"SLURM's word counts; to plan with it: {d.override}" if d.override else f"set {d.key}, or leave this purpose out"
        yield Finding(mark, d.key.removeprefix("cluster."), f"file {d.file}, SLURM {d.live} (file: {d.evidence})", todo)
    if not found:
        yield Finding("ok", "cluster file", "agrees with SLURM")
    for purpose, spec in cluster.partitions.items():
        live = live_partition(site, spec.partition)
        groups = (site.nodes or {}).get(live.name, []) if live else []
        if live and live.state != "UP":
            yield Finding("!", purpose, f"partition {live.name} is {live.state}", "take another purpose until it is up")
        elif live and groups and usable(groups)[0] == 0:
            yield Finding("!", purpose, f"no node of partition {live.name} starts jobs now", "take another purpose")


def _blocks(visit: Visit, found: list[Drift]) -> Mark:
    return "x" if any(d.blocks and d.purpose == _usual(visit) for d in found) else "!"


def _usual(visit: Visit) -> str:
    cluster = visit.cluster
    return cluster.purpose or ("gpu" if "gpu" in cluster.partitions else next(iter(cluster.partitions), ""))


def _or(value: Any) -> str:
    return "?" if value is None else shown(value)
