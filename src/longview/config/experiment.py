"""One call from arguments to a checked experiment, or to everything that is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from longview.config.checks import data_problems, run_checks
from longview.config.compose import Composer, Composition
from longview.config.origin import Origins
from longview.config.overrides import Argument, expand, parse
from longview.config.schema import BLOCKS, Experiment
from longview.config.signature import Block, TargetError, read_signature
from longview.config.source import SignatureError
from longview.config.tree import ConfDir, find_conf, load_yaml, read_yaml
from longview.config.validate import Unknown, validate
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
    """

    config: Experiment
    resolved: dict[str, Any]
    overrides: list[str] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)
    name: str = ""


class Checker:
    """Composes and checks experiments of one conf folder; remembers what several points of a sweep share."""

    def __init__(self, conf: Path | None = None) -> None:
        self.conf = ConfDir(conf or find_conf())
        self.composer = Composer(self.conf)
        self._data: dict[str, list[Problem]] = {}

    def check(self, overrides: Sequence[str]) -> CheckedExperiment:
        """Compose and check.

        Raises:
            ConfigError: With everything that is wrong.
        """
        texts = [text.removeprefix("++") for text in overrides]
        if stored := self._stored(overrides):
            return stored
        composition = self.composer.compose(overrides)
        return self._checked(composition.tree, composition.origins, composition, texts)

    def sweep(self, overrides: Sequence[str]) -> tuple[list[str], list[CheckedExperiment]]:
        """Expand and check every point of a sweep.

        Returns:
            The arguments in the form Hydra composes, and the points in order.

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
        checked = []
        for i, point in enumerate(points):
            try:
                checked.append(self.check([*point, *hydra]))
            except ConfigError as error:
                for problem in error.problems:
                    merged.setdefault(problem, []).append(i)
        if merged:
            swept = {a.key for a in composition.arguments if a.sweep} | set(composition.sweeper)
            said = [p if p in general else _at_points(p, at, points, swept) for p, at in merged.items()]
            raise ConfigError(said)
        return [a.canonical for a in composition.arguments], checked

    def canonical(self, overrides: Sequence[str]) -> list[str]:
        """Arguments in the form Hydra itself composes to the same tree; those that cannot be read are left out."""
        return [a.canonical for a in parse(overrides, self.conf, sweeps=True)[0]]

    def compose_problems(self, overrides: Sequence[str]) -> list[Problem]:
        """What keeps Hydra from showing the tree as asked: composition problems and unknown keys among the arguments."""
        composition = self.composer.compose(overrides)
        found = list(composition.problems)
        if composition.complete:
            strangers = validate(composition.tree, composition.dropped).problems
            named = [p for p in composition.origins.filled(strangers) if p.origin.startswith("override")]
            found += [p for p in named if p.message.startswith("unknown key")]
        return composition.origins.filled(found)

    def data_block(self, overrides: Sequence[str]) -> Block:
        """The data block alone, checked against its signature; problems of other blocks are of no interest.

        Raises:
            ConfigError: With everything wrong with the arguments or the data block.
        """
        composition = self.composer.compose(overrides)
        validated = validate(composition.tree, composition.dropped)
        known = {a.key.partition(".")[0] for a in composition.arguments} | {"data", ""}
        found = composition.origins.filled([*composition.problems, *validated.problems])
        if problems := [p for p in found if p.key.partition(".")[0] in known or not composition.complete]:
            raise ConfigError(problems)
        block: Block = validated.sections["data"]
        return block

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
                problems.append(Problem(key, text, f"override '{other}'"))
        if len(asked) > 1:
            problems.append(Problem("run.test", "cannot be given together with run.resume", f"override '{asked[1].text}'"))
        for argument in asked:
            problems.extend(_run_problems(argument))
        if problems:
            raise ConfigError(problems)
        path = Path(str(asked[0].value)) / "config.yaml"
        return self.load(path, {asked[0].key.partition(".")[2]: str(asked[0].value)}, [a.text for a in asked])

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
        problems.extend(p for p in validated.problems if p.key not in reported)
        problems.extend(self._fitting(p, validated.view) for p in run_checks(validated.view))
        block = validated.sections.get("data")
        if isinstance(block, Block):
            problems.extend(self._look(block))
        if problems:
            raise ConfigError(list(dict.fromkeys(origins.filled(problems))))
        config = validated.experiment()
        choices = dict(composition.choices) if composition else {g: getattr(config, g).name for g in BLOCKS}
        name = config.run.name or f"{choices['model']}-{choices['data']}".replace("/", "-")
        return CheckedExperiment(config, plain(config), texts, choices, name)

    def _look(self, block: Any) -> list[Problem]:
        key = repr(block)
        if key not in self._data:
            self._data[key] = data_problems(block)
        return self._data[key]

    def _fitting(self, problem: Problem, view: Any) -> Problem:
        """Complete "does not serve the task" with the options that do."""
        if problem.key not in ("model", "data") or "does not serve" not in problem.message:
            return problem
        try:
            task = view.task.name
        except Unknown:
            return problem
        fitting = [o for o, tasks in self.served(problem.key).items() if task in tasks]
        return replace(problem, message=f"{problem.message}; these do: {', '.join(fitting) or 'none'}")

    def served(self, group: str) -> dict[str, tuple[str, ...]]:
        """Option -> names of the tasks it serves, for every option of a group that can be read."""
        found = {}
        for option in self.conf.options(group):
            for key, value in getattr(self.conf.read(f"{group}/{option}").node, "value", None) or []:
                if key.value == "_target_":
                    try:
                        found[option] = read_signature(str(value.value), group).tasks
                    except (TargetError, SignatureError):
                        continue
        return found


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
    path, origin = Path(str(argument.value)), f"override '{argument.text}'"
    if not path.is_dir():
        return [Problem(argument.key, f"there is no directory '{path}'", origin)]
    found = []
    if not (path / "config.yaml").is_file():
        found.append(Problem(argument.key, f"'{path}' is not a run directory: it has no config.yaml", origin))
    if not (path / "checkpoints").is_dir():
        found.append(Problem(argument.key, f"'{path}' has no folder checkpoints, so there is nothing to load", origin))
    if argument.key == "run.resume" and not os.access(path, os.W_OK):
        found.append(Problem(argument.key, f"'{path}' cannot be written", origin))
    return found


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
