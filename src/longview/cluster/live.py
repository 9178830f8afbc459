"""What only the machine itself can answer, asked before anything is written or submitted: SLURM's present limits, the user's
accounts, room in the queue, workspaces that end, files that are about to be deleted.

A question that stays unanswered gives no problem: ``longview.cluster.checks`` has judged the same job by the cluster file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from longview.cluster.answers import LivePartition, NodeGroup
from longview.cluster.detect import detect_cluster
from longview.cluster.drift import Bound, Limits, association_of, drift, limits_of, live_partition, submit_cap, usable
from longview.cluster.machine import interpreter_problems
from longview.cluster.places import place_problems
from longview.cluster.request import Request
from longview.cluster.site import Site
from longview.cluster.spec import ClusterConfig, Detect
from longview.errors import Problem
from longview.fields import clock

if TYPE_CHECKING:
    from longview.config.schema import Experiment


@dataclass(frozen=True)
class Job:
    """One point with what SLURM says about its place."""

    experiment: Any
    request: Request
    site: Site
    partition: LivePartition
    limits: Limits
    groups: tuple[NodeGroup, ...]

    def key(self, name: str) -> str:
        """Key path of a fact of the chosen purpose."""
        return f"cluster.partitions.{self.request.purpose}.{name}"


def live_problems(
    experiments: Sequence[tuple[str, Experiment]],
    site: Site,
    requests: Sequence[Request],
    specs: Mapping[str, Detect] | None = None,
) -> list[Problem]:
    """Everything SLURM would refuse, never start, or be surprised by.

    Args:
        experiments: The points to be submitted, with the names that messages use.
        site: Where they are to be submitted.
        requests: Their requests, in the same order, with the account that will be used.
        specs: How every known cluster is recognised, to notice that this is another one.
    """
    if not experiments or not site.reachable():
        return []
    merged: dict[Problem, list[str]] = {}
    shapes: dict[Any, list[Problem]] = {}
    for (name, experiment), request in zip(experiments, requests, strict=True):
        shape = (request, repr(experiment.cluster), experiment.run.root, repr(experiment.data))  # sweeps: most points alike
        if shape not in shapes:
            shapes[shape] = _of_point(experiment, request, site)
        for problem in shapes[shape]:
            merged.setdefault(problem, []).append(name)
    first = experiments[0][1]
    at_most = first.launch.at_most
    found = [_at(problem, names, len(experiments)) for problem, names in merged.items()]
    found += _room(first.cluster, site, requests[0], min(len(experiments), at_most or len(experiments)))
    found += _elsewhere(first.cluster, site, specs or {})
    return found


def only_account(site: Site) -> str | None:
    """The user's account where there is exactly one, so that it need not be named; say so when it is used."""
    accounts = site.accounts()
    return accounts[0] if accounts and len(accounts) == 1 else None


def array_limit(cluster: ClusterConfig, site: Site) -> int | None:
    """Most elements of one array: SLURM's MaxArraySize, or less where the cluster file or the user says so; None: not known."""
    known = [number for number in (site.number("MaxArraySize"), cluster.limits.max_array_size) if number]
    return min(known, default=None)


def submit_room(cluster: ClusterConfig, site: Site, request: Request | None = None) -> int | None:
    """How many more jobs the user may put into the queue now; None: not known, or no limit."""
    cap, queued = _cap(cluster, site, request), site.queued()
    return None if cap is None or queued is None else max(0, int(cap.value) - queued)


def _of_point(experiment: Any, request: Request, site: Site) -> list[Problem]:
    found = [*interpreter_problems(experiment, request), *place_problems(experiment, request, site)]
    if site.partitions is None:
        return found
    partition = live_partition(site, request.partition)
    if partition is None:
        return [*found, *_no_partition(experiment, request, site)]
    row = association_of(site, request.account, partition.name)
    limits = limits_of(site, partition, request.qos or (row.default_qos if row else None))
    job = Job(experiment, request, site, partition, limits, tuple((site.nodes or {}).get(partition.name, ())))
    refused = [problem for check in CHECKS for problem in check(job)]
    return [*found, *refused, *(_drifted(job) if not any(not p.warning for p in refused) else ())]


def _no_partition(experiment: Any, request: Request, site: Site) -> Iterator[Problem]:
    import difflib

    key, known = f"cluster.partitions.{request.purpose}.partition", sorted(site.partitions or {})
    if request.partition is None:
        yield Problem(key, f"not given, and SLURM has no default partition here; give one of: {', '.join(known)}")
        return
    close = difflib.get_close_matches(request.partition, known, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ";"
    shown = ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
    yield Problem(key, f"SLURM has no partition '{request.partition}'{hint} it has: {shown}")


def _state(job: Job) -> Iterator[Problem]:
    state, name = job.partition.state, job.partition.name
    others = _open_purposes(job)
    instead = f"; give resources.purpose={others}" if others else ""
    if state in ("DRAIN", "INACTIVE"):
        yield Problem(job.key("partition"), f"partition {name} takes no jobs now (SLURM: {state}){instead}")
    elif state == "DOWN":
        text = f"partition {name} starts no jobs now (SLURM: DOWN); the job would wait{instead or ' until it is opened'}"
        yield Problem(job.key("partition"), text, warning=True)
    elif job.groups and usable(list(job.groups))[0] == 0:
        text = f"no node of partition {name} starts jobs now (all drained, down or reserved); the job would wait{instead}"
        yield Problem(job.key("partition"), text, warning=True)


def _open_purposes(job: Job) -> str:
    """Other purposes on the same kind of node whose partition is up and long enough."""
    found, cluster = [], job.experiment.cluster
    kind = cluster.partitions[job.request.purpose].node if job.request.purpose in cluster.partitions else None
    for name, spec in cluster.partitions.items():
        live = live_partition(job.site, spec.partition)
        if live is None or live.name == job.partition.name or live.state != "UP" or spec.node != kind:
            continue
        most = limits_of(job.site, live, spec.qos)
        long_enough = most.time is None or job.request.time is None or job.request.time <= most.time.value
        if long_enough and usable((job.site.nodes or {}).get(live.name, []))[0] >= job.request.nodes:
            found.append(name)
    return " or ".join(found)


def _account(job: Job) -> Iterator[Problem]:
    account, partition = job.request.account, job.partition
    rows, soft = job.site.associations, job.site.enforced is False
    if rows is None:
        return
    yours = sorted({row.account for row in rows})
    said = f"yours: {', '.join(yours)}" if yours else "you have none here; apply for one, or ask the project's head to add you"
    if account is None:
        if job.experiment.cluster.account.required and not job.experiment.launch.dry_run:
            yield Problem("launch.account", f"not given, and this site charges every job; {said}")
        return
    if account.lower() not in {a.lower() for a in yours}:
        text = f"'{account}' is not among your accounts; {said}"
        yield Problem("launch.account", text + ("; SLURM does not check it here" if soft else ""), warning=soft)
        return
    if association_of(job.site, account, partition.name) is None:
        only = ", ".join(sorted({r.partition for r in rows if r.partition and r.account.lower() == account.lower()}))
        yield Problem("launch.account", f"'{account}' is not valid for partition {partition.name}, only for: {only}")
    allowed = {a.lower() for a in partition.allow_accounts} if partition.allow_accounts is not None else None
    refused = allowed is not None and account.lower() not in allowed
    if refused or account.lower() in {a.lower() for a in partition.deny_accounts}:
        fitting = [a for a in yours if allowed and a.lower() in allowed]
        instead = f"; of yours these are let in: {', '.join(fitting)}" if fitting else ""
        yield Problem("launch.account", f"partition {partition.name} does not let '{account}' in{instead}")


def _qos(job: Job) -> Iterator[Problem]:
    name, partition, key = job.request.qos, job.partition, job.key("qos")
    if name is None:
        return
    if job.site.qos is not None and name not in job.site.qos:
        yield Problem(key, f"SLURM has no QoS '{name}'; it has: {', '.join(sorted(job.site.qos))}")
        return
    row = association_of(job.site, job.request.account, partition.name)
    if row and row.qos and name not in row.qos:
        yield Problem(key, f"your account may not use QoS '{name}'; it may use: {', '.join(row.qos)}")
    if (partition.allow_qos is not None and name not in partition.allow_qos) or name in partition.deny_qos:
        let = f"; it takes: {', '.join(partition.allow_qos)}" if partition.allow_qos else ""
        yield Problem(key, f"partition {partition.name} does not take QoS '{name}'{let}")


def _size(job: Job) -> Iterator[Problem]:
    request, limits, spec = job.request, job.limits, job.experiment.cluster.partitions.get(job.request.purpose)
    if request.time and limits.time and request.time > limits.time.value:
        text = f"{clock(request.time)} is more than {_now(limits.time, spec and spec.max_time)}"
        yield Problem("resources.time", f"{text}; give at most {clock(limits.time.value)}")
    if limits.max_nodes and request.nodes > limits.max_nodes.value:
        text = f"{request.nodes} nodes are more than {_now(limits.max_nodes, spec and spec.max_nodes)}"
        yield Problem("resources.nodes", f"{text}; give at most {limits.max_nodes.value}")
    elif job.partition.nodes and request.nodes > job.partition.nodes:
        text = f"{request.nodes} nodes, but partition {job.partition.name} has {job.partition.nodes} in all"
        yield Problem("resources.nodes", f"{text}; give at most {job.partition.nodes}")
    if limits.min_nodes and request.nodes < limits.min_nodes.value:
        text = f"{request.nodes} is fewer than {_now(limits.min_nodes, spec and spec.min_nodes)}"
        yield Problem("resources.nodes", f"{text}; give at least {limits.min_nodes.value}")
    if limits.gpus and request.nodes * request.gpus > limits.gpus.value:
        text = f"{request.nodes} x {request.gpus} GPUs are more than {_now(limits.gpus, spec and spec.max_gpus_user)}"
        yield Problem("resources.nodes", f"{text}; such a job would never start")


def _now(bound: Bound, file: Any) -> str:
    """ "SLURM's present limit, 12:00:00 (partition booster; the cluster file says 1-00:00:00)"."""
    value = clock(bound.value) if isinstance(bound.value, timedelta) else bound.value
    differs = (
        f"; the cluster file says {clock(file) if isinstance(file, timedelta) else file}"
        if file not in (None, bound.value)
        else ""
    )
    return f"SLURM's present limit of {value} ({bound.source}{differs})"


def _node(job: Job) -> Iterator[Problem]:
    request, groups, name = job.request, job.groups, job.partition.name
    if not groups:
        return
    most, cores, memory = max(g.gpu_count for g in groups), max(g.cores for g in groups), max(g.memory_gb for g in groups)
    if request.gpus > most:
        has = f"have {most}" if most else "have none"
        yield Problem("resources.devices", f"{request.gpus} GPUs per node, but SLURM's nodes of partition {name} {has}")
    if request.cpus and cores and request.tasks * request.cpus > max(cores, max(g.cpus for g in groups)):
        text = f"{request.tasks} x {request.cpus} cores per node, but SLURM's nodes of partition {name} have {cores}"
        yield Problem("resources.cpus_per_device", f"{text}; give at most {max(1, cores // request.tasks)}")
    if request.memory_gb and memory and request.memory_gb > memory:
        text = f"{request.memory_gb:g} GB, but SLURM's nodes of partition {name} have {int(memory)}"
        yield Problem("resources.memory_gb", f"{text}; give at most {int(memory)}")
    asked = re.match(r"gpu:([^:]+):\d+", str(dict(request.options).get("gres", "")))
    kinds = sorted({kind for g in groups for kind, _ in g.gpus if kind})
    if asked and kinds and asked[1] not in kinds:
        yield Problem("resources.purpose", f"partition {name} has no GPU of type '{asked[1]}', only {', '.join(kinds)}")


def _requeue(job: Job) -> Iterator[Problem]:
    if job.experiment.cluster.resume.strategy == "requeue" and job.site.number("JobRequeue") == 0:
        text = "'requeue', but SLURM's JobRequeue is 0 here: it does not put jobs back by itself; give resubmit"
        yield Problem("cluster.resume.strategy", text, warning=True)


def _drifted(job: Job) -> Iterator[Problem]:
    cluster = job.experiment.cluster
    if changed := [d for d in drift(cluster, job.site) if d.purpose == job.request.purpose]:
        facts = ", ".join(f"{d.key.rpartition('.')[2]} {d.file} (SLURM: {d.live})" for d in changed)
        text = f"the cluster file is behind on purpose {job.request.purpose}: {facts}; SLURM's word counts"
        yield Problem("cluster", f"{text}; see longview doctor cluster={cluster.name}", warning=True)


CHECKS: tuple[Callable[[Job], Iterator[Problem]], ...] = (_state, _account, _qos, _size, _node, _requeue)


def _cap(cluster: ClusterConfig, site: Site, request: Request | None) -> Bound | None:
    row = association_of(site, request.account if request else None, request.partition if request else None)
    return submit_cap(cluster, site, row, request.qos if request else None)


def _room(cluster: ClusterConfig, site: Site, request: Request, points: int) -> Iterator[Problem]:
    cap, room = _cap(cluster, site, request), submit_room(cluster, site, request)
    if cap is None or room is None or points <= room:
        return
    text = f"{points} jobs, but you may have {cap.value} in the queue ({cap.source}) and {int(cap.value) - room} are there"
    remedy = f"give launch.at_most={room}, and the same command later submits the rest" if room else "wait until some have ended"
    yield Problem("launch.at_most", f"{text}; {remedy}")


def _elsewhere(cluster: ClusterConfig, site: Site, specs: Mapping[str, Detect]) -> Iterator[Problem]:
    here = detect_cluster(specs, site, prefer=cluster.name)
    if here and here != cluster.name:
        text = f"this looks like {here}, and the experiment is made for {cluster.name}; give cluster={here} if it is"
        yield Problem("cluster", text, warning=True)


def _at(problem: Problem, names: list[str], points: int) -> Problem:
    """Say which points of a sweep a problem belongs to; nothing if it is all of them."""
    if len(names) == points:
        return problem
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return replace(problem, message=f"{problem.message}  (in {', '.join(names[:3])}{more})")
