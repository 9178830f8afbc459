"""Loaders: exact position, workers that obey only their trainer, and the module that hands them to Lightning."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import _utils

from longview.data.anticipation import AnticipationExamples
from longview.data.loader import ResumableLoader
from longview.data.module import DataModule
from longview.data.sampler import BucketBatchSampler, ExampleId


class Numbers:
    """Examples 0..n-1; a batch is the list of their ids and the process that read it."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def lengths(self, epoch: int) -> list[int]:
        return [(7 * i + epoch) % 13 for i in range(self.n)]

    def __getitem__(self, example: ExampleId) -> tuple[int, int]:
        return tuple(example)  # type: ignore[return-value]

    def collate(self, examples: list[tuple[int, int]]) -> list[tuple[int, int]]:
        return examples


class Pids(Numbers):
    def collate(self, examples: list[tuple[int, int]]) -> int:  # type: ignore[override]
        return os.getpid()


class Stuck(Numbers):
    """Example 3 takes longer than anybody waits."""

    def __getitem__(self, example: ExampleId) -> tuple[int, int]:
        if example.index == 3:
            time.sleep(60)
        return os.getpid(), example.index


def loader_of(examples, workers: int = 0, batch_size: int = 4, **settings) -> ResumableLoader:
    sampler = BucketBatchSampler(examples.lengths, batch_size, shuffle=settings.pop("shuffle", True), **settings)
    return ResumableLoader(examples, sampler, num_workers=workers)


@pytest.fixture
def open_loader():
    loaders: list[ResumableLoader] = []

    def make(*args, **kwargs) -> ResumableLoader:
        loaders.append(loader_of(*args, **kwargs))
        return loaders[-1]

    yield make
    for loader in loaders:
        loader.close()


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_do_not_change_the_batches(open_loader):
    plain, two = open_loader(Numbers(30)), open_loader(Numbers(30), workers=2)
    for epoch in (0, 1):
        plain.set_epoch(epoch)
        two.set_epoch(epoch)
        assert list(plain) == list(two)


@pytest.mark.parametrize("workers", [0, 2])
def test_position_counts_what_the_loop_got_not_what_workers_read_ahead(open_loader, workers):
    whole = list(open_loader(Numbers(30)))
    loader = open_loader(Numbers(30), workers=workers)
    batches = iter(loader)
    got = [next(batches) for _ in range(3)]
    assert loader.state_dict()["batches"] == 3
    for _ in range(2):  # two stops, the second with the other worker count
        again = open_loader(Numbers(30), workers=2 - workers)
        again.load_state_dict(loader.state_dict())
        assert len(again) == 8
        loader, batches = again, iter(again)
        again.set_epoch(0)
        got.append(next(batches))
    assert got + list(batches) == whole
    assert list(loader) == whole  # the next time from the start


def test_fetching_waits_for_the_epoch(open_loader):
    """Lightning makes the iterator of a resumed run before it says which epoch it is."""
    loader = open_loader(Numbers(30))
    batches = iter(loader)
    loader.set_epoch(4)
    assert {epoch for batch in batches for epoch, _ in batch} == {4}


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_leaves_the_global_random_stream_alone(open_loader, workers):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    list(open_loader(Numbers(30), workers=workers))
    assert torch.equal(torch.rand(3), expected)


def test_workers_ignore_the_signals_of_a_job_step(open_loader):
    """SLURM signals every process of a step: an inherited handler must not run in a worker, and none may die of it."""
    ran = []
    before = signal.signal(signal.SIGUSR1, lambda *_: ran.append(os.getpid()))
    try:
        loader = open_loader(Pids(400), workers=2, batch_size=1)
        batches = iter(loader)
        pids = {next(batches) for _ in range(4)}
        assert len(pids) == 2
        assert os.getpid() not in pids
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
            for pid in pids:
                os.kill(pid, number)
        assert {next(batches) for _ in range(100)} == pids
        os.kill(os.getpid(), signal.SIGUSR1)
        assert ran == [os.getpid()]  # the trainer still hears it
    finally:
        signal.signal(signal.SIGUSR1, before)


def hurry() -> None:
    """Have torch look every half second, not every five, whether the other process is still there."""
    _utils.MP_STATUS_CHECK_INTERVAL = _utils.worker.MP_STATUS_CHECK_INTERVAL = 0.5


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(_utils, "MP_STATUS_CHECK_INTERVAL", _utils.MP_STATUS_CHECK_INTERVAL)  # put back afterwards
    monkeypatch.setattr(_utils.worker, "MP_STATUS_CHECK_INTERVAL", _utils.worker.MP_STATUS_CHECK_INTERVAL)
    hurry()


@pytest.mark.usefixtures("hurried")
def test_close_ends_even_a_stuck_worker(open_loader):
    loader = open_loader(Stuck(8), workers=1, batch_size=1, shuffle=False, bucket=False)
    batches = iter(loader)
    pid = next(batches)[0][0]
    next(batches)
    next(batches)  # the worker is now in example 3
    loader.close()
    assert not alive(pid)


def test_workers_do_not_outlive_a_killed_trainer(tmp_path):
    script = tmp_path / "trainer.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys, time
            sys.path.insert(0, {str(Path(__file__).parent)!r})
            from test_module import Pids, hurry, loader_of
            hurry()
            batches = iter(loader_of(Pids(100), workers=2, batch_size=1))
            print(next(batches), next(batches), flush=True)
            time.sleep(600)
            """
        )
    )
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(p) for p in parent.stdout.readline().split()]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 30
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(map(alive, pids))


def data_module(source, **settings) -> DataModule:
    return DataModule(
        source,
        lambda source, part: AnticipationExamples(source, part, observations=[0.2, 0.3]),
        **{"batch_size": 4, "eval_batch_size": 3} | settings,
    )


def test_module_serves_every_part(memory_source):
    data = data_module(memory_source({"train": [50] * 9, "val": [60, 40], "test": [30] * 5}, stride=3))
    assert data.description.num_classes == 5
    train = [v for batch in data.train_dataloader() for v in batch.videos]
    assert sorted(train) == sorted([*data.source.videos("train")] * 2)
    val = list(data.val_dataloader())
    assert [len(b) for b in val] == [3, 1]
    assert val[0].labels is not None
    assert sum(len(b) for b in data.test_dataloader()) == 10


def test_a_source_without_a_part_has_no_loader_for_it(memory_source):
    assert data_module(memory_source({"train": [50]})).val_dataloader() == []
    assert data_module(memory_source({"train": [50]})).test_dataloader() == []


def test_ranks_share_the_samples(memory_source):
    source = memory_source({"train": list(range(40, 61)), "test": [30] * 5})
    seen: dict[str, list[str]] = {"train": [], "test": []}
    steps = set()
    for rank in range(2):
        data = data_module(source)
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2)  # type: ignore[assignment]
        train = list(data.train_dataloader())
        steps.add(len(train))
        seen["train"] += [v for b in train for v in b.videos]
        seen["test"] += [v for b in data.test_dataloader() for v in b.videos]
    assert len(steps) == 1
    for part, videos in seen.items():
        assert sorted(videos) == sorted([*source.videos(part)] * 2)


def test_teardown_ends_the_workers(memory_source):
    data = data_module(memory_source({"train": [50] * 9}), num_workers=2)
    loader = data.train_dataloader()
    next(iter(loader))
    pids = [w.pid for w in loader._iterator._workers]
    assert all(map(alive, pids))
    data.teardown("fit")
    assert not any(map(alive, pids))
