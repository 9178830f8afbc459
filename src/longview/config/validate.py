"""From a plain tree to typed blocks: every block on its own, every key on its own, so that all that is wrong is found."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from longview.config.messages import problems_of, show, unknown
from longview.config.schema import BLOCKS, STRICT, Experiment, Section
from longview.config.signature import Block, Signature, TargetError, read_signature
from longview.config.source import SignatureError
from longview.config.values import UNRESOLVED
from longview.errors import Problem

_SOUND: dict[tuple[type[BaseModel], str], BaseModel] = {}
"""Sections that were found sound: frozen, so points of a sweep that agree in one share it."""
_REMEMBERED = 512


class Unknown(Exception):
    """A check asked for a value that is wrong or missing: that was reported, so the check has nothing to say."""


class Partial:
    """The sound values of a block in which others are wrong."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self._values:
            raise Unknown(name)
        return self._values[name]


@dataclass
class Validated:
    """Typed blocks and problems. A block with problems is a ``Partial``; one of which nothing is known is absent."""

    sections: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    signatures: dict[str, Signature] = field(default_factory=dict)
    sound: bool = True
    """Whether every block was validated without a problem."""

    @property
    def view(self) -> Any:
        """The tree for checks: attribute access, ``Unknown`` for what is not known."""
        return Partial(self.sections)

    def experiment(self) -> Experiment:
        """The typed tree; only when there are no problems."""
        return Experiment.model_construct(**self.sections)


def validate(tree: Mapping[str, Any], dropped: Iterable[str] = ()) -> Validated:
    """Validate every block of a composed tree."""
    result = Validated()
    fields = Experiment.model_fields
    for name in tree:
        if name not in fields and name not in dropped:
            result.problems.append(_stranger(str(name), list(fields), tree))
    for name, info in fields.items():
        if name in dropped:
            result.sound = False
        elif name not in tree:
            result.problems.append(Problem(name, "missing; it has no default here"))
        elif name in BLOCKS:
            _block(name, tree[name], tree, result)
        elif isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            _section(name, info.annotation, tree[name], tree, result)
        else:
            annotation = annotated(info)
            _value(name, annotation, tree[name], result)
    result.sound = result.sound and not result.problems
    return result


def annotated(info: Any) -> Any:
    """A model field's full type, its constraints included."""
    return Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation


def _stranger(name: str, valid: list[str], tree: Mapping[str, Any]) -> Problem:
    if name in ("experiment", "recipe"):
        text = f"the {name} file sets keys of the whole tree; its first line must be '# @package _global_'"
        return Problem(name, text)
    block, _, key = name.partition(".")
    if key and block in valid:
        return Problem(name, f"a dotted key means nothing in a file; write {key.rpartition('.')[2]} as a key inside {block}")
    return unknown(name, name, valid, [p for p in _paths(tree) if "." in p])


def _paths(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Every key path of the tree, so that a key in the wrong block is told its right one."""
    found = []
    for key, value in tree.items():
        found.append(f"{prefix}{key}")
        if isinstance(value, Mapping):
            found += _paths(value, f"{prefix}{key}.")
    return [p for p in found if not p.endswith("_target_")]


def _value(name: str, annotation: Any, value: Any, result: Validated) -> None:
    try:
        result.sections[name] = TypeAdapter(annotation, config=STRICT).validate_python(value)
    except ValidationError as error:
        if value != UNRESOLVED:
            result.problems.extend(problems_of(error.errors(), (name,), [], value))


def _section(name: str, schema: type[BaseModel], value: Any, tree: Mapping[str, Any], result: Validated) -> None:
    if not isinstance(value, Mapping):
        result.problems.append(Problem(name, f"{show(value)} is not a mapping of key: value"))
        return
    key = (schema, repr(value))
    try:
        if key not in _SOUND:
            _SOUND[key] = schema.model_validate(value)
            if len(_SOUND) > _REMEMBERED:
                _SOUND.pop(next(iter(_SOUND)))
        result.sections[name] = _SOUND[key]
    except ValidationError as error:
        valid = list(schema.model_fields)
        elsewhere = [p for p in _paths(tree) if not p.startswith(f"{name}.")]
        found = _inner(problems_of(error.errors(), (name,), valid, value, elsewhere), name, schema, value)
        result.problems.extend(found)
        result.sections[name] = Partial(_sound_values(schema, value))


def _inner(problems: list[Problem], name: str, schema: type[BaseModel], value: Mapping[str, Any]) -> list[Problem]:
    """Unknown keys one level deeper (``logger.wandb.projct``) are compared with the inner block's keys."""
    out = []
    for problem in problems:
        path = problem.key.split(".")
        if len(path) > 2 and problem.message.startswith("unknown key"):
            inner = schema.model_fields[path[1]].annotation
            candidates = [t for t in (inner, *getattr(inner, "__args__", ())) if hasattr(t, "model_fields")]
            if candidates:
                problem = unknown(problem.key, path[-1], list(candidates[0].model_fields))
        elif _at(value, path[1:]) == UNRESOLVED:
            continue
        out.append(problem)
    return out


def _at(value: Any, path: list[str]) -> Any:
    for step in path:
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _sound_values(schema: type[BaseModel], value: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the keys that are right when looked at alone."""
    sound = {}
    for key, info in schema.model_fields.items():
        if key not in value:
            if not info.is_required():
                sound[key] = info.get_default(call_default_factory=True)
            continue
        annotation = annotated(info)
        own = isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
        try:
            sound[key] = TypeAdapter(annotation, config=None if own else STRICT).validate_python(value[key])
        except ValidationError:
            continue
        except Exception:  # a union with a model refuses a config of its own
            continue
    return sound


def _block(name: str, value: Any, tree: Mapping[str, Any], result: Validated) -> None:
    """A task, model or data block against its constructor's signature."""
    if not isinstance(value, Mapping):
        result.problems.append(Problem(name, f"{show(value)} is not a mapping of key: value"))
        return
    target = value.get("_target_")
    if not isinstance(target, str):
        given = "missing" if "_target_" not in value else f"{show(target)} is not the dotted path of a class"
        if similar := difflib.get_close_matches("_target_", [str(key) for key in value if key != "_target_"], n=1):
            given += f" (there is '{similar[0]}')"
        result.problems.append(Problem(f"{name}._target_", f"{given}; write for example longview.{name}s.<module>.<Class>"))
        return
    try:
        signature = result.signatures[name] = read_signature(target, name)
    except TargetError as error:
        result.problems.append(Problem(f"{name}._target_", str(error)))
        return
    except SignatureError as error:  # the author of the class has to change it, not the user
        result.problems.append(Problem(f"{name}._target_", f"the constructor cannot be checked: {error}"))
        return
    parameters = {k: v for k, v in value.items() if k != "_target_"}
    supplied = [k for k in parameters if k in signature.from_data]
    for key in supplied:
        result.problems.append(Problem(f"{name}.{key}", f"{key} follows from the data; remove it"))
        del parameters[key]
    try:
        params: Any = signature.schema.model_validate(parameters)
    except ValidationError as error:
        others = [p for p in _paths(tree) if not p.startswith(f"{name}.")]
        found = problems_of(error.errors(), (name,), signature.names, parameters, others)
        result.problems.extend(p for p in found if _at(parameters, p.key.split(".")[1:]) != UNRESOLVED)
        params = Partial(_sound_values(signature.schema, parameters))
        result.sections[name] = Partial(
            {"target": target, "params": params, "name": target.split(".")[-2], "tasks": signature.tasks}
        )
        return
    result.sections[name] = Block(target, params, signature.from_data, signature.tasks)
