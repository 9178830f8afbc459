"""The LightningDataModule of every task on a frame source: which examples, in which loaders, on which rank."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl

from longview.data.loader import Examples, ResumableLoader
from longview.data.sampler import BucketBatchSampler
from longview.data.source import Description, FrameSource, Part

__all__ = ["DataModule"]


class DataModule(pl.LightningDataModule):
    """Train, validation and test loaders of a task's examples.

    Training is shuffled and bucketed, every rank has the same number of batches, and the position resumes. Evaluation
    reads every example exactly once over all ranks, in order of length, without filling up: ranks may differ by one
    batch, so an evaluation step must not contain a collective (metrics reduce at the end). A part without videos has
    no loader, and Lightning then skips its loop.

    Needs ``Trainer(use_distributed_sampler=False)``: the batches are already this rank's.

    Args:
        source: The data.
        examples: Makes a part's examples, such as ``lambda source, part: AnticipationExamples(source, part, ...)``.
        batch_size: Training samples per rank and step.
        eval_batch_size: Validation and test samples per rank and step.
        num_workers: Reading processes per rank; 0 reads in the training process.
        bucket: Batches of similar length in training: less padding.
        seed: Seed of the order; of random examples too, if ``examples`` uses the same.
    """

    def __init__(
        self,
        source: FrameSource,
        examples: Callable[[FrameSource, Part], Examples[Any]],
        *,
        batch_size: int,
        eval_batch_size: int,
        num_workers: int = 0,
        bucket: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.source = source
        self.seed = seed
        self._examples = examples
        self._batch_size = batch_size
        self._eval_batch_size = eval_batch_size
        self._num_workers = num_workers
        self._bucket = bucket
        self._parts: dict[Part, Examples[Any]] = {}
        self._loaders: list[ResumableLoader[Any]] = []

    @property
    def description(self) -> Description:
        """What a model needs to know of the data."""
        return self.source.describe()

    def examples(self, part: Part) -> Examples[Any]:
        """The examples of a part; made once."""
        if part not in self._parts:
            self._parts[part] = self._examples(self.source, part)
        return self._parts[part]

    def _loader(self, part: Part) -> ResumableLoader[Any]:
        training = part == "train"
        trainer = self.trainer
        examples = self.examples(part)
        sampler = BucketBatchSampler(
            examples.lengths,
            self._batch_size if training else self._eval_batch_size,
            shuffle=training,
            bucket=self._bucket or not training,
            seed=self.seed,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
            ragged=not training,
        )
        loader = ResumableLoader(examples, sampler, num_workers=self._num_workers, seed=self.seed)
        self._loaders.append(loader)
        return loader

    def _optional(self, part: Part) -> ResumableLoader[Any] | list[ResumableLoader[Any]]:
        return self._loader(part) if self.source.videos(part) else []

    def train_dataloader(self) -> ResumableLoader[Any]:
        """Shuffled batches of the training part."""
        return self._loader("train")

    def val_dataloader(self) -> ResumableLoader[Any] | list[ResumableLoader[Any]]:
        """Every validation example once; an empty list if the source has no validation part."""
        return self._optional("val")

    def test_dataloader(self) -> ResumableLoader[Any] | list[ResumableLoader[Any]]:
        """Every test example once; an empty list if the source has no test part."""
        return self._optional("test")

    def teardown(self, stage: str) -> None:
        """Ends all reading processes."""
        while self._loaders:
            self._loaders.pop().close()
