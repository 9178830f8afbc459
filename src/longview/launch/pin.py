"""What a run directory's config.yaml holds: everything that would otherwise be looked up later, and only what the run needs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from longview.cluster.request import purpose_of
from longview.config.experiment import CheckedExperiment
from longview.config.signature import Block


def pinned(experiment: CheckedExperiment) -> dict[str, Any]:
    """The resolved configuration with absolute places, the data root that was found, and the cluster's one partition."""
    config, tree = experiment.config, dict(experiment.resolved)
    tree["run"] = {**tree["run"], "root": str(Path(os.path.abspath(config.run.root))), "resume": None, "test": None}
    if root := _root(config.data):
        tree["data"] = {**tree["data"], "root": root}
    if config.cluster.scheduler != "none":
        purpose = purpose_of(config)
        partition = config.cluster.partitions[purpose]
        cluster = dict(tree["cluster"])
        cluster["partitions"] = {purpose: cluster["partitions"][purpose]}
        cluster["node_types"] = {partition.node: cluster["node_types"][partition.node]}
        cluster["purpose"], cluster["evidence"] = purpose, {}
        tree["cluster"] = cluster
        tree["resources"] = {**tree["resources"], "purpose": purpose}
    tree["launch"] = {**tree["launch"], "dry_run": False, "wait": False, "at_most": None}
    return tree


_ROOTS: dict[str, str | None] = {}


def _root(block: Block) -> str | None:
    """Where the data were found; None for a source without a place on disk."""
    key = repr(block)
    if key not in _ROOTS:
        source = block.build()
        place = getattr(source, "place", None)
        _ROOTS[key] = os.path.abspath(place) if place is not None and "root" in block.plain() else None
    return _ROOTS[key]
