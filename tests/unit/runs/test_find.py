"""Names on the command line: what they mean, and what is said when they mean nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from follow import make_run, make_sweep, submit
from longview.runs.find import NotFound, find, groups_under, one, root_of

POINTS = [{"seed": "1"}, {"seed": "2"}]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two sweeps and a run that stands alone, as `runs` holds them."""
    root = tmp_path / "runs"
    first, second = make_sweep(root, POINTS, ago=900), make_sweep(root, POINTS, name="ltc", job="44", ago=100)
    for sweep in (first, second):
        for point in sweep.points():
            make_run(sweep.run_path(point))
    make_run(root / "20261120-063904-manta-kitchen-56914f")
    (root / ".code").mkdir()
    (root / "sweeps").mkdir()
    return root


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("56914f", ["20261120-063904-manta-kitchen-56914f"]),
        ("569", ["20261120-063904-manta-kitchen-56914f"]),
        ("20261120-063904-manta-kitchen-56914f", ["20261120-063904-manta-kitchen-56914f"]),
        ("20261120", ["20261120-063904-manta-kitchen-56914f"]),
        ("manta-abc123", ["1_aaaa0000", "2_aaaa0001"]),
        ("manta-abc123/", ["1_aaaa0000", "2_aaaa0001"]),
        ("ltc", ["1_aaaa0000", "2_aaaa0001"]),
        ("ltc-abc123/aaaa0001", ["2_aaaa0001"]),
        ("19_1", ["2_aaaa0001"]),
        ("44", ["1_aaaa0000", "2_aaaa0001"]),
    ],
)
def test_a_name_means(root: Path, name: str, paths: list[str]) -> None:
    assert [run.name for group in find([name], root) for run in group.runs] == paths


def test_paths_need_no_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = Path("/nonexistent")
    run = root / "manta-abc123/1_aaaa0000"
    assert [r.id for r in find([str(run)], nowhere)[0].runs] == ["aaaa0000"]
    assert len(find([str(root / "manta-abc123")], nowhere)[0].runs) == 2
    assert find([str(run / "attempts")], nowhere)[0].runs[0].id == "aaaa0000", "a file of a run means the run"
    monkeypatch.chdir(run)
    assert find(["."], nowhere)[0].runs[0].id == "aaaa0000"
    assert find([str(run)], nowhere)[0].runs[0].job == "19_0", "its sweep's submissions are known"


def test_no_name_is_the_newest(root: Path, tmp_path: Path) -> None:
    (single,) = find([], root)
    assert [run.id for run in single.runs] == ["56914f"], "made just now"
    make_sweep(tmp_path / "other", POINTS)
    assert find([], tmp_path / "other")[0].name == "manta-abc123"


def test_newest_first(root: Path) -> None:
    assert [g.name for g in groups_under(root)] == ["single runs", "ltc-abc123", "manta-abc123"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("aaaa", "'aaaa' could be any of 4: aaaa0000 (seed=1), aaaa0001 (seed=2)"),
        ("aaaa0001", "could be any of 2"),
        ("mamta-abc123", "no sweep or run is called 'mamta-abc123' in"),
        ("mamta-abc123", "nearest: manta-abc123"),
        ("56941f", "nearest: 56914f (20261120-063904-manta-kitchen-56914f)"),
        ("zzz", "newest: ltc-abc123, manta-abc123"),
        ("5", "no sweep or run is called '5'"),
    ],
)
def test_a_name_that_means_nothing_or_several(root: Path, name: str, said: str) -> None:
    with pytest.raises(NotFound) as error:
        find([name], root)
    assert said in str(error.value)


def test_all_wrong_names_are_told_at_once(root: Path) -> None:
    with pytest.raises(NotFound) as error:
        find(["qqq", "56914f", "www"], root)
    assert len(str(error.value).splitlines()) == 2


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        NotFound, match=r"'.*none' cannot be read \(No such file or directory\); give --root <folder> or LONGVIEW_RUNS"
    ):
        find([], tmp_path / "none")
    with pytest.raises(NotFound, match=r"no runs in '.*' yet; start one with `python run.py`"):
        find([], tmp_path)


def test_where_runs_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LONGVIEW_RUNS", raising=False)
    assert root_of(None) == Path("runs")
    monkeypatch.setenv("LONGVIEW_RUNS", str(tmp_path))
    assert root_of(None) == tmp_path
    assert root_of(Path("x")) == Path("x")


def test_one_run_is_wanted(root: Path) -> None:
    with pytest.raises(NotFound, match=r"manta-abc123 has 2 runs; name one of them:\n  aaaa0000  seed=1\n  aaaa0001  seed=2"):
        one(["manta-abc123"], root)
    assert one(["19_0"], root).label == "seed=1"


def test_the_newest_submission_of_a_run_counts(root: Path) -> None:
    sweep = find(["manta-abc123"], root)[0].sweep
    assert sweep is not None
    submit(sweep, ["aaaa0001"], "77", ago=10)
    first, second = find(["manta-abc123"], root)[0].runs
    assert (first.job, second.job, second.jobs) == ("19_0", "77", ("19_1", "77"))
    submit(sweep, ["aaaa0001"], None, ago=1)
    again = find(["manta-abc123"], root)[0].runs[1]
    assert (again.job, again.jobs) == (None, ("19_1", "77")), "nobody knows the newest yet"


def test_a_sweep_of_one_and_its_only_run_are_one_thing(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    make_sweep(root, [{"model": "manta"}])
    (group,) = find(["manta"], root)
    assert group.whole
    assert one(["manta"], root).id == "aaaa0000"
    make_sweep(root, [{"model": "manta"}], name="mantas")
    with pytest.raises(NotFound, match="could be any of 4"):
        find(["manta"], root)


def test_a_long_name_is_not_repeated_whole(root: Path) -> None:
    with pytest.raises(NotFound) as error:
        find(["x" * 500], root)
    assert "x" * 61 not in str(error.value)


def test_an_empty_name_is_none(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "manta-abc123")
    with pytest.raises(NotFound, match="'' is no name"):
        find([""], root)
