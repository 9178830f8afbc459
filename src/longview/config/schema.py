"""The typed experiment: every fixed block of the composed tree, strict and frozen.

Values live in ``conf/``, not here: a field without a default must stand in YAML. The blocks ``task``, ``model`` and ``data``
take their schema from a constructor's signature instead (``longview.config.signature``).
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from longview.config.messages import show
from longview.config.signature import Block

STRICT = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_CLOCK = re.compile(r"(?:(\d{1,3})-)?(\d{1,3}):([0-5]\d):([0-5]\d)")
_WORDS = re.compile(r"(?:\d{1,6}[dhms]\s*)+")
_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"
_TIME_PATTERN = r"^((\d{1,3}-)?\d{1,3}:[0-5]\d:[0-5]\d|(\d{1,6}[dhms]\s*)+)$"


def _duration(value: Any) -> Any:
    """'2h', '1h30m', '90m', '1d', '00:30:00', '1-00:00:00' -> timedelta."""
    hint = "write for example '2h', '90m', '1d', '00:30:00' or '1-00:00:00'"
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f"{value} has no unit; {hint}, in quotes in a YAML file")
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a duration; {hint}")
    text = value.strip().lower()
    if re.fullmatch(r"\d+:\d+", text):
        raise ValueError(f"'{value}' could be hours and minutes or, as SLURM reads it, minutes and seconds; {hint}")
    if match := _CLOCK.fullmatch(text):
        days, hours, minutes, seconds = (int(g or 0) for g in match.groups())
        length = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    elif _WORDS.fullmatch(text):
        length = timedelta(seconds=sum(int(n) * _UNITS[u] for n, u in re.findall(r"(\d+)([dhms])", text)))
    else:
        raise ValueError(f"'{value}' is not a duration; {hint}")
    if length < timedelta(minutes=1):
        raise ValueError(f"'{value}' is less than a minute; {hint}")
    if length > timedelta(days=365):
        raise ValueError(f"'{value}' is more than a year; {hint}")
    return length


def clock(length: timedelta) -> str:
    """SLURM's d-hh:mm:ss of a duration."""
    minutes, seconds = divmod(int(length.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{f'{days}-' if days else ''}{hours:02}:{minutes:02}:{seconds:02}"


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


Count = Annotated[int, Ge(1), Le(2**31 - 1)]
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]
"""What every random generator in use accepts: 32 unsigned bits."""
Text = Annotated[str, MinLen(1)]
Folder = Annotated[Text, AfterValidator(os.path.expanduser)]
"""A path; ``~`` is the home folder, as in a shell."""
RunName = Annotated[
    str,
    BeforeValidator(lambda v: _run_name(v) if isinstance(v, str) else v),
    WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$", "maxLength": 100}),
]
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(clock, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _TIME_PATTERN, "examples": ["2h", "90m", "1d", "00:30:00", "1-00:00:00"]}),
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


class Section(BaseModel):
    """A block of the tree: no unknown key, no silent conversion, no change after the check."""

    model_config = STRICT


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
    time: Duration | None = Field(description="Time limit of one attempt")


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
    """How several processes share the work."""

    name: Literal["auto", "single", "ddp"] = Field(description="auto: single for one process, ddp for several")
    find_unused_parameters: bool = Field(False, description="ddp only: allow parameters without a gradient")


class WandbConfig(Section):
    """Weights & Biases."""

    project: Text
    entity: Text | None
    mode: Literal["offline", "online"]
    tags: list[Text]


class LoggerConfig(Section):
    """Where metrics go beside metrics.csv."""

    wandb: WandbConfig | None


class ClusterConfig(Section):
    """Where a run takes place."""

    name: Text
    scheduler: Literal["none"] = Field(description="none: the run starts here and now")
    devices: Count = Field(description="Usual number of devices per node")


class Experiment(Section):
    """The whole tree. ``task``, ``model`` and ``data`` are blocks checked against their constructor's signature."""

    model_config = ConfigDict(**STRICT, arbitrary_types_allowed=True)

    seed: Seed = Field(description="One number decides weights, order, augmentation and sampling noise")
    run: RunConfig
    resources: ResourcesConfig
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
        return self.resources.devices or self.cluster.devices

    @property
    def world_size(self) -> int:
        """Processes in all."""
        return self.resources.nodes * self.devices


BLOCKS = ("task", "model", "data")
"""Blocks whose schema is a constructor's signature."""
