"""A constructor's signature is its configuration schema: read from the source text, never by importing the module.

``_target_: longview.models.manta.Manta`` is looked up as a file, parsed, and its ``__init__`` turned into a strict pydantic
model. So a model that needs torch is checked in milliseconds on a login node. Annotations may use what ``longview.types``
offers; in a task, positional parameters are supplied by the engine and only keyword-only ones are configuration.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from longview import types as vocabulary
from longview.config.source import Reader, SignatureError, Source, find_source, modules, parse
from longview.errors import LongviewError

if TYPE_CHECKING:
    from pydantic import BaseModel

ROOMS = {"task": "longview.tasks", "model": "longview.models", "data": "longview.data"}
"""Where a group's targets must lie: configuration can name no foreign code."""


class TargetError(LongviewError):
    """A ``_target_`` that does not name a class of its room."""


@dataclass(frozen=True)
class Parameter:
    """One configurable parameter; ``default`` is None unless ``optional``."""

    name: str
    annotation: Any
    optional: bool
    default: Any = None


@dataclass(frozen=True)
class Signature:
    """What the source text says of a target class."""

    target: str
    file: Path
    doc: str
    parameters: tuple[Parameter, ...]
    from_data: dict[str, str] = field(default_factory=dict)
    """Parameter -> field of the data's Description."""
    tasks: tuple[str, ...] = ()
    """Names of the tasks it serves (models and data)."""

    @property
    def names(self) -> list[str]:
        return [p.name for p in self.parameters]

    @cached_property
    def schema(self) -> type[BaseModel]:
        """The parameters as a strict pydantic model."""
        import warnings

        from pydantic import create_model

        from longview.config.schema import STRICT

        fields: dict[str, Any] = {p.name: (p.annotation, p.default if p.optional else ...) for p in self.parameters}
        with warnings.catch_warnings():  # a parameter may well be called "schema" or "copy"
            warnings.simplefilter("ignore", UserWarning)
            return create_model(self.target.rpartition(".")[2], __config__=STRICT, __doc__=self.doc, **fields)


@dataclass(frozen=True)
class Block:
    """A checked task, model or data block.

    Attributes:
        target: Dotted path of the class.
        params: Its parameters, typed (``block.params.width``); those that follow from the data are left out.
        from_data: Parameter -> field of the data's Description.
        tasks: Names of the tasks the class serves.
    """

    target: str
    params: Any
    from_data: dict[str, str] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the module ("manta"); for a task, the name models and data list in ``tasks``."""
        return self.target.split(".")[-2]

    def arguments(self) -> dict[str, Any]:
        """Parameters as keyword arguments."""
        return {name: getattr(self.params, name) for name in type(self.params).model_fields}

    def plain(self) -> dict[str, Any]:
        """The block as YAML holds it."""
        return {"_target_": self.target, **self.params.model_dump(mode="json")}

    def build(self, *supplied: Any, description: Any = None) -> Any:
        """Import the class and construct it.

        Args:
            supplied: Positional arguments (a task's model and description).
            description: Data description that gives the ``FromData`` parameters.
        """
        module, _, name = self.target.rpartition(".")
        known = {parameter: getattr(description, source) for parameter, source in self.from_data.items()}
        return getattr(importlib.import_module(module), name)(*supplied, **known, **self.arguments())


def read_signature(target: str, group: str) -> Signature:
    """Read the class ``target`` names.

    Raises:
        TargetError: Not a class of the group's room.
        SignatureError: Its ``__init__`` cannot serve as a schema.
    """
    room = ROOMS[group]
    module, _, name = target.rpartition(".")
    if not module.startswith(room + "."):
        raise TargetError(f"'{target}' lies outside {room}; a {group} is a class of a module in {room}")
    path = find_source(module)
    if path is None:
        raise TargetError(f"there is no module {module}; modules: {', '.join(modules(room)) or 'none'}")
    parsed = parse(str(path), path.stat().st_mtime_ns)
    if name not in parsed.classes:
        public = [c for c in parsed.classes if not c.startswith("_")]
        raise TargetError(f"{module} has no class '{name}'; classes: {', '.join(public) or 'none'}")
    return _signature(target, str(path), path.stat().st_mtime_ns, group == "task")


@lru_cache(maxsize=256)
def _signature(target: str, path: str, mtime: int, positional_supplied: bool) -> Signature:
    source, name = parse(path, mtime), target.rpartition(".")[2]
    chain = list(_ancestors(source, name))
    init, home = next(((f, s) for s, c in chain if (f := _function(c, "__init__"))), (None, source))
    parameters, from_data = [], {}
    if init is not None:
        reader = Reader(home)
        for arg, default, keyword in _arguments(init, home):
            if positional_supplied and not keyword:
                continue
            annotation = reader.annotation(arg)
            if field_name := _from_data(annotation):
                from_data[arg.arg] = field_name
                continue
            value = None if default is None else reader.literal(default, arg.arg)
            parameters.append(Parameter(arg.arg, _lists(annotation), default is not None, value))
    doc = (ast.get_docstring(source.classes[name]) or "").partition("\n")[0]
    return Signature(target, Path(path), doc, tuple(parameters), from_data, _tasks(chain))


def _ancestors(source: Source, name: str) -> Iterator[tuple[Source, ast.ClassDef]]:
    """The class and its bases as far as they lie in longview, nearest first."""
    node = source.classes[name]
    yield source, node
    for expression in node.bases:
        base = expression.value if isinstance(expression, ast.Subscript) else expression
        if not isinstance(base, ast.Name):
            continue
        if base.id in source.classes:
            yield from _ancestors(source, base.id)
        elif (origin := source.names.get(base.id, "")).startswith("longview."):
            module, _, original = origin.partition(":")
            if (path := find_source(module)) and original in (other := parse(str(path), path.stat().st_mtime_ns)).classes:
                yield from _ancestors(other, original)


def _function(node: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    return next((f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == name), None)


def _arguments(init: ast.FunctionDef, source: Source) -> Iterator[tuple[ast.arg, ast.expr | None, bool]]:
    """Each parameter after self, its default, and whether it is keyword-only."""
    spec = init.args
    for extra in (spec.vararg, spec.kwarg):
        if extra:
            text = f"'{extra.arg}' (* or **) cannot serve as a schema; name every parameter"
            raise SignatureError(f"{source.path}:{extra.lineno}: {text}")
    plain = spec.posonlyargs + spec.args
    padding: list[ast.expr | None] = [None] * (len(plain) - len(spec.defaults))
    yield from ((a, d, False) for a, d in list(zip(plain, padding + list(spec.defaults), strict=True))[1:])
    yield from ((a, d, True) for a, d in zip(spec.kwonlyargs, spec.kw_defaults, strict=True))


def _tasks(chain: list[tuple[Source, ast.ClassDef]]) -> tuple[str, ...]:
    for source, node in chain:
        for item in node.body:
            named: ast.expr
            if isinstance(item, ast.AnnAssign):
                named, value = item.target, item.value
            elif isinstance(item, ast.Assign):
                named, value = item.targets[0], item.value
            else:
                continue
            if isinstance(named, ast.Name) and named.id == "tasks" and value is not None:
                return tuple(str(t) for t in Reader(source).literal(value, "tasks"))
    return ()


def _from_data(annotation: Any) -> str | None:
    for extra in getattr(annotation, "__metadata__", ()):
        if isinstance(extra, vocabulary.FromData):
            return extra.field
    return next((found for part in get_args(annotation) if (found := _from_data(part))), None)


def _lists(annotation: Any) -> Any:
    """Let a YAML list fill a tuple parameter; everything inside stays strict."""
    from pydantic import Strict

    origin = getattr(annotation, "__origin__", None)
    if annotation is tuple or origin is tuple:
        return Annotated[annotation, Strict(False)]
    if origin is not None and not hasattr(annotation, "__metadata__") and origin is not Literal:
        args = tuple(_lists(a) for a in get_args(annotation))
        if args != get_args(annotation):
            return origin[args]
    return annotation
