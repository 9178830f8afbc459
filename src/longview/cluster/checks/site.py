"""The place: internet, file systems, interpreter, ports, login nodes, and how old the facts are."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from datetime import date
from functools import lru_cache
from typing import Any

from longview.cluster.checks.common import Check, limit, place, placed, warning, with_scheduler
from longview.cluster.request import purpose_of
from longview.cluster.spec import NodeType, Partition
from longview.errors import Problem

OLD = 180
"""Days after which facts of a site are worth a look."""
SMALL_HOME = 100
"""GB of a home folder that checkpoints fill within days."""
UNQUOTABLE = {"\n": "a line end", '"': '"', "`": "`", "$": "$", "%": "%", "\\": "\\"}
"""What SLURM reads in a path as something else (% and \\ of --output), or the shell of the batch script does."""
NODE_LOCAL = ("/tmp", "/var/tmp", "/dev/shm", "/run")
FETCHING = re.compile(
    r"^(?!\s*((module|ml)\b|#)|.*--no-index)"  # module load git is no download, a local wheel house neither
    r".*\b(pip3? (install|download)|uv (pip|sync)|(conda|mamba) install|wget|curl|git (clone|pull)|huggingface-cli)\b"
)
PART = re.compile(r"^\s*(fi|done|esac|else|elif|then|do|\})\b|(\b(then|do|else|in)|[\\{(|&;])\s*$")
QUEUE = ("wait", "account", "parallel", "stage", "sbatch")
"""Keys of ``launch`` that need a queue or a batch script; sweeps of this machine have the others."""


def today() -> date:
    """The day against which the facts' dates are held; replaced in tests."""
    return date.today()


def queue_exists(experiment: Any) -> Iterator[Problem]:
    """What is said to a queue is not dropped without a word where there is none."""
    cluster = experiment.cluster
    if cluster.scheduler != "none":
        return
    text = f"means nothing on cluster '{cluster.name}', which has no scheduler; remove it, or choose a cluster that has one"
    for block, names in (("launch", QUEUE), ("resources", ("purpose", "memory_gb"))):
        yield from (Problem(f"{block}.{name}", text) for name in names if getattr(getattr(experiment, block), name))


@placed
def online_is_possible(experiment: Any, partition: Partition, node: NodeType) -> Iterator[Problem]:
    """Nothing that a job does needs internet where its nodes have none; not known counts as none."""
    wandb, container = experiment.logger.wandb, experiment.cluster.container
    if partition.internet or (partition.internet is None and experiment.cluster.internet.compute):
        return
    if wandb is not None and wandb.mode == "online":
        yield _offline(experiment, "logger.wandb.mode", "'online' needs internet", "give offline, and `wandb sync` later")
    for path, line in _lines(experiment, partition):
        if FETCHING.match(line):
            yield _offline(experiment, path, f"'{line}' needs internet", "do it once on a login node")
    if container is not None and "://" in container.image:
        remedy = f"`{container.runtime} pull` it on a login node and give the file"
        yield _offline(experiment, "cluster.container.image", f"'{container.image}' would be fetched in the job", remedy)


def _offline(experiment: Any, key: str, text: str, remedy: str) -> Problem:
    partition = experiment.cluster.partitions[purpose_of(experiment)]
    fact = "internet.compute" if partition.internet is None else f"partitions.{purpose_of(experiment)}.internet"
    where = f"compute nodes of {experiment.cluster.name}"
    remedy = f"{remedy}; if they are online: cluster.{fact}=true"
    if partition.internet is None and experiment.cluster.internet.compute is None:
        return Problem(key, f"{text}, and {where} are not known to have it; {remedy}")
    return limit(experiment, key, fact, f"{text}, and {where} have none", remedy)


def _lines(experiment: Any, partition: Partition) -> Iterator[tuple[str, str]]:
    """Key path and text of every set-up line of the batch script."""
    cluster, modules = experiment.cluster, _modules(experiment, partition)
    blocks = [("cluster.setup", cluster.setup), ("cluster.teardown", cluster.teardown)]
    if modules:
        blocks.append((f"cluster.modules.{modules}.lines", cluster.modules[modules].lines))
    yield from ((f"{path}.{i}", line) for path, lines in blocks for i, line in enumerate(lines))


def _modules(experiment: Any, partition: Partition) -> str | None:
    """Which of the cluster's module blocks counts: the node type's own, else the default."""
    return next((name for name in (partition.node, "default") if name in experiment.cluster.modules), None)


@placed
def setup_is_sane(experiment: Any, partition: Partition, node: NodeType) -> Iterator[Problem]:
    """Set-up lines are whole commands that do not end the job, and directives are where SLURM reads them."""
    for path, line in _lines(experiment, partition):
        if line.lstrip().startswith("#SBATCH"):
            yield Problem(path, f"'{line}' would not be read after the first command; give cluster.sbatch or launch.sbatch")
        elif re.match(r"\s*exit\b", line):
            yield Problem(path, f"'{line}' would end the batch script; remove it")
        elif not path.startswith("cluster.teardown") and PART.search(line):
            text = "is not a whole command, and each line is one of its own (if it fails, the job says so and stops)"
            yield Problem(path, f"'{line}' {text}; write it on one line: if ...; then ...; fi")


@placed
def root_is_shared(experiment: Any, partition: Partition, node: NodeType) -> Iterator[Problem]:
    """Run directories are on a file system that login and compute nodes share, not in a small home folder."""
    given, cluster = experiment.run.root, experiment.cluster
    if os.environ.get("LONGVIEW_TWIN"):  # a rehearsal: every node is this machine
        return
    root = os.path.abspath(given)
    local = {*NODE_LOCAL, *(kind.local_dir for kind in cluster.node_types.values() if kind.local_dir)}
    better = " or ".join(f"${name}" for name in (cluster.storage.scratch, cluster.storage.work) if name) or "a shared file system"
    if at := next((place for place in sorted(local) if _within(root, place)), None):
        text = f"'{given}' is in {at}, which every node has for itself: the job would not find its run; give a folder in {better}"
        yield Problem("run.root", text, warning=not os.path.isabs(given))  # planned here, submitted elsewhere?
    elif cluster.storage.home_gb and cluster.storage.home_gb < SMALL_HOME and _within(root, os.path.expanduser("~")):
        text = f"'{given}' is in the home folder, which holds {cluster.storage.home_gb:g} GB on {cluster.name}"
        yield warning("run.root", f"{text}; a folder in {better} is better")


@with_scheduler
def root_is_plain(experiment: Any) -> Iterator[Problem]:
    """The absolute path of run directories reaches SLURM and the batch script as it is."""
    given = experiment.run.root
    paths = (os.path.abspath(given), os.path.realpath(given))  # a later `longview resume` goes by the second one
    found = next((path for path in paths if any(char in path for char in UNQUOTABLE)), None)
    if found is not None:
        strange = " and ".join(shown for char, shown in UNQUOTABLE.items() if char in found)
        where = "" if found == given else f" (that is {found!r})"
        text = f"{given!r}{where} holds {strange}, which SLURM and batch scripts read as something else"
        variable = "; let the shell put a variable's value in (double quotes), or write ${oc.env:NAME}" if "$" in given else ""
        yield Problem(
            "run.root", f"{text}{variable or '; give a folder whose whole path has none of these: % $ ` quote, backslash'}"
        )


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


@lru_cache(maxsize=16)
def _interpreter(python: str | None) -> str:
    """The interpreter's path with links followed: a virtual environment shows the stack it was made from."""
    return os.path.realpath(python or sys.executable)


@placed
def interpreter_fits(experiment: Any, partition: Partition, node: NodeType) -> Iterator[Problem]:
    """The jobs' Python was built for their nodes: processor family and software stack."""
    cluster = experiment.cluster
    if cluster.container is not None:
        return
    path, key = _interpreter(cluster.python), "cluster.python"
    stack = re.search(r"easybuild-(\w+)", path)
    if stack and node.stack and stack[1].startswith("INTEL") and node.stack.startswith("AMD"):
        text = f"'{path}' is of the stack {stack[1]}; nodes of {place(experiment)} are {node.stack}, where it dies of SIGILL"
        yield Problem(key, f"{text}; make the environment from the {node.stack} stack")
    arch, here = node.arch or cluster.arch, _machine()
    if cluster.python is None and arch and here != arch:
        # Not refused: whoever plans a job on another machine submits it from the site, whose Python is the right one.
        text = f"null, so jobs run the Python that submits, and this one is for {here}; nodes of {place(experiment)} are {arch}"
        yield warning(key, f"{text}: submit from the site, or give the interpreter there")


@lru_cache(maxsize=1)
def _machine() -> str:
    return {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())


@placed
def port_is_free(experiment: Any, partition: Partition, node: NodeType) -> Iterator[Problem]:
    """A fixed port meets another job's on shared nodes."""
    key = "cluster.network.port" if experiment.cluster.network.port else "cluster.env.MASTER_PORT"
    port = experiment.cluster.network.port or experiment.cluster.env.get("MASTER_PORT")
    if port and not partition.exclusive:
        text = f"{port} is fixed, and nodes of {place(experiment)} are shared: two jobs on one node would meet"
        yield Problem(key, f"{text}; remove it, and a port is derived from the job and probed")


@with_scheduler
def controller_is_welcome(experiment: Any) -> Iterator[Problem]:
    """A process that waits for hours may not be welcome on a login node."""
    login, name = experiment.cluster.login, experiment.cluster.name
    if not experiment.launch.wait or (login.controller_allowed and not login.max_cpu_minutes):
        return
    most = f" (limit: {login.max_cpu_minutes} CPU minutes)" if login.max_cpu_minutes else ""
    where = f", or run it in a job in partition {login.controller_partition}" if login.controller_partition else ""
    text = f"login nodes of {name} end long-lived processes{most}; submit without it and follow with `longview status`{where}"
    yield warning("launch.wait", text)


@with_scheduler
def requeue_is_proven(experiment: Any) -> Iterator[Problem]:
    """Where nobody has seen users requeue, a new job is the safe way on."""
    resume, name = experiment.cluster.resume, experiment.cluster.name
    if resume.strategy == "requeue" and not resume.proven:
        text = f"users' right to requeue has not been seen to work on {name}; resubmit is safe"
        yield warning("cluster.resume.strategy", f"{text}, or say cluster.resume.proven=true if you have seen it")


@with_scheduler
def facts_are_fresh(experiment: Any) -> Iterator[Problem]:
    """Limits change without notice."""
    cluster = experiment.cluster
    for key, what in (("verified", "last seen in use"), ("limits_verified", "limits last read in an official place")):
        written = getattr(cluster, key)
        if written and (days := _age(written, today())) > OLD:
            text = f"{what} {written}, {days} days ago; `longview doctor cluster={cluster.name}` compares them with the site"
            yield warning(f"cluster.{key}", text)


@lru_cache(maxsize=64)
def _age(written: str, now: date) -> int:
    return (now - date.fromisoformat(written)).days


@placed
def modules_are_valid(experiment: Any, partition: Partition, node: NodeType) -> Iterator[Problem]:
    """Software stages are taken away after a year or two."""
    name = _modules(experiment, partition)
    until = experiment.cluster.modules[name].valid_until if name else None
    if until and (days := _age(until, today())) > 0:
        text = f"these modules were expected to last until {until}, {days} days ago; see what `module avail` has, and set both"
        yield warning(f"cluster.modules.{name}.valid_until", text)


@with_scheduler
def name_is_no_shell(experiment: Any) -> Iterator[Problem]:
    """Two job names make Lightning take a job for an interactive session."""
    for key, name in (("run.name", experiment.run.name), ("launch.sweep", experiment.launch.sweep)):
        if name in ("bash", "interactive"):
            yield Problem(key, f"a job named '{name}' is taken for an interactive session; give another name")


CHECKS: tuple[Check, ...] = (
    queue_exists,
    online_is_possible,
    setup_is_sane,
    root_is_shared,
    root_is_plain,
    interpreter_fits,
    port_is_free,
    controller_is_welcome,
    requeue_is_proven,
    facts_are_fresh,
    modules_are_valid,
    name_is_no_shell,
)
