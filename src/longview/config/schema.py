"""The typed experiment: every fixed block of the composed tree, strict and frozen.

Values live in ``conf/``, not here: a field without a default must stand in YAML. The blocks ``task``, ``model`` and ``data``
take their schema from a constructor's signature instead (``longview.config.signature``).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le
from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from longview.cluster.request import devices_of
from longview.cluster.spec import ClusterConfig
from longview.config.messages import show
from longview.config.signature import Block
from longview.fields import STRICT, Count, Duration, Folder, Section, Text, clock

__all__ = ["BLOCKS", "STRICT", "ClusterConfig", "Experiment", "LaunchConfig", "SearchConfig", "Section", "clock"]

_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"


def _precision(value: Any) -> Any:
    """The command line turns 32 into a number; it is meant as the name "32"."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _limit(value: Any) -> Any:
    """A number of batches (whole, >= 1) or a part of them (0 < x < 1)."""
    right = "give a number of batches (1, 2, ...), a part of them (between 0 and 1), or null for all"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{show(value)} is no number; {right}")
    if not (isinstance(value, int) and value >= 1) and not (isinstance(value, float) and 0 < value < 1):
        raise ValueError(f"{show(value)} is impossible; {right}")
    return value


def _run_name(value: str) -> str:
    if not re.fullmatch(_NAME, value):
        raise ValueError(f"'{value}' cannot name a folder; use letters, digits, '.', '_', '+' and '-', a letter or digit first")
    if len(value) > 100:
        raise ValueError(f"{show(value)} has {len(value)} characters; give at most 100")
    return value


Seed = Annotated[int, Ge(0), Le(2**32 - 1)]
"""What every random generator in use accepts: 32 unsigned bits."""
RunName = Annotated[
    str,
    BeforeValidator(lambda v: _run_name(v) if isinstance(v, str) else v),
    WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$", "maxLength": 100}),
]
Precision = Annotated[
    Literal["32", "64", "16-mixed", "bf16-mixed"],
    BeforeValidator(_precision),
    WithJsonSchema({"enum": ["32", "64", "16-mixed", "bf16-mixed", 32, 64]}),
]
BatchLimit = Annotated[
    int | float,
    BeforeValidator(_limit),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}]}
    ),
]


class RunConfig(Section):
    """Where runs go, and which run is continued or scored again."""

    root: Folder = Field(description="Folder of run directories")
    name: RunName | None = Field(description="Readable name; null: <model>-<data>")
    resume: Text | None = Field(description="Continue the run in this directory")
    test: Text | None = Field(description="Score the run in this directory again")


class ResourcesConfig(Section):
    """The size of a job; the one place where it stands."""

    nodes: Count = Field(description="Number of nodes")
    devices: Count | None = Field(description="Processes per node, one per device; null: what the cluster names as usual")
    cpus_per_device: Count | None = Field(description="CPU cores per process; null: an equal share")
    time: Duration | None = Field(description="Time limit of one attempt; null: what the cluster names as usual")
    purpose: Text | None = Field(description="What the job is for: gpu, debug, long, ... (a cluster's partitions)")
    memory_gb: Annotated[float, Gt(0)] | int | None = Field(description="Memory per node in GB; null: the devices' share")


class LaunchConfig(Section):
    """How a run or sweep is put into a cluster's queue. Nothing here changes what is computed."""

    dry_run: bool = Field(description="Show the batch script, the plan and the cost; submit and write nothing")
    wait: bool = Field(description="Stay until every run has ended, with a live table")
    account: Text | None = Field(description="What jobs are charged to; null: from the environment, see the cluster file")
    sweep: RunName | None = Field(description="Name of the sweep; the same points under another name are new runs")
    retry: bool = Field(description="Submit points again that failed or were stopped; they go on from their checkpoints")
    at_most: Count | None = Field(description="Submit so many points now; the same command later submits the rest")
    parallel: Count | None = Field(description="Array elements that run at once; null: as many as the site allows")
    stage: bool = Field(description="Copy the data to node-local scratch before training, verified")
    sbatch: dict[Text, Text | int | bool] = Field(description="Further sbatch options: {reservation: <name>}")


class SearchConfig(Section):
    """With ``-m`` and a number of trials, swept values are a space that is searched. Nothing here changes what a run computes."""

    trials: Count | None = Field(description="Runs to make; null: no search, every combination of the swept values is run")
    objective: Text | None = Field(
        description="Metric of result.json that is optimised; null: the best validation score, else the task's primary metric"
    )
    mode: Literal["max", "min"] | None = Field(description="Which is better; null: as the task says")
    sampler: Literal["tpe", "random"] = Field(description="tpe: learns from finished trials; random: does not")
    seed: Seed = Field(description="Decides what is tried")
    parallel: Count = Field(description="Trials in a cluster's queue at once; on this machine there is one at a time")


class LoaderConfig(Section):
    """How batches are made."""

    batch_size: Count = Field(description="Examples per training batch and process")
    eval_batch_size: Count = Field(description="Examples per evaluation batch and process")
    num_workers: Annotated[int, Ge(0)] = Field(description="Loader processes per training process; 0: none")
    bucket: bool = Field(description="Batches of similar length: less padding")


class TrainerConfig(Section):
    """How long and how a model is fitted."""

    max_epochs: Count | None = Field(description="Epochs to train")
    max_steps: Count | None = Field(description="Optimizer steps to train; whichever limit comes first ends the run")
    accelerator: Literal["auto", "cpu", "cuda"] = Field(description="auto: cuda if there is one, else cpu")
    precision: Precision = Field(description="Arithmetic of the forward and backward pass")
    gradient_clip: Annotated[float, Gt(0)] | None = Field(description="Largest global gradient norm")
    accumulate: Count = Field(description="Batches per optimizer step")
    validate_every: Count = Field(description="Epochs between validations")
    log_every: Count = Field(description="Steps between log lines")
    limit_train_batches: BatchLimit | None = Field(description="Train on so many batches, or such a part, per epoch")
    limit_eval_batches: BatchLimit | None = Field(description="Validate and test on so many batches, or such a part")
    deterministic: bool = Field(description="Only deterministic kernels")
    progress: bool = Field(description="Show a progress line on a terminal")


class StrategyConfig(Section):
    """How several processes share the work; an option belongs to the one strategy it names."""

    name: Literal["auto", "single", "ddp", "fsdp", "deepspeed"] = Field(
        description="auto: single for one process, ddp for several; fsdp and deepspeed divide the model's state too"
    )
    find_unused_parameters: bool = Field(False, description="ddp only: allow parameters without a gradient")
    min_unit: Count | None = Field(None, description="fsdp only: a repeated block of so many weights is gathered by itself")
    stage: Literal[1, 2, 3] | None = Field(
        None, description="deepspeed only: divide 1 the optimizer's state, 2 and the gradients, 3 and the weights"
    )
    offload_optimizer: bool = Field(False, description="deepspeed only: keep the optimizer's state in the CPU's memory")
    offload_parameters: bool = Field(False, description="deepspeed stage 3 only: keep the weights in the CPU's memory")


class WandbConfig(Section):
    """Weights & Biases."""

    project: Text
    entity: Text | None
    mode: Literal["offline", "online"]
    tags: list[Text]


class LoggerConfig(Section):
    """Where metrics go beside metrics.csv."""

    wandb: WandbConfig | None


class Experiment(Section):
    """The whole tree. ``task``, ``model`` and ``data`` are blocks checked against their constructor's signature."""

    model_config = ConfigDict(**STRICT, arbitrary_types_allowed=True)

    seed: Seed = Field(description="One number decides weights, order, augmentation and sampling noise")
    run: RunConfig
    resources: ResourcesConfig
    launch: LaunchConfig
    search: SearchConfig
    loader: LoaderConfig
    task: Block
    model: Block
    data: Block
    cluster: ClusterConfig
    strategy: StrategyConfig
    trainer: TrainerConfig
    logger: LoggerConfig

    @property
    def devices(self) -> int:
        """Processes per node."""
        return devices_of(self)

    @property
    def world_size(self) -> int:
        """Processes in all."""
        return self.resources.nodes * self.devices


BLOCKS = ("task", "model", "data")
"""Blocks whose schema is a constructor's signature."""
