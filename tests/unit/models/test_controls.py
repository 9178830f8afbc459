"""Controls of anticipation: what they predict, and that they see nothing but the observed part."""

from __future__ import annotations

import pytest
import torch

from longview.data.anticipation import IGNORE, AnticipationBatch
from longview.errors import LongviewError
from longview.models.nearest_neighbour import NearestNeighbour
from longview.models.repeat_last import RepeatLast


def make_batch(
    videos: dict[str, str], observation: float, stride: int = 1, horizon: float = 0.5, full_rate: bool = True
) -> AnticipationBatch:
    """Videos given as strings of class digits at full rate."""
    lines = [torch.tensor([int(c) for c in text]) for text in videos.values()]
    ends = [int((observation + horizon) * len(line)) for line in lines]
    steps = max(-(-end // stride) for end in ends)
    target = torch.full((len(lines), steps), IGNORE)
    past = torch.zeros(len(lines), steps, dtype=torch.bool)
    labels = torch.full((len(lines), max(len(line) for line in lines)), IGNORE)
    for row, (line, end) in enumerate(zip(lines, ends, strict=True)):
        cut = line[:end:stride]
        target[row, : len(cut)] = cut
        past[row, : -(-int(observation * len(line)) // stride)] = True
        labels[row, : len(line)] = line
    return AnticipationBatch(
        observed=torch.zeros(*target.shape, 4),
        target=target,
        valid=target != IGNORE,
        past=past,
        videos=list(videos),
        observation=torch.full((len(lines),), observation, dtype=torch.float32),
        labels=labels if full_rate else None,
        lengths=torch.tensor([len(line) for line in lines]),
        stride=stride,
    )


def text(line: torch.Tensor) -> str:
    return "".join(str(int(c)) for c in line)


def test_repeat_last_fills_the_future_with_the_last_observed_label() -> None:
    batch = make_batch({"a": "0011223344", "b": "55667"}, 0.4)
    out = RepeatLast(8, 4).anticipate(batch, 25)
    assert out.shape == (2, 1, 9)
    assert out.dtype == torch.int64
    assert text(out[0, 0]) == "001111111"
    assert text(out[1, 0])[:4] == "5555"


def test_repeat_last_sees_only_what_is_observed() -> None:
    one = RepeatLast(10, 4).anticipate(make_batch({"a": "0011223344"}, 0.4), 1)
    other = RepeatLast(10, 4).anticipate(make_batch({"a": "0011999999"}, 0.4), 1)
    assert torch.equal(one, other)


def test_repeat_last_without_an_observed_frame_gives_a_class() -> None:
    out = RepeatLast(3, 4).anticipate(make_batch({"a": "2222"}, 0.2), 1)  # int(0.2 * 4) = 0 frames
    assert text(out[0, 0]) == "00"


def test_nearest_neighbour_copies_the_future_of_the_most_alike() -> None:
    model = NearestNeighbour(10, 4)
    training = {"x": "0011333333", "y": "0022444455", "z": "7777777777"}
    model.memorise([make_batch(training, 0.4)])
    out = model.anticipate(make_batch({"t": "0022999999"}, 0.4), 25)
    assert out.shape == (1, 1, 9)
    assert text(out[0, 0]) == "002244445"


def test_nearest_neighbour_copies_at_the_neighbours_pace_from_its_own_border() -> None:
    model = NearestNeighbour(10, 4)
    model.memorise([make_batch({"x": "00000000" + "111222333444"}, 0.4)])  # twice as long as the test video
    out = model.anticipate(make_batch({"t": "0000999999"}, 0.4), 1)
    assert text(out[0, 0]) == "0000" + "11122"
    # A shorter neighbour ends early; its last label goes on.
    model.memorise([make_batch({"x": "00123"}, 0.4)])
    assert text(model.anticipate(make_batch({"t": "0000999999"}, 0.4), 1)[0, 0]) == "0000" + "12333"


def test_nearest_neighbour_on_a_strided_grid_takes_full_rate_frames() -> None:
    model = NearestNeighbour(10, 4)
    model.memorise([make_batch({"x": "0000" + "123456"}, 0.4)])
    # Frames 0 3 6 (9 is past 0.9 * 10 = 9): frame 3 is observed, frame 6 is the neighbour's frame 6.
    assert text(model.anticipate(make_batch({"t": "0000999999"}, 0.4, stride=3), 1)[0, 0]) == "003"


def test_nearest_neighbour_compares_relative_time() -> None:
    model = NearestNeighbour(10, 4)
    model.memorise([make_batch({"slow": "0000111122" + "5" * 15, "other": "0000000022" + "6" * 15}, 0.4)])
    out = model.anticipate(make_batch({"t": "00112" + "9" * 8}, 0.4), 1)  # int(0.4 * 13) = 5 observed
    assert set(text(out[0, 0])[5:]) == {"5"}


def test_nearest_neighbour_sees_only_what_is_observed() -> None:
    model = NearestNeighbour(10, 4)
    model.memorise([make_batch({"x": "0011333333", "y": "0011999999"}, 0.4)])
    one = model.anticipate(make_batch({"t": "0011333333"}, 0.4), 1)
    other = model.anticipate(make_batch({"t": "0011999999"}, 0.4), 1)
    assert torch.equal(one, other)


def test_ties_go_to_the_first_name_however_the_batches_come() -> None:
    x, y = make_batch({"x": "0011333333"}, 0.4), make_batch({"y": "0011444444"}, 0.4)
    model = NearestNeighbour(10, 4)
    for batches in ([x, y], [y, x]):
        model.memorise(batches)
        assert text(model.anticipate(make_batch({"t": "0011000000"}, 0.4), 1)[0, 0])[4:] == "33333"


def test_each_row_has_its_own_observation_and_neighbour_whatever_is_in_the_batch() -> None:
    model = NearestNeighbour(10, 4)
    model.memorise([make_batch({"x": "0123333333", "y": "0145555555"}, 0.4)])
    tests = {"t": "0123000000", "u": "0145000000"}
    together = model.anticipate(make_batch(tests, 0.4), 1)
    for row, (name, line) in enumerate(tests.items()):
        assert torch.equal(together[row], model.anticipate(make_batch({name: line}, 0.4), 1)[0])
    # At 0.2 both training videos look alike: the memory of another observation must not be used.
    assert text(model.anticipate(make_batch({"u": "0145000000"}, 0.2), 1)[0, 0]) == "0123333"


def test_memory_keeps_a_video_once_and_forgets_an_earlier_memory() -> None:
    model = NearestNeighbour(10, 4)
    model.memorise([make_batch({"x": "0011333333"}, a) for a in (0.2, 0.3)])
    assert len(model._labels) == 1
    test = make_batch({"t": "0011000000"}, 0.4)
    assert set(text(model.anticipate(test, 1)[0, 0])[4:]) == {"3"}
    model.memorise([make_batch({"u": "5555555555", "v": "0011444444"}, 0.2)])
    assert set(text(model.anticipate(test, 1)[0, 0])[4:]) == {"4"}


def test_what_is_missing_is_said() -> None:
    model = NearestNeighbour(10, 4)
    with pytest.raises(LongviewError, match="memorise"):
        model.anticipate(make_batch({"t": "0011"}, 0.4), 1)
    with pytest.raises(LongviewError, match="training part empty"):
        model.memorise([])
    with pytest.raises(LongviewError, match="full-rate labels"):
        model.memorise([make_batch({"t": "0011"}, 0.4, full_rate=False)])


@pytest.mark.parametrize("control", [RepeatLast, NearestNeighbour])
def test_controls_are_not_trained(control: type[RepeatLast] | type[NearestNeighbour]) -> None:
    assert control.trainable is False
    assert control.tasks == ("anticipation",)
    assert not list(control(5, 4).parameters())
