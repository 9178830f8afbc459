"""MoC counts against the ones stored with the GTDA reference (integers: exact)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from longview.metrics.moc import MoC, window_counts

FOLDER = Path(os.environ.get("LONGVIEW_PARITY", Path(__file__).resolve().parents[3] / "shared" / "parity"))


@pytest.mark.skipif(not (FOLDER / "gtda.pt").is_file(), reason=f"parity numbers are not there: {FOLDER}")
def test_counts_of_the_reference() -> None:
    stored = torch.load(FOLDER / "gtda.pt", weights_only=True)["metric"]
    labels, prediction = stored["gt"], stored["rec"].long()
    # past_len 60 of 300 frames; a prediction of 290 frames cuts the window [60, 300) to 230 frames.
    counts = window_counts(prediction, labels, 0.2, (0.8,), 7)
    assert counts.right[0, 0].tolist() == stored["n_T"].tolist()
    assert (counts.support[0] - counts.right[0, 0]).tolist() == stored["n_F"].tolist()
    assert counts.support.sum() == stored["n"]

    metric = MoC((stored["past_len"] / len(labels),), (0.8,), 7)
    metric.update(prediction, labels, 0.2)
    score = metric.compute()
    assert score["moc"].item() == pytest.approx((stored["n_T"] / (stored["n_T"] + stored["n_F"])).mean().item(), abs=1e-12)
    assert score["mof"].item() == pytest.approx(1 - stored["n_err"] / stored["n"], abs=1e-12)
