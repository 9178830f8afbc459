"""Free options of sbatch and srun: what longview writes itself, what leaves a rank one GPU, what only some sites know."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from string import Formatter
from typing import Any

from longview.cluster.checks.common import Check, warning, with_scheduler
from longview.cluster.checks.option_names import (
    BOUND,
    FROM_SHELL,
    NARROWING,
    PLACEHOLDERS,
    SHORT,
    SRUN_SHORT,
    SRUN_WRITTEN,
    STANDARD,
    WRITTEN,
)
from longview.cluster.request import node_of, partition_of, purpose_of
from longview.errors import Problem


def _given(experiment: Any) -> Iterator[tuple[str, str, Any]]:
    """Path of the mapping, option and value of every sbatch option that is asked for."""
    cluster, partition = experiment.cluster, partition_of(experiment)
    sources = [("cluster.sbatch", cluster.sbatch)]
    if partition is not None:
        sources.append((f"cluster.partitions.{purpose_of(experiment)}.sbatch", partition.sbatch))
    for path, options in (*sources, ("launch.sbatch", experiment.launch.sbatch)):
        yield from ((path, option, value) for option, value in options.items() if value is not False)


def _known_here(experiment: Any) -> set[str]:
    """Options the cluster file itself names; ``false`` makes one known without asking for it."""
    partition = partition_of(experiment)
    return {*experiment.cluster.sbatch, *(partition.sbatch if partition else ())}


@with_scheduler
def spelled(experiment: Any) -> Iterator[Problem]:
    """Long names without dashes, and values that stay on their line."""
    for path, option, value in _given(experiment):
        bare = option.lstrip("-").replace("_", "-")
        right = SHORT.get(bare, bare.lower())
        if right != option and right in STANDARD | _known_here(experiment):
            yield Problem(f"{path}.{option}", f"write it as sbatch's long name, without dashes before it: {right}")
        elif not re.fullmatch(r"[a-z][a-z0-9-]*", option):
            yield Problem(f"{path}.{option}", f"'{option}' cannot name an option of sbatch; use a-z, 0-9 and '-'")
        if isinstance(value, str) and (not value.isprintable() or value != value.strip()):
            yield Problem(f"{path}.{option}", f"{value!r} does not fit on a line of a batch script; remove blanks and line ends")


@with_scheduler
def not_written_twice(experiment: Any) -> Iterator[Problem]:
    """What follows from the resource block is not said a second time."""
    for path, option, value in _given(experiment):
        if option in WRITTEN:
            yield Problem(f"{path}.{option}", f"longview writes --{option} itself; give {WRITTEN[option]}")
        elif option == "hint" and experiment.cluster.threads_per_core:
            text = f"SLURM refuses it beside --threads-per-core={experiment.cluster.threads_per_core}"
            yield Problem(f"{path}.hint", f"{text}, which this cluster asks for (cluster.threads_per_core); remove it")
        elif option == "gres" and "gpu" in str(value):
            yield Problem(f"{path}.gres", f"GPUs are asked for by resources.devices{_type(experiment, str(value))}")


def _type(experiment: Any, gres: str) -> str:
    """Where GPUs of the type that is named in a gres are, if not on the chosen kind of node."""
    cluster, chosen = experiment.cluster, node_of(experiment)
    types = {node.gres_type or node.gpu for node in cluster.node_types.values()} & set(gres.split(":"))
    if not types or (chosen is not None and (chosen.gres_type or chosen.gpu) in types):
        return ""
    having = [
        name
        for name, partition in cluster.partitions.items()
        if (node := cluster.node_types.get(partition.node)) and (node.gres_type or node.gpu) in types
    ]
    own = f"its GPUs are {chosen.gpu}" if chosen is not None and chosen.gpu else "it has no such GPUs"
    text = f", and their type by resources.purpose: '{purpose_of(experiment)}' does not fit ({own})"
    return f"{text}, {' or '.join(having)} does" if having else text


@with_scheduler
def shell_is_heard(experiment: Any) -> Iterator[Problem]:
    """Variables of the shell that sbatch would put above the batch script are not passed on; what they mean has a key."""
    for name in sorted(name for name in os.environ if name.startswith("SBATCH_")):
        option = FROM_SHELL.get(name, name.removeprefix("SBATCH_").lower().replace("_", "-"))
        if option not in STANDARD or name in experiment.cluster.account.env:  # SBATCH_DEBUG asks for nothing
            continue
        key = WRITTEN.get(option, f"launch.sbatch.{option}")
        means = key.removeprefix("nothing: ") if key.startswith("nothing: ") else f"give {key} if you mean it"
        yield warning("launch.sbatch", f"{name} is set in your shell; longview does not pass it on; {means}")


@with_scheduler
def environment_arrives(experiment: Any) -> Iterator[Problem]:
    """The job has the environment of the shell that submits: PATH, modules, the place of the caches."""
    options = [(f"{path}.{option}", option, value) for path, option, value in _given(experiment)]
    options += [(f"cluster.srun_args.{i}", option, value) for i, (_, option, value) in enumerate(_srun(experiment))]
    for key, option, value in options:
        if option == "export" and not re.match(r"all(,|$)", str(value), re.IGNORECASE):
            named = str(value) if "=" in str(value) else "NAME=value"
            text = f"'{value}' keeps your environment from the job, which needs it (PATH, modules, accounts)"
            yield Problem(key, f"{text}; remove it, or give ALL,{named}")


@with_scheduler
def every_gpu_visible(experiment: Any) -> Iterator[Problem]:
    """Each rank sees all GPUs of its node."""
    why = "it may leave each rank one visible GPU, but GPUs are taken by local rank; remove it, resources.devices asks for them"
    for path, option, value in _given(experiment):
        if option in NARROWING and value != "none":
            yield Problem(f"{path}.{option}", f"--{option}: {why}")
    for i, (argument, option, value) in enumerate(_srun(experiment)):
        if option in NARROWING and value != "none":
            yield Problem(f"cluster.srun_args.{i}", f"'{argument}': {why}")


@with_scheduler
def srun_arguments(experiment: Any) -> Iterator[Problem]:
    """What longview writes on srun's line is not written again, and what stands in braces is known."""
    for i, (argument, option, _) in enumerate(_srun(experiment)):
        if option in SRUN_WRITTEN:
            text = f"'{argument}': longview writes srun's --{option} itself; give {SRUN_WRITTEN[option]}"
            yield Problem(f"cluster.srun_args.{i}", text)
        if strange := _placeholders(argument) - PLACEHOLDERS:
            text = f"'{argument}': nothing is known for {{{'} and {'.join(sorted(strange))}}}; there are "
            yield Problem(f"cluster.srun_args.{i}", text + ", ".join(f"{{{name}}}" for name in sorted(PLACEHOLDERS)))


def _placeholders(text: str) -> set[str]:
    try:
        return {name for _, name, _, _ in Formatter().parse(text) if name is not None}
    except ValueError:  # a brace without its partner
        return {text}


def _srun(experiment: Any) -> Iterator[tuple[str, str, str]]:
    """Argument, its option's long name, and the value behind = or a blank."""
    for argument in experiment.cluster.srun_args:
        if argument.startswith("--"):
            option, _, value = argument[2:].replace(" ", "=", 1).partition("=")
        else:
            option, value = (SRUN_SHORT.get(argument[1:2], ""), argument[2:]) if argument.startswith("-") else ("", "")
        yield argument, option, value.strip()


@with_scheduler
def site_options(experiment: Any) -> Iterator[Problem]:
    """Options of a site's plug-ins, and values that only some sites know, are used where the cluster file names them."""
    known, name = _known_here(experiment), experiment.cluster.name
    node = node_of(experiment)
    for option, value in experiment.launch.sbatch.items():
        key = f"launch.sbatch.{option}"
        if value is False or option in known or not re.fullmatch(r"[a-z][a-z0-9-]*", option) or option in SHORT:
            continue
        if option not in STANDARD:
            text = f"--{option} is no option of SLURM itself, and cluster '{name}' names none of its own by that name"
            yield Problem(key, f"{text}{_nearest(option) or f'; if the site has it: {_own(option, value)}'}")
        elif option == "gres" and "gpu" not in str(value) and node is not None and node.gpus:
            yield Problem(key, f"'{value}' would take the place of the GPUs that are asked for as gres; remove it")
        elif option in BOUND and value and "gpu" not in str(value):
            text = f"cluster '{name}' names no {BOUND[option]} of its own, and a site refuses those it does not know"
            yield Problem(key, f"{text}; remove it, or if the site has it: {_own(option, value)}")


def _own(option: str, value: Any) -> str:
    return f"+cluster.sbatch.{option}={'true' if value is True else value}"


def _nearest(option: str) -> str:
    import difflib

    close = difflib.get_close_matches(option, sorted(STANDARD), n=1, cutoff=0.75)
    return f"; did you mean {close[0]}?" if close else ""


@with_scheduler
def mail_has_address(experiment: Any) -> Iterator[Problem]:
    """Mail goes somewhere."""
    given = {option: (path, value) for path, option, value in _given(experiment)}
    if "mail-type" in given and "mail-user" not in given:
        path, kinds = given["mail-type"]
        shown = f"'{kinds}'" if "," in str(kinds) else kinds
        text = "without mail-user nobody gets the mail on most sites; give your address"
        yield Problem(f"{path}.mail-type", f"{text}: {path}={{mail-type: {shown}, mail-user: you@example.org}}, or remove it")


CHECKS: tuple[Check, ...] = (
    spelled,
    not_written_twice,
    shell_is_heard,
    environment_arrives,
    every_gpu_visible,
    srun_arguments,
    site_options,
    mail_has_address,
)
