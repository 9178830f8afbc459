"""A small pool of CPU threads, each of which runs its PyTorch operations alone (one intra-op thread).

PyTorch shares out every single operation and waits for the slowest thread at its end. Where an operation takes tens of
microseconds, and all the more where the cores are shared with other processes, those meetings cost more than they gain:
here independent jobs are shared out instead, with one meeting per call.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import torch

__all__ = ["run_parallel"]


class _Pool:
    """Grows to the largest number of threads asked for; made on first use."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.size = 0
        self.executor: ThreadPoolExecutor | None = None

    def get(self, size: int) -> ThreadPoolExecutor:
        with self.lock:
            if self.executor is None or self.size < size:
                if self.executor is not None:
                    self.executor.shutdown(wait=False)
                self.executor, self.size = self._start(size), size
            return self.executor

    @staticmethod
    def _start(size: int) -> ThreadPoolExecutor:
        threads, ready = torch.get_num_threads(), threading.Barrier(size + 1)

        def limit() -> None:
            torch.get_num_threads()  # PyTorch gives a new thread the default at its first use, which must not come later
            torch.set_num_threads(1)  # lasts for this thread; as the default of later threads it is put back below
            ready.wait()

        executor = ThreadPoolExecutor(size, thread_name_prefix="longview-scan")
        for _ in range(size):
            executor.submit(limit)
        ready.wait()
        torch.set_num_threads(threads)
        return executor


_pool = _Pool()


def _forget() -> None:
    """A forked child inherits the pool object, but not its threads."""
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def run_parallel(jobs: Sequence[Callable[[], None]], workers: int) -> None:
    """Run independent jobs in inference mode on ``workers`` pool threads (0: in this thread); the first error is raised."""
    todo, lock = iter(jobs), threading.Lock()

    def work() -> None:
        with torch.inference_mode():  # spares every small operation the bookkeeping of autograd
            while True:
                with lock:
                    job = next(todo, None)
                if job is None:
                    return
                job()

    if workers == 0:
        work()
        return
    executor = _pool.get(workers)
    futures = [executor.submit(work) for _ in range(workers)]
    wait(futures)
    for future in futures:
        future.result()
