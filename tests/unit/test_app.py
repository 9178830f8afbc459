"""``python run.py`` as a user meets it: help, composed tree, completion, bad input, sweeps."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import longview.launch.here
import longview.launch.local
from longview.app import main
from longview.errors import LongviewError
from longview.runs.directory import RunDirectory
from longview.runs.sweep import SweepDirectory

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty current directory, so that whatever is written is seen."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.delenv("LONGVIEW_CONF", raising=False)
    monkeypatch.delenv("LONGVIEW_TRACEBACK", raising=False)


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """run.py in a process of its own."""
    line = [sys.executable, "-B", str(ROOT / "run.py"), *arguments]
    return subprocess.run(line, capture_output=True, text=True, env={**os.environ, **env}, timeout=120)


def written() -> list[str]:
    return [str(p) for p in Path().rglob("*")]


class Launched(list[Any]):
    """Records launches in place of the engine; ``codes`` are returned in turn."""

    codes: list[Any]

    def __call__(self, experiment: Any, *, argv: list[str]) -> int:
        self.append(experiment)
        return self._code()

    def run_in(self, run: Any, config: Any, mode: str) -> int:
        """A point of a sweep, whose run directory has been made."""
        self.append(SimpleNamespace(config=config, run=run, mode=mode))
        return self._code()

    def _code(self) -> int:
        code = self.codes[len(self) - 1] if len(self) <= len(self.codes) else 0
        if isinstance(code, BaseException):
            raise code
        return int(code)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Launched:
    recorder = Launched()
    recorder.codes = []
    monkeypatch.setattr(longview.launch.local, "launch", recorder)
    monkeypatch.setattr(longview.launch.here, "run_in", recorder.run_in)
    return recorder


def test_help_teaches() -> None:
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for group in (
        "task: anticipation",
        "model: manta, nearest_neighbour, repeat_last",
        "trainer: default",
        "strategy: auto, ddp",
    ):
        assert group in done.stdout
    assert done.stdout.startswith("longview composes an experiment")
    examples = [line for line in done.stdout.splitlines() if line.strip().startswith("python run.py") and "[" not in line]
    assert len(examples) >= 5
    assert "-sc install=bash" in done.stdout
    assert written() == []


def small_breakfast(root: Path) -> Path:
    """A data root in the field's layout: two videos, two splits."""
    for folder in ("groundTruth", "splits"):
        (root / folder).mkdir(parents=True)
    (root / "mapping.txt").write_text("0 SIL\n1 pour_milk\n")
    for video in ("P03_a", "P04_b"):
        (root / "groundTruth" / f"{video}.txt").write_text("SIL\npour_milk\n" * 30)
    for split in (1, 2):
        (root / "splits" / f"train.split{split}.bundle").write_text("P03_a.txt\n")
        (root / "splits" / f"test.split{split}.bundle").write_text("P04_b.txt\n")
    return root


def test_help_examples_check(tmp_path: Path) -> None:
    from longview.config.experiment import Checker

    checker, root = Checker(ROOT / "conf"), small_breakfast(tmp_path / "breakfast")
    for line in run("--help").stdout.splitlines():
        words = line.strip().split("  ")[0].split()
        if words[:2] == ["python", "run.py"] and len(words) > 2 and words[2][0] not in "-[" and "run directory" not in line:
            overrides = [w for w in words[2:] if w != "-m" and not w.startswith("data.root=")]
            if "breakfast" in line:
                overrides.append(f"data.root={root}")
            assert checker.sweep(overrides).points


def test_composed_tree_is_shown() -> None:
    done = run("--cfg", "job", "model=repeat_last", "+experiment=null", "seed=4")
    tree = yaml.safe_load(done.stdout)
    assert (done.returncode, tree["seed"], tree["model"]["_target_"]) == (0, 4, "longview.models.repeat_last.RepeatLast")
    assert "hydra" not in tree
    assert run("--cfg", "job", "-p", "trainer").stdout.startswith("# @package trainer\nmax_epochs:")
    assert written() == []


def test_composed_tree_is_not_shown_of_bad_arguments() -> None:
    done = run("--cfg", "job", "model=mant", "+modl=3")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no option 'mant'" in done.stderr
    assert "modl: unknown key" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_value_can_be_looked_at() -> None:
    """--cfg shows what composes, so that a wrong value can be traced."""
    assert yaml.safe_load(run("--cfg", "job", "seed=abc").stdout)["seed"] == "abc"


@pytest.mark.parametrize(
    ("typed", "offered"), [("model=", "model=manta"), ("strategy=d", "strategy=ddp"), ("trainer.max_", "trainer.max_epochs=")]
)
def test_tab_completion(typed: str, offered: str) -> None:
    line = f"python run.py {typed}"
    done = run("-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
    assert offered in done.stdout.split()


def test_completion_script() -> None:
    assert "complete" in run("-sc", "install=bash").stdout


def test_version() -> None:
    assert run("--version").stdout.startswith("longview ")


def test_bad_input_is_one_message_exit_2_and_writes_nothing() -> None:
    done = run("modl=3", "trainer.max_epochs=three", "a b", "model=mant", "+experiment=nosuch")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: 5 problems; nothing was run or written\n  1. ")
    assert "Traceback" not in done.stderr
    assert written() == []


def test_bad_sweep_writes_nothing() -> None:
    done = run("-m", "seed=1,-2", "model=manta,mant")
    assert done.returncode == 2
    assert "seed: -2 is impossible" in done.stderr
    assert "no option 'mant'" in done.stderr
    assert "Traceback" not in done.stderr
    assert written() == []


MISUSED = [
    (["--config-path=/tmp"], "--config-path: set LONGVIEW_CONF"),
    (["--config-name=x"], "--config-name: choose an experiment instead"),
    (["--config-dir=/tmp"], "--config-dir: set LONGVIEW_CONF"),
    (["--experimental-rerun=x.pickle"], "--experimental-rerun: continue a run with run.resume="),
    (["-p", "model"], "--package belongs to --cfg"),
    (["--resolve"], "--resolve belongs to --cfg"),
    (["--cfg", "job", "-p", "modle"], "--package: there is no block 'modle'; blocks: seed, run"),
    (["--cfg", "job", "-m", "seed=1,2"], "--cfg shows one experiment; leave out --multirun"),
    (["-sc", "foo"], "--shell-completion needs install=bash"),
    (["-sc", "install=tcsh"], "--shell-completion needs install=bash"),
]


@pytest.mark.parametrize(("arguments", "said"), MISUSED, ids=[" ".join(a) for a, _ in MISUSED])
def test_option_that_would_do_something_else(
    launched: Launched, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(arguments, conf=ROOT) == 2
    assert said in capsys.readouterr().err
    assert launched == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-p", "trainer"], "@package trainer\nmax_epochs: 4\n"),
        (["-p", "trainer", "recipe=null"], "@package trainer\nmax_epochs: 12\n"),
        (["-p", "trainer", "~recipe"], "@package trainer\nmax_epochs: 12\n"),
        (["-p", "trainer", "model=repeat_last"], "@package trainer\nmax_epochs: 12\n"),
    ],
)
def test_shown_tree_has_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    conf = shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (conf / "recipe" / "manta_kitchen.yaml").write_text("# @package _global_\ntrainer:\n  max_epochs: 4\n")
    monkeypatch.setenv("LONGVIEW_CONF", str(conf))
    assert main(["--cfg", "job", *arguments], conf=ROOT) == 0
    assert expected in capsys.readouterr().out


def test_damaged_yaml(tmp_path: Path) -> None:
    conf = shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (conf / "config.yaml").write_text("seed: [1\n")
    for arguments in ([], ["--help"], ["--cfg", "job"], ["-m", "seed=1,2"]):
        done = run(*arguments, LONGVIEW_CONF=str(conf))
        assert done.returncode == 2, arguments
        assert "not valid YAML" in done.stderr
        assert "Traceback" not in done.stderr


LIGHT = [
    ["--help"],
    ["--cfg", "job"],
    ["model=mant"],
    ["trainer.max_epochs=three", "data=breakfast", "data.root=/no/such"],
    ["-m", "seed=1,-2"],
]


@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_torch_is_not_imported(arguments: list[str]) -> None:
    heavy = "torch lightning numpy matplotlib wandb"
    code = (
        f"import sys\nfrom longview.app import main\ncode = main({arguments!r}, conf=__import__('pathlib').Path({str(ROOT)!r}))\n"
        f"print('HEAVY', [m for m in {heavy!r}.split() if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "HEAVY []", done.stdout[-300:] + done.stderr


def test_run_is_launched_as_checked(launched: Launched) -> None:
    assert main(["seed=5", "model=repeat_last"], conf=ROOT) == 0
    assert (launched[0].config.seed, launched[0].name) == (5, "repeat_last-kitchen")
    assert launched[0].overrides == ["seed=5", "model=repeat_last"]
    assert written() == []


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        (0, 0, ""),
        (1, 1, ""),
        (130, 130, ""),
        (LongviewError("no data"), 2, "error: no data"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("boom"), 1, "error: RuntimeError: boom"),
    ],
)
def test_exit_codes(launched: Launched, capsys: pytest.CaptureFixture[str], outcome: Any, code: int, said: str) -> None:
    launched.codes = [outcome]
    assert main([], conf=ROOT) == code
    assert said in capsys.readouterr().err


def test_traceback_on_request(launched: Launched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGVIEW_TRACEBACK", "1")
    launched.codes = [LongviewError("no data")]
    with pytest.raises(LongviewError):
        main([], conf=ROOT)


def test_sweep_runs_every_point(launched: Launched, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-m", "seed=1,2", "model=manta,repeat_last", "trainer.max_epochs=3"], conf=ROOT) == 0
    assert [(e.config.seed, e.config.model.name, e.config.trainer.max_epochs) for e in launched] == [
        (1, "manta", 3), (1, "repeat_last", 3), (2, "manta", 3), (2, "repeat_last", 3),
    ]  # fmt: skip
    out = capsys.readouterr().out
    assert "[3/4] seed=2 model=manta\n" in out
    assert "all 4 points finished" in out
    sweep = SweepDirectory.open(next(Path("runs").glob("anticipation-*")))
    assert [(p.values["seed"], p.values["model"]) for p in sweep.points()] == [
        ("1", "manta"), ("1", "repeat_last"), ("2", "manta"), ("2", "repeat_last"),
    ]  # fmt: skip
    assert [sweep.run_path(p) for p in sweep.points()] == [e.run.path for e in launched]


def finish(run: RunDirectory, outcome: str = "finished") -> None:
    run.end_attempt(run.begin_attempt("fit"), outcome)


def test_same_sweep_again_skips_what_is_finished(launched: Launched, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["-m", "seed=1,2", "model=repeat_last"]
    assert main(line, conf=ROOT) == 0
    finish(launched[0].run)
    finish(launched[1].run, "failed")
    capsys.readouterr()
    assert main(line, conf=ROOT) == 1
    out = capsys.readouterr().out
    assert "[1/2] seed=1: finished before, skipped" in out
    assert "[2/2] seed=2: did not end well before, left alone (launch.retry=true continues it)" in out
    assert len(launched) == 2
    assert main([*line, "launch.retry=true"], conf=ROOT) == 0
    assert launched[2].run.path == launched[1].run.path
    assert main(["-m", "seed=1,2,3", "model=repeat_last"], conf=ROOT) == 1  # another value is the same sweep, grown
    assert launched[3].run.path.parent == launched[1].run.path.parent
    assert main([*line, "launch.sweep=again"], conf=ROOT) == 0
    assert {e.run.path.parent.name[:6] for e in launched[4:]} == {"again-"}


@pytest.mark.parametrize("failure", [1, LongviewError("no data"), RuntimeError("boom")])
def test_sweep_goes_on_after_a_failed_point(launched: Launched, capsys: pytest.CaptureFixture[str], failure: Any) -> None:
    launched.codes = [0, failure, 0]
    assert main(["--multirun", "seed=1,2,3"], conf=ROOT) == 1
    assert [e.config.seed for e in launched] == [1, 2, 3]
    err = capsys.readouterr().err
    assert "1 of 3 points failed: seed=2" in err
    assert not any(word in err for word in ("LongviewError", "Traceback"))


def test_sweep_stops_when_interrupted(launched: Launched) -> None:
    launched.codes = [0, 130]
    assert main(["-m", "seed=1,2,3"], conf=ROOT) == 130
    assert len(launched) == 2


def test_multirun_of_one_point(launched: Launched) -> None:
    assert main(["-m", "seed=4"], conf=ROOT) == 0
    assert [e.config.seed for e in launched] == [4]


@pytest.mark.parametrize(
    ("arguments", "recipes"),
    [
        (["recipe=null,manta_kitchen"], [None, "manta_kitchen"]),
        (["recipe=manta_kitchen,null", "seed=1"], ["manta_kitchen", None]),
        (["~recipe", "seed=1,2"], [None, None]),
        (["recipe=null", "seed=1,2"], [None, None]),
        (["model=manta,repeat_last"], ["manta_kitchen", None]),
        (["experiment=none,null"], [None, "manta_kitchen"]),
    ],
)
def test_sweep_with_and_without_a_recipe(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    launched: Launched,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    recipes: list[str | None],
) -> None:
    conf = shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (conf / "recipe" / "manta_kitchen.yaml").write_text("# @package _global_\ntrainer:\n  max_epochs: 4\n")
    (conf / "experiment" / "none.yaml").write_text("# @package _global_\ndefaults:\n  - override /recipe: null\n")
    monkeypatch.setenv("LONGVIEW_CONF", str(conf))
    assert main(["-m", *arguments], conf=ROOT) == 0
    recipe = [4 if e.config.trainer.max_epochs == 4 else None for e in launched]
    assert recipe == [4 if name else None for name in recipes]
    assert "=[]" not in capsys.readouterr().out
