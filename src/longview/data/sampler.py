"""Batches as a pure function of (seed, epoch): of similar length, split over ranks, with a position to resume at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from longview.errors import LongviewError

__all__ = ["BucketBatchSampler", "ExampleId", "ResumeError"]


class ExampleId(NamedTuple):
    """Addresses one example: everything random about it is drawn from ``default_rng([seed, epoch, index])``."""

    epoch: int
    index: int  # type: ignore[assignment]


class ResumeError(LongviewError):
    """A saved position does not belong to this data, seed or batch size, so going on would repeat or lose samples."""


class BucketBatchSampler(Sampler[list[ExampleId]]):
    """Yields this rank's batches of one epoch as lists of :class:`ExampleId`.

    One order of *global* batches exists per (seed, epoch). It is made without looking at rank or worker count:
    shuffle all samples, cut them into pools of ``pool`` global batches, sort each pool by length (so that a batch
    needs little padding), cut the pools into global batches of ``batch_size * world_size``, shuffle the batches. Rank
    r then takes every ``world_size``-th sample of each global batch, longest first, so that the ranks' lengths
    balance.

    With the same global batch size the sequence of global batches is the same for any number of ranks, with one
    exception: a last global batch of fewer samples than ranks (below).

    The last global batch may be short.
      * ``ragged=False`` (training): every rank has the same number of batches and at least one sample in each, else a
        collective in the step would hang. The short batch is split as evenly as possible; if it had fewer samples than
        there are ranks they join the batch before it, which then is at most one sample per rank larger.
        No sample is lost or repeated.
      * ``ragged=True`` (evaluation): every sample exactly once as well, but ranks without a sample of the short batch
        have one batch less. There must be no collective inside an evaluation step.

    Args:
        lengths: Padded length of every example of an epoch, ``lengths(epoch) -> [N]``; only their order matters.
        batch_size: Samples per rank and batch.
        shuffle: Shuffle samples and batches; without it the order is that of the examples (or of length, if
        ``bucket``).
        bucket: Put examples of similar length together.
        seed: Seed of the order.
        rank: This process' rank.
        world_size: Number of ranks.
        drop_last: Leave out the last, short global batch (a random one of each epoch when shuffling).
        ragged: Allow ranks to have different numbers of batches (evaluation only).
        pool: Global batches per pool; larger means less padding and less randomness.

    Raises:
        ResumeError: There are fewer samples than ranks and ``ragged`` is False, or a foreign state is loaded.
    """

    def __init__(
        self,
        lengths: Callable[[int], Sequence[int] | NDArray[np.int64]],
        batch_size: int,
        *,
        shuffle: bool,
        bucket: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
        ragged: bool = False,
        pool: int = 64,
    ) -> None:
        if batch_size < 1 or world_size < 1 or pool < 1 or not 0 <= rank < world_size:
            raise ValueError(
                f"batch_size, world_size and pool must be at least 1 and 0 <= rank < world_size; "
                f"got {batch_size=}, {world_size=}, {pool=}, {rank=}"
            )
        self._lengths = lengths
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.bucket = bucket
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.drop_last = drop_last
        self.ragged = ragged
        self.pool = pool
        self.epoch = 0
        self.delivered = 0
        """Batches of the current epoch handed to the training loop (the loader counts, not the prefetching workers)."""
        self._pending: int | None = None  # a loaded position, used up by the next iteration
        self._samples = len(lengths(0))
        if not ragged and not drop_last and 0 < self._samples < world_size:
            raise ResumeError(
                f"{self._samples} training examples cannot be spread over {world_size} ranks: use at most {self._samples}"
            )

    @property
    def global_batch_size(self) -> int:
        """Samples per step over all ranks."""
        return self.batch_size * self.world_size

    def _sizes(self) -> tuple[int, int]:
        """Number of global batches per epoch, and samples that join the last one because there are fewer than ranks."""
        full, rest = divmod(self._samples, self.global_batch_size)
        if self.drop_last or rest == 0:
            return full, 0
        if not self.ragged and rest < self.world_size:
            return full, rest
        return full + 1, 0

    def __len__(self) -> int:
        """Batches of this rank in a whole epoch; the same in every epoch and unchanged by a restored position."""
        batches, _ = self._sizes()
        rest = self._samples % self.global_batch_size
        short = bool(rest) and not self.drop_last and self.ragged
        return batches - 1 if short and self.rank >= rest else batches

    def global_batches(self, epoch: int) -> list[NDArray[np.int64]]:
        """Example indices of every global batch of an epoch, in order; longest first within a batch if bucketed."""
        size = self.global_batch_size
        lengths = np.asarray(self._lengths(epoch), dtype=np.int64)
        if len(lengths) != self._samples:
            raise ValueError(f"lengths({epoch}) has {len(lengths)} entries, lengths(0) had {self._samples}")
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(self._samples) if self.shuffle else np.arange(self._samples)
        if self.drop_last:  # before sorting, else always the longest or shortest would go
            order = order[: self._samples // size * size]
        batches: list[NDArray[np.int64]] = []
        # Without shuffling there is no randomness to keep, so one pool: the whole set sorted needs the least padding.
        pool = self.pool * size if self.shuffle else max(len(order), 1)
        for start in range(0, len(order), pool):
            part = order[start : start + pool]
            if self.bucket:
                part = part[np.argsort(-lengths[part], kind="stable")]
            batches.extend(part[i : i + size] for i in range(0, len(part), size))
        if self._sizes()[1]:
            short = batches.pop()
            batches[-1] = np.concatenate([batches[-1], short])
        if self.shuffle:
            batches = [batches[i] for i in rng.permutation(len(batches))]
        return batches

    def batches(self, epoch: int) -> list[list[ExampleId]]:
        """This rank's batches of an epoch."""
        mine = (batch[self.rank :: self.world_size] for batch in self.global_batches(epoch))
        return [[ExampleId(epoch, int(i)) for i in batch] for batch in mine if len(batch)]

    def begin(self) -> int:
        """Starts an iteration and returns its first batch: a loaded position of this epoch if there is one, else 0."""
        self.delivered, self._pending = self._pending or 0, None
        return self.delivered

    def __iter__(self) -> Iterator[list[ExampleId]]:
        """Batches of the current epoch from the position on."""
        return iter(self.batches(self.epoch)[self.delivered :])

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch; a position of another epoch is forgotten, one of this epoch stays."""
        if epoch != self.epoch:
            self.epoch, self.delivered, self._pending = epoch, 0, None

    def _identity(self) -> dict[str, Any]:
        """What must agree for a position in the middle of an epoch to mean the same samples."""
        return {
            "seed": self.seed,
            "samples": self._samples,
            "global_batch_size": self.global_batch_size,
            "global_batches": self._sizes()[0],
            "shuffle": self.shuffle,
            "bucket": self.bucket,
            "drop_last": self.drop_last,
            "pool": self.pool,
        }

    def state_dict(self) -> dict[str, Any]:
        """Epoch, batches delivered, and what the order depends on; plain numbers only."""
        delivered = self.delivered if self._pending is None else self._pending
        return {"epoch": self.epoch, "batches": delivered, **self._identity()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Puts the next iteration at the saved position.

        Raises:
            ResumeError: The position is inside an epoch and was made with another seed, data size or global batch size.
        """
        batches = int(state["batches"])
        differs = [f"{k}: saved {state.get(k)}, now {v}" for k, v in self._identity().items() if state.get(k) != v]
        if batches and differs:
            raise ResumeError(
                "the checkpoint was made in the middle of an epoch with other data settings, so some samples would be "
                f"repeated or lost; restore the old settings or resume from an end-of-epoch checkpoint ({'; '.join(differs)})"
            )
        self.epoch, self._pending, self.delivered = int(state["epoch"]), batches, batches
