"""Hydra composes the tree; this module sees to it that the first problem does not hide the others.

Group choices are checked against the disk before Hydra sees them, and value overrides are applied one by one afterwards, in
Hydra's way (merge, force-add). So an unknown key arrives in the tree, where the schema names it and its nearest neighbour.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from longview.config.messages import listed, show
from longview.config.origin import Origins
from longview.config.overrides import Argument, parse
from longview.config.tree import ConfDir, Default, YamlFile
from longview.config.values import apply, content, merge, resolved, words
from longview.errors import Problem


@dataclass
class Composition:
    """A composed tree and everything found wrong on the way.

    Attributes:
        tree: Plain, resolved values; blocks of ``dropped`` groups are missing.
        problems: Of composing, not yet of the schema.
        choices: Group -> option.
        dropped: Groups that could not be composed; nothing more can be said of them.
        sweeper: ``hydra.sweeper.params``.
    """

    arguments: list[Argument]
    problems: list[Problem]
    tree: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)
    layers: list[YamlFile] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)
    sweeper: dict[str, Any] = field(default_factory=dict)
    complete: bool = True

    @property
    def origins(self) -> Origins:
        return Origins(self.arguments, self.layers)


class Composer:
    """Composes points of one conf folder; points that differ in values only share one Hydra composition."""

    def __init__(self, conf: ConfDir) -> None:
        self.conf = conf
        self._composed: dict[tuple[str, ...], Any] = {}

    def compose(self, texts: Sequence[str], *, sweeps: bool = False) -> Composition:
        """Compose ``key=value`` arguments; with ``sweeps`` the swept ones are left out of the tree."""
        if self.conf.main.problems:
            return Composition([], list(self.conf.main.problems), complete=False)
        arguments, problems = parse(texts, self.conf, sweeps=sweeps)
        result = Composition(arguments, problems)
        fixed = [a for a in arguments if not a.sweep]
        selection = self._select(fixed, result)
        config = self._hydra(selection, [a.text for a in fixed if a.kind == "hydra"], result)
        if config is None:
            result.complete = False
            return result
        for file in selection.merged:
            merge(config, file, result.problems)
        for argument in fixed:
            if argument.key.partition(".")[0] not in result.dropped:
                apply(config, argument, result.problems)
        hydra = config.pop("hydra")
        result.sweeper = dict(hydra.sweeper.get("params") or {})
        result.tree = resolved(config, result.problems)
        for group in result.dropped:
            result.tree.pop(group, None)
        return result

    def block(self, group: str, option: str) -> Any:
        """An option's own values, read without a composition (interpolations stay as written); None if it cannot be read."""
        from omegaconf import OmegaConf

        chain = self._chain(f"{group}/{option}")
        if any(file.problems for file in chain):
            return None
        merged: Any = OmegaConf.merge(*(content(file) for file in chain))
        return OmegaConf.to_container(merged, resolve=False).get(group)  # type: ignore[union-attr]

    def _select(self, arguments: Sequence[Argument], result: Composition) -> _Selection:
        """Decide every group's option, refuse what is not there, and list the YAML files in the order of composition."""
        conf = self.conf
        selection = _Selection()
        chosen: dict[str, tuple[Any, str]] = {}
        for argument in arguments:
            if argument.kind == "group":
                chosen[argument.key] = (argument.value, f"override '{argument.text}'")
        base = {d.group: d for d in conf.main.defaults if d.group and not d.override}
        self._experiment(chosen, base.get("experiment"), selection, result)
        for group in conf.groups:
            if group == "experiment":
                continue
            default = base.get(group)
            main = (default.option, f"{conf.main.shown}:{default.line}") if default else (None, conf.main.shown)
            option, origin = chosen.get(group) or selection.overrides.get(group) or main
            if default is None and group not in chosen:
                continue
            if default and default.optional and (option is None or option == default.option):
                self._follow(group, option, origin, selection, result)
                continue
            if not self._usable(group, option, origin, result):
                selection.choices[group] = []
                result.dropped.add(group)
            else:
                selection.choices[group] = result.choices[group] = str(option)
        for default in conf.main.defaults:
            if default.option == "_self_":
                result.layers.append(conf.main)
            elif default.group and default.group in result.choices:
                result.layers.extend(self._chain(f"{default.group}/{result.choices[default.group]}"))
        if conf.main not in result.layers:
            result.layers.append(conf.main)
        result.layers.extend(selection.experiments)
        return selection

    def _follow(self, group: str, pattern: str | None, origin: str, selection: _Selection, result: Composition) -> None:
        """An optional group whose option follows from other choices: Hydra finds it by itself, here it is only looked at."""
        if pattern is None:
            selection.choices[group] = []
            return
        option = re.sub(r"\$\{(\w+)\}", lambda m: result.choices.get(m[1], ""), pattern)
        if self.conf.exists(group, option):
            if self._usable(group, option, origin, result):
                result.choices[group] = option
            else:
                selection.choices[group] = []

    def _experiment(
        self, chosen: dict[str, tuple[Any, str]], default: Default | None, selection: _Selection, result: Composition
    ) -> None:
        """Experiment files: note what they override; one with a bad defaults list is merged by hand so that the rest is read."""
        value, origin = chosen.get("experiment", (default.option if default else None, self.conf.main.shown))
        names = value if isinstance(value, list) else [] if value is None else [value]
        good: list[str] = []
        for name in names:
            if not self._usable("experiment", name, origin, result):
                continue
            chain = self._chain(f"experiment/{name}")
            selection.experiments.extend(chain)
            sound = True
            for file in chain:
                for entry in file.defaults:
                    sound &= self._override(entry, file, selection, result)
            if sound:
                good.append(str(name))
            else:
                selection.merged.extend(chain)
        selection.choices["experiment"] = good if len(good) != 1 else good[0]
        if names:
            result.choices["experiment"] = ",".join(str(n) for n in names)

    def _override(self, entry: Default, file: YamlFile, selection: _Selection, result: Composition) -> bool:
        if entry.group is None or not entry.override:
            if entry.group and entry.group.startswith("/"):
                group = entry.group.lstrip("/")
                text = f"'{entry.text}' needs the word override: 'override {entry.text}'"
                result.problems.append(Problem(group, text, f"{file.shown}:{entry.line}"))
                return False
            return True
        group = entry.group.lstrip("/")
        origin = f"{file.shown}:{entry.line}"
        if group.startswith("hydra/"):
            return True
        if group not in self.conf.groups:
            text = f"no such group{listed(group, self.conf.groups, 'groups')}"
            result.problems.append(Problem(group, text, origin))
            return False
        selection.overrides.setdefault(group, (entry.option, origin))
        if not entry.group.startswith("/"):
            text = f"'{entry.text}' needs a slash: 'override /{group}: {entry.option}'"
            result.problems.append(Problem(group, text, origin))
            return False
        return True

    def _usable(self, group: str, option: Any, origin: str, result: Composition) -> bool:
        """Whether a group's option is there and sound; else the problem is noted."""
        options = self.conf.options(group)
        if not isinstance(option, str):
            what = "needs an option" if option is None else f"{show(option)} is not the name of an option"
            result.problems.append(Problem(group, f"{what}{listed('', options, 'options')}", origin))
            return False
        if not self.conf.exists(group, option):
            result.problems.append(Problem(group, f"no option '{option}'{listed(option, options, 'options')}", origin))
            return False
        broken = [p for file in self._chain(f"{group}/{option}") for p in file.problems]
        result.problems.extend(p for p in broken if p not in result.problems)
        return not broken

    def _chain(self, name: str, seen: tuple[str, ...] = ()) -> list[YamlFile]:
        """A file and the files its own defaults list names, in the order of composition."""
        file = self.conf.read(name)
        folder = name.rpartition("/")[0]
        files: list[YamlFile] = []
        for entry in file.defaults:
            if entry.override:
                continue
            if entry.option == "_self_":
                files.append(file)
            elif isinstance(entry.option, str):
                base = entry.group.lstrip("/") if entry.group and entry.group[0] == "/" else folder
                if entry.group and entry.group[0] != "/":
                    base = f"{folder}/{entry.group}"
                nested = f"{base}/{entry.option}" if not (entry.group is None and entry.option[0] == "/") else entry.option[1:]
                if nested not in seen:
                    files.extend(self._chain(nested, (*seen, name)))
        return files if file in files else [*files, file]

    def _hydra(self, selection: _Selection, hydra: list[str], result: Composition) -> Any:
        """Hydra's composition of the chosen options, as a tree of our own; None if Hydra refuses."""
        groups = [f"{g}={_listed(o)}" for g, o in selection.choices.items() if o or g != "experiment"]
        key = (*groups, *hydra)
        try:
            if key not in self._composed:
                self._composed[key] = self._compose([*groups, *hydra])
        except Exception as error:
            refused = self._refusal(error, groups, hydra)
            result.problems.extend(refused.values())
            rest = [text for text in hydra if text not in refused]
            return self._hydra(selection, rest, result) if len(rest) < len(hydra) else None
        from omegaconf import OmegaConf

        config = self._composed[key]
        copied = config.copy()
        OmegaConf.set_struct(copied, False)
        return copied

    def _compose(self, overrides: list[str]) -> Any:
        from hydra import compose, initialize_config_dir

        with initialize_config_dir(str(self.conf.root), job_name="longview", version_base="1.3"):
            return compose("config", overrides=overrides, return_hydra_config=True)

    def _refusal(self, error: Exception, groups: list[str], hydra: list[str]) -> dict[str, Problem]:
        """What Hydra refused: some of its own settings (by their text), or a file (by "")."""
        found = {}
        for text in hydra:
            try:
                self._compose([*groups, text])
            except Exception as own:
                found[text] = Problem(text.partition("=")[0].lstrip("+~"), words(own), f"override '{text}'")
        return found or {"": Problem("", f"Hydra cannot compose this: {words(error)}")}


@dataclass
class _Selection:
    choices: dict[str, Any] = field(default_factory=dict)
    overrides: dict[str, tuple[Any, str]] = field(default_factory=dict)
    """Group -> option and place, from experiment files."""
    experiments: list[YamlFile] = field(default_factory=list)
    merged: list[YamlFile] = field(default_factory=list)
    """Experiment files Hydra cannot take; merged by hand."""


def _listed(option: Any) -> str:
    return f"[{','.join(option)}]" if isinstance(option, list) else str(option)
