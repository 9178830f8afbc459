"""From a run's configuration to objects: source, model, task, data module."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from longview.config.schema import Experiment
from longview.config.signature import Block
from longview.data.loader import ResumableLoader
from longview.data.module import DataModule
from longview.data.sampler import BucketBatchSampler, ExampleId
from longview.data.source import FrameSource
from longview.tasks.base import Task


@dataclass(frozen=True)
class Built:
    """The parts of a run."""

    source: FrameSource
    task: Task
    data: DataModule


def build(config: Experiment) -> Built:
    """Everything a trainer needs; the model's initial weights follow from ``config.seed`` alone."""
    source = cast(FrameSource, _staged(config.data).build())
    description = source.describe()
    torch.manual_seed(config.seed)
    model = config.model.build(description=description)
    task = cast(Task, config.task.build(model, description, config.seed))
    loader = config.loader
    data = DataModule(
        source,
        task.examples,
        batch_size=loader.batch_size,
        eval_batch_size=loader.eval_batch_size,
        num_workers=loader.num_workers,
        bucket=loader.bucket,
        seed=config.seed,
    )
    return Built(source, task, data)


def _staged(data: Block) -> Block:
    """The data block, read from node-local scratch where the batch script has put a copy (``launch.stage``)."""
    folder, root = os.environ.get("LONGVIEW_STAGED"), getattr(data.params, "root", None)
    if not folder or not root:
        return data
    place = Path(folder) / os.environ.get("SLURM_NODEID", "") / Path(root).name
    return replace(data, params=data.params.model_copy(update={"root": str(place)}))


def typical_batch(built: Built) -> Any:
    """One training example of median length, as a batch: what FLOPs are stated for."""
    examples = built.data.examples("train")
    lengths = np.asarray(examples.lengths(0))
    index = int(np.argsort(lengths, kind="stable")[len(lengths) // 2])
    return examples.collate([examples[ExampleId(0, index)]])


def memory_loader(built: Built, batch_size: int) -> ResumableLoader[Any]:
    """Every training video in evaluation form, for controls that remember instead of training."""
    examples = built.task.memory(built.source)
    sampler = BucketBatchSampler(examples.lengths, batch_size, shuffle=False, bucket=True, seed=0, ragged=True)
    return ResumableLoader(examples, sampler)
