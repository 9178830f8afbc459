"""What is wrong with an argument that is not of the form ``key=value`` or that Hydra's grammar cannot read."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

_KEY = re.compile(r"[A-Za-z_][\w/@-]*(?:\.[\w@-]+)*", re.ASCII)
_BRACKETS = {"[": "]", "{": "}", "(": ")"}


def no_option(text: str) -> str:
    """For an argument that begins with a dash."""
    setting = text.lstrip("-")
    right = f"write {setting}" if "=" in setting else "settings are given as key=value, see --help"
    return f"'{text}' is not an option of longview; {right}"


def unreadable(text: str, error: str, groups: Sequence[str]) -> str:
    """One line on an argument Hydra's grammar refuses.

    Args:
        text: The argument as it arrived from the shell.
        error: Hydra's own message; only what it says of functions is of use to a user.
        groups: Names of the groups.
    """
    if not text.strip():
        return f"'{text}' is empty; write key=value (a shell variable that is not set leaves an empty argument)"
    if "=" not in text:
        return f"'{text}' is not of the form key=value{_example(text, groups)}"
    key, _, value = text.partition("=")
    name = key.strip().lstrip("+~")
    if not name:
        return f"'{text}' has no key before '='; write key=value without spaces around '='"
    if key != key.strip():
        return f"'{text}' has a space before '='; write {key.strip()}={value.strip()}"
    if "[" in key:
        return f"'{key}' is no key: a list is given as a whole, as in {name.partition('[')[0]}=[1,2]"
    if not _KEY.fullmatch(name):
        return f"'{key}' is no key: keys are plain names joined by dots, as in trainer.max_epochs"
    if "Unknown function" in error:
        return f"'{text}' calls a function that does not exist; {_quoted(key, value)}"
    if opened := _unclosed(value):
        quoted = f"; {_quoted(key, value)}" if opened[1] in _BRACKETS else ""
        return f"'{text}' cannot be read: {opened} is not closed{quoted}"
    return f"'{text}' cannot be read; {_quoted(key, value)}"


def several(text: str, key: str, *, group: bool) -> str:
    """For a value that names several values where one is wanted."""
    value = text.partition("=")[2]
    if group:
        right = "choose one, or add -m to run each"
    elif "(" in value:
        right = "add -m to run every value"
    else:
        right = f"add -m to run every value, or write a list as {key}=[{value}]"
        if re.fullmatch(r"-?\d+,\d+", value):
            right += f", or a decimal point as {key}={value.replace(',', '.')}"
    return f"'{value}' names several values; {right}"


def _example(text: str, groups: Sequence[str]) -> str:
    name = text.strip().lstrip("+~")
    if match := re.fullmatch(rf"({_KEY.pattern})\s*[:,]\s*(\S.*)", name, re.ASCII):
        return f"; write {match[1]}={match[2]}"
    if not _KEY.fullmatch(name):
        return ""
    return f"; write for example {name}=<{'option' if name in groups else 'value'}>"


def _quoted(key: str, value: str) -> str:
    """How the argument is typed in a shell so that the value arrives as it is."""
    inner = value.strip("\"'").replace("\\", "\\\\").replace('"', '\\"')
    return f"text with special characters stands in quotes: {key}={shlex.quote(chr(34) + inner + chr(34))}"


def _unclosed(value: str) -> str:
    """What is opened and not closed again: a quote, a bracket, an interpolation."""
    if value.count("${") > value.count("}"):
        return "'${'"
    if value[:1] in ("'", '"') and (len(value) == 1 or value[-1] != value[0]):
        return f"the quote {value[0]}"
    return next((f"'{a}'" for a, b in _BRACKETS.items() if value.count(a) > value.count(b)), "")
