"""MoC counts against those stored with the GTDA reference (integers: exact); sizes come from the file."""

from __future__ import annotations

from typing import Any

import pytest

from longview.metrics.moc import MoC, window_counts


def test_counts_of_the_reference(dump: Any) -> None:
    stored = dump("gtda")["metric"]
    labels, prediction, classes = stored["gt"], stored["rec"].long(), len(stored["n_T"])
    # From the end of the observed part to the end of the video; a shorter prediction cuts the window.
    observed, rest = stored["past_len"] / len(labels), 1.0
    counts = window_counts(prediction, labels, observed, (rest,), classes)
    assert counts.right[0, 0].tolist() == stored["n_T"].tolist()
    assert (counts.support[0] - counts.right[0, 0]).tolist() == stored["n_F"].tolist()
    assert counts.support.sum() == stored["n"]

    metric = MoC((observed,), (rest,), classes)
    metric.update(prediction, labels, observed)
    score, total = metric.compute(), stored["n_T"] + stored["n_F"]
    assert score["moc"].item() == pytest.approx((stored["n_T"] / total)[total > 0].mean().item(), abs=1e-12)
    assert score["mof"].item() == pytest.approx(1 - stored["n_err"] / stored["n"], abs=1e-12)
