"""Telling a job that has to wait from one that is refused: `sbatch --test-only` answers both in the same words."""

from __future__ import annotations

from longview.cluster.answers import NodeGroup
from longview.cluster.drift import live_partition
from longview.cluster.request import Request
from longview.cluster.site import Site

NOW = (
    "requested nodes are busy",
    "required node not available (down, drained or reserved)",
    "requested reservation is in use",
    "requested reservation not usable now",
)
"""What says by itself that the job cannot start at present; sbatch takes it."""
NEVER_OR_NOT_NOW = "requested node configuration is not available"
"""Said of a job that no node could ever run, and of one whose nodes are drained or down just now."""


def only_waits(text: str, site: Site, request: Request) -> bool:
    """Whether ``text``, a refusal of `sbatch --test-only`, means no more than that the job cannot start now.

    Of the words that mean either, this is so if some nodes of the partition are away and enough of its nodes, those included, are
    large enough. Where SLURM does not say what nodes there are, the words are taken as a refusal.
    """
    said = text.lower()
    if any(words in said for words in NOW):
        return True
    partition = live_partition(site, request.partition)
    if NEVER_OR_NOT_NOW not in said or partition is None:
        return False
    groups = (site.nodes or {}).get(partition.name, [])
    away = any(not group.serves for group in groups)
    return away and sum(group.count for group in groups if _fits(request, group)) >= request.nodes


def _fits(request: Request, group: NodeGroup) -> bool:
    """Whether such a node, in whatever state, has room for the job's part on it."""
    cpus = request.tasks * (request.cpus or 1)
    memory = request.memory_gb or 0
    return request.gpus <= group.gpu_count and cpus <= max(group.cpus, group.cores) and memory <= group.memory_gb
