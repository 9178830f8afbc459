"""From the points of a sweep to sbatch calls: one array per resource shape, cut where the site's limits want it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from longview.cluster.request import Request, request_of
from longview.config.experiment import CheckedExperiment
from longview.config.schema import Experiment
from longview.runs.sweep import Point

DEFAULT_ARRAY = 1001
"""SLURM's own MaxArraySize, where neither the site nor the cluster file says another (the largest index is one less)."""


@dataclass(frozen=True)
class Run:
    """A point with everything needed to submit it."""

    point: Point
    experiment: CheckedExperiment


@dataclass(frozen=True)
class Chunk:
    """The runs of one sbatch call."""

    request: Request
    runs: tuple[Run, ...]

    @property
    def config(self) -> Experiment:
        """Configuration of the first run; the others ask for the same resources in the same way."""
        return self.runs[0].experiment.config


def chunks(runs: Sequence[Run], *, array_limit: int | None, account: str | None = None) -> list[Chunk]:
    """Group by resources and cluster settings, keep the order, cut into arrays whose largest index the site accepts.

    Args:
        runs: What is to be submitted.
        array_limit: MaxArraySize as SLURM says it (a number of elements, since indices begin at 0); None: not known.
        account: What jobs are charged to where the configuration does not say.
    """
    groups: dict[tuple[Request, str], list[Run]] = {}
    for run in runs:
        config = run.experiment.config
        key = (request_of(config, account=account), repr(config.cluster) + repr(config.launch.stage))
        groups.setdefault(key, []).append(run)
    found = []
    for (request, _), members in groups.items():
        limit = array_limit or members[0].experiment.config.cluster.limits.max_array_size or DEFAULT_ARRAY
        found += [Chunk(request, tuple(members[i : i + limit])) for i in range(0, len(members), limit)]
    return found


@dataclass(frozen=True)
class Cost:
    """What a plan may use at most, if every attempt runs to its limit; None where a time limit is not known."""

    jobs: int
    gpu_hours: float | None
    core_hours: float | None


def cost(plan: Sequence[Chunk]) -> Cost:
    """Upper bound over all runs of a plan, for one attempt each."""
    gpu: list[float | None] = [c.request.gpu_hours for c in plan for _ in c.runs]
    core: list[float | None] = [c.request.core_hours for c in plan for _ in c.runs]
    return Cost(len(gpu), _total(gpu), _total(core))


def _total(hours: Sequence[float | None]) -> float | None:
    known = [h for h in hours if h is not None]
    return sum(known) if len(known) == len(hours) else None
