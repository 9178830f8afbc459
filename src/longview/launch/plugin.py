"""Sweepers that want a value: ``-m hydra/sweeper=<installed>`` (Ax, Nevergrad, one's own) asks, this launcher answers.

Hydra's basic sweeper never comes here: it only lists combinations, and Hydra would compose every point once more.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from longview.config.compose import Composition
from longview.config.experiment import CheckedExperiment, Checker
from longview.errors import ConfigError, LongviewError, Problem
from longview.launch.evaluate import Family, Metric, evaluate
from longview.launch.prepare import checked
from longview.launch.search_space import read_space, swept
from longview.launch.start import start

OK, FAILED = 0, 1


class PointError(LongviewError):
    """A point that has no value."""


@dataclass
class Job:
    """What a sweep of this process is about: the command line, and what has been found so far."""

    checker: Checker
    composition: Composition
    argv: Sequence[str]
    metric: Metric
    values: list[float] = field(default_factory=list)
    failed: int = 0


class LongviewLauncher(Launcher):
    """Launches batches of points and returns the objective of each (``search.objective``).

    A point without a value is a ``JobReturn`` with status FAILED, whose return value raises ``PointError``.
    """

    __module__ = "hydra_plugins.longview"  # see _register

    job: Job | None = None
    """Of this process."""

    def __init__(self) -> None:
        self.config: DictConfig | None = None
        self.family: Family | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take Hydra's composed sweep configuration."""
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Evaluate a batch of points, on a cluster as one submission; a point's overrides are its ``key=value`` strings.

        Raises:
            LongviewError: The batch cannot be launched, or finished runs do not have the objective.
        """
        if self.job is None:
            raise LongviewError("longview's launcher is started by longview itself: python run.py -m hydra/sweeper=<name>")
        points = [list(point) for point in job_overrides]
        if self.family is None:
            self.family = _family(self.job, _keys(self.job, points))
        print(f"\n{len(points)} point{'s' if len(points) > 1 else ''} from {initial_job_idx + 1} on", flush=True)
        experiments: list[CheckedExperiment | None] = []
        said: list[str] = []
        for point in points:
            try:
                experiments.append(self.family.check(point))
                said.append("the run has no value; longview why says more")
            except ConfigError as error:
                print(f"{_shown(point, self.family.keys)}: {error}", file=sys.stderr, flush=True)
                experiments.append(None)
                said.append(str(error))
        sound = [e for e in experiments if e is not None]
        values = iter(evaluate(self.family.sweep(sound), self.job.argv, self.job.metric) if sound else [])
        found = [next(values) if e is not None else None for e in experiments]
        return [self._returned(*item) for item in zip(points, experiments, found, said, strict=True)]

    def _returned(self, point: list[str], experiment: CheckedExperiment | None, value: float | None, said: str) -> JobReturn:
        assert self.job is not None
        assert self.family is not None
        result = JobReturn(overrides=point, task_name="longview", hydra_cfg=self.config)
        result.cfg = OmegaConf.create(experiment.resolved) if experiment else None
        result.status = JobStatus.FAILED if value is None else JobStatus.COMPLETED
        result.return_value = PointError(f"{_shown(point, self.family.keys)}: {said}") if value is None else value
        if value is None:
            self.job.failed += 1
        else:
            self.job.values.append(value)
            print(f"{_shown(point, self.family.keys)}: {self.job.metric.name} {value:.5g}", flush=True)
        return result


def run(checker: Checker, composition: Composition, argv: Sequence[str]) -> int:
    """Hand the command to Hydra, whose sweeper calls the launcher above; returns the exit code.

    Raises:
        LongviewError: Something is wrong with the command, or a batch could not be launched.
    """
    job = Job(checker, composition, argv, Metric(None))
    first = _first(job)
    job.metric.name = first.config.search.objective
    if first.config.launch.dry_run:
        print("# which points there will be, the sweeper decides while it runs; this is one of them")
        keys = [a.key for a in swept(composition, checker.conf)]
        return start(_family(job, keys).sweep([first]), argv, several=True)
    _register(job)
    _multirun(checker, [a.canonical for a in composition.arguments])
    print(f"\n{len(job.values)} points with a value{f', {job.failed} without' if job.failed else ''}")
    return OK if job.values else FAILED


def _first(job: Job) -> CheckedExperiment:
    """A point of the sweep, after the ends of everything swept were checked as far as they are written in Hydra's grammar."""
    composition, conf = job.composition, job.checker.conf
    own = "; or leave it out: search.trials=20 searches with no sweeper of Hydra's"
    absent = [replace(p, message=p.message + own) if p.key == "hydra/sweeper" else p for p in composition.problems]
    problems = dict.fromkeys(composition.origins.filled(absent))
    arguments = swept(composition, conf)
    space, foreign = read_space(arguments, conf)  # a sweeper may know tags of its own
    family = _family(job, space.keys, [a.canonical for a in composition.arguments if not a.sweep and a.kind != "hydra"])
    sound, wrong = checked(family, list(space.corners()) if space.dimensions and not foreign else [{}])
    problems |= dict.fromkeys(wrong if not foreign else [])
    if sound and sound[0].config.launch.at_most is not None:
        problems[Problem("launch.at_most", "means nothing here: the sweeper decides what comes next; leave it out")] = None
    if problems or not sound:
        raise ConfigError(list(problems) or wrong)
    return sound[0]


def _family(job: Job, keys: Sequence[str], fixed: Sequence[str] = ()) -> Family:
    """The points of the sweep; with every point, Hydra gives the ``fixed`` arguments too."""
    return Family.of(job.checker, job.composition, fixed, keys)


def _keys(job: Job, points: Sequence[Sequence[str]]) -> list[str]:
    """What the sweeper chooses: some sweepers have their parameters in settings of their own."""
    fixed = {a.canonical for a in job.composition.arguments}
    own = [text for point in points for text in point if text not in fixed]
    return list(dict.fromkeys(text.lstrip("+~").partition("=")[0] for text in own))


def _multirun(checker: Checker, arguments: Sequence[str]) -> None:
    from hydra import main as hydra_main

    before, variable = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [before[0], "--multirun", *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints errors in its own way and exits
    try:
        hydra_main(config_path=str(checker.conf.root.resolve()), config_name="config", version_base="1.3")(_nothing)()
    finally:
        sys.argv = before
        if variable is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = variable


def _nothing(config: Any) -> None:
    """Hydra wants a function; runs do not pass through it."""


def _shown(point: Sequence[str], keys: Sequence[str]) -> str:
    """A point by what the sweeper chose."""
    texts = [text.lstrip("+") for text in point if text.lstrip("+").partition("=")[0] in keys]
    return " ".join(f"{t[:-2]}null" if t.endswith("=[]") else t for t in texts) or "(no overrides)"  # experiment=[]: none


def _register(job: Job) -> None:
    """Make the launcher known to Hydra for a sweep of this process.

    Hydra accepts plugins of the namespace ``hydra_plugins`` only, and imports every package it finds there at every start. So
    this module is entered under that name when a sweep begins, instead of lying there and slowing down every command.
    """
    try:
        namespace = importlib.import_module("hydra_plugins")
    except ModuleNotFoundError:  # no other plugin is installed
        namespace = sys.modules["hydra_plugins"] = ModuleType("hydra_plugins")
        namespace.__path__ = []
    sys.modules["hydra_plugins.longview"] = namespace.longview = sys.modules[__name__]  # type: ignore[attr-defined]
    LongviewLauncher.job = job
    Plugins.instance().register(LongviewLauncher)
