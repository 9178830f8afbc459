"""The field's disk layout: what is read, and one message with file and line for everything that can be wrong."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from longview.data.breakfast import Breakfast
from longview.data.salads import Salads
from longview.errors import DataError

TRAIN = ["P01_cam01_P01_tea", "P01_cam02_P01_tea", "P02_cam01_P02_tea", "P03_cam01_P03_tea"]
TEST = ["P09_cam01_P09_tea"]
LENGTHS = dict(zip([*TRAIN, *TEST], (10, 7, 12, 9, 11), strict=True))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five short videos of three classes; frame t of every video is class (t // 4) % 3; features are 10 * t + channel."""
    top = tmp_path / "mini"
    for folder in ("groundTruth", "splits", "features"):
        (top / folder).mkdir(parents=True)
    (top / "mapping.txt").write_text("0 SIL\n1 pour_milk\n2 stir\n")
    names = ("SIL", "pour_milk", "stir")
    for video, length in LENGTHS.items():
        (top / "groundTruth" / f"{video}.txt").write_text("".join(f"{names[t // 4 % 3]}\n" for t in range(length)))
        np.save(top / "features" / f"{video}.npy", (10 * np.arange(length)[None] + np.arange(5)[:, None]).astype("f4"))
    for number in (1, 2):
        (top / "splits" / f"train.split{number}.bundle").write_text("".join(f"{v}.txt\n" for v in TRAIN))
        (top / "splits" / f"test.split{number}.bundle").write_text("".join(f"{v}.txt\n" for v in TEST))
    return top


def pack(root: Path, name: str, *, order: tuple[str, ...] = ("mapping.txt", "splits", "groundTruth")) -> Path:
    mode = {"tar": "w", "xz": "w:xz", "gz": "w:gz"}[name.rsplit(".", 1)[1]]
    with tarfile.open(root.parent / name, mode) as archive:  # type: ignore[call-overload]
        for entry in order:
            archive.add(root / entry, f"mini/{entry}")
    return root.parent / name


def messages(root: Path, **options: object) -> list[str]:
    """What the quick look says; every problem must be one line."""
    found = [str(problem) for problem in Breakfast(root=str(root), **options).problems()]  # type: ignore[arg-type]
    assert all("\n" not in text for text in found)
    return found


def verified(root: Path, **options: object) -> list[str]:
    problems, statistics = Breakfast(root=str(root), **options).verify()  # type: ignore[arg-type]
    assert (statistics is None) == bool(problems)
    return [str(problem) for problem in problems]


# --- reading ---


def test_a_healthy_folder_is_read(root: Path) -> None:
    source = Breakfast(root=str(root), stride=3)
    assert source.problems() == []
    description = source.describe()
    assert description.class_names == ("SIL", "pour_milk", "stir")
    assert (description.num_classes, description.input_dim, description.stride) == (3, 3, 3)
    assert description.parts == {"train": 4, "test": 1}
    assert source.videos("train") == tuple(TRAIN)
    assert source.videos("val") == ()
    labels = source.labels(TRAIN[0])
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
    problems, statistics = source.verify()
    assert problems == []
    assert statistics is not None
    assert (statistics.videos, statistics.frames, statistics.segments) == (5, 49, 14)
    assert (statistics.shortest, statistics.longest) == (7, 12)
    assert statistics.splits == {"split1": (4, 1), "split2": (4, 1)}
    assert statistics.class_frames == {"SIL": 20, "pour_milk": 19, "stir": 10}


def test_observed_labels_are_one_hot(root: Path) -> None:
    seen = Breakfast(root=str(root)).features(TRAIN[0], 8, 3)
    assert seen.dtype == np.float32
    assert seen.tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("layout", ["DT", "TD"])
def test_observed_features_are_the_frames_asked_for(root: Path, layout: str) -> None:
    if layout == "TD":
        for path in (root / "features").iterdir():
            np.save(path, np.load(path).T)
    source = Breakfast(root=str(root), observe="features", feature_layout=layout)  # type: ignore[arg-type]
    assert source.problems() == []
    assert source.describe().input_dim == 5
    seen = source.features(TRAIN[0], 8, 3)
    assert seen.dtype == np.float32
    assert seen[:, 0].tolist() == [0, 30, 60]
    assert seen[2].tolist() == [60, 61, 62, 63, 64]
    assert source.verify()[0] == []


def test_features_beyond_the_video_are_refused(root: Path) -> None:
    for observe in ("labels", "features"):
        source = Breakfast(root=str(root), observe=observe)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="has 10 frames, asked for 11"):
            source.features(TRAIN[0], 11, 1)


@pytest.mark.parametrize("name", ["mini.tar", "mini.tar.xz", "mini.tar.gz"])
@pytest.mark.parametrize("order", [("mapping.txt", "splits", "groundTruth"), ("groundTruth", "mapping.txt", "splits")])
def test_an_archive_reads_like_its_folder(root: Path, name: str, order: tuple[str, ...]) -> None:
    folder, archive = Breakfast(root=str(root)), Breakfast(root=str(pack(root, name, order=order)))
    assert archive.problems() == []
    assert archive.describe() == folder.describe()
    assert archive.verify() == folder.verify()
    for video in LENGTHS:
        np.testing.assert_array_equal(archive.labels(video), folder.labels(video))
        np.testing.assert_array_equal(archive.features(video, 5, 2), folder.features(video, 5, 2))


def test_windows_text_is_tolerated(root: Path) -> None:
    expected = Breakfast(root=str(root)).labels(TRAIN[0])
    for path in [root / "mapping.txt", *(root / "groundTruth").iterdir(), *(root / "splits").iterdir()]:
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b" \r\n") + b"\r\n")
    source = Breakfast(root=str(root))
    assert source.verify()[0] == []
    np.testing.assert_array_equal(source.labels(TRAIN[0]), expected)


def test_lists_may_have_folders_and_lack_endings(root: Path) -> None:
    (root / "splits" / "train.split1.bundle").write_text(f"#bundle\n\ngroundTruth/{TRAIN[0]}.txt\n./a\\b\\{TRAIN[2]}\n")
    source = Breakfast(root=str(root))
    assert source.problems() == []
    assert source.videos("train") == (TRAIN[0], TRAIN[2])


def test_stray_files_are_ignored(root: Path) -> None:
    truth = root / "groundTruth"
    (truth / ".history").write_text("nonsense\n")
    (truth / f"._{TRAIN[0]}.txt").write_bytes(b"\x00\x05\x16\x07")
    (truth / f"{TRAIN[0]}.txt~").write_text("old\n")
    (truth / "not_listed.txt").write_text("unknown label\n")
    (truth / "folder").mkdir()
    (root / "splits" / "train.split1.bundle~").write_text("")
    for path in (root, pack(root, "mini.tar.gz")):
        problems, statistics = Breakfast(root=str(path)).verify()
        assert problems == []
        assert statistics is not None
        assert statistics.videos == 5


def test_resampling_fits_labels_to_features(root: Path) -> None:
    np.save(root / "features" / f"{TRAIN[0]}.npy", np.zeros((5, 5), "f4"))
    strict = Breakfast(root=str(root), observe="features")
    with pytest.raises(DataError, match=r"has 5 frames, the labels have 10; data\.length_mismatch=resample"):
        strict.features(TRAIN[0], 4, 1)
    assert any("length_mismatch" in text for text in verified(root, observe="features"))
    fitted = Breakfast(root=str(root), observe="features", length_mismatch="resample")
    assert fitted.labels(TRAIN[0]).tolist() == [0, 0, 1, 1, 2]
    assert fitted.features(TRAIN[0], 5, 1).shape == (5, 5)
    assert fitted.labels(TRAIN[1]).shape == (7,)
    assert fitted.verify()[0] == []


# --- held-out persons ---


def test_validation_shares_no_person_and_no_test_video(root: Path) -> None:
    source = Breakfast(root=str(root), val_fraction=0.34)
    train, val = source.videos("train"), source.videos("val")
    assert sorted([*train, *val]) == sorted(TRAIN)
    assert {v[:3] for v in train}.isdisjoint({v[:3] for v in val})
    assert len({v[:3] for v in val}) == 1
    assert source.videos("test") == tuple(TEST)
    assert source.describe().parts == {"train": len(train), "val": len(val), "test": 1}
    assert Breakfast(root=str(root), val_fraction=0.34).videos("val") == val


def test_validation_needs_two_persons(root: Path) -> None:
    (root / "splits" / "train.split1.bundle").write_text(f"{TRAIN[0]}.txt\n{TRAIN[1]}.txt\n")
    assert messages(root) == []
    (text,) = messages(root, val_fraction=0.1)
    assert "data.val_fraction: 0.1 needs training videos of at least two persons" in text


# --- what can be wrong: root and splits ---


def test_a_missing_root_names_the_nearest_folder(root: Path) -> None:
    (text,) = messages(root / "nope" / "deeper")
    assert text.startswith("data.root: ")
    assert f"only {root} exists" in text


def test_the_folder_above_the_root_is_recognised(root: Path) -> None:
    (text,) = messages(root.parent)
    assert f"did you mean {root}?" in text


def test_another_split_lists_those_present(root: Path) -> None:
    (root / "splits" / "train.split7.bundle").write_text("only one half\n")
    (text,) = messages(root, split=7)
    assert text.endswith("has no splits/test.split7.bundle; splits that are there: 1, 2")
    with pytest.raises(DataError, match="present: 1, 2"):
        Breakfast(root=str(root), split=7).videos("train")


def test_features_need_a_folder_of_them(root: Path) -> None:
    (text,) = messages(pack(root, "mini.tar.xz"), observe="features")
    assert "data.observe=labels" in text
    (root / "features" / f"{TRAIN[1]}.npy").unlink()
    (text,) = messages(root, observe="features")
    assert f"no feature file for 1 of 5 videos ({TRAIN[1]})" in text
    for path in (root / "features").iterdir():
        path.unlink()
    (root / "features").rmdir()
    (text,) = messages(root, observe="features")
    assert f"{root / 'features'} does not exist" in text


BUNDLES: dict[str, tuple[str, str]] = {
    "empty": ("\n", "train.split1.bundle: lists no video"),
    "twice": (f"{TRAIN[0]}.txt\nx/{TRAIN[0]}\n", f"train.split1.bundle, line 2: '{TRAIN[0]}' stands already in line 1"),
    "no labels": (f"{TRAIN[0]}.txt\nlost.txt\n", "no label file for 1 of 3 videos of split 1 (lost)"),
    "overlap": (f"{TRAIN[0]}.txt\n{TEST[0]}.txt\n", f"1 of 1 videos stand in the training list too ({TEST[0]})"),
    "climbs": (f"{TRAIN[0]}.txt\n../x.txt\n", "train.split1.bundle, line 2: '../x.txt' leaves the data folder"),
    "absolute": ("/etc/passwd\n", "train.split1.bundle, line 1: '/etc/passwd' leaves the data folder"),
    "drive": ("C:\\x.txt\n", "line 1: 'C:\\\\x.txt' leaves the data folder"),
    "hidden": (".history\n", "line 1: '.history' is not a video name"),
}


@pytest.mark.parametrize(("text", "expected"), BUNDLES.values(), ids=BUNDLES)
def test_malformed_split_lists(root: Path, text: str, expected: str) -> None:
    (root / "splits" / "train.split1.bundle").write_text(text)
    found = messages(root)
    assert len(found) == 1
    assert expected in found[0]
    assert any(expected in line for line in verified(pack(root, "mini.tar.gz")))


MAPPINGS: dict[str, tuple[bytes, str]] = {
    "empty": (b"\n", "mapping.txt: is empty"),
    "one field": (b"0 SIL\nstir\n2 x\n", "mapping.txt, line 2: expected 'id name' such as '0 background', got 'stir'"),
    "blank": (b"0 SIL\n\n1 x\n", "mapping.txt, line 2: expected 'id name'"),
    "no number": (b"zero SIL\n", "mapping.txt, line 1: expected 'id name'"),
    "negative": (b"-1 SIL\n", "mapping.txt, line 1: expected 'id name'"),
    "id twice": (b"0 SIL\n1 a\n1 b\n", "mapping.txt, line 3: id 1 stands already in line 2 ('a')"),
    "name twice": (b"0 SIL\n1 SIL\n", "mapping.txt, line 2: name 'SIL' stands already in line 1"),
    "from one": (b"1 SIL\n2 stir\n", "mapping.txt, line 2: id 2 is too large for 2 classes; ids must be 0..1, and 0 is missing"),
    "latin-1": (b"0 SIL\n1 caf\xe9\n", "mapping.txt, line 2: byte 0xe9 is not UTF-8"),
    "utf-16": ("0 SIL\n".encode("utf-16"), "mapping.txt: is UTF-16 text; save it as UTF-8"),
}


@pytest.mark.parametrize(("content", "expected"), MAPPINGS.values(), ids=MAPPINGS)
def test_malformed_mappings(root: Path, content: bytes, expected: str) -> None:
    (root / "mapping.txt").write_bytes(content)
    for found in (messages(root), verified(root), messages(pack(root, "mini.tar.gz"))):
        assert len(found) == 1
        assert expected in found[0]
    with pytest.raises(DataError, match=r"mapping\.txt"):
        Breakfast(root=str(root)).describe()


def test_a_mapping_in_any_order_is_fine(root: Path) -> None:
    (root / "mapping.txt").write_text("2 stir\n0 SIL\n1 pour_milk\n")
    assert Breakfast(root=str(root)).describe().class_names == ("SIL", "pour_milk", "stir")


# --- what can be wrong: labels and features ---

LABELS: dict[str, tuple[bytes, str]] = {
    "unknown": (b"SIL\nstirr\n", ".txt, line 2: label 'stirr' is not in mapping.txt; did you mean 'stir'?"),
    "blank inside": (b"SIL\n\nstir\n", ".txt, line 2: is blank; every frame needs a class name"),
    "empty": (b"", ".txt: is empty; expected one class name per frame"),
    "latin-1": (b"SIL\nSIL\ncaf\xe9\n", ".txt, line 3: byte 0xe9 is not UTF-8"),
    "utf-16": ("SIL\n".encode("utf-16"), ".txt: is UTF-16 text"),
}


@pytest.mark.parametrize(("content", "expected"), LABELS.values(), ids=LABELS)
def test_malformed_label_files(root: Path, content: bytes, expected: str) -> None:
    (root / "groundTruth" / f"{TRAIN[1]}.txt").write_bytes(content)
    for place in (root, pack(root, "mini.tar.xz")):
        (text,) = verified(place)
        assert TRAIN[1] + expected in text
        source = Breakfast(root=str(place))
        with pytest.raises(DataError, match=TRAIN[1]):
            source.labels(TRAIN[1])
        assert source.labels(TRAIN[0]).shape == (10,), "the other videos stay readable"


def test_every_malformed_file_gives_one_problem(root: Path) -> None:
    for video in TRAIN[:3]:
        (root / "groundTruth" / f"{video}.txt").write_text("SIL\nwhat\nwhat\n")
    assert len(verified(root)) == 3


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


FEATURES: dict[str, tuple[Callable[[Path], object], str]] = {
    "nan": (lambda p: np.save(p, _with(np.nan)), "value nan at frame 5, channel 2"),
    "inf": (lambda p: np.save(p, _with(-np.inf)), "value -inf at frame 5, channel 2"),
    "1-D": (lambda p: np.save(p, np.zeros(9, "f4")), "has shape (9,); expected a matrix [D, T]"),
    "no frame": (lambda p: np.save(p, np.zeros((5, 0), "f4")), "; expected a"),
    "integers": (lambda p: np.save(p, np.zeros((5, 9), "i8")), "holds int64; expected float32"),
    "objects": (lambda p: np.save(p, np.array([[None] * 9] * 5)), "holds Python objects; expected a float32 matrix"),
    "truncated": (_truncate, "is empty, cut off or not an npy file"),
    "empty file": (lambda p: p.write_bytes(b""), "is empty, cut off or not an npy file"),
    "text": (lambda p: p.write_text("SIL\n" * 99), "is empty, cut off or not an npy file"),
    "width": (lambda p: np.save(p, np.zeros((6, 9), "f4")), "has 6 values per frame; expected 5 as in P01_cam01_P01_tea.npy"),
    "absent": (lambda p: p.unlink(), "no feature file for 1 of 5 videos"),
}


def _with(value: float) -> np.ndarray:
    matrix = np.zeros((5, 9), "f4")
    matrix[2, 5] = value
    return matrix


@pytest.mark.parametrize(("damage", "expected"), FEATURES.values(), ids=FEATURES)
def test_malformed_feature_files(root: Path, damage: Callable[[Path], object], expected: str) -> None:
    video = TRAIN[3]
    path = root / "features" / f"{video}.npy"
    damage(path)
    found = [text for text in verified(root, observe="features") if video in text]
    assert found
    assert expected in found[0]
    with pytest.raises(DataError, match=f"{video}.npy"):
        Breakfast(root=str(root), observe="features").features(video, 9, 1)


def test_a_missing_file_is_said_once_and_hides_no_malformed_one(root: Path) -> None:
    (root / "features" / f"{TRAIN[0]}.npy").unlink()
    (root / "groundTruth" / f"{TRAIN[1]}.txt").unlink()
    (root / "groundTruth" / f"{TRAIN[2]}.txt").write_text("SIL\nstirr\n")
    np.save(root / "features" / f"{TRAIN[3]}.npy", _with(np.nan))
    found = verified(root, observe="features")
    assert sum(TRAIN[0] in text for text in found) == 1
    assert any("did you mean 'stir'?" in text for text in found)
    assert any("value nan" in text for text in found)


def test_a_broken_first_file_does_not_blame_the_others(root: Path) -> None:
    (root / "features" / f"{TRAIN[0]}.npy").write_bytes(b"")
    (text,) = verified(root, observe="features")
    assert TRAIN[0] in text


def test_axes_the_wrong_way_round(root: Path) -> None:
    found = verified(root, observe="features", feature_layout="TD")
    assert len(found) == len(LENGTHS)
    assert all("its axes are the other way round, give data.feature_layout=DT" in text for text in found)


def test_a_stride_of_minutes_is_refused(root: Path) -> None:
    (text,) = messages(root, stride=1000)
    assert text == "data.stride: 1000 leaves more than a minute of video between two frames; Breakfast has 15 a second"
    assert messages(root, stride=900) == []


def test_verify_tells_how_far_it_is(root: Path) -> None:
    source, seen = Breakfast(root=str(root)), []
    source.watch = lambda done, of: seen.append((done, of))
    source.verify()
    assert seen == [(n, 5) for n in range(1, 6)]
    assert source.place == root


# --- archives ---


@pytest.mark.parametrize("name", ["mini.tar", "mini.tar.xz", "mini.tar.gz"])
def test_a_truncated_archive_is_one_message_wherever_it_is_cut(root: Path, name: str) -> None:
    """Also where a member's header is cut, which the tarfile module takes for the end of the archive."""
    whole = pack(root, name).read_bytes()
    path = root.parent / f"cut.{name}"
    content = len(whole.rstrip(b"\0")) if name == "mini.tar" else len(whole)  # zeros at the end of a plain tar are filler
    for part in range(1, 30):
        path.write_bytes(whole[: content * part // 30])
        (text,) = verified(path)
        assert f"{path}: is damaged, cut off or not a tar archive" in text
    path.write_bytes(whole)
    assert verified(path) == []


def test_a_file_that_is_no_archive_is_one_message(root: Path) -> None:
    path = root.parent / "x.tar.xz"
    path.write_text("not an archive")
    (text,) = messages(path)
    assert "is damaged, cut off or not a tar archive" in text
    (text,) = messages(root / "mapping.txt")
    assert "is neither a folder nor an archive" in text


@pytest.mark.parametrize("name", ["../groundTruth/x.txt", "/groundTruth/x.txt", "mini/../../groundTruth/x.txt"])
def test_unsafe_member_names_are_refused(root: Path, name: str) -> None:
    path = root.parent / "unsafe.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(root / "mapping.txt", "mini/mapping.txt")
        member = archive.gettarinfo(str(root / "mapping.txt"))
        member.name = name
        with (root / "mapping.txt").open("rb") as file:
            archive.addfile(member, file)
    (text,) = verified(path)
    assert f"unsafe member name {name!r}" in text


def test_links_in_an_archive_are_not_followed(root: Path) -> None:
    truth = root / "groundTruth" / f"{TRAIN[0]}.txt"
    truth.unlink()
    truth.symlink_to("/etc/hostname")
    found = verified(pack(root, "mini.tar.gz"))
    assert any(f"videos of split 1 ({TRAIN[0]})" in text for text in found)


def test_an_archive_without_a_data_set(root: Path) -> None:
    (text,) = verified(pack(root, "mini.tar.gz", order=("splits",)))
    assert "holds no mapping.txt" in text


# --- cost ---


def test_the_check_needs_neither_numpy_nor_torch(root: Path) -> None:
    archive = pack(root, "mini.tar.xz")
    code = (
        "import sys\n"
        "from longview.data.breakfast import Breakfast\n"
        "from longview.data.kitchen import Kitchen\n"
        "from longview.data.salads import Salads\n"
        "from longview.data.salads_scores import SaladsScores\n"
        f"for root in ({str(root)!r}, {str(archive)!r}):\n"
        "    assert Breakfast(root=root).problems() == []\n"
        "    assert Breakfast(root=root).describe().parts['train'] == 4\n"
        "SaladsScores().problems(), Kitchen().problems(), Kitchen().describe()\n"
        "heavy = {'numpy', 'torch', 'lightning'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_making_a_source_touches_no_file() -> None:
    assert isinstance(Breakfast(root="/nowhere/at/all"), Breakfast)
    assert isinstance(Salads(root="/nowhere/at/all"), Salads)
