"""Examples of anticipation: what is observed, what is asked, and that nothing but (seed, epoch, index) decides it."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from lightning.pytorch.utilities import move_data_to_device  # type: ignore[attr-defined]
from lightning_utilities.core.apply_func import apply_to_collection

from longview.data.anticipation import IGNORE, AnticipationExamples
from longview.data.sampler import ExampleId
from longview.errors import DataError


def test_evaluation_follows_the_published_truncation(memory_source):
    """int((a + b) * L) in this order: of 105 frames 84, where int(a * L) + int(b * L) would be one short."""
    example = AnticipationExamples(memory_source({"test": [105]}), "test", observations=[0.3])[ExampleId(0, 0)]
    assert len(example.target) == 84
    assert len(example.observed) == 31
    assert example.labels is not None
    assert len(example.labels) == 105


@pytest.mark.parametrize(("length", "stride", "a"), [(130, 3, 0.2), (1373, 3, 0.3), (9741, 6, 0.2), (101, 7, 0.3)])
def test_repeated_predictions_cover_every_scored_frame(memory_source, length, stride, a):
    source = memory_source({"test": [length]}, stride=stride)
    example = AnticipationExamples(source, "test", observations=[a], future=0.5)[ExampleId(0, 0)]
    end = int((a + 0.5) * length)
    assert len(np.repeat(example.target, stride)) >= end
    assert len(example.target) == -(-end // stride)
    labels = source.labels("test000")
    np.testing.assert_array_equal(example.target, labels[:end][::stride])
    np.testing.assert_array_equal(example.observed[:, 0] - 1, np.arange(int(a * length))[::stride])


def test_the_future_is_never_read(memory_source):
    source = memory_source({"train": [100]}, stride=3)
    AnticipationExamples(source, "train", observations=[0.2])[ExampleId(0, 0)]
    assert source.reads == [("train000", 20, 3)]


def test_each_training_video_once_per_fraction_and_epoch(memory_source):
    source = memory_source({"train": [100, 200, 300]})
    examples = AnticipationExamples(source, "train", observations=[0.2, 0.3, 0.5])
    seen = Counter((e.video, e.observation) for e in (examples[ExampleId(0, i)] for i in range(len(examples))))
    assert seen == {(v, a): 1 for v in source.videos("train") for a in (0.2, 0.3, 0.5)}


def test_random_fraction_has_the_asked_probability_and_interval(memory_source):
    source = memory_source({"train": [1000] * 400})
    examples = AnticipationExamples(source, "train", observations=[0.2, 0.3, 0.5], random_observation=0.4, seed=3)
    drawn = [examples.observation(ExampleId(0, i)) for i in range(len(examples))]
    random = [a for a in drawn if a not in (0.2, 0.3, 0.5)]
    assert abs(len(random) / len(drawn) - 0.4) < 0.05
    assert min(random) >= 0.15
    assert max(random) <= 0.40
    assert min(random) < 0.17
    assert max(random) > 0.38


def test_an_example_depends_on_seed_epoch_and_index_alone(memory_source):
    source = memory_source({"train": [500] * 20})

    def fractions(seed: int, epoch: int) -> list[float]:
        examples = AnticipationExamples(source, "train", observations=[0.2], random_observation=0.9, seed=seed)
        np.random.seed(epoch)  # noqa: NPY002 - the global state must not matter
        return [examples.observation(ExampleId(epoch, i)) for i in reversed(range(20))]

    assert fractions(1, 4) == fractions(1, 4)
    assert fractions(1, 4) != fractions(1, 5)
    assert fractions(1, 4) != fractions(2, 4)


def test_evaluation_is_never_random(memory_source):
    source = memory_source({"test": [500] * 20})
    examples = AnticipationExamples(source, "test", observations=[0.2, 0.3], random_observation=0.9)
    assert {examples.observation(ExampleId(7, i)) for i in range(40)} == {0.2, 0.3}


def test_lengths_agree_with_the_examples_and_read_no_feature(memory_source):
    source = memory_source({"train": [7, 130, 999, 1000, 1001]}, stride=3)
    examples = AnticipationExamples(source, "train", observations=[0.2, 0.5], random_observation=0.5)
    lengths = examples.lengths(2)
    examples.lengths(3)
    assert source.reads == []
    assert source.label_reads == 5
    assert lengths.tolist() == [len(examples[ExampleId(2, i)].target) for i in range(10)]


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_a_very_short_video_still_shows_one_frame(memory_source, length):
    example = AnticipationExamples(memory_source({"test": [length]}, stride=3), "test", observations=[0.2])[ExampleId(0, 0)]
    assert len(example.observed) == 1
    assert len(example.target) >= 1


def test_a_video_without_frames_is_an_error_that_names_it(memory_source):
    with pytest.raises(DataError, match="train000"):
        AnticipationExamples(memory_source({"train": [0]}), "train", observations=[0.2]).lengths(0)


def test_collate_pads_masks_and_sorts(memory_source):
    source = memory_source({"test": [40, 100, 40, 60]}, stride=2)
    examples = AnticipationExamples(source, "test", observations=[0.25], future=0.5)
    batch = examples.collate([examples[ExampleId(0, i)] for i in range(4)])
    assert batch.videos == ["test001", "test003", "test000", "test002"]  # longest first, equal ones keep their order
    assert len(batch) == 4
    assert batch.lengths.tolist() == [100, 60, 40, 40]
    assert batch.valid.sum(1).tolist() == [38, 23, 15, 15]
    assert batch.past.sum(1).tolist() == [13, 8, 5, 5]
    assert bool((batch.target[~batch.valid] == IGNORE).all())
    assert bool((batch.target[batch.valid] >= 0).all())
    assert bool((batch.observed[~batch.past] == 0).all())
    assert bool((batch.observed[batch.past][:, 0] > 0).all())
    assert not bool((batch.past & ~batch.valid).any())
    assert batch.observed.dtype == torch.float32
    assert batch.target.dtype == torch.int64
    assert batch.labels is not None
    assert batch.labels.shape == (4, 100)
    assert batch.labels[2, 40:].unique().tolist() == [IGNORE]
    assert batch.observation.tolist() == [0.25] * 4
    assert batch.stride == 2


def test_training_batches_carry_no_full_rate_labels(memory_source):
    examples = AnticipationExamples(memory_source({"train": [40]}), "train", observations=[0.2])
    assert examples.collate([examples[ExampleId(0, 0)]]).labels is None


def test_batch_moves_between_devices_and_processes(memory_source):
    examples = AnticipationExamples(memory_source({"test": [40, 20]}), "test", observations=[0.2])
    batch = examples.collate([examples[ExampleId(0, i)] for i in range(2)])
    moved = move_data_to_device(batch, torch.device("meta"))
    assert moved.observed.device.type == "meta"
    assert moved.labels.device.type == "meta"
    assert moved.videos == batch.videos
    assert batch.observed.device.type == "cpu"
    half = apply_to_collection(batch, torch.Tensor, lambda t: t.half() if t.is_floating_point() else t)  # mixed precision
    assert half.observed.dtype == torch.float16
    again = pickle.loads(pickle.dumps(batch))
    assert torch.equal(again.target, batch.target)
