"""The ``longview`` command: check, schema, data check."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from longview.cli import main

ROOT = Path(__file__).resolve().parents[2]
Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _conf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LONGVIEW_CONF", str(ROOT / "conf"))
    monkeypatch.delenv("LONGVIEW_TRACEBACK", raising=False)
    monkeypatch.chdir(tmp_path)


def test_check_says_ok_and_what_would_be_run(capsys: Output, tmp_path: Path) -> None:
    assert main(["check", "model.width=32", "seed=3", "resources.time=2h"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("ok\n")
    for text in ("anticipation", "manta  width=32", "kitchen", "12 epochs", "seed 3", "1 process", "at most 2:00:00"):
        assert text in out
    assert list(tmp_path.iterdir()) == []


def test_check_lists_all_problems(capsys: Output, tmp_path: Path) -> None:
    assert main(["check", "modl=3", "--seed", "seed=abc", "-x"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: 4 problems")
    for text in ("modl: unknown key", "seed: 'abc'", "'--seed' is not an option", "'-x' is not an option"):
        assert text in err
    assert list(tmp_path.iterdir()) == []


def test_check_of_a_sweep(capsys: Output) -> None:
    assert main(["check", "-m", "seed=1,2", "model=manta,repeat_last"]) == 0
    assert "[4/4] seed=2 model=repeat_last" in capsys.readouterr().out
    assert main(["check", "-m", "seed=1,-2"]) == 2
    assert "(in point #2 (seed=-2))" in capsys.readouterr().err


def test_schema_covers_the_tree(capsys: Output) -> None:
    from longview.config.experiment import check

    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    resolved = check([], ROOT / "conf").resolved
    assert set(schema["properties"]) == set(resolved) == set(schema["required"])
    assert schema["additionalProperties"] is False
    models = {o["title"]: o for o in schema["properties"]["model"]["anyOf"]}
    assert set(models) >= {"model=manta", "model=repeat_last", "model=nearest_neighbour"}
    manta = models["model=manta"]
    assert manta["description"].startswith("MANTA")
    assert set(manta["properties"]) == set(resolved["model"])
    assert manta["properties"]["width"] == {"type": "integer", "minimum": 1, "default": 64, "title": "Width"}
    assert "num_classes" not in manta["properties"]
    assert schema["properties"]["trainer"]["properties"]["max_epochs"]["default"] == 12
    assert schema["properties"]["seed"]["default"] == 1


def test_schema_to_file(capsys: Output, tmp_path: Path) -> None:
    assert main(["schema", "--out", "schema.json"]) == 0
    json.loads((tmp_path / "schema.json").read_text())
    assert main(["schema", "--out", "no/such/schema.json"]) == 2
    assert "'no/such/schema.json' cannot be written" in capsys.readouterr().err


def test_data_check_of_generated_data(capsys: Output) -> None:
    assert main(["data", "check", "data.train_videos=6", "data.val_videos=0", "data.test_videos=3"]) == 0
    out = capsys.readouterr().out
    for text in ("data=kitchen", "videos", "9", "classes", "6 train, 3 test"):
        assert text in out


def test_data_check_of_a_damaged_root(capsys: Output, tmp_path: Path) -> None:
    root = tmp_path / "breakfast"
    root.mkdir()
    assert main(["data", "check", "data=breakfast", f"data.root={root}"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert str(root) in err


def test_data_check_ignores_other_blocks_but_not_its_own(capsys: Output) -> None:
    assert main(["data", "check", "data.noise=-1", "data.seeed=3"]) == 2
    err = capsys.readouterr().err
    assert "data.noise: -1 is impossible" in err
    assert "data.seeed: unknown key; did you mean 'seed'?" in err


def test_help(capsys: Output) -> None:
    assert main([]) == 0
    assert "longview data check data=breakfast" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["check"], ["schema"], ["check", "seed=abc"], []], ids=" ".join)
def test_torch_is_not_imported(arguments: list[str]) -> None:
    heavy = "torch lightning numpy matplotlib wandb rich"
    code = (
        f"import sys\nfrom longview.cli import main\nmain({arguments!r})\n"
        f"print('HEAVY', [m for m in {heavy!r}.split() if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "HEAVY []", done.stdout[-300:] + done.stderr
