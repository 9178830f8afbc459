"""MoC counts, selection, edges and sums over processes."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from longview.errors import LongviewError
from longview.metrics.moc import MoC, WindowCounts, best_sample, result_rows, window_bounds, window_counts

A, H = (0.2, 0.3), (0.1, 0.2, 0.3, 0.5)


def frames(text: str) -> torch.Tensor:
    return torch.tensor([int(c) for c in text])


def reference(videos: list[tuple[np.ndarray, np.ndarray]], a: float, b: float, classes: int, stride: int, best: bool) -> float:
    """The protocol frame by frame, straight from its wording."""
    n_true, n_false = [0] * classes, [0] * classes
    for prediction, labels in videos:
        candidates = []
        for sample in prediction:
            long = [c for c in sample for _ in range(stride)]
            end = min(int((a + b) * len(labels)), len(long), len(labels))
            t, f = [0] * classes, [0] * classes
            for i in range(int(a * len(labels)), end):
                (t if long[i] == labels[i] else f)[labels[i]] += 1
            present = [t[k] / (t[k] + f[k]) for k in range(classes) if t[k] + f[k]]
            candidates.append((sum(present) / len(present) if present else math.nan, t, f))
        chosen = candidates
        if best:
            top, chosen = -1.0, [(0.0, [0] * classes, [0] * classes)]
            for c in candidates:
                if c[0] > top + 1e-12:
                    top, chosen = c[0], [c]
        for _, t, f in chosen:
            n_true = [x + y for x, y in zip(n_true, t, strict=True)]
            n_false = [x + y for x, y in zip(n_false, f, strict=True)]
    seen = [n_true[k] / (n_true[k] + n_false[k]) for k in range(classes) if n_true[k] + n_false[k]]
    return sum(seen) / len(seen) if seen else math.nan


def test_counts_by_hand() -> None:
    # L = 10, a = 0.2: the window of b = 0.3 is frames 2..4, of b = 0.5 frames 2..6.
    labels = frames("0011122200")
    prediction = torch.stack([frames("9911000000"), frames("9911122999")])
    counts = window_counts(prediction, labels, 0.2, (0.5, 0.3), 3)
    assert counts.support.tolist() == [[0, 3, 2], [0, 3, 0]]
    assert counts.right.tolist() == [[[0, 2, 0], [0, 2, 0]], [[0, 3, 2], [0, 3, 0]]]


def test_mean_pools_samples_and_videos_before_dividing() -> None:
    metric = MoC((0.2,), (0.3,), 3)
    metric.update(torch.stack([frames("0011000000"), frames("0000000000")]), frames("0011122200"), 0.2)  # class 1: 2 of 6
    metric.update(torch.stack([frames("0012200000"), frames("0022000000")]), frames("0022111111"), 0.2)
    # second video, frames 2..4 = 2 2 1: sample 1 is wrong at 2, right at 3, wrong at 4; sample 2 right, right, wrong
    score = metric.compute()
    assert score["per_class"][0, 0].tolist()[1:] == [2 / 8, 3 / 4]
    assert math.isnan(score["per_class"][0, 0, 0])
    assert score["moc"].item() == (2 / 8 + 3 / 4) / 2
    assert score["mof"].item() == 5 / 12


def test_top1_takes_the_best_sample_of_each_video() -> None:
    metric = MoC((0.2,), (0.5,), 3, select="best")
    labels = frames("0011112000")  # window 2..6: four of class 1, one of class 2
    many_frames = frames("0011110000")  # MoC 1/2, 4 of 5 frames
    both_classes = frames("0011002000")  # MoC 3/4, 3 of 5 frames
    metric.update(torch.stack([many_frames, both_classes]), labels, 0.2)
    assert metric.compute()["moc"].item() == 0.75
    assert metric.compute()["mof"].item() == 0.6


def test_of_equal_samples_the_first_wins() -> None:
    labels = frames("0011200000")
    first, second = frames("0011000000"), frames("0000200000")  # both MoC 1/2 on frames 2..4
    for samples, right in (((first, second), [1.0, 0.0]), ((second, first), [0.0, 1.0])):
        metric = MoC((0.2,), (0.3,), 3, select="best")
        metric.update(torch.stack(samples), labels, 0.2)
        assert metric.compute()["per_class"][0, 0, 1:].tolist() == right


def test_equal_scores_tie_whatever_the_order_of_the_sum() -> None:
    # The same three class accuracies, added up in another order.
    support = torch.tensor([[10, 10, 10]])
    right = torch.tensor([[[3, 2, 1]], [[1, 2, 3]], [[2, 3, 1]]])
    assert (0.1 + 0.2) + 0.3 != (0.3 + 0.2) + 0.1  # the trap
    assert best_sample(WindowCounts(right, support)).tolist() == [0]


def test_empty_window_adds_nothing() -> None:
    one, both = MoC((0.2,), (0.1,), 2, select="best"), MoC((0.2,), (0.1,), 2)
    for metric in (one, both):
        metric.update(frames("0101"), frames("0101"), 0.2)  # int(0.2 * 4) = 0, int(0.3 * 4) = 1: one frame
        before = metric.right.clone()
        metric.update(frames("11"), frames("11"), 0.2)  # 0..0: no frame
        metric.update(frames("1"), frames("1111111111"), 0.2)  # prediction ends before the window
        assert torch.equal(metric.right, before)
        assert metric.wrong.sum() == 0


def test_nothing_at_all_is_nan() -> None:
    metric = MoC((0.2,), (0.1,), 2)
    metric.update(frames("11"), frames("11"), 0.2)
    score = metric.compute()
    assert math.isnan(score["moc"].item())
    assert math.isnan(score["mof"].item())


def test_short_prediction_cuts_the_window() -> None:
    labels = frames("0000011111")
    metric = MoC((0.2,), (0.5,), 2)
    metric.update(frames("001"), labels, 0.2, stride=2)  # reaches frame 6; window 2..6 becomes 2..5
    assert metric.compute()["per_class"][0, 0].tolist() == [2 / 3, 1.0]


def test_repeated_prediction_longer_than_the_video_is_cut() -> None:
    labels = frames("0000000")  # 7 frames, 3 predictions of 3: frames 7 and 8 do not exist
    metric = MoC((0.5,), (0.5,), 2)
    metric.update(frames("011"), labels, 0.5, stride=3)
    assert metric.wrong.tolist() == [[[4, 0]]]


def test_horizon_beyond_the_end_stops_at_the_end() -> None:
    metric = MoC((0.8,), (0.1, 0.5), 2)
    metric.update(torch.ones(10, dtype=torch.long), torch.ones(10, dtype=torch.long), 0.8)
    assert metric.right[0, :, 1].tolist() == [1, 2]


def test_window_end_keeps_the_float_expression() -> None:
    assert (window_bounds(10, 0.1, 0.7), int(0.8 * 10)) == ((1, 7), 8)
    metric = MoC((0.1,), (0.7,), 1)
    metric.update(torch.zeros(10, dtype=torch.long), torch.zeros(10, dtype=torch.long), 0.1)
    assert metric.right.item() == 6
    # Nor is the end the start plus the horizon's own length.
    assert window_bounds(99, 0.2, 0.1) == (19, 29)


def test_observation_of_float32_precision_gives_the_protocols_window() -> None:
    # As float32, 0.7 is 0.699999988...: used as is, int(0.7 * 10) would be 6.
    length = next(n for n in range(10, 10000) if int(float(torch.tensor(0.7)) * n) != int(0.7 * n))
    metric = MoC((0.7,), (0.1,), 1)
    zeros = torch.zeros(length, dtype=torch.long)
    metric.update(zeros, zeros, float(torch.tensor(0.7, dtype=torch.float32)))
    assert metric.right.item() == int((0.7 + 0.1) * length) - int(0.7 * length)


def test_one_class() -> None:
    metric = MoC(A, H, 1)
    for a in A:
        metric.update(torch.zeros(3, 50, dtype=torch.long), torch.zeros(100, dtype=torch.long), a, stride=2)
    assert torch.equal(metric.compute()["moc"], torch.ones(2, 4, dtype=torch.float64))


@pytest.mark.parametrize("best", [False, True])
@pytest.mark.parametrize("stride", [1, 3])
def test_agrees_with_the_protocol_frame_by_frame(best: bool, stride: int) -> None:
    rng = np.random.default_rng(stride)
    videos, metric = [], MoC(A, H, 5, select="best" if best else "all")
    for _ in range(12):
        length = int(rng.integers(1, 70))
        labels = np.repeat(rng.integers(0, 5, length), 4)[:length]
        steps = int(rng.integers(1, -(-length // stride) + 2))
        prediction = np.repeat(rng.integers(0, 5, (6, steps)), 3, axis=1)[:, :steps]
        videos.append((prediction, labels))
        for a in A:
            metric.update(torch.from_numpy(prediction), torch.from_numpy(labels), a, stride)
    score = metric.compute()["moc"]
    for i, a in enumerate(A):
        for j, b in enumerate(H):
            assert score[i, j].item() == pytest.approx(reference(videos, a, b, 5, stride, best), abs=1e-12)


def test_wrong_input_is_named() -> None:
    metric = MoC(A, H, 3)
    with pytest.raises(LongviewError, match=r"observation 0.5 .*0.2, 0.3"):
        metric.update(frames("000"), frames("000"), 0.5)
    with pytest.raises(LongviewError, match=r"0..2 without padding; found -100"):
        metric.update(frames("000"), torch.tensor([0, 1, -100]), 0.2)
    with pytest.raises(LongviewError, match=r"found 3"):
        metric.update(frames("000"), frames("003"), 0.2)
    with pytest.raises(LongviewError, match=r"\[S, T\]"):
        metric.update(frames("000")[None, None], frames("000"), 0.2)
    with pytest.raises(LongviewError, match="fractions"):
        MoC((), H, 3)
    with pytest.raises(LongviewError, match="select"):
        MoC(A, H, 3, select="worst")  # type: ignore[arg-type]


def test_result_rows_are_tidy() -> None:
    mean, best = MoC(A, (0.1, 0.5), 2), MoC(A, (0.1, 0.5), 2, select="best")
    prediction, labels = torch.stack([frames("1100000000"), frames("0011111111")]), frames("0011111111")
    for metric in (mean, best):
        metric.update(prediction, labels, 0.2)
    rows = result_rows(mean, best)
    assert [(r["observation"], r["horizon"]) for r in rows] == [(0.2, 0.1), (0.2, 0.5), (0.3, 0.1), (0.3, 0.5)]
    assert rows[1] == {"observation": 0.2, "horizon": 0.5, "mean_moc": 0.5, "top1_moc": 1.0, "mof": 0.5}
    assert math.isnan(rows[2]["mean_moc"])
    assert "top1_moc" not in result_rows(mean)[0]
    with pytest.raises(LongviewError, match="share"):
        result_rows(mean, MoC(A, H, 2, select="best"))


WORKER = """
import sys, torch, torch.distributed as dist
torch.set_num_threads(1)
from longview.metrics.moc import MoC
rank, world, store, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
rng = torch.Generator().manual_seed(3)
draw = lambda *shape: torch.randint(0, 4, shape, generator=rng)
videos = [(draw(5, 40 + v), draw(80 + v)) for v in range(5)]
metrics = [MoC((0.2, 0.3), (0.1, 0.5), 4, select=s) for s in ("all", "best")]
for prediction, labels in videos[rank::world]:
    for metric in metrics:
        for a in (0.2, 0.3):
            metric.update(prediction, labels, a, stride=2)
torch.save([m.compute() for m in metrics], f"{out}.{world}.{rank}")
if world > 1:
    dist.destroy_process_group()
"""


def test_two_processes_equal_one_exactly(tmp_path: Path) -> None:
    def run(rank: int, world: int) -> subprocess.Popen[bytes]:
        args = [sys.executable, "-c", WORKER, str(rank), str(world), str(tmp_path / "store"), str(tmp_path / "out")]
        return subprocess.Popen(args)

    jobs = [run(0, 1), run(0, 2), run(1, 2)]
    try:
        assert [job.wait(timeout=120) for job in jobs] == [0, 0, 0]
    finally:
        for job in jobs:
            job.kill()
    alone, *together = (torch.load(tmp_path / f"out.{n}", weights_only=True) for n in ("1.0", "2.0", "2.1"))
    for ours in together:
        for one, two in zip(alone, ours, strict=True):
            assert one.keys() == two.keys()
            assert all(torch.equal(one[k], two[k]) for k in one)
