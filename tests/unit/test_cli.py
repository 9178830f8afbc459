"""The ``longview`` command: check, schema, data check."""

from __future__ import annotations

import json
import os
import re
import shutil
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
    arguments = ["check", "model.width=32", "seed=3", "resources.time=2h", "trainer.max_epochs=7", "task.lr=5e-4"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith("ok\n")
    for text in ("anticipation", "width=32", "kitchen", "7 epochs", "seed 3", "1 process", "at most 02:00:00"):
        assert text in out
    changed = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines() if line.startswith("    ")}
    assert changed["model.width"] == "32 (else 64) override 'model.width=32'"
    assert changed["resources.time"] == "02:00:00 (else null) override 'resources.time=2h'"
    assert "task.lr" not in changed, "5e-4 is what the file says, in other words"
    assert "model.loss_mean" not in changed, "a default of the signature is no change"
    assert list(tmp_path.iterdir()) == []


def test_check_shows_what_a_recipe_and_an_experiment_set(capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = shutil.copytree(ROOT / "conf", tmp_path / "conf")
    monkeypatch.setenv("LONGVIEW_CONF", str(conf))
    (conf / "recipe" / "manta_kitchen.yaml").write_text("# @package _global_\nmodel:\n  blocks: 2\nloader:\n  batch_size: 5\n")
    (conf / "experiment" / "mine.yaml").write_text("# @package _global_\nloader:\n  batch_size: 7\n")
    assert main(["check", "experiment=mine"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"model\.blocks +2 +\(else 15\) +conf/recipe/manta_kitchen\.yaml:3\n", out)
    assert re.search(r"loader\.batch_size +7 +\(else 16\) +conf/experiment/mine\.yaml:3", out)
    assert re.search(r"recipe +manta_kitchen\n +experiment +mine\n", out)


@pytest.mark.parametrize("columns", [60, 100])
def test_check_is_complete_and_fits_the_terminal(capsys: Output, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    from longview.config.experiment import check

    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["check", "recipe=null"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= columns
    resolved = check(["recipe=null"], ROOT / "conf").resolved
    for group in ("task", "model", "data"):
        for key in resolved[group]:
            assert f"{key}=" in out or key == "_target_"
    assert "[0.1, 0.2, 0.3, 0.5]" in out, "a list stays on one line"
    assert "not as in the option files" not in out


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


def make_root(root: Path) -> Path:
    """Three videos of two frames in the field's layout."""
    (root / "groundTruth").mkdir(parents=True)
    (root / "splits").mkdir()
    (root / "mapping.txt").write_text("0 SIL\n1 stir\n")
    (root / "splits" / "train.split1.bundle").write_text("P01_a.txt\nP02_a.txt\n")
    (root / "splits" / "test.split1.bundle").write_text("P03_a.txt\n")
    for video in ("P01_a", "P02_a", "P03_a"):
        (root / "groundTruth" / f"{video}.txt").write_text("SIL\nSIL\n")
    return root


def test_data_check_of_generated_data(capsys: Output) -> None:
    assert main(["data", "check", "data.train_videos=6", "data.val_videos=0", "data.test_videos=3"]) == 0
    out = capsys.readouterr().out
    for text in ("data=kitchen: ok", "videos", "9", "classes", "6 train, 3 test", "commonest class"):
        assert text in out


def test_data_check_says_where_the_data_lie_and_what_this_configuration_uses(capsys: Output, tmp_path: Path) -> None:
    make_root(tmp_path / "root")
    assert main(["data", "check", "data=breakfast", f"data.root={tmp_path / 'root'}", "data.val_fraction=0.5"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"data=breakfast in {tmp_path / 'root'}: ok" in out
    assert "split1 │ 2 train, 1 test" in out
    assert "this configuration │ 1 train, 1 val, 1 test" in out
    assert "rarest class │ stir, 0 frames (0.00%)" in out


def test_data_check_lists_missing_and_malformed_files_together(capsys: Output, tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    (root / "groundTruth" / "P01_a.txt").unlink()
    (root / "groundTruth" / "P02_a.txt").write_text("SIL\nSILL\n")
    assert main(["data", "check", "data=breakfast", f"data.root={root}"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: 2 problems in the data\n")
    assert "no label file for 1 of 3 videos of split 1 (P01_a)" in err
    assert "P02_a.txt, line 2: label 'SILL' is not in mapping.txt; did you mean 'SIL'?" in err


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
    out = capsys.readouterr().out
    for text in ("longview data check data=breakfast", "longview status -w", "longview why 3f9a", "$LONGVIEW_RUNS"):
        assert text in out
    assert "_names" not in out
    assert max(map(len, out.splitlines())) <= 130


FOLLOW = ["status", "logs", "why", "cancel", "resume", "table", "open", "export", "doctor", "completion"]


@pytest.mark.parametrize("command", FOLLOW)
def test_help_of_a_subcommand_teaches_by_example(capsys: Output, command: str) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    out = capsys.readouterr().out
    assert f"examples:\n  longview {command}" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cancel"], "the following arguments are required: SWEEP|RUN"),
        (["status", "--wach"], "unrecognized arguments: --wach"),
        (["status", "-w", "0"], "invalid number of seconds value: '0'"),
        (["logs", "--rank", "first"], "invalid rank value: 'first'"),
        (["logs", "x", "--attempt", "1", "--job", "2"], "not allowed with argument"),
    ],
)
def test_a_wrong_command_line_is_bad_input(capsys: Output, arguments: list[str], said: str) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert said in capsys.readouterr().err


def test_a_wrong_command_is_told_the_nearest(capsys: Output) -> None:
    assert main(["statsu"]) == 2
    err = capsys.readouterr().err
    assert "there is no command 'statsu'; did you mean status; there are: check, schema, data, status, logs" in err
    assert "_names" not in err
    assert main(["x" * 500]) == 2
    assert "x" * 61 not in capsys.readouterr().err


def test_names_are_completed_in_a_real_shell(capsys: Output, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "20261120-063904-manta-kitchen-56914f"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("seed: 1\n")
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for words, place, expected in ((["longview", "sta"], 1, "status"), (["longview", "why", "56"], 2, "56914f")):
        code = f'{script}\nCOMP_WORDS=({" ".join(words)}); COMP_CWORD={place}; _longview; echo "${{COMPREPLY[@]}}"'
        environment = {**os.environ, "PATH": path}
        done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert done.stdout.strip() == expected, done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command(capsys: Output, shell: str) -> None:
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert all(command in out for command in [*FOLLOW, "check", "schema", "data"])


@pytest.mark.parametrize("arguments", [["check"], ["schema"], ["check", "seed=abc"], []], ids=" ".join)
def test_torch_is_not_imported(arguments: list[str]) -> None:
    heavy = "torch lightning numpy matplotlib wandb rich"
    code = (
        f"import sys\nfrom longview.cli import main\nmain({arguments!r})\n"
        f"print('HEAVY', [m for m in {heavy!r}.split() if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "HEAVY []", done.stdout[-300:] + done.stderr
