"""A checked experiment in words: what, on what, where, how long, and which values are not those of the option files."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from longview.config.experiment import CheckedExperiment
from longview.config.schema import clock

_INDENT, _HEAD = 2, 12
_GLUE = "\N{NO-BREAK SPACE}"  # keeps a list on one line; printed as a plain space


def summary(experiment: CheckedExperiment) -> str:
    """The experiment as aligned lines, wrapped to the terminal (to 100 columns where there is none)."""
    width = min(max(shutil.get_terminal_size((100, 24)).columns, 60), 120)
    lines = [line for head, text in _rows(experiment) for line in _wrapped(head, text, width)]
    if changes := list(_changes(experiment)):
        lines += ["", f"{' ' * _INDENT}not as in the option files:", *_table(changes)]
    return "\n".join(lines)


def _rows(experiment: CheckedExperiment) -> Iterator[tuple[str, str]]:
    config, choices = experiment.config, experiment.choices
    for name in ("task", "model", "data"):
        block = getattr(config, name)
        values = ", ".join(
            f"{key}={_shown(value)}".replace(" ", _GLUE) for key, value in block.plain().items() if key != "_target_"
        )
        chosen = choices.get(name, block.name)
        yield name, chosen + (f" ({values})" if values else "")
    for name in ("recipe", "experiment"):
        if choices.get(name):
            yield name, choices[name]
    trainer, loader = config.trainer, config.loader
    length = " or ".join(f"{n} {unit}" for n, unit in ((trainer.max_epochs, "epochs"), (trainer.max_steps, "steps")) if n)
    whole = loader.batch_size * config.world_size * trainer.accumulate
    in_all = f" ({whole} per optimizer step)" if whole != loader.batch_size else ""
    yield "length", f"{length}, batch {loader.batch_size} per process{in_all}, seed {config.seed}"
    yield "where", f"{config.cluster.name}: {_machine(config)}, accelerator {trainer.accelerator}, precision {trainer.precision}"
    yield "log", "metrics.csv" + (f" and W&B ({config.logger.wandb.mode})" if config.logger.wandb else "")
    if config.run.resume or config.run.test:
        yield ("continue" if config.run.resume else "score"), str(config.run.resume or config.run.test)
    else:
        yield "run", f"{config.run.root}/<date>-{experiment.name}-<id>"


def _machine(config: Any) -> str:
    nodes, devices = config.resources.nodes, config.devices
    processes = "1 process" if config.world_size == 1 else f"{nodes} x {devices} processes, strategy {config.strategy.name}"
    return processes + (f", at most {clock(config.resources.time)}" if config.resources.time else "")


def _changes(experiment: CheckedExperiment) -> Iterator[tuple[str, str, str, str]]:
    """Key, value, value of the option's own file and where the new one came from."""
    for key, value in _leaves(experiment.resolved, ""):
        origin, default = experiment.origins.changed(key)
        if origin and not _same(default, value):
            yield key, _shown(value), f"(else {default})" if default else "", origin


def _same(text: str, value: Any) -> bool:
    """Whether a YAML text stands for a value: 5.0e-4 for 0.0005."""
    try:
        return bool(float(text) == value)
    except ValueError:
        return text == _shown(value)


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _shown(value: Any) -> str:
    """A value as YAML holds it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"[{', '.join(_shown(v) for v in value)}]" if isinstance(value, (list, tuple)) else str(value)


def _wrapped(head: str, text: str, width: int) -> list[str]:
    indent = " " * (_INDENT + _HEAD)
    first = f"{' ' * _INDENT}{head:<{_HEAD}}"
    lines = textwrap.wrap(text, width, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False)
    return [line.replace(_GLUE, " ") for line in lines]


def _table(rows: list[tuple[str, str, str, str]]) -> list[str]:
    widths = [min(max(len(row[column]) for row in rows), 40) for column in range(3)]
    cells = ("  ".join(f"{cell:<{size}}" for cell, size in zip(row, (*widths, 0), strict=True)) for row in rows)
    return [f"{' ' * _INDENT}  {line.rstrip()}" for line in cells]
