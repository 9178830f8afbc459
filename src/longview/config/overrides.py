"""The command line's ``key=value`` arguments: parsed one by one, so that one bad argument does not hide the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

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
        return body if self.kind == "group" else ("~" if self.kind == "delete" else "++") + body


def parse(texts: Sequence[str], conf: ConfDir, *, sweeps: bool) -> tuple[list[Argument], list[Problem]]:
    """Parse and classify; ``sweeps``: several values per key are allowed (``-m``)."""
    arguments, problems = [], []
    for text in texts:
        found = _parse(text, conf)
        if isinstance(found, Problem):
            problems.append(found)
        elif found.sweep and not sweeps:
            value = found.text.partition("=")[2]
            right = f"add -m to run every value, or write a list as {found.key}=[{value}]"
            problems.append(Problem(found.key, f"'{value}' names several values; {right}", f"override '{text}'"))
        elif found.sweep and found.kind == "hydra":
            problems.append(Problem(found.key, "Hydra's own settings cannot be swept", f"override '{text}'"))
        else:
            arguments.append(found)
    return arguments, problems


@lru_cache(maxsize=1)
def _parser() -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


@lru_cache(maxsize=4096)
def _override(text: str) -> Any:
    return _parser().parse_overrides([text])[0]


def _parse(text: str, conf: ConfDir) -> Argument | Problem:
    from hydra.errors import HydraException

    origin = f"override '{text}'"
    if text.startswith("-"):
        return Problem("", f"'{text}' is not an option of longview; settings are given as key=value, see --help", origin)
    try:
        override = _override(text)
    except HydraException as error:
        return Problem("", _grammar(text, str(error), conf), origin)
    if not override.key_or_group:
        return Problem("", _grammar(text, "", conf), origin)
    key, sweep = override.key_or_group, override.is_sweep_override()
    if override.is_hydra_override() or key == "hydra":
        if key in ("hydra.searchpath", "hydra.mode"):
            return Problem(key, "cannot be set here; use LONGVIEW_CONF for another conf folder, -m for a sweep", origin)
        return Argument(text, key, override.value(), "hydra", sweep)
    group = key in conf.groups and not isinstance(override.value(), dict)
    if override.package is not None:
        return Problem(key, f"'@{override.package}' is not supported; write {key}=<option>", origin)
    if not group and "/" in key:
        return Problem(key, f"no such group{listed(key.split('/')[0], conf.groups, 'groups')}", origin)
    if override.is_delete():
        if group:
            return Problem(key, f"a group cannot be deleted; choose one of {', '.join(conf.options(key))}", origin)
        return Argument(text, key, None, "delete")
    return Argument(text, key, override.value(), "group" if group else "value", sweep)


def _grammar(text: str, message: str, conf: ConfDir) -> str:
    """What is wrong with an argument Hydra's grammar refuses, in one line."""
    if "=" not in text:
        head = text.lstrip("+~")
        example = f"{head}=<option>" if head in conf.groups else f"{head}=<value>"
        return f"'{text}' is not of the form key=value; write for example {example}"
    key, _, value = text.partition("=")
    if not key.strip():
        return f"'{text}' has no key before '='; write key=value without spaces around '='"
    lines = [line for line in message.splitlines() if line.strip() and "hydra.cc" not in line]
    detail = next((line for line in lines if "Error parsing" not in line), lines[0] if lines else "").strip()
    detail = detail.removeprefix("LexerNoViableAltException:").strip()
    because = f" ({detail})" if detail and detail != text else ""
    return f"'{text}' cannot be read{because}; quote special characters: {key}=\"'{value}'\""


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
    lines = [f"{key}={value}" for key, value in params.items()]
    lines += [a.canonical for a in arguments if a.kind != "hydra"]
    for line in lines:
        override = _override(line)
        override.config_loader = _Options(conf)
        key = override.get_key_element()
        if not override.is_sweep_override():
            lists[key] = [line.removeprefix("++")]
        elif override.is_discrete_sweep():
            lists[key] = [f"{key.removeprefix('++')}={value}" for value in override.sweep_string_iterator()]
            if not lists[key]:
                problems.append(Problem(key.lstrip("+"), "matches nothing, so there is no run to make", f"override '{line}'"))
        else:
            text = "an interval has no end of values; use range(start,stop,step) or a list of values"
            problems.append(Problem(key.lstrip("+"), text, f"override '{line}'"))
    return [list(point) for point in itertools.product(*lists.values())], problems


@dataclass
class _Options:
    """What Hydra's ``glob`` asks a config loader for."""

    conf: ConfDir

    def get_group_options(self, group_name: str, **_: Any) -> list[str]:
        return self.conf.options(group_name)
