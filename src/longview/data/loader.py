"""A DataLoader that knows how many batches the training loop has had, and whose workers leave signals to the trainer."""

from __future__ import annotations

import atexit
import random
import signal
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from longview.data.sampler import BucketBatchSampler, ExampleId

__all__ = ["Examples", "ResumableLoader"]

Batch = TypeVar("Batch")
_Batch = TypeVar("_Batch", covariant=True)

IGNORED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""What SLURM or a terminal sends to every process of a job step, and what only the training process may act on."""


class Examples(Protocol[_Batch]):
    """A data set addressed by :class:`ExampleId`: an example is a pure function of its id (and of a seed it was made with)."""

    def __len__(self) -> int: ...

    def __getitem__(self, example: ExampleId, /) -> Any: ...

    def lengths(self, epoch: int, /) -> Sequence[int] | NDArray[np.int64]:
        """Padded length of every example of an epoch, without reading the examples."""
        ...

    def collate(self, examples: Sequence[Any], /) -> _Batch: ...


def _start_worker(worker: int, *, seed: int, epoch: int) -> None:
    """Runs in a new worker: ignore what is meant for the trainer, seed the global generators.

    The trainer's Python handlers were inherited by fork; a worker that ran them would save or requeue by itself.
    """
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED_SIGNALS)
    # Examples draw from their id; this covers code that uses the global generators all the same.
    state = np.random.SeedSequence([seed, epoch, worker]).generate_state(3)
    random.seed(int(state[0]))
    np.random.seed(int(state[1]))  # noqa: NPY002
    torch.manual_seed(int(state[2]))


@contextmanager
def _signals_held() -> Iterator[None]:
    """Blocks the signals while workers start, so that none meets an inherited handler before it is replaced."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class ResumableLoader(Generic[Batch]):
    """Batches of a :class:`BucketBatchSampler`, read by workers, with a position that resumes at exactly the next batch.

    The position counts batches *delivered* to the loop; what workers have read ahead does not count. Fetching begins
    with the first ``next``, not with ``iter``: Lightning calls ``iter`` before it tells the epoch. ``len`` is always
    that of a whole epoch, also after a restored position, because Lightning compares it with its own batch counter,
    which is restored too.

    Lightning (2.4 to 2.6) sees a stateful loader in ``state_dict``/``load_state_dict``, sets the epoch through
    ``sampler`` and stops workers through ``_iterator``. It must not wrap the sampler:
    ``Trainer(use_distributed_sampler=False)``.

    Workers ignore SIGINT, SIGTERM, SIGUSR1 and SIGUSR2. They end when told to, or within seconds of the trainer's death
    (torch's watchdog); torch would end a stuck one by SIGTERM, which is ignored here, so :meth:`close` kills it.

    Args:
        examples: What to read and how to make a batch of it.
        sampler: Order and position.
        num_workers: Reading processes; 0 reads in this process. They persist over epochs.
        prefetch_factor: Batches each worker reads ahead.
        pin_memory: Page-locked batches; None: where there is a CUDA device.
        seed: Seed of the workers' global generators; torch's global generator is never drawn from.
    """

    def __init__(
        self,
        examples: Examples[Batch],
        sampler: BucketBatchSampler,
        *,
        num_workers: int = 0,
        prefetch_factor: int = 2,
        pin_memory: bool | None = None,
        seed: int = 0,
    ) -> None:
        self.dataset = examples
        self.batch_sampler = sampler
        self.num_workers = num_workers
        self._seed = seed
        # Its own generator: DataLoader draws a base seed per iteration, which would otherwise shift the model's random
        # stream, and shift it again on every resume.
        self._loader: DataLoader[Any] = DataLoader(
            examples,  # type: ignore[arg-type]
            batch_sampler=sampler,
            num_workers=num_workers,
            collate_fn=examples.collate,
            pin_memory=torch.cuda.is_available() if pin_memory is None else pin_memory,
            prefetch_factor=prefetch_factor if num_workers else None,
            persistent_workers=num_workers > 0,
            generator=torch.Generator().manual_seed(seed),
        )
        _OPEN.add(self)

    @property
    def sampler(self) -> BucketBatchSampler:
        """The batch sampler; Lightning looks here for ``set_epoch``."""
        return self.batch_sampler

    @property
    def batch_size(self) -> int:
        """Samples per batch of this rank."""
        return self.batch_sampler.batch_size

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch that the next iteration reads."""
        self.batch_sampler.set_epoch(epoch)

    def __len__(self) -> int:
        """Batches of this rank in a whole epoch."""
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Batch]:
        """Batches from the restored position, if there is one in this epoch, else from the first."""
        sampler = self.batch_sampler
        sampler.begin()
        with _signals_held() if self.num_workers else nullcontext():
            self._loader.worker_init_fn = partial(_start_worker, seed=self._seed, epoch=sampler.epoch)
            batches = iter(self._loader)
        for batch in batches:
            sampler.delivered += 1  # before the loop sees it: a state taken during the step includes this batch
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Epoch, batches delivered and what the order depends on."""
        return self.batch_sampler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues at a saved position; raises :class:`~longview.data.sampler.ResumeError` if it is not of this data."""
        self.batch_sampler.load_state_dict(state)

    @property
    def _iterator(self) -> Any:
        """torch's running iterator; Lightning reads and clears it to stop workers."""
        return self._loader._iterator

    @_iterator.setter
    def _iterator(self, value: None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers, by force if they do not come back within torch's time-out (5 s each)."""
        iterator, self._loader._iterator = self._loader._iterator, None
        workers = list(getattr(iterator, "_workers", ()))
        if workers:
            iterator._shutdown_workers()  # type: ignore[union-attr]
        for worker in workers:
            if worker.is_alive():
                worker.kill()
                worker.join()


_OPEN: weakref.WeakSet[ResumableLoader[Any]] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """A worker that ignores SIGTERM and is stuck would keep the interpreter from leaving: multiprocessing joins it for ever."""
    for loader in list(_OPEN):
        loader.close()
