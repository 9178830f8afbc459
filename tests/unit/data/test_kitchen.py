"""The generated kitchen: the same everywhere, quick, and with a future that can be foreseen to a degree."""

from __future__ import annotations

import hashlib
import time

import numpy as np
import pytest

from longview.data.kitchen import Kitchen
from longview.data.kitchen_grammar import BACKGROUND, CONFUSABLE
from longview.data.segments import segments
from longview.data.source import FrameSource, Part
from longview.errors import DataError

PARTS: tuple[Part, ...] = ("train", "val", "test")


def everything(kitchen: Kitchen) -> list[str]:
    return [video for part in PARTS for video in kitchen.videos(part)]


def test_it_is_a_source_with_readable_names() -> None:
    kitchen = Kitchen(train_videos=3, val_videos=0, test_videos=2)
    assert isinstance(kitchen, FrameSource)
    assert kitchen.videos("train")[2] == "kitchen-train-0002"
    assert kitchen.videos("val") == ()
    description = kitchen.describe()
    assert description.parts == {"train": 3, "test": 2}
    assert 14 <= description.num_classes <= 18
    assert description.class_names[0] == BACKGROUND
    assert sorted(name for group in CONFUSABLE for name in group) == sorted(description.class_names)
    assert description.input_dim == 32
    assert Kitchen(observe="labels").describe().input_dim == description.num_classes


def test_the_default_has_videos_of_forty_to_seventy_steps_and_every_class() -> None:
    problems, statistics = Kitchen().verify()
    assert problems == []
    assert statistics is not None
    assert statistics.videos == 232
    assert 450 < statistics.frames / statistics.videos < 550, "mean_length is 500"
    assert 40 < statistics.frames / statistics.videos / Kitchen().stride < 70
    assert min(statistics.class_frames.values()) > 500
    assert 12 < statistics.segments / statistics.videos < 25


def test_mean_length_is_the_mean_length() -> None:
    kitchen = Kitchen(train_videos=400, mean_length=250)
    lengths = [len(kitchen.labels(video)) for video in kitchen.videos("train")]
    assert np.mean(lengths) == pytest.approx(250, rel=0.08)
    assert np.std(lengths) > 40, "people have their own pace"


def test_all_of_it_takes_less_than_half_a_second() -> None:
    kitchen = Kitchen()
    begin = time.process_time()
    for video in everything(kitchen):
        kitchen.features(video, len(kitchen.labels(video)), kitchen.stride)
    assert time.process_time() - begin < 0.5


def test_a_seed_fixes_every_frame_and_another_changes_them() -> None:
    first, again, other = Kitchen(), Kitchen(), Kitchen(seed=1)
    video = "kitchen-test-0003"
    np.testing.assert_array_equal(first.labels(video), again.labels(video))
    np.testing.assert_array_equal(first.features(video, 100, 10), again.features(video, 100, 10))
    assert first.labels(video).tolist() != other.labels(video).tolist()


def test_labels_are_those_of_every_other_machine() -> None:
    """The digest was written once; a change of it changes every number ever measured on the kitchen."""
    kitchen = Kitchen()
    digest = hashlib.sha256()
    for video in everything(kitchen):
        digest.update(kitchen.labels(video).astype("u1").tobytes() + b"\xff")
    assert digest.hexdigest()[:16] == "0abcd840630e252a"


def test_a_video_does_not_depend_on_how_many_there_are() -> None:
    few, many = Kitchen(train_videos=8, test_videos=4), Kitchen(train_videos=200, test_videos=50)
    for video in ("kitchen-train-0007", "kitchen-test-0003"):
        np.testing.assert_array_equal(few.labels(video), many.labels(video))
        np.testing.assert_array_equal(few.features(video, 50, 5), many.features(video, 50, 5))


def test_reading_order_does_not_matter() -> None:
    forward, backward = Kitchen(train_videos=6), Kitchen(train_videos=6)
    videos = everything(forward)
    seen = {video: forward.features(video, 40, 4) for video in videos}
    for video in reversed(videos):
        np.testing.assert_array_equal(backward.features(video, 40, 4), seen[video])


def test_videos_open_and_close_with_background() -> None:
    kitchen = Kitchen()
    for video in kitchen.videos("test"):
        runs = segments(kitchen.labels(video))
        assert runs[0][0] == runs[-1][0] == 0
    inner = [label for video in kitchen.videos("test") for label, _, _ in segments(kitchen.labels(video))[1:-1]]
    assert 0 in inner, "and it interrupts"


def test_features_follow_the_stride_and_stop_contract() -> None:
    kitchen = Kitchen()
    video = kitchen.videos("train")[0]
    length = len(kitchen.labels(video))
    whole = kitchen.features(video, length, 1)
    assert whole.dtype == np.float32
    assert whole.shape == (length, 32)
    np.testing.assert_array_equal(kitchen.features(video, 101, 10), whole[:101:10])
    assert kitchen.features(video, 101, 10).shape == (11, 32)
    whole[:] = 0
    assert kitchen.features(video, 5, 1).any(), "a caller cannot change what the next one sees"
    with pytest.raises(ValueError, match="asked for"):
        kitchen.features(video, length + 1, 1)
    labels = Kitchen(observe="labels")
    np.testing.assert_array_equal(labels.features(video, 50, 3).argmax(1), kitchen.labels(video)[:50:3])


def test_a_single_frame_is_ambiguous_but_telling() -> None:
    """Nearest class mean, fitted on training frames: far above chance, far below certain."""
    kitchen = Kitchen()

    def frames(part: Part) -> tuple[np.ndarray, np.ndarray]:
        videos = kitchen.videos(part)
        x = [kitchen.features(video, len(kitchen.labels(video)), 10) for video in videos]
        return np.concatenate(x), np.concatenate([kitchen.labels(video)[::10] for video in videos])

    (x, y), (x_test, y_test) = frames("train"), frames("test")
    means = np.stack([x[y == label].mean(0) for label in range(18)])
    correct = (((x_test[:, None] - means) ** 2).sum(2).argmin(1) == y_test).mean()
    assert 0.6 < correct < 0.85


def test_the_past_tells_more_of_the_future_than_the_last_label() -> None:
    """Copying the future of the most similar training video beats repeating the last label (20 % seen, next 50 %)."""
    kitchen = Kitchen()
    labels = {video: kitchen.labels(video) for video in everything(kitchen)}
    grid = {video: y[(np.arange(100) * len(y)) // 100] for video, y in labels.items()}
    past = np.stack([grid[video][:20] for video in kitchen.videos("train")])
    copied = repeated = total = 0
    for video in kitchen.videos("test"):
        nearest = kitchen.videos("train")[int((past != grid[video][:20]).sum(1).argmin())]
        future = grid[video][20:70]
        copied += int((grid[nearest][20:70] == future).sum())
        repeated += int((grid[video][19] == future).sum())
        total += 50
    assert copied > 1.3 * repeated
    assert copied < 0.8 * total, "but the future is not certain"


def test_wrong_names_and_lengths_are_told() -> None:
    kitchen = Kitchen(train_videos=2)
    for name in ("kitchen-train-0002", "P03_cam01", "kitchen-valid-0000"):
        with pytest.raises(DataError, match="no generated video is called"):
            kitchen.labels(name)
    (problem,) = Kitchen(mean_length=10).problems()
    assert problem.key == "data.mean_length"
    assert Kitchen(mean_length=10).verify()[1] is None


@pytest.mark.parametrize(
    ("settings", "keys"),
    [
        ({"mean_length": 10**9, "stride": 1}, ["data.mean_length"]),
        ({"stride": 51}, ["data.stride"]),
        ({"noise": 1e308}, ["data.noise"]),
        ({"train_videos": 10**9, "noise": 1e5}, ["data.noise", "data.train_videos"]),
    ],
)
def test_absurd_settings_are_refused_all_at_once(settings: dict[str, float], keys: list[str]) -> None:
    assert [p.key for p in Kitchen(**settings).problems()] == keys  # type: ignore[arg-type]
