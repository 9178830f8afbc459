"""SLURM's reasons for a job that waits, in plain words, with what can be done (squeue manual, "JOB REASON CODES")."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Reason:
    """Why a job waits.

    Attributes:
        words: What it means, short enough for a table.
        advice: What to do, or that nothing is to be done.
        never: Whether the job will not start unless something is changed.
    """

    words: str
    advice: str
    never: bool = False


_WAIT = "nothing; it starts when its turn comes"
_RESIZE = "it will never start as it is: `longview cancel <run>` and submit it again with other resources"
REASONS: dict[str, Reason] = {
    "Priority": Reason("other jobs come first", _WAIT),
    "Resources": Reason("next in line, waits for free nodes", _WAIT),
    "None": Reason("SLURM has not looked at it yet", _WAIT),
    "BeginTime": Reason("waits for the time it was told to begin at", "nothing; it starts by itself"),
    "Dependency": Reason("waits for another job to end", "nothing, if that job is meant to come first"),
    "DependencyNeverSatisfied": Reason(
        "the job it waits for failed", "it will never start: `longview cancel <run>`, then `longview resume <run>`", never=True
    ),
    "JobHeldUser": Reason("held by you", "let it go with: scontrol release <job>", never=True),
    "JobHeldAdmin": Reason("held by the site's administrators", "ask the site's support why", never=True),
    "JobArrayTaskLimit": Reason("as many of the array run as may at once", f"{_WAIT}; launch.parallel sets the number"),
    "JobArrayTasksLimit": Reason("as many of the array run as may at once", f"{_WAIT}; launch.parallel sets the number"),
    "PartitionTimeLimit": Reason("asks for more time than the partition allows", f"{_RESIZE} (resources.time)", never=True),
    "PartitionNodeLimit": Reason(
        "asks for more (or fewer) nodes than the partition allows", f"{_RESIZE} (resources.nodes)", never=True
    ),
    "PartitionConfig": Reason(
        "asks for what the partition does not offer", f"{_RESIZE} (longview doctor shows the limits)", never=True
    ),
    "PartitionDown": Reason("the partition is down", "wait for the site, or use another resources.purpose"),
    "PartitionInactive": Reason("the partition is switched off", "wait for the site, or use another resources.purpose"),
    "BadConstraints": Reason("no node has what it asks for", f"{_RESIZE} (resources, launch.sbatch)", never=True),
    "NodeDown": Reason("a node it needs is down", "wait for the site, or submit it without naming nodes"),
    "ReqNodeNotAvail": Reason(
        "nodes are down, drained or reserved, often a maintenance ahead",
        "it starts after the maintenance; a shorter resources.time may fit in before it",
    ),
    "Reservation": Reason("waits for its reservation to begin", _WAIT),
    "Licenses": Reason("waits for a licence", _WAIT),
    "Prolog": Reason("its nodes are being prepared", _WAIT),
    "Cleaning": Reason("its last attempt is being cleaned up", _WAIT),
    "NodeRestart": Reason("its nodes are restarting", _WAIT),
    "InvalidAccount": Reason("its account is not valid here", f"{_RESIZE} (launch.account)", never=True),
    "InvalidQOS": Reason("its QoS is not valid here", f"{_RESIZE} (resources.purpose)", never=True),
    "AccountNotAllowed": Reason("its account may not use this partition", f"{_RESIZE} (launch.account)", never=True),
    "AccountingPolicy": Reason("a limit of your account", "wait for your other jobs, or ask the site for more"),
    "QOSNotAllowed": Reason("its QoS may not be used here", f"{_RESIZE} (resources.purpose)", never=True),
    "DeadLine": Reason("it can no longer end before its deadline", _RESIZE, never=True),
    "InactiveLimit": Reason("it was inactive for too long", _RESIZE, never=True),
    "SystemFailure": Reason("SLURM or a node failed", "ask the site's support"),
    "launch failed requeued held": Reason(
        "its start failed on a node; SLURM put it back and holds it",
        "look at `longview logs <run> --batch`, then let it go with: scontrol release <job>",
        never=True,
    ),
    "job requeued in held state": Reason("put back and held", "let it go with: scontrol release <job>", never=True),
}
"""SLURM's word -> what it means."""
_REQUEUED = Reason("put back after an attempt; SLURM holds it for about two minutes", "nothing; it starts by itself")

_LIMITS = {
    "Submit": "jobs in the queue at once",
    "Jobs": "jobs running at once",
    "WallDuration": "time per job",
    "Wall": "time per job",
    "Node": "nodes",
    "Cpu": "CPU cores",
    "CPU": "CPU cores",
    "Mem": "memory",
    "GRES": "GPUs",
    "Gres": "GPUs",
    "Billing": "charged units",
    "BB": "burst buffer",
    "License": "licences",
}
_PATTERN = re.compile(r"(?P<whose>QOS|Assoc)(?P<group>Grp|Max)?(?P<rest>\w*)")


def reason_of(word: str, attempts: int = 0) -> Reason:
    """What SLURM's reason means for a run with so many attempts behind it; a word that is not in the table is quoted."""
    word = word.strip().strip("()").strip()
    if word == "BeginTime" and attempts:
        return _REQUEUED
    if not word:
        return REASONS["None"]
    first = re.split(r"[,:]", word, maxsplit=1)[0].strip()  # ReqNodeNotAvail, UnavailableNodes:jwb[0001-0004]
    for name in (word, first):
        if name in REASONS:
            return REASONS[name]
    if first.lower() in ("launch_failed_requeued_held", "job_launch_failure_requeued_held"):
        return REASONS["launch failed requeued held"]
    if match := _PATTERN.fullmatch(first):
        return _limit(match["whose"], match["rest"], first)
    return Reason(f"SLURM says: {word}", "the site's documentation, or its support, knows what that means here")


def _limit(whose: str, rest: str, word: str) -> Reason:
    """QOSMaxJobsPerUserLimit, AssocGrpGRESMinutes, ...: a limit, named by what it counts."""
    owner = "the QoS's" if whose == "QOS" else "your account's"
    what = next((text for key, text in _LIMITS.items() if key in rest), "")
    if "Minutes" in rest or "RunMins" in rest or "Billing" in rest:
        budget = "it starts when running jobs end or when the budget is filled up; the site's budget command shows what is left"
        return Reason(f"{owner} budget is used up or promised ({word})", budget)
    never = "PerJob" in rest or "Wall" in rest or "MinC" in rest or "MinN" in rest or "MinG" in rest
    advice = _RESIZE if never else "nothing; it starts when other jobs of yours or your group end"
    return Reason(f"{owner} limit{f' of {what}' if what else ''} is reached ({word})", advice, never)
