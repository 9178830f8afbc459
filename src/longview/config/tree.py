"""The folder ``conf/`` as it lies on disk: groups, options, and YAML files with line numbers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from longview.errors import ConfigError, Problem

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times faster; not every wheel has it
_PACKAGE = re.compile(r"\A(?:\s*#[^\n]*\n|\s*\n)*?\s*#\s*@package\s+(\S+)")  # in the comments at the top only, as Hydra does
KeyPath = tuple[str, ...]


@dataclass(frozen=True)
class Default:
    """One entry of a YAML file's defaults list: ``override /model: manta`` -> group "model", override True."""

    group: str | None
    option: Any
    line: int
    override: bool = False
    package: str | None = None
    text: str = ""
    optional: bool = False
    """An option that need not exist; its name may follow from other groups' choices: ``${model}_${data}``."""


@dataclass
class YamlFile:
    """A YAML file read for its places, not its values (those are Hydra's): problems, defaults list, line of every key."""

    path: Path
    shown: str
    package: KeyPath = ()
    problems: list[Problem] = field(default_factory=list)
    node: Any = None
    text: str = ""

    @cached_property
    def lines(self) -> dict[KeyPath, int]:
        """Line (from 1) of every key path, package included; list elements are "0", "1", ..."""
        found: dict[KeyPath, int] = {}
        _index(self.node, self.package, found)
        return found

    @cached_property
    def texts(self) -> dict[KeyPath, str]:
        """Text of every value that is not a mapping, by key path, package included."""
        return dict(_values(self.node, self.package, self.text))

    @cached_property
    def defaults(self) -> list[Default]:
        """Entries of the defaults list in order, ``_self_`` as group None and option "_self_"."""
        if not isinstance(self.node, yaml.MappingNode):
            return []
        for key, value in self.node.value:
            if key.value == "defaults" and isinstance(value, yaml.SequenceNode):
                return list(_defaults(value))
        return []


class ConfDir:
    """The folder with config.yaml and one folder per group. File names and contents are cached for the life of the object."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        try:
            relative = os.path.relpath(self.root)
        except ValueError:  # another drive on Windows
            relative = str(self.root)
        self.shown = str(self.root) if relative.startswith("..") else relative
        self._files: dict[str, YamlFile] = {}
        self._options: dict[str, list[str]] = {}

    @cached_property
    def groups(self) -> list[str]:
        """Groups in the order of config.yaml's defaults list, then other folders (Hydra's own left out)."""
        named = [d.group for d in self.main.defaults if d.group and not d.override]
        folders = sorted(p.name for p in self.root.iterdir() if p.is_dir() and p.name != "hydra" and p.name[0] not in "._")
        return named + [f for f in folders if f not in named]

    @cached_property
    def optional(self) -> list[str]:
        """Groups that may be left out (``experiment: null``, ``optional recipe: ...``); they set keys of the whole tree."""
        return [d.group for d in self.main.defaults if d.group and not d.override and (d.optional or d.option is None)]

    @property
    def main(self) -> YamlFile:
        return self.read("config")

    def options(self, group: str) -> list[str]:
        """Names of a group's options; those in sub-folders as ``folder/name``. Hidden files are none."""
        if group not in self._options:
            base = self.root / group
            names = [p.relative_to(base).with_suffix("").as_posix() for p in base.rglob("*.yaml")]
            self._options[group] = sorted(n for n in names if not any(part.startswith(".") for part in n.split("/")))
        return self._options[group]

    def exists(self, group: str, option: str) -> bool:
        """Whether it is an option's own name: ``../data/kitchen`` is a file, but no option of a group."""
        return option in self.options(group)

    def read(self, name: str) -> YamlFile:
        """File ``name`` ("config", "model/manta") without its suffix."""
        if name not in self._files:
            group = name.rpartition("/")[0].partition("/")[0]
            shown = os.path.join(self.shown, f"{name}.yaml")
            self._files[name] = read_yaml(self.root / f"{name}.yaml", shown, (group,) if group else ())
        return self._files[name]


def read_yaml(path: Path, shown: str, package: KeyPath = ()) -> YamlFile:
    """Read a YAML file and note what is wrong with its text: unreadable, bad syntax, not a mapping, keys that stand twice."""
    file = YamlFile(path, shown, package)
    try:
        file.text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        file.problems.append(Problem(f"{shown}:{line}", f"byte 0x{error.object[error.start]:02x} is not UTF-8; save it as UTF-8"))
        return file
    except OSError as error:
        file.problems.append(Problem(shown, f"cannot be read: {error.strerror or error}"))
        return file
    if file.text.startswith("\ufeff"):
        file.problems.append(Problem(shown, "begins with a byte-order mark, which hides the line behind it; save it without"))
        return file
    if header := _PACKAGE.search(file.text):
        file.package = () if header[1] == "_global_" else tuple(header[1].split("."))
    try:
        file.node = yaml.compose(file.text, Loader=_Loader)
    except yaml.YAMLError as error:
        file.problems.append(_syntax(shown, error, file.text))
        return file
    if file.node is None:
        file.problems.append(Problem(shown, "is empty; write lines of the form 'key: value'"))
    elif not isinstance(file.node, yaml.MappingNode):
        line = file.node.start_mark.line + 1
        file.problems.append(Problem(f"{shown}:{line}", "not a mapping; write lines of the form 'key: value'"))
        file.node = None
    else:
        file.problems.extend(_duplicates(shown, file.node, ()))
        for key, value in file.node.value:
            if key.value == "defaults" and not isinstance(value, yaml.SequenceNode):
                text = "defaults must be a list; write each entry on a line of its own that begins with '- '"
                file.problems.append(Problem(f"{shown}:{key.start_mark.line + 1}", text))
    return file


def load_yaml(text: str) -> Any:
    """Values of a YAML text that longview wrote itself (a run's config.yaml)."""
    return yaml.load(text, Loader=_Loader)  # a safe loader: builds plain data only


def find_conf(start: Path | None = None) -> Path:
    """The conf folder: env LONGVIEW_CONF, else ``start``/conf, else ./conf upward, else beside the source checkout.

    Raises:
        ConfigError: No folder with a config.yaml was found.
    """
    named = os.environ.get("LONGVIEW_CONF")
    if named:
        if (Path(named) / "config.yaml").is_file():
            return Path(named)
        raise ConfigError([Problem("LONGVIEW_CONF", f"'{named}' has no config.yaml; name the conf folder of longview")])
    cwd = Path.cwd()
    places = ([start] if start else []) + [cwd, *cwd.parents, Path(__file__).resolve().parents[3]]
    for place in places:
        if (place / "conf" / "config.yaml").is_file():
            return place / "conf"
    text = f"no conf/config.yaml in {cwd} or above; change into the longview checkout or set LONGVIEW_CONF to its conf folder"
    raise ConfigError([Problem("", text)])


def _syntax(shown: str, error: yaml.YAMLError, text: str) -> Problem:
    mark = getattr(error, "problem_mark", None)
    where = f"{shown}:{mark.line + 1}" if mark else shown
    what = getattr(error, "problem", None) or str(error).splitlines()[0]
    context = getattr(error, "context", None)
    lines = text.splitlines()
    indent = re.match(r"\s*", lines[mark.line]) if mark and mark.line < len(lines) else None
    hint = " (tabs are not allowed as indentation)" if indent and "\t" in indent[0] else ""
    return Problem(where, f"not valid YAML: {context + ', ' if context else ''}{what}{hint}")


def _duplicates(shown: str, node: Any, path: KeyPath) -> Iterator[Problem]:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen and name != "<<":
                text = f"'{'.'.join((*path, name))}' stands twice (first in line {seen[name]}); keep one"
                yield Problem(f"{shown}:{line}", text)
            seen[name] = line
            yield from _duplicates(shown, value, (*path, name))
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            yield from _duplicates(shown, item, (*path, str(i)))


def _index(node: Any, path: KeyPath, found: dict[KeyPath, int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, *str(key.value).split("."))
            found[here] = key.start_mark.line + 1
            _index(value, here, found)
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            found[(*path, str(i))] = item.start_mark.line + 1
            _index(item, (*path, str(i)), found)


def _values(node: Any, path: KeyPath, text: str) -> Iterator[tuple[KeyPath, str]]:
    for key, value in getattr(node, "value", ()):
        here = (*path, str(key.value))
        if isinstance(value, yaml.MappingNode):
            yield from _values(value, here, text)
        else:
            shown = value.value if isinstance(value, yaml.ScalarNode) else text[value.start_mark.index : value.end_mark.index]
            yield here, " ".join(shown.split())


def _defaults(sequence: Any) -> Iterator[Default]:
    for item in sequence.value:
        line = item.start_mark.line + 1
        if isinstance(item, yaml.ScalarNode):
            yield Default(None, item.value, line, text=item.value)
            continue
        if not isinstance(item, yaml.MappingNode):
            continue
        for key, value in item.value:
            words = str(key.value).split()
            group, _, package = words[-1].partition("@")
            option: Any = None
            if isinstance(value, yaml.ScalarNode):
                option = None if value.tag.endswith(":null") else value.value
            elif isinstance(value, yaml.SequenceNode):
                option = [v.value for v in value.value]
            text = f"{key.value}: {'null' if option is None else option}"
            yield Default(group, option, line, "override" in words[:-1], package or None, text, "optional" in words[:-1])
