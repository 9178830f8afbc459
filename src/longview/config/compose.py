"""Hydra composes the tree; this module sees to it that the first problem does not hide the others.

Group choices are checked against the disk before Hydra sees them (``longview.config.select``), and value overrides are applied
one by one afterwards, in Hydra's way (merge, force-add). So an unknown key arrives in the tree, where the schema names it and
its nearest neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from longview.config.origin import Origins
from longview.config.overrides import Argument, override, parse
from longview.config.select import Selection, chain, select
from longview.config.tree import ConfDir, YamlFile
from longview.config.values import apply, content, merge, patched, plain_tree, resolved, words
from longview.errors import Problem


@dataclass
class Composition:
    """A composed tree and everything found wrong on the way.

    Attributes:
        arguments: Of the command line, those that could be read.
        problems: Of composing, not yet of the schema.
        tree: Plain, resolved values; blocks of ``dropped`` groups are missing.
        choices: Group -> option.
        layers: YAML files in the order of composition.
        globals: Those of them that set keys of the whole tree (recipe, experiments).
        dropped: Groups that could not be composed; nothing more can be said of them.
        sweeper: ``hydra.sweeper.params``.
        complete: Whether there is a tree at all.
    """

    arguments: list[Argument]
    problems: list[Problem]
    tree: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)
    layers: list[YamlFile] = field(default_factory=list)
    globals: list[YamlFile] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)
    sweeper: dict[str, Any] = field(default_factory=dict)
    complete: bool = True

    @property
    def origins(self) -> Origins:
        """Where the tree's values came from."""
        return Origins(self.arguments, self.layers, self.globals)


class Composer:
    """Composes points of one conf folder; points that differ in values only share one Hydra composition."""

    def __init__(self, conf: ConfDir) -> None:
        self.conf = conf
        self._composed: dict[tuple[str, ...], Any] = {}
        self._plain: dict[tuple[str, ...], tuple[dict[str, Any], dict[str, Any]] | None] = {}
        self._selected: dict[tuple[str, ...], Selection] = {}

    def compose(self, texts: Sequence[str], *, sweeps: bool = False) -> Composition:
        """Compose ``key=value`` arguments; with ``sweeps`` the swept ones are left out of the tree."""
        if self.conf.main.problems:
            return Composition([], list(self.conf.main.problems), complete=False)
        arguments, problems = parse(texts, self.conf, sweeps=sweeps)
        fixed = [a for a in arguments if not a.sweep]
        selection = self._select(fixed)
        problems.extend(selection.problems)
        result = Composition(arguments, problems, choices=dict(selection.choices), dropped=set(selection.dropped))
        result.layers, result.globals = selection.layers, selection.globals
        hydra = [a.text for a in fixed if a.kind == "hydra"]
        if not self._quickly(result, selection, fixed, hydra):
            self._slowly(result, selection, fixed, hydra)
        return result

    def _select(self, fixed: Sequence[Argument]) -> Selection:
        """The option of every group; the same for all points of a sweep that choose the same."""
        key = tuple(a.text for a in fixed if a.kind == "group")
        if key not in self._selected:
            found = select(self.conf, fixed)
            if found.problems or found.merged:
                return found  # composing may change it
            self._selected[key] = found
        return self._selected[key]

    def _quickly(self, result: Composition, selection: Selection, fixed: Sequence[Argument], hydra: list[str]) -> bool:
        """Compose by changing single values of a tree composed before; False if that cannot be done."""
        if selection.merged or selection.problems or selection.dropped:
            return False
        base = self._plain.get(self._key(selection, hydra))
        if base is None:
            return False
        tree: dict[str, Any] | None = base[0]
        for argument in fixed:
            if argument.kind in ("value", "delete"):
                tree = patched(tree, argument) if tree is not None else None
        if tree is None:
            return False
        result.tree, result.sweeper = dict(tree), dict(base[1])
        return True

    def _slowly(self, result: Composition, selection: Selection, fixed: Sequence[Argument], hydra: list[str]) -> None:
        """Compose as Hydra does, with every problem on the way."""
        problems = result.problems
        config = self._hydra(selection, hydra, problems)
        if config is None:
            result.complete = False
            return
        own = config.pop("hydra")
        result.sweeper = dict(own.sweeper.get("params") or {})
        key = self._key(selection, hydra)
        if key in self._composed and key not in self._plain and not selection.merged:
            tree = plain_tree(config)
            self._plain[key] = None if tree is None else (tree, result.sweeper)
        for file in selection.merged:
            merge(config, file, problems)
        for argument in fixed:
            if argument.key.partition(".")[0] not in result.dropped:
                apply(config, argument, problems)
        result.tree = resolved(config, problems)
        for group in result.dropped:
            result.tree.pop(group, None)

    def block(self, group: str, option: str) -> Any:
        """An option's own values, read without a composition (interpolations stay as written); None if it cannot be read."""
        from omegaconf import OmegaConf

        files = chain(self.conf, f"{group}/{option}")
        if any(file.problems for file in files):
            return None
        merged: Any = OmegaConf.merge(*(content(file) for file in files))
        return OmegaConf.to_container(merged, resolve=False).get(group)  # type: ignore[union-attr]

    def _hydra(self, selection: Selection, hydra: list[str], problems: list[Problem]) -> Any:
        """Hydra's composition of the chosen options, as a tree of our own; None if Hydra refuses."""
        groups = _groups(selection)
        key = self._key(selection, hydra)
        try:
            if key not in self._composed:
                self._composed[key] = self._compose([*groups, *hydra])
        except Exception as error:
            if refused := self._settings(groups, hydra):
                problems.extend(refused.values())
                return self._hydra(selection, [text for text in hydra if text not in refused], problems)
            if selection.globals and selection.merged != selection.globals:
                # a recipe or experiment that does not fit the rest: merged by hand, it can be said what of it does not
                selection.hydra.update({group: [] for group in self.conf.optional})
                selection.merged = list(selection.globals)
                return self._hydra(selection, hydra, problems)
            problems.append(Problem("", f"Hydra cannot compose this: {words(error)}"))
            return None
        from omegaconf import OmegaConf

        copied = self._composed[key].copy()
        OmegaConf.set_struct(copied, False)
        return copied

    @staticmethod
    def _key(selection: Selection, hydra: list[str]) -> tuple[str, ...]:
        return (*_groups(selection), *hydra)

    def _compose(self, overrides: list[str]) -> Any:
        from hydra import compose, initialize_config_dir

        with initialize_config_dir(str(self.conf.root), job_name="longview", version_base="1.3"):
            return compose("config", overrides=overrides, return_hydra_config=True)

    def _settings(self, groups: list[str], hydra: list[str]) -> dict[str, Problem]:
        """Which of Hydra's own settings are what it refuses, by their text."""
        if not hydra or self._refusal(groups) is not None:
            return {}
        refused = {text: error for text in hydra if (error := self._refusal([*groups, text])) is not None}
        return {t: Problem(t.partition("=")[0].lstrip("+~"), words(e), override(t)) for t, e in refused.items()}

    def _refusal(self, overrides: list[str]) -> Exception | None:
        try:
            self._compose(overrides)
        except Exception as error:
            return error
        return None


def _groups(selection: Selection) -> list[str]:
    return [f"{g}={_listed(o)}" for g, o in selection.hydra.items() if o or g != "experiment"]


def _listed(option: Any) -> str:
    return f"[{','.join(option)}]" if isinstance(option, list) else str(option)
