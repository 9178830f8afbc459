"""Training curves of whatever a metrics.csv holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from longview.errors import LongviewError
from longview.viz.curves import curves, read_series

FULL = """step,epoch,train/loss,train/loss_epoch,val/loss,val/moc,lr-Adam,test/mof
0,0,3.0,,,,0.0005,
10,0,2.0,2.5,2.8,0.1,0.0005,
20,1,1.0,1.5,1.9,0.2,0.00025,0.5
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "metrics.csv"
    path.write_text(text)
    return path


def panels(path: Path) -> dict[str, list[str]]:
    figure = curves(path, "run $1$")
    figure.canvas.draw()
    return {a.get_title(loc="left"): sorted(str(line.get_label()) for line in a.lines) for a in figure.axes}


def test_three_panels(tmp_path: Path) -> None:
    path = write(tmp_path, FULL)
    assert panels(path) == {
        "Loss": ["train/loss", "train/loss_epoch", "val/loss"],
        "Validation": ["val/moc"],
        "Learning rate": ["lr-Adam"],
    }
    line = next(li for li in curves(path).axes[0].lines if li.get_label() == "val/loss")
    assert list(line.get_xdata()) == [10, 20]
    assert list(line.get_ydata()) == [2.8, 1.9]


def test_a_dollar_in_a_name_is_no_formula(tmp_path: Path) -> None:
    assert list(panels(write(tmp_path, "step,val/$^{$\n0,1\n"))) == ["Validation"]  # mathtext would raise


def test_missing_columns_leave_their_panel_out(tmp_path: Path) -> None:
    assert panels(write(tmp_path, "step,train/loss\n0,1\n5,0.5\n")) == {"Loss": ["train/loss"]}


@pytest.mark.parametrize("text", ["", "step,epoch\n", "step,epoch\n1,0\n", "step,train/loss\n0,\n", "step,train/loss\n0,nan\n"])
def test_nothing_logged_is_said(tmp_path: Path, text: str) -> None:
    figure = curves(write(tmp_path, text))
    assert figure.axes == []
    assert "nothing was logged" in figure.texts[0].get_text()


def test_odd_cells_and_order(tmp_path: Path) -> None:
    path = write(tmp_path, "step,train/loss,odd\n20,1,x\n0,3\n10,oops,inf\n10,2,1\n20,0.5,2,surplus\n")
    assert read_series(path) == {"train/loss": ([0, 10, 20], [3, 2, 0.5]), "odd": ([10, 20], [1, 2])}


def test_without_steps_rows_are_counted(tmp_path: Path) -> None:
    assert read_series(write(tmp_path, "loss\n3\n2\n"))["loss"] == ([0, 1], [3, 2])


def test_wide_range_is_logarithmic(tmp_path: Path) -> None:
    wide = curves(write(tmp_path, "step,loss\n0,1000\n1,1\n")).axes[0].get_yscale()
    narrow = curves(write(tmp_path, "step,loss\n0,10\n1,1\n")).axes[0].get_yscale()
    signed = curves(write(tmp_path, "step,loss\n0,1000\n1,-1\n")).axes[0].get_yscale()
    assert (wide, narrow, signed) == ("log", "linear", "linear")


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LongviewError, match=r"absent\.csv"):
        curves(tmp_path / "absent.csv")
