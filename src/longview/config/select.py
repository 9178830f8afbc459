"""Which YAML files make up the tree: every group's option, chosen and looked at before Hydra sees it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from longview.config.messages import listed, show
from longview.config.overrides import Argument, override
from longview.config.tree import ConfDir, Default, YamlFile
from longview.errors import Problem


@dataclass
class Selection:
    """The chosen files and what is wrong with them.

    Attributes:
        hydra: Group -> option (or list of them) as Hydra is told.
        choices: Group -> option as recorded and shown.
        layers: Files in the order of composition.
        merged: Files that Hydra cannot take; merged by hand afterwards.
        globals: Files that set keys of the whole tree (recipe, experiments), in the order of composition.
        dropped: Groups without a usable option; nothing more can be said of them.
    """

    problems: list[Problem] = field(default_factory=list)
    hydra: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)
    layers: list[YamlFile] = field(default_factory=list)
    merged: list[YamlFile] = field(default_factory=list)
    globals: list[YamlFile] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)


def chain(conf: ConfDir, name: str, above: tuple[str, ...] = ()) -> list[YamlFile]:
    """A file and the files its own defaults list includes, in the order of composition."""
    file = conf.read(name)
    files: list[YamlFile] = []
    for entry in file.defaults:
        if entry.option == "_self_":
            files.append(file)
        elif (included := _included(name, entry)) and included not in (*above, name):
            files.extend(chain(conf, included, (*above, name)))
    return files if file in files else [*files, file]


def select(conf: ConfDir, arguments: Sequence[Argument]) -> Selection:
    """Decide every group's option from command line, experiment files and config.yaml, in this order."""
    found = Selection()
    chosen = {a.key: (a.value, override(a.text)) for a in arguments if a.kind == "group"}
    base = {d.group: d for d in conf.main.defaults if d.group and not d.override}
    main = {g: (d.option, f"{conf.main.shown}:{d.line}") for g, d in base.items()}
    experiments = _experiments(conf, chosen.get("experiment") or main.get("experiment") or (None, ""), found)
    overridden = _overridden(conf, experiments, found)
    for group in conf.groups:
        picked = chosen.get(group) or overridden.get(group) or main.get(group)
        if group == "experiment" or picked is None:
            continue
        option, origin = picked
        default = base.get(group)
        if default and default.optional and option in (None, default.option):
            _follow(conf, group, option, origin, found)
        elif _usable(conf, group, option, origin, found.problems):
            found.hydra[group] = found.choices[group] = str(option)
        else:
            found.hydra[group] = []
            found.dropped.add(group)
    for entry in conf.main.defaults:
        if entry.option == "_self_":
            found.layers.append(conf.main)
        elif entry.group in conf.optional and entry.group in found.choices and entry.group != "experiment":
            found.globals.extend(chain(conf, f"{entry.group}/{found.choices[entry.group]}"))
        elif entry.group in found.choices and entry.group != "experiment":
            found.layers.extend(chain(conf, f"{entry.group}/{found.choices[entry.group]}"))
    if conf.main not in found.layers:
        found.layers.append(conf.main)
    found.globals.extend(experiments)
    found.layers.extend(found.globals)
    return found


def _follow(conf: ConfDir, group: str, pattern: str | None, origin: str, found: Selection) -> None:
    """An optional group whose option follows from other choices (``${model}_${data}``); none if there is no such file."""
    option = re.sub(r"\$\{(\w+)\}", lambda m: found.choices.get(m[1], ""), pattern or "")
    found.hydra[group] = []
    if conf.exists(group, option) and _usable(conf, group, option, origin, found.problems):
        found.hydra[group] = found.choices[group] = option


def _experiments(conf: ConfDir, asked: tuple[Any, str], found: Selection) -> list[YamlFile]:
    """Files of the chosen experiments; one whose own overrides are wrong is merged by hand, so that the rest of it is read."""
    value, origin = asked
    names = value if isinstance(value, list) else [] if value is None else [value]
    files: list[YamlFile] = []
    good: list[str] = []
    for name in names:
        if not _usable(conf, "experiment", name, origin, found.problems):
            continue
        own = chain(conf, f"experiment/{name}")
        files.extend(own)
        wrong = [p for file in own for p in _wrong_overrides(conf, file)]
        found.problems.extend(wrong)
        if wrong:
            found.merged.extend(own)
        else:
            good.append(str(name))
    found.hydra["experiment"] = good if len(good) != 1 else good[0]
    if names:
        found.choices["experiment"] = ",".join(str(n) for n in names)
    return files


def _overridden(conf: ConfDir, experiments: list[YamlFile], found: Selection) -> dict[str, tuple[Any, str]]:
    """Group -> option and place, from the defaults lists of experiment files."""
    options: dict[str, tuple[Any, str]] = {}
    for file in experiments:
        for entry in file.defaults:
            group = (entry.group or "").lstrip("/")
            if not entry.override or group not in conf.groups:
                continue
            if group in options:
                text = f"'{entry.text}' overrides what {options[group][1]} chose; keep one of the two"
                found.problems.append(Problem(group, text, f"{file.shown}:{entry.line}"))
            options.setdefault(group, (entry.option, f"{file.shown}:{entry.line}"))
    return options


def _wrong_overrides(conf: ConfDir, file: YamlFile) -> Iterator[Problem]:
    for entry in file.defaults:
        group = (entry.group or "").lstrip("/")
        origin = f"{file.shown}:{entry.line}"
        if not entry.override:
            if entry.group and entry.group.startswith("/"):
                yield Problem(group, f"'{entry.text}' needs the word override: 'override {entry.text}'", origin)
        elif group == "experiment":
            yield Problem(group, f"an experiment is not chosen but included: '- {entry.option}'", origin)
        elif group.startswith("hydra/"):
            yield Problem(group, "Hydra's own parts cannot be chosen; remove the line", origin)
        elif group not in conf.groups:
            yield Problem(group, f"no such group{listed(group, conf.groups, 'groups')}", origin)
        elif not (entry.group or "").startswith("/"):
            yield Problem(group, f"'{entry.text}' needs a slash: 'override /{group}: {entry.option}'", origin)


def _usable(conf: ConfDir, group: str, option: Any, origin: str, problems: list[Problem]) -> bool:
    """Whether a group's option is there and its files are sound; else the problems are noted."""
    options = conf.options(group)
    if not isinstance(option, str):
        what = "needs an option" if option is None else f"{show(option)} is not the name of an option"
        problems.append(Problem(group, f"{what}{listed('', options, 'options')}", origin))
        return False
    if not conf.exists(group, option):
        there = (conf.root / group / f"{option}.yml").is_file()
        hint = f"; there is {option}.yml, and only files ending in .yaml are read" if there else ""
        said = f"no option '{option}'{hint or listed(option.removesuffix('.yaml'), options, 'options')}"
        problems.append(Problem(group, said, origin))
        return False
    name = f"{group}/{option}"
    broken = list(dict.fromkeys(_broken(conf, name, ())))
    problems.extend(p for p in broken if p not in problems)
    return not broken


def _broken(conf: ConfDir, name: str, above: tuple[str, ...]) -> Iterator[Problem]:
    """What is wrong with a file's text, its defaults list and the files it includes."""
    file, group = conf.read(name), name.partition("/")[0]
    yield from file.problems
    yield from _hydra_settings(file, group)
    for entry in file.defaults:
        place = f"{file.shown}:{entry.line}"
        included = _included(name, entry)
        if group != "experiment" and (entry.override or (entry.group or "").startswith("/")):
            yield Problem(place, f"'{entry.text}' has no place here; only experiment files choose other groups")
        elif included and included in (*above, name):
            yield Problem(place, f"'- {entry.text}' includes the file in itself; remove the line")
        elif included and not conf.exists(*_split(included)):
            folder, option = _split(included)
            yield Problem(place, f"there is no {included}.yaml to include{listed(option, conf.options(folder), 'options')}")
        elif included:
            yield from _broken(conf, included, (*above, name))


def _hydra_settings(file: YamlFile, group: str) -> Iterator[Problem]:
    """Hydra's own settings in an option's file: only a sweep's parameters, in an experiment, mean something."""
    meant = ("hydra", "sweeper", "params") if group == "experiment" else ("hydra",)
    for path, line in file.lines.items():
        beside = path[:-1] == meant[: len(path) - 1] and path[:1] == ("hydra",)
        if beside and len(path) <= max(len(meant), 2) and path != meant[: len(path)]:
            text = "this setting of Hydra's means nothing here; only hydra.sweeper.params in an experiment file does"
            yield Problem(".".join(path), text, f"{file.shown}:{line}")


def _included(name: str, entry: Default) -> str | None:
    """Name of the file that an entry of ``name``'s defaults list includes."""
    if entry.override or entry.option == "_self_" or not isinstance(entry.option, str) or "${" in entry.option:
        return None
    folder = name.rpartition("/")[0]
    if entry.group is None:
        return entry.option[1:] if entry.option.startswith("/") else f"{folder}/{entry.option}"
    return f"{entry.group[1:]}/{entry.option}" if entry.group.startswith("/") else f"{folder}/{entry.group}/{entry.option}"


def _split(name: str) -> tuple[str, str]:
    group, _, option = name.partition("/")
    return group, option
