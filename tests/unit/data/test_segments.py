"""Runs of equal labels."""

from __future__ import annotations

import numpy as np
import pytest

from longview.data.segments import segments


def test_runs_cover_the_sequence_in_order() -> None:
    assert segments([3, 3, 1, 1, 1, 3]) == [(3, 0, 2), (1, 2, 5), (3, 5, 6)]
    assert segments(np.array([7], dtype=np.uint8)) == [(7, 0, 1)]
    assert segments([]) == []


def test_a_matrix_has_no_segments() -> None:
    with pytest.raises(ValueError, match="one-dimensional"):
        segments(np.zeros((2, 3), dtype=np.int64))
