"""GPUs, cores and memory: what fits on a node, and what of it is paid for and left idle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from longview.cluster.checks.common import Check, devices_key, elsewhere, limit, place, placed, purposes_with, warning
from longview.cluster.request import cpus_of, devices_of, memory_of, purpose_of
from longview.cluster.spec import NodeType, Partition
from longview.errors import Problem


@placed
def gpus_fit(experiment: Any, partition: Partition, node: NodeType) -> Iterator[Problem]:
    """Not more devices than a node has GPUs."""
    devices, nodes = devices_of(experiment), experiment.resources.nodes
    if not node.gpus or devices <= node.gpus:
        return
    text = f"{devices} devices, but a node of {place(experiment)} has {node.gpus} GPU{'s' if node.gpus > 1 else ''}"
    spread = f" (resources.nodes={nodes * devices // node.gpus} makes {nodes * devices})" if devices % node.gpus == 0 else ""
    fits = f"give at most {node.gpus}{spread}{elsewhere(experiment)}"
    yield limit(experiment, devices_key(experiment), f"node_types.{partition.node}.gpus", text, fits)


@placed
def node_filled(experiment: Any, partition: Partition, node: NodeType) -> Iterator[Problem]:
    """Whole nodes are charged where jobs have them alone; several nodes used in part are refused or wait long."""
    devices, nodes = devices_of(experiment), experiment.resources.nodes
    if not node.gpus or devices >= node.gpus:
        return
    key, part = devices_key(experiment), f"{devices} of the {node.gpus} GPUs of a node"
    if partition.whole_nodes and nodes > 1:
        text = f"{part}, but jobs of several nodes must use whole ones in {place(experiment)}"
        fact = f"partitions.{purpose_of(experiment)}.whole_nodes"
        yield limit(experiment, key, fact, text, f"give {node.gpus}, or resources.nodes=1")
    elif partition.exclusive:
        yield warning(key, f"{part}, but {place(experiment)} gives and charges whole nodes; {node.gpus} cost the same")
    elif nodes > 1:
        need = -(-nodes * devices // node.gpus)
        text = f"{part}, on {nodes} nodes: {need} filled node{'s have' if need > 1 else ' has'} as many and communicates less"
        yield warning(key, f"{text}; give {node.gpus} and fewer nodes")


@placed
def cores_fit(experiment: Any, partition: Partition, node: NodeType) -> Iterator[Problem]:
    """Processes times CPU cores are on the node."""
    devices, asked, cores = devices_of(experiment), experiment.resources.cpus_per_device, node.cores
    if not cores or (node.gpus and devices > node.gpus) or devices * (cpus_of(experiment) or 1) <= cores:
        return
    fact = f"node_types.{partition.node}.cores"
    if asked and devices <= cores:
        text = f"{devices} x {asked} CPU cores are more than the {cores} of a node of {place(experiment)}"
        yield limit(experiment, "resources.cpus_per_device", fact, text, f"give at most {cores // devices}")
    else:
        text = f"{devices} processes on the {cores} CPU cores of a node of {place(experiment)}"
        yield limit(experiment, devices_key(experiment), fact, text, f"give at most {cores}")


@placed
def cores_are_shared(experiment: Any, partition: Partition, node: NodeType) -> Iterator[Problem]:
    """A GPU's fair share of cores: some sites refuse another number, others charge more than the GPU."""
    asked, share, fact = experiment.resources.cpus_per_device, node.cpus_per_gpu, f"node_types.{partition.node}.cpus_per_gpu"
    if not asked or not share or not node.gpus or asked == share:
        return
    if node.cpus_per_gpu_exact:
        text = f"{asked}, but {experiment.cluster.name} accepts exactly {share} CPU cores per GPU"
        yield limit(experiment, "resources.cpus_per_device", f"{fact}_exact", text, f"give {share} or leave it null")
    elif asked > share and not partition.exclusive:
        text = f"{asked} is more than a GPU's share of {share} CPU cores, so more than its GPUs is charged and waited for"
        yield warning("resources.cpus_per_device", f"{text}; {share} is what null means here")


@placed
def memory_is_policy(experiment: Any, partition: Partition, node: NodeType) -> Iterator[Problem]:
    """Memory is said where it must be, and not where it must not."""
    policy, asked, name = experiment.cluster.mem_policy, experiment.resources.memory_gb, experiment.cluster.name
    if policy == "must_set" and memory_of(experiment) is None:
        text = f"{name} wants to be told (its default is small), and the share of a node is not known; give GB per node"
        yield Problem("resources.memory_gb", text)
    elif policy == "forbidden" and asked:
        yield limit(experiment, "resources.memory_gb", "mem_policy", f"{name} refuses jobs that say it", "leave it null")
    elif policy == "omit" and asked:
        text = f"{name} gives nodes with all their memory, or a partition of its own for more of it; better leave it null"
        yield warning("resources.memory_gb", text)


@placed
def memory_fits(experiment: Any, partition: Partition, node: NodeType) -> Iterator[Problem]:
    """Not more memory than a node has; more than the GPUs' share is charged where nodes are shared."""
    asked, most, devices = experiment.resources.memory_gb, node.mem_gb_usable, devices_of(experiment)
    if not asked:
        return
    share = node.mem_gb_per_gpu * devices if node.gpus and node.mem_gb_per_gpu and devices < node.gpus else None
    if most and asked > most:
        text = f"{asked:g} GB are more than the {most:g} GB of a node of {place(experiment)}"
        fact = f"node_types.{partition.node}.mem_gb_usable"
        yield limit(experiment, "resources.memory_gb", fact, text, f"give at most {most:g}{_larger(experiment, asked)}")
    elif share and asked > share and not partition.exclusive:
        text = f"{asked:g} GB are more than the {share:g} GB that go with {devices} GPU{'s' if devices > 1 else ''}, so more"
        yield warning("resources.memory_gb", f"{text} than the GPUs is charged and waited for")


def _larger(experiment: Any, asked: float) -> str:
    """Purposes on nodes with that much memory."""
    cluster = experiment.cluster
    found = [n for n, p in cluster.partitions.items() if _memory(cluster.node_types.get(p.node)) >= asked]
    return f", or resources.purpose={' or '.join(found)}" if found else ""


def _memory(node: NodeType | None) -> float:
    return float(node.mem_gb_usable or 0) if node else 0.0


@placed
def accelerator_is_there(experiment: Any, partition: Partition, node: NodeType) -> Iterator[Problem]:
    """CUDA where there are GPUs; a GPU node for a CPU run is a waste."""
    named, vendor = experiment.trainer.accelerator, experiment.cluster.gpu_vendor
    if named == "cuda" and (node.gpus == 0 or vendor == "none"):
        better = purposes_with(experiment, gpus=True) if vendor != "none" else ""
        ways = f", or {better}" if better else ""
        text = f"'cuda' needs GPUs, and nodes of {place(experiment)} have none; give cpu or auto{ways}"
        yield Problem("trainer.accelerator", text)
    elif named == "cpu" and node.gpus:
        better = purposes_with(experiment, gpus=False)
        text = f"'cpu' on nodes with {node.gpus} GPUs: they are asked for, charged and idle; give auto"
        yield warning("trainer.accelerator", text + (f", or {better}" if better else ""))


@placed
def gpus_are_asked_for(experiment: Any, partition: Partition, node: NodeType) -> Iterator[Problem]:
    """The cluster file can say how GPUs are asked for, and of which type."""
    directive = experiment.cluster.gpu_directive
    if node.gpus and directive is None and not partition.exclusive and experiment.trainer.accelerator != "cpu":
        text = (
            f"null, so no GPU is asked for, though nodes of {place(experiment)} have {node.gpus}; give for example gres=gpu:{{n}}"
        )
        yield warning("cluster.gpu_directive", text)
    if node.gpus != 0 and directive and "{type}" in directive and not (node.gres_type or node.gpu):
        text = f"not known, and cluster.gpu_directive ('{directive}') names it; give the type that `scontrol show node` shows"
        yield Problem(f"cluster.node_types.{partition.node}.gres_type", text)


@placed
def workers_have_cores(experiment: Any, partition: Partition, node: NodeType) -> Iterator[Problem]:
    """Loader processes have cores to run on."""
    cpus, workers = cpus_of(experiment), experiment.loader.num_workers
    if cpus and workers > cpus:
        text = f"{workers} loader processes share the {cpus} CPU core{'s' if cpus > 1 else ''} of a training process"
        yield warning("loader.num_workers", f"{text}; at most {cpus} is faster, or give resources.cpus_per_device")


@placed
def stage_has_place(experiment: Any, partition: Partition, node: NodeType) -> Iterator[Problem]:
    """Node-local scratch is known where data are to be copied to it."""
    if experiment.launch.stage and not node.local_dir:
        text = f"no node-local scratch is known for {place(experiment)}, so TMPDIR or /tmp is taken, which may be small"
        yield warning("launch.stage", f"{text}; cluster.node_types.{partition.node}.local_dir says a better place")


CHECKS: tuple[Check, ...] = (
    gpus_fit,
    node_filled,
    cores_fit,
    cores_are_shared,
    memory_is_policy,
    memory_fits,
    accelerator_is_there,
    gpus_are_asked_for,
    workers_have_cores,
    stage_has_place,
)
