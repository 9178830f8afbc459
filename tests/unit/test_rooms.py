"""The arrows of docs/architecture.md, read from the source: who may import whom, and where torch may not come in."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
ROOMS = {
    "app": {"commands", "config", "launch"},
    "cli": {"app", "commands", "config", "data"},
    "commands": {"app", "cluster", "config", "data", "engine", "launch", "runs"},
    "config": {"cluster"},
    "cluster": set[str](),
    "launch": {"cluster", "config", "engine", "runs"},
    "engine": {"cluster", "config", "data", "models.blocks", "runs", "tasks", "viz"},
    "tasks": {"data", "metrics", "models", "viz"},
    "models": set[str](),
    "data": set[str](),
    "metrics": set[str](),
    "viz": {"metrics"},
    "weights": {"models"},
    "runs": set[str](),
}
"""Room -> rooms it may import, also inside functions; everybody may import ``errors``, ``fields``, ``types`` and itself."""
EVERYBODY = {"errors", "fields", "types", ""}
FOREIGN = {
    "models": {"lightning", "hydra", "omegaconf"},
    "metrics": {"lightning", "hydra", "omegaconf"},
    "data": {"hydra", "omegaconf"},
    "tasks": {"hydra", "omegaconf"},
    "engine": {"hydra", "omegaconf"},
    "viz": {"lightning", "hydra", "omegaconf"},
    "runs": {"torch", "lightning", "hydra", "omegaconf", "numpy", "pydantic"},
    "config": {"torch", "lightning", "numpy"},
}
"""Room -> packages it may not import anywhere, not even inside a function."""
HEAVY = {"torch", "lightning", "numpy", "torchmetrics", "wandb", "matplotlib"}
"""What a command that only composes and checks must not wait for."""


@dataclass(frozen=True)
class Import:
    """One import statement's name; ``lazy`` inside a function, ``typing`` under TYPE_CHECKING."""

    name: str
    line: int
    lazy: bool
    typing: bool


def imports(tree: ast.AST, module: str) -> list[Import]:
    """Every name a module imports; ``from a import b`` counts as a and as a.b, since b may be a module."""
    found: list[Import] = []

    def visit(node: ast.AST, lazy: bool, typing: bool) -> None:
        for child in ast.iter_child_nodes(node):
            names = []
            if isinstance(child, ast.Import):
                names = [alias.name for alias in child.names]
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{module}:{child.lineno}: relative import"
                names = [str(child.module), *(f"{child.module}.{alias.name}" for alias in child.names)]
            found.extend(Import(name, getattr(child, "lineno", 0), lazy, typing) for name in names)
            inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            checking = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            visit(child, lazy or inside, typing or checking)

    visit(tree, False, False)
    return found


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted((SOURCE / "longview").rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = {name: imports(ast.parse(path.read_text(encoding="utf-8")), name) for name, path in modules()}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def permitted(name: str, allowed: set[str]) -> bool:
    inner = name.removeprefix("longview").removeprefix(".")
    return any(inner == a or inner.startswith(f"{a}.") for a in allowed if a)


def test_every_room_has_its_arrows() -> None:
    assert {room(m) for m in MODULES} - EVERYBODY - {"__version__"} == set(ROOMS)


@pytest.mark.parametrize("name", sorted(ROOMS))
def test_a_room_imports_only_what_it_may(name: str) -> None:
    wrong = []
    for module, found in MODULES.items():
        if room(module) != name:
            continue
        for item in found:
            if item.typing or not item.name.startswith("longview"):
                continue
            # `from longview.data import roots` names longview.data, which is fine only if longview.data.roots is.
            if room(item.name) in EVERYBODY | {name} or room(item.name) not in ROOMS:
                continue
            if not permitted(item.name, ROOMS[name]):
                wrong.append(f"{module}:{item.line} imports {item.name}")
    assert wrong == []


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_a_room_stays_free_of_packages_it_has_no_business_with(name: str) -> None:
    wrong = [
        f"{module}:{item.line} imports {item.name}"
        for module, found in MODULES.items()
        if room(module) == name
        for item in found
        if item.name.split(".")[0] in FOREIGN[name]
    ]
    assert wrong == []


def reached(start: list[str]) -> dict[str, str]:
    """Module -> the one that imports it, for everything loaded with ``start`` at import time."""
    seen = dict.fromkeys(start, "")
    queue = list(start)
    while queue:
        module = queue.pop()
        parents = [module.rsplit(".", i)[0] for i in range(1, module.count(".") + 1)]
        wanted = [i.name for i in MODULES[module] if not i.lazy and not i.typing]
        for name in [*wanted, *parents]:
            if name in MODULES and name not in seen:
                seen[name] = module
                queue.append(name)
    return seen


def light() -> list[str]:
    """What runs before a job does: commands, checks, launching, clusters, every data source and every rule."""
    sources = [yaml.safe_load(p.read_text())["_target_"].rpartition(".")[0] for p in (ROOT / "conf/data").glob("*.yaml")]
    rooms = [m for m in MODULES if room(m) in ("app", "cli", "commands", "config", "cluster", "launch", "runs") or ".rules" in m]
    return [*rooms, *sources, "longview.engine.__main__"]


def test_what_runs_before_a_job_loads_nothing_heavy() -> None:
    loaded = reached(light())
    wrong = [
        f"{module}:{item.line} imports {item.name} (loaded by {loaded[module] or 'a command'})"
        for module in loaded
        for item in MODULES[module]
        if not item.lazy and not item.typing and item.name.split(".")[0] in HEAVY
    ]
    assert wrong == []
    inner = {m for m in loaded if room(m) in ("tasks", "models", "engine") and m.count(".") > 1 and ".rules" not in m}
    assert inner == {"longview.engine.__main__"}


def test_a_heavy_import_would_be_seen() -> None:
    tree = ast.parse("import torch.nn as nn\nif TYPE_CHECKING:\n    import numpy\ndef f():\n    from lightning import x\n")
    assert [(i.name, i.lazy, i.typing) for i in imports(tree, "m")] == [
        ("torch.nn", False, False),
        ("numpy", False, True),
        ("lightning", True, False),
        ("lightning.x", True, False),
    ]
    assert "longview.data.frames_layout" in reached(["longview.data.breakfast"])
    assert "longview.errors" in reached(light())
