"""Where checked points go: to a cluster's queue, or to this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from longview.config.experiment import CheckedExperiment, Sweep
from longview.errors import ConfigError, Problem
from longview.launch.identity import ELSEWHERE

OK = 0
UNCOUNTED = tuple(f"resources.{key}" for key in ("time", "purpose", "memory_gb", "cpus_per_device"))


def start(sweep: Sweep, argv: Sequence[str], *, several: bool) -> int:
    """Run or submit; ``several``: as a sweep, even of one point. Returns the exit code.

    Raises:
        LongviewError: With everything that keeps the points from being launched; nothing was written then.
    """
    first = sweep.points[0]
    names = sorted({point.config.cluster.name for point in sweep.points})
    if len(names) > 1:
        raise ConfigError([Problem("cluster", f"a sweep goes to one cluster, not to {', '.join(names)}")])
    if useless := [*_useless(sweep)]:
        raise ConfigError(useless)
    if first.config.cluster.scheduler == "slurm":
        if first.config.run.resume or first.config.run.test:
            return _again(first)
        from longview.launch.submit import submit

        return submit(sweep, argv)
    for warning in dict.fromkeys(w for point in sweep.points for w in point.warnings):
        print(f"warning: {warning}", file=sys.stderr)
    if first.config.launch.dry_run:
        return _shown(sweep)
    if several:
        from longview.launch.here import sweep_here

        return sweep_here(sweep, argv)
    from longview.launch.local import launch

    return launch(first, argv=argv)


def _useless(sweep: Sweep) -> Iterator[Problem]:
    """Swept keys that do not change what is computed: their points would be one run."""
    for key in sweep.keys:
        if key.partition(".")[0] in (*ELSEWHERE, "cluster") or key in UNCOUNTED:
            text = "says how a run is launched, not what it computes, so its values would be one and the same run; give one value"
            yield Problem(key, text)


def _again(experiment: CheckedExperiment) -> int:
    """Continue or score a run that belongs to a cluster: there, not on the machine this is typed on."""
    from longview.launch.submit import resubmit
    from longview.runs.directory import RunDirectory
    from longview.runs.sweep import SweepDirectory

    run = RunDirectory.open(str(experiment.config.run.resume or experiment.config.run.test))
    sweep = SweepDirectory.open(Path(run.path).parent)
    return resubmit(sweep, [run.id], "test" if experiment.config.run.test else "fit")


def _shown(sweep: Sweep) -> int:
    from longview.config.summary import summary

    print(f"{len(sweep.points)} run{'s' if len(sweep.points) > 1 else ''} on this machine, one after another; nothing was run")
    print(summary(sweep.points[0]))
    return OK
