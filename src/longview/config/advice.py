"""What the other options of a group would offer: completes messages that the composed tree alone cannot complete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from longview.config.schema import BLOCKS
from longview.config.signature import TargetError, read_signature
from longview.config.source import SignatureError
from longview.config.tree import ConfDir
from longview.config.validate import Unknown
from longview.errors import Problem

NO_TASK, MISSING, UNKNOWN = "does not serve task", "missing;", "unknown key"


def completed(problem: Problem, conf: ConfDir, view: Any, choices: Mapping[str, str]) -> Problem:
    """The problem with the options of its group that would do named, if there are any.

    Args:
        problem: As the schema or a check found it.
        conf: The folder of options.
        view: The validated tree, for the task's name.
        choices: Group -> option that was chosen.
    """
    path = tuple(problem.key.split("."))
    if NO_TASK in problem.message:
        return _serving(problem, conf, view)
    if len(path) < 2 or path[0] not in conf.groups:
        return problem
    stranger = problem.message.startswith(UNKNOWN) and path[0] in BLOCKS and "did you mean '" not in problem.message
    lacking = problem.message.startswith(MISSING) and path[-1] != "_target_"
    having = [option for option in _having(conf, path) if option != f"{path[0]}={choices.get(path[0])}"]
    if not having or not (stranger or lacking):
        return problem
    if not stranger:
        return replace(problem, message=f"missing; it has no default here, {_some(having)} sets it")
    valid = problem.message.partition("valid: ")[2]
    tail = f"; valid here: {valid}" if valid else "; this block has no keys"
    return replace(problem, message=f"unknown key; it belongs to {_some(having)}{tail}")


def _some(options: list[str]) -> str:
    return f"{', '.join(options[:-1])} or {options[-1]}" if len(options) > 1 else options[0]


def _having(conf: ConfDir, path: tuple[str, ...]) -> Iterator[str]:
    """``group=option`` of every option that sets a key."""
    for option in conf.options(path[0]):
        if path in conf.read(f"{path[0]}/{option}").lines:
            yield f"{path[0]}={option}"


def _serving(problem: Problem, conf: ConfDir, view: Any) -> Problem:
    try:
        task = view.task.name
    except Unknown:
        return problem
    fitting = [option for option, tasks in served(conf, problem.key).items() if task in tasks]
    return replace(problem, message=f"{problem.message}; these do: {', '.join(fitting) or 'none'}")


def served(conf: ConfDir, group: str) -> dict[str, tuple[str, ...]]:
    """Option -> names of the tasks it serves, for every option of a group that can be read."""
    found = {}
    for option in conf.options(group):
        for key, value in getattr(conf.read(f"{group}/{option}").node, "value", None) or []:
            if key.value == "_target_":
                try:
                    found[option] = read_signature(str(value.value), group).tasks
                except (TargetError, SignatureError):
                    continue
    return found
