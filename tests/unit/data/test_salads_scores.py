"""Class scores of 50Salads, from a small file of the same form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from longview.data.salads_scores import SaladsScores
from longview.errors import DataError

VIDEOS = [f"{person:02d}-{run}" for person in range(1, 7) for run in (1, 2)]


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    """12 videos of 6 persons, folds 1..5 (fold 1 twice), scores with channel c around 100 * c."""
    rng = np.random.default_rng(0)
    found: dict[str, np.ndarray] = {"videos": np.array(VIDEOS), "fold": np.repeat([1, 1, 2, 3, 4, 5], 2).astype("u1")}
    for i, video in enumerate(VIDEOS):
        scores = 100 * np.arange(18) + (1 + np.arange(18)) * rng.standard_normal((30 + i, 18))
        found[f"{video}/svm/S"] = scores.astype("f2")
        found[f"{video}/svm/Y"] = (np.arange(30 + i) // 2 % 18).astype("u1")
        found[f"{video}/svm/P"] = np.zeros(30 + i, "u1")
    return found


@pytest.fixture
def save(tmp_path: Path, arrays: dict[str, np.ndarray]) -> Path:
    path = tmp_path / "50salads_mid_scores.npz"
    np.savez_compressed(path, **arrays)
    return path


def test_a_fold_is_the_test_part(save: Path) -> None:
    for root in (save, save.parent):
        source = SaladsScores(root=str(root), split=2)
        assert source.problems() == []
        assert source.videos("test") == ("03-1", "03-2")
        assert source.describe().parts == {"train": 10, "test": 2}
    problems, statistics = source.verify()
    assert problems == []
    assert statistics is not None
    assert statistics.videos == 12
    assert statistics.splits["split1"] == (8, 4)


def test_scores_are_standardised_with_the_training_part_alone(save: Path, arrays: dict[str, np.ndarray]) -> None:
    source = SaladsScores(root=str(save), split=1, val_fraction=0.25)
    train = source.videos("train")
    assert len(source.videos("val")) == 2
    seen = np.concatenate([source.features(video, len(source.labels(video)), 1) for video in train])
    np.testing.assert_allclose(seen.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(seen.std(0), 1, atol=1e-3)
    raw = np.concatenate([arrays[f"{video}/svm/S"].astype("f8") for video in train])
    expected = (arrays["01-1/svm/S"].astype("f8") - raw.mean(0)) / raw.std(0)
    got = source.features("01-1", 21, 4)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected[:21:4], atol=1e-3)


def test_observed_labels_are_one_hot(save: Path) -> None:
    source = SaladsScores(root=str(save), observe="labels")
    np.testing.assert_array_equal(source.features("02-1", 9, 2).argmax(1), source.labels("02-1")[:9:2])


def test_persons_are_not_shared_with_validation(save: Path) -> None:
    source = SaladsScores(root=str(save), split=5, val_fraction=0.4)
    train, val = ({video[:2] for video in source.videos(part)} for part in ("train", "val"))  # type: ignore[arg-type]
    assert train.isdisjoint(val)
    assert len(val) == 2


def test_a_file_without_the_model_or_the_lists(save: Path, arrays: dict[str, np.ndarray]) -> None:
    (problem,) = SaladsScores(root=str(save), model="dtcn").problems()
    assert problem.key == "data.model"
    del arrays["fold"]
    np.savez_compressed(save, **arrays)
    (problem,) = SaladsScores(root=str(save)).problems()
    assert "has no array 'fold'" in problem.message


def test_absent_and_damaged_files(tmp_path: Path, save: Path) -> None:
    (problem,) = SaladsScores(root=str(tmp_path / "no")).problems()
    assert "does not exist" in problem.message
    (tmp_path / "empty").mkdir()
    (problem,) = SaladsScores(root=str(tmp_path / "empty")).problems()
    assert "50salads_mid_scores.npz does not exist" in problem.message
    save.write_bytes(save.read_bytes()[:-400])
    (problem,) = SaladsScores(root=str(save)).problems()
    assert "is damaged or not an npz file" in problem.message


def test_pickled_arrays_are_not_opened(save: Path, arrays: dict[str, np.ndarray]) -> None:
    arrays["videos"] = np.array(VIDEOS, dtype=object)
    np.savez_compressed(save, **arrays)
    with pytest.raises(DataError, match="'videos' cannot be read"):
        SaladsScores(root=str(save)).videos("train")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("S", np.full((30, 18), np.nan, "f2"), "not finite"),
        ("S", np.zeros((29, 18), "f2"), r"has shape \(29, 18\), expected \(30, 18\)"),
        ("Y", np.full(30, 18, "u1"), r"class ids \[T\] in 0..17"),
    ],
)
def test_malformed_arrays_name_the_video(
    save: Path, arrays: dict[str, np.ndarray], key: str, value: np.ndarray, expected: str
) -> None:
    arrays[f"01-1/svm/{key}"] = value
    np.savez_compressed(save, **arrays)
    problems, statistics = SaladsScores(root=str(save)).verify()
    assert statistics is None
    assert len(problems) == 1
    assert f"01-1/svm/{key}" in problems[0].message
    with pytest.raises(DataError, match=expected):
        SaladsScores(root=str(save), split=2).features("01-1", 5, 1)


def test_classes_are_numbered_where_the_names_are_absent(save: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longview.data.roots.places", lambda: [tmp_path])
    names = SaladsScores(root=str(save)).describe().class_names
    assert names[:3] == ("background", "action 1", "action 2")
    assert len(names) == 18
