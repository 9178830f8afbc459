"""The command line's ``key=value`` arguments: parsed one by one, so that one bad argument does not hide the next."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from longview.config.grammar import no_option, several, unreadable
from longview.config.messages import listed
from longview.config.tree import ConfDir
from longview.errors import Problem


@dataclass(frozen=True)
class Argument:
    """One argument of the command line after parsing.

    Attributes:
        text: As typed.
        key: Group or dotted key path, without ``+``, ``++`` or ``~``.
        value: Python value; for a sweep, Hydra's sweep object.
        kind: "group", "value", "delete" or "hydra".
        sweep: Whether it names several values.
    """

    text: str
    key: str
    value: Any
    kind: str
    sweep: bool = False

    @property
    def canonical(self) -> str:
        """The form Hydra composes in every case: groups without ``+``, values with ``++``."""
        if self.kind == "hydra":
            return self.text
        if self.kind == "group" and self.value is None:
            return f"{self.key}=[]"  # Hydra takes an empty list for "none of them", not null
        body = self.text.lstrip("+~")
        if self.kind == "group" and self.sweep:
            return re.sub(r"(?<=[=,(])null(?=[,)]|$)", "[]", body)
        return body if self.kind == "group" else ("~" if self.kind == "delete" else "++") + body


def parse(texts: Sequence[str], conf: ConfDir, *, sweeps: bool) -> tuple[list[Argument], list[Problem]]:
    """Parse and classify; of several arguments for one key the last counts.

    Args:
        texts: As typed.
        conf: For the names of groups and options.
        sweeps: Whether a key may have several values (``-m``).
    """
    arguments: list[Argument] = []
    problems = []
    for text in texts:
        found = _parse(text, conf)
        if isinstance(found, Problem):
            problems.append(found)
        elif found.sweep and not sweeps:
            said = several(text, found.key, group=found.kind == "group")
            problems.append(Problem(found.key, said, override(text)))
        elif found.sweep and found.kind == "hydra":
            problems.append(Problem(found.key, "Hydra's own settings cannot be swept", override(text)))
        else:
            if found.kind in ("group", "value") and not isinstance(found.value, dict):
                arguments = [a for a in arguments if (a.kind, a.key) != (found.kind, found.key)]
            arguments.append(found)
    if not any(a.key == "hydra/sweeper" for a in arguments):
        astray = [a for a in arguments if a.key.startswith("hydra.sweeper.") and not a.key.startswith("hydra.sweeper.params.")]
        problems += [Problem(a.key, "cannot be set here; it would have no effect", override(a.text)) for a in astray]
    return arguments, problems


def override(text: str) -> str:
    """How messages name an argument: on one line, its middle left out if it is long."""
    shown = " ".join(text.split())
    return f"override '{shown if len(shown) <= 100 else shown[:60] + ' ... ' + shown[-30:]}'"


HYDRA_KEYS = ("hydra.sweep.dir", "hydra.sweeper.", "hydra/sweeper", "hydra.help.", "hydra/help")
"""Of Hydra's own settings, those that mean something here; the sweeper's only with an installed sweeper of the user's choice."""
_INSTEAD = {
    "hydra.searchpath": "; use LONGVIEW_CONF for another conf folder",
    "hydra.mode": "; use -m for a sweep",
    "hydra.run.dir": "; run directories are made in run.root",
    "hydra.job.name": "; a run's name is run.name",
    "hydra.job.chdir": "; a run never changes the current directory",
    "hydra.launcher": "; the group cluster says where runs take place",
    "hydra.sweeper": "; name the values, as in seed=1,2,3 -m",
    "hydra.sweeper.params": "; name the values, as in seed=1,2,3 -m",
}


@lru_cache(maxsize=1)
def _parser() -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Any:
    return _parser().parse_overrides([text])[0]


def _parse(text: str, conf: ConfDir) -> Argument | Problem:
    from hydra.errors import HydraException

    origin = override(text)
    if text.startswith("-"):
        return Problem("", no_option(text), origin)
    try:
        parsed = _parsed(text)
    except HydraException as error:
        return Problem("", unreadable(text, str(error), conf.groups), origin)
    if not parsed.key_or_group:
        return Problem("", unreadable(text, "", conf.groups), origin)
    key, sweep = parsed.key_or_group, parsed.is_sweep_override()
    if parsed.is_hydra_override() or key == "hydra":
        if not key.startswith(HYDRA_KEYS) or key in _INSTEAD:
            return Problem(key, f"cannot be set here{_INSTEAD.get(key.replace('/', '.'), '; it would have no effect')}", origin)
        return Argument(text, key, parsed.value(), "hydra", sweep)
    group = key in conf.groups and not isinstance(parsed.value(), dict)
    if parsed.package is not None:
        return Problem(key, f"'@{parsed.package}' is not supported; write {key}=<option>", origin)
    if not group and "/" in key:
        return Problem(key, f"no such group{listed(key.split('/')[0], conf.groups, 'groups')}", origin)
    top = key.partition(".")[0]
    if not group and top in conf.optional:
        text = f"'{top}' is a choice, not a block of values; write {top}=<option>, or set the keys themselves"
        return Problem(key, text, origin)
    if parsed.is_delete() and group and key not in conf.optional:
        return Problem(key, f"a group cannot be deleted; choose one of {', '.join(conf.options(key))}", origin)
    if parsed.is_delete():
        return Argument(text, key, None, "group" if group else "delete")
    value = None if group and parsed.value() == [] else parsed.value()  # the other way to say it, see canonical
    return Argument(text, key, value, "group" if group else "value", sweep)


def expand(arguments: Sequence[Argument], conf: ConfDir, params: dict[str, Any]) -> tuple[list[list[str]], list[Problem]]:
    """Every point of a sweep as a list of overrides, in the order Hydra's basic sweeper runs them.

    Args:
        arguments: Of the command line.
        conf: For ``glob(*)`` over a group's options.
        params: ``hydra.sweeper.params`` of the composed tree; the command line wins.
    """
    import itertools

    lists: dict[str, list[str]] = {}
    problems: list[Problem] = []
    lines = [(f"{key}={value}", f"{key}={value}") for key, value in params.items()]
    lines += [(a.canonical, a.text) for a in arguments if a.kind != "hydra"]
    for line, text in lines:
        parsed = _parsed(line)
        parsed.config_loader = _Options(conf)
        name = parsed.get_key_element()
        key = name.removeprefix("++")
        if not parsed.is_sweep_override():
            lists[name] = [line.removeprefix("++")]
        elif not parsed.is_discrete_sweep():
            said = "an interval has no end of values; use range(start,stop,step), a list of values, or search.trials=20"
            problems.append(Problem(key, said, override(text)))
        else:
            try:
                values = parsed.sweep_string_iterator()
                lists[name] = [f"{key}={'null' if v == '[]' and key in conf.groups else v}" for v in values]
            except ValueError as error:  # range() with a step of zero
                problems.append(Problem(key, str(error), override(text)))
                continue
            if not lists[name]:
                what = f"; options: {', '.join(conf.options(key))}" if key in conf.groups else ""
                problems.append(Problem(key, f"names no value, so there is no run to make{what}", override(text)))
    return [list(point) for point in itertools.product(*lists.values())], problems


@dataclass
class _Options:
    """What Hydra's ``glob`` asks a config loader for."""

    conf: ConfDir

    def get_group_options(self, group_name: str, **_: Any) -> list[str]:
        return self.conf.options(group_name)
