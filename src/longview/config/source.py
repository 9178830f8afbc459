"""Python modules read as text: classes, imports, and what an annotation or a default stands for. Nothing is imported."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import typing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from longview import types as vocabulary
from longview.errors import LongviewError


class SignatureError(LongviewError):
    """A constructor whose signature cannot serve as a schema: the author of the class has to change it."""


@dataclass(frozen=True)
class Source:
    path: str
    classes: dict[str, ast.ClassDef]
    names: dict[str, str]
    """Imported name -> "module:name"."""
    values: dict[str, ast.expr]
    """Module-level assignments (type aliases, constants)."""


@lru_cache(maxsize=256)
def parse(path: str, mtime: int) -> Source:
    try:
        body = ast.parse(Path(path).read_text(encoding="utf-8"), filename=path).body
    except SyntaxError as error:
        raise SignatureError(f"{path}:{error.lineno}: not valid Python: {error.msg}") from None
    source = Source(path, {}, {}, {})
    for node in body:
        if isinstance(node, ast.ClassDef):
            source.classes[node.name] = node
        elif isinstance(node, ast.ImportFrom) and node.module:
            source.names.update({a.asname or a.name: f"{node.module}:{a.name}" for a in node.names})
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            source.values[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            source.values[node.target.id] = node.value
    return source


def find_source(module: str) -> Path | None:
    """The file of a module, found without importing it (its parent packages' ``__init__`` are empty)."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def modules(room: str) -> list[str]:
    import pkgutil

    return sorted(m.name for m in pkgutil.iter_modules(importlib.import_module(room).__path__) if not m.ispkg)


class Reader:
    """Turns annotation and default expressions of one module into types and values."""

    _builtins: dict[str, Any] = {  # noqa: RUF012
        "int": int, "float": float, "str": str, "bool": bool, "list": list, "tuple": tuple, "dict": dict, "None": None,
    }  # fmt: skip

    def __init__(self, source: Source) -> None:
        self.source = source

    def annotation(self, arg: ast.arg) -> Any:
        if arg.annotation is None:
            raise SignatureError(f"{self.source.path}:{arg.lineno}: parameter '{arg.arg}' has no annotation")
        return self._type(arg.annotation, arg)

    def _type(self, node: ast.expr, arg: ast.arg) -> Any:
        if isinstance(node, ast.Constant) and node.value is None:
            return None
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return self._type(ast.parse(node.value, mode="eval").body, arg)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            left, right = self._type(node.left, arg), self._type(node.right, arg)
            return typing.Union[left, right]  # noqa: UP007 - None | Annotated[...] is not an expression on Python 3.10
        if isinstance(node, ast.Name):
            origin = self.source.names.get(node.id, "")
            if origin.startswith("longview.types:"):
                return getattr(vocabulary, origin.partition(":")[2])
            if origin == "typing:Literal":
                return Literal
            if node.id in self._builtins and not origin:
                return self._builtins[node.id]
            if node.id in self.source.values:
                return self._type(self.source.values[node.id], arg)
        if isinstance(node, ast.Subscript):
            base = self._type(node.value, arg)
            if base is Literal:
                return Literal[ast.literal_eval(node.slice)]
            parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            inner = tuple(Ellipsis if _is_ellipsis(p) else self._type(p, arg) for p in parts)
            return base[inner if len(inner) > 1 else inner[0]]
        known = "int, float, str, bool, list, tuple, dict, Literal, | None and the names of longview.types"
        text = f"annotation '{ast.unparse(node)}' of parameter '{arg.arg}' cannot serve as a schema; known are {known}"
        raise SignatureError(f"{self.source.path}:{arg.lineno}: {text}")

    def literal(self, node: ast.expr, name: str) -> Any:
        if isinstance(node, ast.Name) and node.id in self.source.values:
            return self.literal(self.source.values[node.id], name)
        try:
            return ast.literal_eval(node)
        except ValueError:
            text = f"'{name}' must be a literal, not '{ast.unparse(node)}'"
            raise SignatureError(f"{self.source.path}:{node.lineno}: {text}") from None


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is Ellipsis
