"""Where a value came from: the command line, an experiment file, a group's YAML, config.yaml."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from longview.config.overrides import Argument
from longview.config.tree import KeyPath, YamlFile
from longview.errors import Problem


class Origins:
    """Answers for key paths of one composed tree.

    Args:
        arguments: Of the command line.
        layers: YAML files in the order of composition: a later one wins.
    """

    def __init__(self, arguments: Sequence[Argument] = (), layers: Sequence[YamlFile] = ()) -> None:
        self.arguments = arguments
        self.layers = layers

    def of(self, key: str) -> str:
        """``override 'a.b=1'`` or ``conf/model/manta.yaml:7``; empty if nothing is known of the key."""
        path = tuple(key.split("."))
        for argument in reversed(self.arguments):
            named = tuple(argument.key.split("."))
            inside = path[: len(named)] == named or (named[: len(path)] == path and not self._is_group(path))
            if argument.kind in ("value", "delete") and inside:
                return f"override '{argument.text}'"
        for length in range(len(path), 0, -1):  # the deepest known place: a list element may have no line of its own
            if found := self._line(path[:length]):
                return found
        return self._group(path[0])

    def _line(self, path: KeyPath) -> str:
        for file in reversed(self.layers):
            if path in file.lines:
                return f"{file.shown}:{file.lines[path]}"
        return ""

    def _is_group(self, path: KeyPath) -> bool:
        return any(file.package == path for file in self.layers)

    def _group(self, group: str) -> str:
        """The argument or file that chose a block; all there is to say of a key that is missing in it."""
        for file in reversed(self.layers):
            if file.package == (group,):
                return file.shown
        return next((f"override '{a.text}'" for a in reversed(self.arguments) if a.key == group), "")

    def filled(self, problems: Iterable[Problem]) -> list[Problem]:
        """Problems with their origin filled in where it was left open."""
        return [p if p.origin or not p.key else replace(p, origin=self.of(p.key)) for p in problems]
