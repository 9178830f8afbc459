"""Runs that are wanted for one number: launch points, wait for them, read the objective of each from its result.json."""

from __future__ import annotations

import ast
import difflib
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longview.config.compose import Composition
from longview.config.experiment import CheckedExperiment, Checker, Sweep
from longview.config.schema import Experiment
from longview.config.source import find_source, parse
from longview.errors import LongviewError
from longview.launch.identity import place_of, point_of, sweep_id
from longview.launch.start import start
from longview.runs.find import find
from longview.runs.look import Seen, look
from longview.runs.records import read_json
from longview.runs.status import Kind
from longview.runs.sweep import Point, SweepDirectory

EVERY, SOON = 5.0, 0.2
"""Seconds between two looks: one call of squeue each; on this machine, at files."""
_NAMED = 10
"""Metrics that a message lists."""
_GROUPS = ("task", "model", "data", "experiment", "run.name")
"""Swept, these give the points different names."""


class ObjectiveError(LongviewError):
    """A metric that finished runs do not have."""


@dataclass(frozen=True)
class Family:
    """Points that are found one by one and belong to one sweep directory.

    Attributes:
        checker: Checks them; remembers what they share.
        fixed: Arguments of every point.
        keys: What is swept.
        base: The tree without it.
    """

    checker: Checker
    fixed: tuple[str, ...]
    keys: tuple[str, ...]
    base: dict[str, Any]

    @classmethod
    def of(cls, checker: Checker, composition: Composition, fixed: Iterable[str], keys: Sequence[str]) -> Family:
        """Of a composed command line; the directory's name follows from that, not from any point."""
        tree = composition.tree
        launch, run = tree.get("launch"), tree.get("run")
        given = launch.get("sweep") if isinstance(launch, Mapping) else None
        own = run.get("name") if isinstance(run, Mapping) else None
        chosen = composition.choices
        name = own or f"{chosen['model']}-{chosen['data']}"
        if set(keys) & set(_GROUPS):
            name = chosen["task"]
        named = [] if given else [f"launch.sweep={str(name).replace('/', '-')}-search"]
        return cls(checker, (*fixed, *named), tuple(keys), tree)

    def check(self, arguments: Sequence[str]) -> CheckedExperiment:
        """A point by its own arguments; raises ConfigError with everything that is wrong."""
        return self.checker.check([*self.fixed, *arguments])

    def sweep(self, experiments: Sequence[CheckedExperiment]) -> Sweep:
        """Some of the points, as a sweep to be launched."""
        return Sweep(list(experiments), list(self.keys), self.base)


def points_of(sweep: Sweep) -> list[Point]:
    """Identity and place of every point."""
    identity = sweep_id(sweep)
    return [point_of(sweep, experiment, identity) for experiment in sweep.points]


def seen(directory: SweepDirectory, ids: Iterable[str]) -> dict[str, Seen]:
    """Run id -> what is known of it now; runs that are not on record are absent."""
    wanted = set(ids)
    if not directory.record_file.is_file():
        return {}
    runs = [run for run in find([str(directory.path)], directory.path.parent)[0].runs if run.id in wanted]
    return {one.run.id: one for one in look(runs).seen}


class Watch:
    """Tells which runs have ended. A death must be seen twice: between a job and its successor a run may look dead."""

    def __init__(self, directory: SweepDirectory) -> None:
        self.directory = directory
        self.doubted: set[str] = set()

    def ended(self, ids: Iterable[str]) -> dict[str, Seen]:
        """Of these runs, those that are over."""
        over = {}
        for identity, one in seen(self.directory, ids).items():
            kind = one.state.kind
            if kind is Kind.FINISHED or (identity in self.doubted and (kind.dead or kind is Kind.NEW)):
                over[identity] = one
            elif kind.dead or kind is Kind.NEW:
                self.doubted.add(identity)
            else:
                self.doubted.discard(identity)
        return over


def evaluate(sweep: Sweep, argv: Sequence[str], metric: Metric) -> list[float | None]:
    """Launch every point that is not finished, wait until all are over, and return the objective of each, in their order.

    On this machine points run one after another; on a cluster they are one submission. A finished point is not run again. None
    is the objective of a point that failed, or whose value is no number.

    Raises:
        LongviewError: Nothing could be launched, or the finished runs have no such metric.
    """
    directory, points = SweepDirectory(place_of(sweep)), points_of(sweep)
    on_slurm = sweep.points[0].config.cluster.scheduler == "slurm"
    start(sweep, argv, several=True)
    watch, ended = Watch(directory), dict[str, Seen]()
    wanted = {point.id for point in points}
    while left := wanted - set(ended):
        found = watch.ended(left)
        ended |= found
        for one in found.values() if on_slurm else ():
            print(f"{one.run.label}: {one.state.kind.value}", flush=True)
        if wanted - set(ended):
            time.sleep(EVERY if on_slurm else SOON)
    return [metric.value(Path(ended[p.id].run.path))[0] if ended[p.id].state.kind is Kind.FINISHED else None for p in points]


# objective ----------------------------------------------------------------------------------------------------------------


@dataclass
class Metric:
    """Reads one and the same metric of every run.

    Attributes:
        name: None: the first run decides: its best validation score, else its task's primary metric.
        known: Whether a finished run has had it.
    """

    name: str | None
    known: bool = False

    def value(self, run: Path) -> tuple[float | None, str]:
        """The objective of a finished run, None where it is no finite number; and words for it.

        Raises:
            ObjectiveError: No run has had such a metric so far, so that its name must be wrong; names the nearest.
        """
        record = read_json(run / "result.json")
        result = record.get("result")
        metrics: dict[str, Any] = dict(result.get("metrics") or {}) if isinstance(result, Mapping) else {}
        stated = [s for s in (record.get("validation"), record.get("primary")) if isinstance(s, Mapping)]
        metrics |= {str(s["name"]): s["value"] for s in stated}
        if self.name is None and stated:
            self.name = str(stated[0]["name"])
            if self.name.startswith("test/"):
                text = "these runs have no validation score: they are compared on the test part, so the best is not tested on it"
                print(f"warning: {text}", file=sys.stderr, flush=True)
        if self.name not in metrics:
            text = f"a finished run has no metric '{self.name or ''}'; there are: {_listed(self.name or '', metrics)}"
            if not self.known:
                raise ObjectiveError(f"search.objective: {text}")
            return None, text
        value, self.known = metrics[self.name], True
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value), f"{self.name} {value:.5g}"
        return None, f"{self.name} is no number"


def _listed(name: str, known: Mapping[str, Any]) -> str:
    """At most ten names, the nearest first."""
    near = difflib.get_close_matches(name, list(known), n=_NAMED, cutoff=0.4)
    names = [*near, *(n for n in known if n not in near)]
    more = f", ... ({len(names)} in all)" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more or "none"


def mode_of(config: Experiment) -> str | None:
    """Whether more or less is better: ``search.mode``, else what the task's class says; None where it says nothing of use."""
    settings, task = config.search, config.task.target
    if settings.mode:
        return settings.mode
    modes = {stated(task, name): stated(task, f"{name}_mode") for name in ("monitor", "primary")}
    if settings.objective:
        return modes.get(settings.objective)
    return modes.popitem()[1] if len(set(modes.values())) == 1 else None


def stated(target: str, name: str) -> str | None:
    """A text that a class or one of its bases has as attribute ``name``, read from the source: importing a task takes seconds."""
    module, _, cls = target.rpartition(".")
    path = find_source(module)
    source = parse(str(path), path.stat().st_mtime_ns) if path else None
    node = source.classes.get(cls) if source else None
    if node is None or source is None:
        return None
    for item in node.body:
        target_node = (
            item.targets[0] if isinstance(item, ast.Assign) else item.target if isinstance(item, ast.AnnAssign) else None
        )
        value = item.value if isinstance(item, (ast.Assign, ast.AnnAssign)) else None
        if isinstance(target_node, ast.Name) and target_node.id == name and isinstance(value, ast.Constant):
            return str(value.value)
    for base in node.bases:
        if isinstance(base, ast.Name):
            place = f"{module}:{base.id}" if base.id in source.classes else source.names.get(base.id, "")
            if place.startswith("longview.") and (found := stated(place.replace(":", "."), name)) is not None:
                return found
    return None
