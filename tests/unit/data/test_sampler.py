"""The order of samples: complete, reproducible, the same for any number of ranks, and resumable."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from longview.data.sampler import BucketBatchSampler, ResumeError


def lengths_of(n: int, spread: int = 1000):
    return lambda epoch: np.random.default_rng([9, epoch]).integers(10, 10 + spread, n)


def make(n: int, batch_size: int, *, shuffle: bool = True, **settings) -> BucketBatchSampler:
    return BucketBatchSampler(lengths_of(n), batch_size, shuffle=shuffle, **settings)


@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [4, 5, 16, 17, 31, 64, 99])
@pytest.mark.parametrize("bucket", [True, False])
def test_training_covers_every_sample_once_with_equal_steps(n, world, bucket):
    ranks = [make(n, 4, bucket=bucket, rank=r, world_size=world, pool=2) for r in range(world)]
    for epoch in range(2):
        plans = [s.batches(epoch) for s in ranks]
        assert {len(p) for p in plans} == {len(ranks[0])}
        assert all(len(batch) >= 1 for plan in plans for batch in plan)
        seen = Counter(e.index for plan in plans for batch in plan for e in batch)
        assert seen == dict.fromkeys(range(n), 1)
        for step in zip(*plans, strict=True):
            sizes = [len(b) for b in step]
            assert max(sizes) - min(sizes) <= 1
            assert max(sizes) <= 5


@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [1, 3, 8, 17, 33])
def test_evaluation_covers_every_sample_once_without_filling_up(n, world):
    ranks = [make(n, 4, shuffle=False, ragged=True, rank=r, world_size=world) for r in range(world)]
    plans = [s.batches(0) for s in ranks]
    assert [len(s) for s in ranks] == [len(p) for p in plans]
    assert Counter(e.index for plan in plans for batch in plan for e in batch) == dict.fromkeys(range(n), 1)


def test_fewer_training_samples_than_ranks_is_refused():
    with pytest.raises(ResumeError, match="2 training examples cannot be spread over 3 ranks"):
        make(2, 4, rank=0, world_size=3)


@pytest.mark.parametrize("n", [96, 101, 108])
def test_global_order_does_not_depend_on_the_number_of_ranks(n):
    reference = [b.tolist() for b in make(n, 12).global_batches(5)]
    for world, size in ((2, 6), (3, 4), (4, 3)):
        ranks = [make(n, size, rank=r, world_size=world) for r in range(world)]
        assert [b.tolist() for b in ranks[0].global_batches(5)] == reference
        for step, expected in zip(zip(*(s.batches(5) for s in ranks), strict=True), reference, strict=True):
            assert sorted(e.index for b in step for e in b) == sorted(expected)


def test_order_changes_with_epoch_and_seed_only():
    assert make(50, 4).batches(1) == make(50, 4).batches(1)
    assert make(50, 4).batches(1) != make(50, 4, seed=1).batches(1)
    orders = [[e.index for b in make(50, 4).batches(k) for e in b] for k in (1, 2)]
    assert orders[0] != orders[1]
    assert {e.epoch for b in make(50, 4).batches(7) for e in b} == {7}


def test_buckets_save_padding_and_stay_random():
    def padding(sampler: BucketBatchSampler) -> float:
        lengths = lengths_of(1024)(0)
        batches = [lengths[[e.index for e in b]] for b in sampler.batches(0)]
        return 1 - sum(b.sum() for b in batches) / sum(b.max() * len(b) for b in batches)

    assert padding(make(1024, 16, bucket=False)) > 0.3
    assert padding(make(1024, 16)) < 0.1
    first = [lengths_of(1024)(0)[b[0]] for b in make(1024, 16).global_batches(0)]
    assert np.abs(np.corrcoef(first, np.arange(len(first)))[0, 1]) < 0.5  # batches are not in order of length


def test_ranks_get_equal_shares_of_length():
    ranks = [make(512, 8, rank=r, world_size=4) for r in range(4)]
    lengths = lengths_of(512)(0)
    work = np.array([[lengths[[e.index for e in b]].sum() for b in s.batches(0)] for s in ranks])
    assert float((work.max(0) / work.min(0)).mean()) < 1.1


def test_unshuffled_unbucketed_keeps_the_order_of_the_examples():
    sampler = make(10, 4, shuffle=False, bucket=False, ragged=True)
    assert [[e.index for e in b] for b in sampler] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_drop_last_drops_a_random_rest():
    dropped = []
    for epoch in range(6):
        batches = make(18, 4, drop_last=True).batches(epoch)
        assert [len(b) for b in batches] == [4] * 4
        dropped.append(frozenset(range(18)) - {e.index for b in batches for e in b})
    assert len(set(dropped)) > 1


def test_position_continues_with_the_next_batch():
    whole = make(50, 4)
    whole.set_epoch(3)
    expected = list(whole)
    half = make(50, 4)
    half.set_epoch(3)
    half.delivered = 5
    again = make(50, 4)
    again.load_state_dict(half.state_dict())
    again.set_epoch(3)  # the trainer says the epoch after loading
    assert len(again) == len(whole) == 13
    assert again.begin() == 5
    assert list(again) == expected[5:]
    assert again.begin() == 0  # a position is used once


def test_a_position_of_another_epoch_is_forgotten():
    sampler = make(50, 4)
    sampler.load_state_dict({**sampler.state_dict(), "epoch": 3, "batches": 13})
    sampler.set_epoch(4)
    assert sampler.begin() == 0


@pytest.mark.parametrize("change", [{"seed": 5}, {"batch_size": 5}, {"n": 51}, {"bucket": False}, {"pool": 3}])
def test_a_position_in_mid_epoch_is_refused_with_other_settings(change):
    settings = {"n": 50, "batch_size": 4} | change
    old = make(50, 4)
    new = make(**settings)
    new.load_state_dict(old.state_dict())  # at the start of an epoch nothing is lost
    old.delivered = 2
    with pytest.raises(ResumeError, match="would be repeated or lost"):
        new.load_state_dict(old.state_dict())


def test_another_split_into_ranks_resumes_at_the_same_global_position():
    one = make(48, 8)
    one.delivered = 2
    ranks = [make(48, 4, rank=r, world_size=2) for r in range(2)]
    for sampler in ranks:
        sampler.load_state_dict(one.state_dict())
        sampler.begin()
    rest = sorted(e.index for s in ranks for b in s for e in b)
    assert rest == sorted(e.index for b in one.batches(0)[2:] for e in b)
