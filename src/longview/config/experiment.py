"""One call from arguments to a checked experiment, or to everything that is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from longview.config.advice import UNKNOWN, completed
from longview.config.checks import data_problems, run_checks
from longview.config.compose import Composer, Composition
from longview.config.origin import Origins
from longview.config.overrides import Argument, expand, override, parse
from longview.config.schema import BLOCKS, Experiment
from longview.config.signature import Block
from longview.config.tree import ConfDir, find_conf, load_yaml, read_yaml
from longview.config.validate import validate
from longview.errors import ConfigError, Problem


@dataclass(frozen=True)
class CheckedExperiment:
    """An experiment that was found sound.

    Attributes:
        config: The typed tree.
        resolved: The same as plain data, complete with defaults, ready to be written as config.yaml.
        overrides: Command-line arguments it was made from.
        choices: Group -> option.
        name: run.name, else <model>-<data>.
        origins: Where its values came from.
        warnings: What is not refused but should be known.
    """

    config: Experiment
    resolved: dict[str, Any]
    overrides: list[str] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)
    name: str = ""
    origins: Origins = field(default_factory=Origins, repr=False, compare=False)
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Sweep:
    """Every point of a sweep, checked; a single run is a sweep of one.

    Attributes:
        points: In the order of the command line.
        keys: What is swept, in that order.
        base: The tree without the swept arguments: what all points have in common, whatever values are added later.
        canonical: The arguments in the form Hydra composes.
    """

    points: list[CheckedExperiment]
    keys: list[str] = field(default_factory=list)
    base: dict[str, Any] = field(default_factory=dict)
    canonical: list[str] = field(default_factory=list)

    def values(self, point: CheckedExperiment) -> dict[str, str]:
        """Swept key -> value of a point, as typed."""
        pairs = (text.lstrip("+~").partition("=") for text in point.overrides)
        return {key: value for key, _, value in pairs if key in self.keys}


class Checker:
    """Composes and checks experiments of one conf folder; remembers what several points of a sweep share."""

    def __init__(self, conf: Path | None = None) -> None:
        self.conf = ConfDir(conf or find_conf())
        self.composer = Composer(self.conf)
        self._data: dict[str, list[Problem]] = {}

    @property
    def blocks(self) -> list[str]:
        """Names of the tree's blocks and top-level values."""
        return list(Experiment.model_fields)

    def check(self, overrides: Sequence[str]) -> CheckedExperiment:
        """Compose and check.

        Raises:
            ConfigError: With everything that is wrong.
        """
        texts = [text.removeprefix("++") for text in overrides]
        if stored := self._stored(overrides):
            return stored
        composition = self.composer.compose(overrides)
        for key, value in self._misplaced(composition):
            text = f"'{value}' must be given alone and on the command line: python run.py {key}={value}"
            composition.problems.append(Problem(key, text))
        return self._checked(composition.tree, composition.origins, composition, texts)

    def sweep(self, overrides: Sequence[str]) -> Sweep:
        """Expand and check every point of a sweep.

        Raises:
            ConfigError: With everything wrong with any point; what is wrong with several is said once.
        """
        composition = self.composer.compose(overrides, sweeps=True)
        problems = list(composition.problems)
        points: list[list[str]] = []
        if composition.complete:
            points, found = expand(composition.arguments, self.conf, composition.sweeper)
            problems.extend(found)
        merged: dict[Problem, list[int]] = {p: [] for p in composition.origins.filled(problems)}
        general = set(merged)
        hydra = [a.text for a in composition.arguments if a.kind == "hydra"]
        typed = _typed(composition, points)
        checked = []
        for i, point in enumerate(points):
            try:
                checked.append(self.check([*point, *hydra]))
            except ConfigError as error:
                for problem in error.problems:
                    merged.setdefault(replace(problem, origin=typed.get(problem.origin, problem.origin)), []).append(i)
        if merged:
            swept = {a.key for a in composition.arguments if a.sweep} | set(composition.sweeper)
            said = [p if p in general else _at_points(p, at, points, swept) for p, at in merged.items()]
            raise ConfigError(said)
        keys = list(dict.fromkeys([a.key for a in composition.arguments if a.sweep] + list(composition.sweeper)))
        return Sweep(checked, keys, composition.tree, [a.canonical for a in composition.arguments])

    def single(self, overrides: Sequence[str]) -> Sweep:
        """One experiment as a sweep of one point. Raises ConfigError with everything that is wrong."""
        point = self.check(overrides)
        return Sweep([point], [], point.resolved)

    def canonical(self, overrides: Sequence[str]) -> list[str]:
        """Arguments in the form Hydra itself composes to the same tree; those that cannot be read are left out."""
        return [a.canonical for a in parse(overrides, self.conf, sweeps=True)[0]]

    def compose_problems(self, overrides: Sequence[str]) -> list[Problem]:
        """What keeps Hydra from showing the tree as asked: composition problems and unknown keys among the arguments."""
        composition = self.composer.compose(overrides)
        found = list(composition.problems)
        if composition.complete:
            validated = validate(composition.tree, composition.dropped)
            strangers = [p for p in composition.origins.filled(validated.problems) if p.message.startswith(UNKNOWN)]
            found += [
                completed(p, self.conf, validated.view, composition.choices) for p in strangers if p.origin.startswith("override")
            ]
        return composition.origins.filled(found)

    def data_block(self, overrides: Sequence[str]) -> Block:
        """The data block alone, checked against its signature; problems of other blocks are of no interest.

        Raises:
            ConfigError: With everything wrong with the arguments or the data block.
        """
        composition = self.composer.compose(overrides)
        validated = validate(composition.tree, composition.dropped)
        known = {a.key.partition(".")[0] for a in composition.arguments} | {"data", ""}
        found = [
            *composition.problems,
            *(completed(p, self.conf, validated.view, composition.choices) for p in validated.problems),
        ]
        found = composition.origins.filled(found)
        if problems := [p for p in found if p.key.partition(".")[0] in known or not composition.complete]:
            raise ConfigError(problems)
        block: Block = validated.sections["data"]
        return block

    def _misplaced(self, composition: Composition) -> list[tuple[str, str]]:
        """``run.resume`` and ``run.test`` of a file or a mapping: what is read from a run cannot be part of a new one."""
        run = composition.tree.get("run")
        asked = run if isinstance(run, dict) else {}
        return [(f"run.{key}", str(asked[key])) for key in ("resume", "test") if asked.get(key) is not None]

    def _stored(self, overrides: Sequence[str]) -> CheckedExperiment | None:
        """The run that run.resume or run.test names, if they do."""
        arguments, _ = parse(overrides, self.conf, sweeps=False) if not self.conf.main.problems else ([], [])
        asked = [a for a in arguments if a.key in ("run.resume", "run.test") and a.value is not None and a.kind == "value"]
        if not asked:
            return None
        problems = []
        for other in overrides:
            if other not in [a.text for a in asked] and not other.startswith("hydra"):
                key = other.lstrip("+~").partition("=")[0]
                whose = "resumed" if asked[0].key == "run.resume" else "finished"
                text = f"a {whose} run keeps its configuration; start a new run to change {key}"
                problems.append(Problem(key, text, override(other)))
        if len(asked) > 1:
            problems.append(Problem("run.test", "cannot be given together with run.resume", override(asked[1].text)))
        for argument in asked:
            problems.extend(_run_problems(argument))
        if problems:
            raise ConfigError(problems)
        run = Path(str(asked[0].value)).expanduser()
        return self.load(run / "config.yaml", {asked[0].key.partition(".")[2]: str(run)}, [a.text for a in asked])

    def load(self, path: Path, run: Mapping[str, str] | None = None, overrides: Sequence[str] = ()) -> CheckedExperiment:
        """Check a run's own config.yaml; ``run`` sets run.resume or run.test."""
        file = read_yaml(path, str(path))
        if file.problems:
            raise ConfigError(file.problems)
        tree = load_yaml(file.text) or {}
        if isinstance(tree.get("run"), dict):
            tree["run"] = {**tree["run"], "resume": None, "test": None, **(run or {})}
        return self._checked(tree, Origins((), [file]), None, list(overrides))

    def _checked(
        self, tree: Mapping[str, Any], origins: Origins, composition: Composition | None, texts: list[str]
    ) -> CheckedExperiment:
        problems = list(composition.problems) if composition else []
        if composition and not composition.complete:
            raise ConfigError(origins.filled(problems))
        reported = {p.key for p in problems}
        validated = validate(tree, composition.dropped if composition else ())
        found = [p for p in validated.problems if p.key not in reported] + run_checks(validated.view, stored=composition is None)
        if composition:  # a stored run chooses nothing any more
            found = [completed(p, self.conf, validated.view, composition.choices) for p in found]
        problems.extend(found)
        block = validated.sections.get("data")
        if isinstance(block, Block):
            problems.extend(self._look(block))
        said = list(dict.fromkeys(origins.filled(problems)))
        if refused := [p for p in said if not p.warning]:
            raise ConfigError(refused)
        config = validated.experiment()
        choices = dict(composition.choices) if composition else {g: getattr(config, g).name for g in BLOCKS}
        name = config.run.name or f"{choices['model']}-{choices['data']}".replace("/", "-")
        return CheckedExperiment(config, plain(config), texts, choices, name, origins, tuple(said))

    def _look(self, block: Any) -> list[Problem]:
        key = repr(block)
        if key not in self._data:
            self._data[key] = data_problems(block)
        return self._data[key]


def plain(config: Experiment) -> dict[str, Any]:
    """The typed tree as plain data, in the order of the schema."""
    values = {}
    for name in Experiment.model_fields:
        value = getattr(config, name)
        values[name] = (
            value.plain() if name in BLOCKS else value.model_dump(mode="json") if hasattr(value, "model_dump") else value
        )
    return values


def _run_problems(argument: Argument) -> list[Problem]:
    """What keeps a directory from being a run that can be continued or scored."""
    path, origin = Path(str(argument.value)).expanduser(), override(argument.text)
    if not str(argument.value).strip():
        return [Problem(argument.key, "is empty; name a run directory, such as the one printed when the run was started", origin)]
    if not path.is_dir():
        said = f"'{path}' is a file, not a run directory" if path.exists() else f"there is no directory '{path}'"
        return [Problem(argument.key, said + _run_nearby(path), origin)]
    if not (path / "config.yaml").is_file():
        said = f"'{path}' is not a run directory: it has no config.yaml{_run_nearby(path)}"
        return [Problem(argument.key, said, origin)]
    found = []
    if not (path / "checkpoints").is_dir():
        found.append(Problem(argument.key, f"'{path}' has no folder checkpoints, so there is nothing to load", origin))
    if argument.key == "run.resume" and not os.access(path, os.W_OK):
        found.append(Problem(argument.key, f"'{path}' cannot be written", origin))
    return found


def _run_nearby(path: Path) -> str:
    """The run a path lies in, or the newest one that lies in it: what was probably meant."""
    inside = sorted(p.parent for p in path.glob("*/config.yaml")) if path.is_dir() else []
    runs = [p for p in (*list(path.parents)[:2], *inside[-1:]) if (p / "config.yaml").is_file() and (p / "run.json").is_file()]
    return f"; did you mean {runs[0]}?" if runs else ""


def _typed(composition: Composition, points: list[list[str]]) -> dict[str, str]:
    """Origin of a point's own override -> the swept argument, or the line of a file, that it was made from."""
    made = {a.key: override(a.text) for a in composition.arguments if a.sweep}
    made |= {key: composition.origins.of(f"hydra.sweeper.params.{key}") for key in composition.sweeper if key not in made}
    texts = {text for point in points for text in point}
    return {override(text): made[key] for text in texts if (key := text.lstrip("+~").partition("=")[0]) in made}


def _at_points(problem: Problem, at: list[int], points: list[list[str]], swept: set[str]) -> Problem:
    """Say which points of a sweep a problem belongs to, by their swept values; nothing if it is all of them."""
    if len(at) == len(points):
        return problem
    names = [" ".join(o for o in points[i] if o.lstrip("+~").partition("=")[0] in swept) for i in at[:3]]
    more = f" and {len(at) - 3} more" if len(at) > 3 else ""
    where = f"point {', '.join(f'#{i + 1} ({n})' for i, n in zip(at, names, strict=False))}{more}"
    return replace(problem, message=f"{problem.message}  (in {where})")


def check(overrides: Sequence[str], conf: Path | None = None) -> CheckedExperiment:
    """Compose and check one experiment.

    Raises:
        ConfigError: With everything that is wrong.
    """
    return Checker(conf).check(overrides)
