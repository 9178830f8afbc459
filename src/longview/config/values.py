"""Values of a tree that is being composed: overrides applied one by one, files merged by hand, interpolations resolved.

Each step that fails is a Problem of its own, so that the next one is still taken.
"""

from __future__ import annotations

from typing import Any

from longview.config.messages import listed
from longview.config.overrides import Argument, override
from longview.config.tree import YamlFile
from longview.errors import Problem

UNRESOLVED = "<unresolved>"
"""Stands for a value that was already reported; the check says nothing more of it."""


def words(error: BaseException) -> str:
    """An exception's first lines as one, without Hydra's search path."""
    text = str(error).partition("Config search path")[0] or type(error).__name__
    if error.__cause__ is not None and str(error.__cause__) not in text:
        text += f" {error.__cause__}"
    return " ".join(text.split())


def content(file: YamlFile) -> Any:
    """A file's values at their place in the tree, its defaults list left out."""
    from omegaconf import OmegaConf

    loaded: Any = OmegaConf.load(file.path)
    loaded.pop("defaults", None)
    for part in reversed(file.package):
        loaded = OmegaConf.create({part: loaded})
    return loaded


def merge(config: Any, file: YamlFile, problems: list[Problem]) -> None:
    """Merge a file's values into the tree, key by key, so that one that does not fit leaves the others."""
    from omegaconf import OmegaConf

    try:
        values = content(file)
    except Exception as error:  # a tag or a key that YAML allows and OmegaConf does not
        problems.append(Problem(file.shown, words(error)))
        return
    for key in values:
        try:
            config.merge_with(OmegaConf.masked_copy(values, key))
        except Exception as error:
            line = file.lines.get((str(key),))
            fits = "is a list here; it must be a mapping of key: value" if OmegaConf.is_list(values[key]) else words(error)
            problems.append(Problem(str(key), fits, f"{file.shown}:{line}" if line else file.shown))


def apply(config: Any, argument: Argument, problems: list[Problem]) -> None:
    """Put one value (or deletion) into the tree."""
    from omegaconf import OmegaConf

    origin = override(argument.text)
    if argument.kind == "value":
        try:
            OmegaConf.update(config, argument.key, argument.value, merge=True, force_add=True)
        except Exception as error:
            problems.append(Problem(argument.key, words(error), origin))
    elif argument.kind == "delete":
        parent, _, name = argument.key.rpartition(".")
        try:
            node = OmegaConf.select(config, parent) if parent else config
        except Exception:
            node = None
        if OmegaConf.is_dict(node) and name in node:
            del node[name]
        else:
            keys = [str(k) for k in node if k != "hydra"] if OmegaConf.is_dict(node) else []
            text = f"cannot be deleted: there is no such key{listed(name, keys)}"
            problems.append(Problem(argument.key, text, origin))


def plain_tree(config: Any) -> dict[str, Any] | None:
    """A tree as plain values, if no value in it follows from another one (an interpolation) or is still missing; else None."""
    from omegaconf import OmegaConf

    tree: Any = OmegaConf.to_container(config, resolve=False)
    return None if _depends(tree) else dict(tree)


def _depends(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_depends(v) for v in value.values())
    if isinstance(value, (list, tuple)):
        return any(_depends(v) for v in value)
    return isinstance(value, str) and ("${" in value or value == "???")


def patched(tree: dict[str, Any], argument: Argument) -> dict[str, Any] | None:
    """A plain tree with one value changed, as ``apply`` would change it; parts that stay are shared. None: ``apply`` must do it.

    OmegaConf copies a tree node by node, which costs more than all the rest of composing; points of a sweep mostly differ in
    single values.
    """
    if argument.kind != "value" or _depends(argument.value) or not _plain(argument.value):
        return None
    path = argument.key.split(".")
    changed = node = dict(tree)
    for step in path[:-1]:
        inner = node.get(step)
        if not isinstance(inner, dict) or "[" in step:
            return None
        node[step] = dict(inner)
        node = node[step]
    if "[" in path[-1] or not all(isinstance(key, str) for key in node):
        return None
    node[path[-1]] = _merged(node.get(path[-1]), argument.value)
    return changed


def _plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(k, str) and _plain(v) for k, v in value.items())
    if isinstance(value, list):
        return all(_plain(v) for v in value)
    return value is None or isinstance(value, (str, int, float, bool))


def _merged(old: Any, new: Any) -> Any:
    """A mapping is merged into a mapping; everything else replaces what was there."""
    if isinstance(new, dict):
        base = old if isinstance(old, dict) else {}
        return {**base, **{k: _merged(base.get(k), v) for k, v in new.items()}}
    return [_merged(None, v) for v in new] if isinstance(new, list) else new


def resolved(config: Any, problems: list[Problem]) -> dict[str, Any]:
    """Plain values; every interpolation that fails is a problem of its own."""
    from omegaconf import OmegaConf

    try:
        tree: Any = OmegaConf.to_container(config, resolve=True)
    except Exception:
        tree = _piecewise(config, "", problems)
    for key in _missing(tree, ""):
        problems.append(Problem(key, "needs a value (given: ???)"))
    return dict(tree)


def _piecewise(node: Any, path: str, problems: list[Problem]) -> Any:
    from omegaconf import OmegaConf

    keys = list(node) if OmegaConf.is_dict(node) else range(len(node))
    values: dict[Any, Any] = {}
    for key in keys:
        here = f"{path}.{key}".lstrip(".")
        try:
            value = None if OmegaConf.is_missing(node, key) else node[key]
            values[key] = _piecewise(value, here, problems) if OmegaConf.is_config(value) else value
        except Exception as error:
            problems.append(Problem(here, f"cannot be resolved: {str(error).splitlines()[0]}"))
            values[key] = UNRESOLVED
    return values if OmegaConf.is_dict(node) else list(values.values())


def _missing(value: Any, path: str) -> list[str]:
    if isinstance(value, dict):
        return [m for k, v in value.items() for m in _missing(v, f"{path}.{k}".lstrip("."))]
    return [path] if value == "???" else []
