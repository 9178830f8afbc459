"""Colours: stable, distinct, calm for background."""

from __future__ import annotations

import numpy as np
import pytest

from longview.viz.palette import class_colors, class_names


def test_a_class_has_one_colour_whatever_the_number_of_classes() -> None:
    assert np.array_equal(class_colors(48)[:17], class_colors(17))
    assert np.array_equal(class_colors(202)[:48], class_colors(48))


def test_colours_do_not_change_between_versions() -> None:
    assert class_colors(4).tolist() == [[73, 141, 226], [182, 70, 86], [60, 133, 43], [225, 149, 42]]


@pytest.mark.parametrize(("classes", "apart"), [(17, 45), (48, 24), (202, 8)])
def test_colours_are_distinct_and_off_white(classes: int, apart: int) -> None:
    colors = class_colors(classes).astype(float)
    distance = np.linalg.norm(colors[:, None] - colors[None], axis=-1) + 1e9 * np.eye(classes)
    assert distance.min() >= apart
    assert np.linalg.norm(colors - 255, axis=1).min() > 60


def test_background_is_light_grey_and_leaves_the_others_alone() -> None:
    quiet = ("SIL", "background", "idle", "unlabelled", "action_start", "action_end")
    named = class_colors(7, ("cut_bun", *quiet)).astype(int)
    assert all(np.ptp(color) < 15 and color.min() > 190 for color in named[1:])
    assert np.array_equal(named[0], class_colors(7)[0])
    start, end = class_colors(2, ("action_start", "action_end"))
    assert not np.array_equal(start, end)


def test_the_shared_array_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        class_colors(3)[0] = 0


def test_more_classes_than_colours() -> None:
    colors = class_colors(5000)
    assert colors.shape == (5000, 3)
    _, counts = np.unique(colors, axis=0, return_counts=True)
    assert np.ptp(counts) <= 1  # all are used before any is used again


def test_names_are_made_printable_and_complete() -> None:
    assert class_names(["a\nb", "", "c"], 4) == ("a b", "class 1", "c", "class 3")
    assert class_names(["a", "b", "c"], 2) == ("a", "b")
