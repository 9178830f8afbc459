"""Preflight: what can be known of a job before SLURM is asked, from the tree and the cluster's facts alone.

A check takes the tree (typed, possibly partial) and yields Problems; touching a value that was found wrong ends it quietly. Each
is independent of the others, so that everything is said at once, and none of them names a site: what differs is in the facts.
"""

from __future__ import annotations

from longview.cluster.checks import limits, nodes, options, site
from longview.cluster.checks.common import Check

CHECKS: tuple[Check, ...] = (*limits.CHECKS, *nodes.CHECKS, *options.CHECKS, *site.CHECKS)

__all__ = ["CHECKS", "Check"]
