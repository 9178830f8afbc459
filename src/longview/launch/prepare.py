"""A command line with swept arguments, read as a space and checked at its corners before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from longview.config.compose import Composition
from longview.config.experiment import CheckedExperiment, Checker
from longview.config.overrides import override
from longview.config.schema import Experiment
from longview.errors import ConfigError, Problem
from longview.launch.evaluate import Family, mode_of
from longview.launch.search_space import Space, read_space, settled, swept

_ELSEWHERE = ("run.", "launch.", "search.", "cluster")
"""Keys that say where and how a run takes place, not what it computes."""


@dataclass
class Prepared:
    """A space, found sound at its corners, and what its points share."""

    space: Space
    family: Family
    first: CheckedExperiment
    corner: dict[str, str]

    @property
    def config(self) -> Experiment:
        """Configuration of the first corner; of the others, only what is searched differs."""
        return self.first.config

    @property
    def on_slurm(self) -> bool:
        """Whether its points go to a queue."""
        return self.config.cluster.scheduler == "slurm"


def prepare(checker: Checker, composition: Composition, fixed: Sequence[str]) -> Prepared:
    """Read the space of a composed command line and check its corners.

    Raises:
        ConfigError: With everything that is wrong.
    """
    arguments = swept(composition, checker.conf)
    space, wrong = read_space(arguments, checker.conf)
    problems = [*composition.problems, *wrong]
    if not arguments:
        example = "'task.lr=tag(log,interval(1e-4,1e-2))' or model.width=16,32"
        problems.append(Problem("search.trials", f"there is nothing to search; name values or an interval, such as {example}"))
    for argument in arguments:
        if argument.key.startswith(_ELSEWHERE):
            text = "says where or how a run takes place, not what it computes; it cannot be searched"
            problems.append(Problem(argument.key, text, override(argument.text)))
    if not composition.complete or wrong or not space.dimensions:
        raise ConfigError(composition.origins.filled(problems))
    family = Family.of(checker, composition, fixed, space.keys)
    found = dict.fromkeys(composition.origins.filled(problems))
    corners = list(space.corners())
    sound, wrong = checked(family, corners)
    found |= dict.fromkeys(wrong)
    if sound:
        found |= dict.fromkeys(_unfit(sound))
    if found:
        raise ConfigError(composition.origins.filled(found))
    return Prepared(settled(space, sound[0].resolved), family, sound[0], corners[0])


def checked(family: Family, corners: Sequence[Mapping[str, str]]) -> tuple[list[CheckedExperiment], list[Problem]]:
    """The points that are sound, and everything that is wrong with the others."""
    sound: list[CheckedExperiment] = []
    problems: dict[Problem, None] = {}
    for corner in corners:
        try:
            sound.append(family.check(typed(corner)))
        except ConfigError as error:
            problems |= dict.fromkeys(error.problems)
    return sound, list(problems)


def _unfit(corners: Sequence[CheckedExperiment]) -> Iterator[Problem]:
    names = sorted({e.config.cluster.name for e in corners})
    if len(names) > 1:
        yield Problem("cluster", f"a search goes to one cluster, not to {', '.join(names)}")
    if corners[0].config.launch.at_most is not None:
        yield Problem("launch.at_most", "means nothing here: the next points follow from the ones before; leave it out")
    if mode_of(corners[0].config) is None:
        metric = corners[0].config.search.objective or "the task's metric"
        yield Problem("search.mode", f"whether more or less of {metric} is better is not known; give max or min")


def typed(values: Mapping[str, str]) -> list[str]:
    """A point's values as arguments."""
    return [f"{key}={value}" for key, value in values.items()]
