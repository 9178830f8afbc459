"""Where a value came from: the command line, an experiment file, a group's YAML, config.yaml."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from longview.config.overrides import Argument, override
from longview.config.tree import KeyPath, YamlFile
from longview.errors import Problem


class Origins:
    """Answers for key paths of one composed tree.

    Args:
        arguments: Of the command line.
        layers: YAML files in the order of composition: a later one wins.
        globals: Those of them that set keys of the whole tree (recipe, experiments).
    """

    def __init__(
        self, arguments: Sequence[Argument] = (), layers: Sequence[YamlFile] = (), globals: Sequence[YamlFile] = ()
    ) -> None:
        self.arguments = arguments
        self.layers = layers
        self.globals = globals

    def of(self, key: str) -> str:
        """``override 'a.b=1'`` or ``conf/model/manta.yaml:7``; empty if nothing is known of the key."""
        path = tuple(key.split("."))
        settings = [(tuple(a.key.split(".")), a) for a in reversed(self.arguments) if a.kind in ("value", "delete")]
        for named, argument in settings:
            if path[: len(named)] == named or (named[: len(path)] == path and not self._is_group(path)):
                return override(argument.text)
        for length in range(len(path), 0, -1):  # the deepest known place: a list element may have no line of its own
            beside = (a for named, a in settings if 1 < length < len(path) and named[:length] == path[:length])
            if setting := next(beside, None):  # it made a mapping of what was null, and this key of it is missing
                return override(setting.text)
            if length == 1 < len(path):
                break  # another file may have a block of this name: the key itself is missing in the group's own
            if found := self._line(path[:length]):
                return found
        return self._group(path[0])

    def changed(self, key: str) -> tuple[str, str]:
        """Who set a key beside the option files and config.yaml, and the text of its value there; ("", ...) if nobody."""
        path = tuple(key.split("."))
        default = next((f.texts[path] for f in reversed(self.layers) if path in f.texts and f not in self.globals), "")
        origin = self.of(key)
        own = origin.partition(".yaml")[0] + ".yaml" in [file.shown for file in self.layers if file not in self.globals]
        return ("" if own else origin), default

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
        if chosen := next((override(a.text) for a in reversed(self.arguments) if a.key == group), ""):
            return chosen
        main = next((file.shown for file in self.layers if not file.package and group.isidentifier()), "")
        return self._line((group,)) or main  # a problem of a file has the file as its key, and is at home there

    def filled(self, problems: Iterable[Problem]) -> list[Problem]:
        """Problems with their origin filled in where it was left open."""
        return [p if p.origin or not p.key else replace(p, origin=self.of(p.key)) for p in problems]
