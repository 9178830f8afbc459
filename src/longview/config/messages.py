"""Plain words for what is wrong: pydantic's error list in, Problems out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from longview.errors import Problem


def nearest(name: str, valid: Iterable[str]) -> str:
    """ "; did you mean 'width'?" or nothing."""
    import difflib

    names = list(valid)
    lower = {n.lower(): n for n in names}
    close = difflib.get_close_matches(name.lower(), list(lower), n=2, cutoff=0.6)
    if not close:  # "epochs" for "max_epochs"
        close = [n for n in lower if len(name) > 2 and (name.lower() in n or (len(n) > 2 and n in name.lower()))][:2]
    return "; did you mean " + " or ".join(f"'{lower[c]}'" for c in close) + "?" if close else ""


def listed(name: str, valid: Sequence[str], label: str = "valid", hint: str = "") -> str:
    """ "; did you mean 'x'? valid: a, b" for an unknown name."""
    return f"{hint or nearest(name, valid) or ';'} {label}: {', '.join(valid) or 'none'}"


def unknown(key: str, name: str, valid: Sequence[str], elsewhere: Iterable[str] = ()) -> Problem:
    """An unknown key with the nearest names; ``elsewhere``: full paths of other blocks that have a key of this name."""
    hint = nearest(name, valid)
    if not hint and (others := [p for p in elsewhere if p.rpartition(".")[2] == name]):
        hint = f"; did you mean {' or '.join(others)}?"
    if not valid:
        return Problem(key, f"unknown key{hint or ';'} this block has no keys")
    return Problem(key, f"unknown key{listed(name, valid, hint=hint)}")


def show(value: Any) -> str:
    """A value as a user would type it, cut to 60 characters."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_KINDS = {
    "int": "is not a whole number; give for example 12",
    "float": "is not a number; give for example 0.5",
    "bool": "is neither true nor false",
    "string": "is not text",
    "list": "is not a list; give for example [1, 2]",
    "tuple": "is not a list; give for example [1, 2]",
    "dict": "is not a mapping of key: value",
    "model": "is not a mapping of key: value",
    "model_attributes": "is not a mapping of key: value",
    "dict_attributes": "is not a mapping of key: value",
}


_MEANT = {
    "gpu": "cuda",
    "fp32": "32",
    "float32": "32",
    "32-true": "32",
    "fp64": "64",
    "float64": "64",
    "double": "64",
    "16": "16-mixed",
    "fp16": "16-mixed",
    "bf16": "bf16-mixed",
}
"""What other programs call a value."""


def _kind_of(key: str, kind: str, given: Any) -> str:
    """What is wrong with a value of the wrong type, and how the one that was probably meant is written."""
    said = f"{show(given)} {_KINDS[kind]}"
    wrong = said.partition(";")[0]
    if isinstance(given, str) and kind in ("int", "float", "bool"):
        if given.lower() in ("none", "nil", "~"):
            return f"{wrong}; none is written null"
        if kind == "int" and re.fullmatch(r"0+\d+", given):
            return f"{wrong}; write {int(given)}"
        if kind != "bool" and re.fullmatch(r"\s*-?\d+(\.\d*)?(e-?\d+)?\s*", given, re.IGNORECASE):
            return f"{wrong} but text; write it without quotes (from the environment: ${{oc.decode:${{oc.env:NAME}}}})"
    if kind == "int" and isinstance(given, float) and given.is_integer():
        return f"{wrong}; write {int(given)}"
    if kind == "string" and isinstance(given, (int, float)):
        text = show(given).strip("'")
        return f'{wrong}; quote it: {key}="\'{text}\'" on the command line, "{text}" in a YAML file'
    if kind in ("list", "tuple") and isinstance(given, (int, float, str)):
        return f"{wrong}; write [{given}]"
    return said


def problems_of(
    errors: Iterable[Mapping[str, Any]],
    prefix: tuple[str, ...],
    valid: Sequence[str],
    given: Any,
    elsewhere: Iterable[str] = (),
) -> list[Problem]:
    """One Problem per wrong key.

    Args:
        errors: ``ValidationError.errors()`` of one section.
        prefix: Key path of the section.
        valid: The section's own keys.
        given: What was validated; branches of a union are told from keys by walking it.
        elsewhere: Full paths of every known key.
    """
    grouped: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for error in errors:
        missing = error["type"] == "missing"
        grouped.setdefault(_real(error["loc"], given, keep_last=missing), []).append(error)
    return [_one((*prefix, *path), group, valid, elsewhere) for path, group in grouped.items()]


def _real(loc: Sequence[Any], given: Any, *, keep_last: bool) -> tuple[str, ...]:
    """The part of pydantic's location that exists in what was given (the rest names union branches)."""
    path: list[str] = []
    for i, step in enumerate(loc):
        if isinstance(given, Mapping) and (step in given or (keep_last and i == len(loc) - 1)):
            given = given.get(step)
        elif isinstance(given, (list, tuple)) and isinstance(step, int) and step < len(given):
            given = given[step]
        else:
            continue
        path.append(str(step))
    return tuple(path)


def _one(path: tuple[str, ...], group: list[Mapping[str, Any]], valid: Sequence[str], elsewhere: Iterable[str]) -> Problem:
    key = ".".join(path)
    # of a union's branches, the one whose type fitted but whose range did not says most
    error = next((e for e in group if e["type"] in _BOUNDS or e["type"] == "finite_number"), group[0])
    kind, given, context = str(error["type"]), error.get("input"), error.get("ctx") or {}
    if kind == "extra_forbidden":
        return unknown(key, path[-1], valid, elsewhere)
    if kind == "missing":
        return Problem(key, "missing; it has no default here")
    if given is None and len(group) == 1 and kind.endswith(("_type", "_parsing")):
        return Problem(key, f"needs a value (given: {show(given)})")
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return Problem(key, f"{show(given)} is impossible; must be {words} {context.get(name)}")
    if kind == "finite_number":
        return Problem(key, f"{show(given)} is not a finite number")
    if kind == "literal_error":
        expected = str(context.get("expected", ""))
        names = [w.strip().strip("'") for w in expected.replace(" or ", ", ").split(",")]
        known = _MEANT.get(str(given).lower())
        hint = f"; did you mean '{known}'?" if known in names else nearest(str(given), names)
        return Problem(key, f"{show(given)} is not one of {expected}{hint}")
    if kind in ("too_short", "too_long"):
        few = kind == "too_short"
        bound = context.get("min_length" if few else "max_length")
        return Problem(
            key, f"{show(given)} has {context.get('actual_length')} entries; must be {'at least' if few else 'at most'} {bound}"
        )
    if kind == "string_too_short":
        return Problem(key, "must not be empty")
    if kind in ("value_error", "longview"):
        return Problem(key, str(error["msg"]).removeprefix("Value error, "))
    kinds = list(dict.fromkeys(str(e["type"]).removesuffix("_type").removesuffix("_parsing") for e in group))
    if kind == "int_from_float":
        kinds = ["int"]
    if len(kinds) > 1 and all(k in _KINDS for k in kinds):
        short = [_KINDS[k].partition(";")[0].removeprefix("is ") for k in kinds]
        return Problem(key, f"{show(given)} is {' and '.join(short)}")
    if kinds[0] in _KINDS:
        return Problem(key, _kind_of(key, kinds[0], given))
    return Problem(key, f"{show(given)}: {error['msg']}")
