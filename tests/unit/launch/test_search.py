"""``-m search.trials=...``: the space, what is tried, and what is left when things go wrong.

The engine takes seconds to import and to run, so in most tests a stand-in takes its place that writes what a run leaves: the
records of its attempt and a result.json whose values follow from the configuration. The last test trains for real.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import longview.launch.here
import tiny
from longview.app import main
from longview.config.experiment import Checker
from longview.config.schema import Experiment, SearchConfig
from longview.launch import evaluate, study
from longview.launch.evaluate import Watch
from longview.launch.search_space import Choice, Number, Space, read_space, swept
from longview.launch.study import Trials
from longview.runs.directory import RunDirectory
from longview.runs.status import Kind, State
from longview.runs.sweep import SweepDirectory

ROOT = Path(__file__).resolve().parents[3]
CONF = ROOT / "conf"
LR, WIDTH = "task.lr=tag(log,interval(1e-4,1e-2))", "model.width=8,16,32"
SETTINGS = {"trials": 10, "objective": None, "mode": None, "sampler": "tpe", "seed": 1, "parallel": 1}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("LONGVIEW_CONF", "LONGVIEW_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)


class Engine:
    """In place of the engine: a run of width w and learning rate lr scores ``score(w, lr)``.

    A score may be an exception: the attempt fails, or with KeyboardInterrupt is stopped as by Ctrl-C.
    """

    def __init__(self, score: Callable[[int, float], Any]) -> None:
        self.score = score
        self.ran: list[tuple[int, float]] = []

    def __call__(self, run: RunDirectory, config: Experiment, mode: str) -> int:
        values = (config.model.params.width, config.task.params.lr)
        self.ran.append(values)
        number = run.begin_attempt(mode)
        score = self.score(*values)
        if isinstance(score, BaseException):
            stopped = isinstance(score, KeyboardInterrupt)
            run.end_attempt(number, "stopped" if stopped else "failed", error=str(score))
            return 130 if stopped else 1
        result = {
            "validation": {"name": "val/moc", "value": score, "mode": "max"},
            "primary": {"name": "test/mean_moc", "value": -score, "mode": "max"},
            "result": {"metrics": {"test/mean_moc": -score, "test/error": 1 - score}},
        }
        run.write_json(run.result_file, result)
        run.end_attempt(number, "finished")
        return 0


def well(width: int, lr: float) -> float:
    """Best at width 16 and a learning rate of 0.001."""
    return 0.9 - 0.2 * abs(math.log10(lr) + 3) - 0.01 * abs(width - 16)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    stand_in = Engine(well)
    monkeypatch.setattr(longview.launch.here, "run_in", stand_in)
    return stand_in


def go(*arguments: str, trials: int | None = 8) -> int:
    return main(["-m", *([f"search.trials={trials}"] if trials else []), LR, WIDTH, *arguments], conf=ROOT)


def sweep(pattern: str = "*") -> SweepDirectory:
    found = [p.parent for p in Path("runs").glob(f"{pattern}/sweep.json")]
    assert len(found) == 1, found
    return SweepDirectory.open(found[0])


def space_of(*arguments: str) -> tuple[Space, list[str]]:
    checker = Checker(CONF)
    composition = checker.composer.compose(arguments, sweeps=True)
    space, problems = read_space(swept(composition, checker.conf), checker.conf)
    return space, [str(p) for p in problems]


# the space ----------------------------------------------------------------------------------------------------------------


def test_swept_arguments_become_dimensions() -> None:
    space, problems = space_of(
        LR, WIDTH, "model.blocks=range(1,5)", "model.dropout=range(0,0.5,0.25)", "recipe=null,manta_kitchen"
    )
    assert problems == []
    assert space.dimensions == (
        Number("task.lr", 1e-4, 1e-2, log=True),
        Choice("model.width", ("8", "16", "32")),
        Number("model.blocks", 1, 4, 1, whole=True),
        Number("model.dropout", 0.0, 0.25, 0.25),
        Choice("recipe", ("null", "manta_kitchen")),
    )
    assert space.size is None
    assert Space(space.dimensions[1:]).size == 3 * 4 * 2 * 2


def test_every_point_of_a_space_with_an_end_is_found_by_its_number() -> None:
    space, _ = space_of(WIDTH, "model.blocks=range(4,0,-1)")
    points = [tuple(space.at(i).values()) for i in range(space.size or 0)]
    assert sorted(points) == sorted((w, b) for w in ("8", "16", "32") for b in ("1", "2", "3", "4"))
    assert all(space.has(space.at(i)) for i in range(12))
    assert not space.has({"model.width": "64", "model.blocks": "1"})


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("task.lr=tag(lg,interval(1,2))", "tag 'lg' means nothing here"),
        ("task.lr=tag(log,interval(0,1))", "a logarithmic interval begins above 0, not at 0"),
        ("task.lr=interval(2,1)", "two ends, the smaller first, not 2 and 1"),
        ("model.blocks=tag(log,range(2,9,2))", "whole numbers above 0 and step 1"),
        ("model.width=tag(log,choice(1,2))", "log belongs to an interval or a range"),
        ("model.blocks=range(3,1)", "names no value"),
    ],
)
def test_what_is_no_dimension_is_said(argument: str, said: str) -> None:
    space, problems = space_of(argument)
    assert len(problems) == 1
    assert said in problems[0]
    assert argument in problems[0]
    assert space.dimensions == ()


def test_intervals_between_whole_numbers_are_what_their_field_is(engine: Engine) -> None:
    arguments = ["-m", "search.trials=6", "model.blocks=interval(1,8)", "task.weight_decay=interval(0,1)"]
    assert main(arguments, conf=ROOT) == 0
    tried = [p.values for p in sweep().points()]
    assert {v["model.blocks"] for v in tried} <= set("12345678")
    assert any(0 < float(v["task.weight_decay"]) < 1 for v in tried)


def test_numbers_are_short_enough_to_type() -> None:
    assert Number("x", 1e-4, 1e-2, log=True).typed(0.00031622776) == "0.0003162"
    assert Number("x", 0.99, 0.9999).typed(0.99912345678) == "0.999123"
    assert Number("x", 0.0, 1.0, 0.1).typed(0.30000000000000004) == "0.3"
    assert Number("x", 0.1, 0.7).typed(0.7000001) == "0.7"


# what is tried ------------------------------------------------------------------------------------------------------------


def simulate(trials: Trials, count: int) -> list[dict[str, str]]:
    """Ask and tell without runs."""
    asked = []
    for _ in range(count):
        number, values = trials.ask()
        asked.append(values)
        trials.belongs(number, values, "a1b2c3d4")
        score = well(int(values["model.width"]), float(values["task.lr"]))
        trials.tell(number, score if trials.mode == "max" else -score)
    return asked


def trials(folder: Path | None, *arguments: str, mode: str = "max", **settings: Any) -> Trials:
    space, _ = space_of(*(arguments or (LR, WIDTH)))
    return Trials(folder, space, SearchConfig(**{**SETTINGS, **settings}), mode)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_tpe_comes_closer_than_chance(mode: str) -> None:
    def late(sampler: str) -> float:
        found = [simulate(trials(None, mode=mode, sampler=sampler, seed=seed), 30)[15:] for seed in range(3)]
        scores = [well(int(v["model.width"]), float(v["task.lr"])) for values in found for v in values]
        return sum(scores) / len(scores)

    assert late("tpe") > late("random") + 0.05


def test_the_seed_decides_and_a_search_that_goes_on_tries_what_it_would_have_tried(tmp_path: Path) -> None:
    whole = simulate(trials(None), 14)
    parts = simulate(trials(tmp_path / "a"), 5) + simulate(trials(tmp_path / "a"), 9)
    assert parts == whole
    assert simulate(trials(None, seed=2), 14) != whole
    assert len({v["task.lr"] for v in simulate(trials(None, sampler="random"), 14)}) == 14


@pytest.mark.parametrize("patience", [0, 5])
def test_no_point_is_tried_twice_until_all_were(patience: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the sampler repeats itself."""
    monkeypatch.setattr(study, "_ASKED", patience)
    small = trials(None, WIDTH, "model.blocks=1,2", "task.lr=0.001")
    asked = []
    while not small.exhausted:
        number, values = small.ask()
        asked.append(tuple(values.values()))
        small.tell(number, 0.5)
    assert len(asked) == len(set(asked)) == 6


def test_a_wider_space_starts_with_what_is_known(tmp_path: Path) -> None:
    simulate(trials(tmp_path), 6)
    wider = trials(tmp_path, "task.lr=tag(log,interval(1e-5,1e-1))", "model.width=8,16,32,64")
    assert (wider.known, wider.finished()) == (6, [])
    assert wider.best is not None
    narrower = trials(tmp_path, LR, "model.width=64,128")
    assert narrower.known == 0


# the search ---------------------------------------------------------------------------------------------------------------


def test_every_trial_is_a_run_of_one_sweep(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    assert go() == 0
    out = capsys.readouterr().out
    points = sweep().points()
    assert len(points) == len(engine.ran) == 8
    assert [(int(p.values["model.width"]), float(p.values["task.lr"])) for p in points] == engine.ran
    best = max(points, key=lambda p: well(int(p.values["model.width"]), float(p.values["task.lr"])))
    value = well(int(best.values["model.width"]), float(best.values["task.lr"]))
    assert f"best: val/moc {value:.5g}, run {best.id}" in out
    assert f"once more, by itself: python run.py task.lr={best.values['task.lr']} model.width={best.values['model.width']}" in out
    assert (sweep().path / "figures" / "search.png").read_bytes().startswith(b"\x89PNG")
    assert sweep().record()["keys"] == ["task.lr", "model.width"]


def test_the_line_that_is_offered_makes_that_run(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    go("task.observations=[0.2]", "launch.sweep=mine", trials=2)
    line = re.search(r"python run.py (.*)", capsys.readouterr().out)
    assert line is not None
    checked = Checker(CONF).check(shlex.split(line[1]))
    assert (checked.config.model.params.width, checked.config.task.params.lr) in engine.ran
    assert checked.config.search.trials is checked.config.launch.sweep is None
    assert checked.config.task.params.observations == [0.2]


def test_the_same_command_goes_on(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    assert go(trials=3) == 0
    assert go(trials=3) == 0
    assert len(engine.ran) == 3
    assert go(trials=5) == 0
    assert len(engine.ran) == 5
    assert "5 trials, 3 done" in capsys.readouterr().out


def test_failures_and_values_that_are_no_numbers_do_not_end_it(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    engine.score = lambda w, lr: RuntimeError("CUDA out of memory") if w == 8 else math.nan if w == 32 else well(w, lr)
    assert go(trials=12) == 0
    out = capsys.readouterr().out
    widths = [w for w, _ in engine.ran]
    assert len(widths) == 12
    assert {8, 16, 32} == set(widths)
    assert f"12 trials: {widths.count(16)} finished, {12 - widths.count(16)} failed" in out
    assert "failed (CUDA out of memory)" in out
    assert "val/moc is no number" in out


def test_nothing_but_failures_is_a_failure(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    engine.score = lambda w, lr: RuntimeError("broken")
    assert go(trials=2) == 1
    assert "none came to a value: longview why manta-kitchen-search-" in capsys.readouterr().err


def test_after_ctrl_c_the_trial_that_was_cut_short_is_finished_first(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    engine.score = lambda w, lr: KeyboardInterrupt() if len(engine.ran) == 3 else well(w, lr)
    assert go(trials=5) == 130
    assert "left. The same command goes on with the search" in capsys.readouterr().err
    assert len(engine.ran) == 3
    engine.score = well
    assert go(trials=5) == 0
    assert engine.ran[3] == engine.ran[2]
    assert len(set(engine.ran)) == len(sweep().points()) == 5
    attempts = [len(list((sweep().run_path(p) / "attempts").glob("*.json"))) for p in sweep().points()]
    assert attempts == [1, 1, 2, 1, 1]


def test_a_pair_that_does_not_fit_fails_alone(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["task.observations=[0.2],[0.6]", "task.horizons=[0.1],[0.5]", "task.train_observations=[0.2]"]
    assert main(["-m", "search.trials=9", *arguments], conf=ROOT) == 0
    out = capsys.readouterr().out
    assert "cannot be run: task.horizons" in out or "cannot be run: task.observations" in out
    assert "every one of the 4 points has been tried" in out
    assert "4 trials: 3 finished, 1 failed" in out


def test_an_objective_and_its_direction_can_be_named(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    assert go("search.objective=test/error", "search.mode=min") == 0
    best = min(1 - well(*values) for values in engine.ran)
    assert f"best: test/error {best:.5g}" in capsys.readouterr().out


def test_a_metric_that_runs_do_not_have_ends_it_and_names_what_there_is(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go("search.objective=test/eror", "search.mode=min") == 2
    assert "no metric 'test/eror'; there are: test/error, test/mean_moc, val/moc" in capsys.readouterr().err
    assert len(engine.ran) == 1
    assert go("search.objective=test/error", "search.mode=min", trials=2) == 0
    assert len(engine.ran) == 2  # what has run is not run again


def test_without_a_validation_part_it_says_that_the_test_part_decides(
    engine: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = RunDirectory.write_json
    monkeypatch.setattr(RunDirectory, "write_json", lambda run, path, data: write(run, path, {**data, "validation": None}))
    assert go(trials=3) == 0
    said = capsys.readouterr()
    assert said.err.count("they are compared on the test part, so the best is not tested on it") == 1
    assert "best: test/mean_moc" in said.out


def test_two_searches_of_one_sweep_do_not_mix(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    codes = []
    engine.score = lambda w, lr: (codes.append(go(trials=4)), well(w, lr))[1]
    assert go(trials=2) == 0
    assert codes == [2, 2]
    assert "this sweep is being searched by another command" in capsys.readouterr().err
    assert not (sweep().path / ".being-searched").exists()


def test_a_lock_of_a_process_that_is_gone_is_none(engine: Engine) -> None:
    assert go(trials=1) == 0
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    (sweep().path / ".being-searched").write_text(json.dumps({"host": socket.gethostname(), "pid": child.pid}))
    assert go(trials=2) == 0


def test_a_run_that_looks_dead_once_is_not_given_up(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a job that has ended and its successor; a stand-in for SLURM, since the moment cannot be met on purpose."""
    assert go(trials=1) == 0
    identity = sweep().points()[0].id
    real = evaluate.seen(sweep(), [identity])[identity]
    kinds = iter([Kind.TIMEOUT, Kind.PENDING, Kind.TIMEOUT, Kind.TIMEOUT])
    shown = lambda *_: {identity: replace(real, state=State(next(kinds)))}  # noqa: E731
    monkeypatch.setattr(evaluate, "seen", shown)
    watch = Watch(sweep())
    assert [bool(watch.ended([identity])) for _ in range(4)] == [False, False, False, True]


# what is refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["search.trials=3"], ["search.trials=3 means nothing for one run; add -m"]),
        (["search.objective=x"], ["search.objective=x means nothing for one run; add -m"]),
        (["-m", "search.trials=3"], ["search.trials: there is nothing to search; name values or an interval"]),
        (["-m", "search.seed=2", "seed=1,2"], ["search.trials: is not set", "search.seed=2 means nothing"]),
        (["-m", "search.trials=0", "seed=1,2"], ["search.trials: 0 is impossible"]),
        (["-m", "search.trials=2", "search.sampler=cma", "seed=1,2"], ["search.sampler: 'cma'", "tpe"]),
        (
            ["-m", "search.trials=2", "model.width=0,8", "model.blocks=interval(0,8)", "task.lr=interval(-1,1)"],
            ["override 'model.width=0'", "override 'model.blocks=0'", "override 'task.lr=-1'"],
        ),
        (["-m", "search.trials=2", "modl=1,2"], ["modl: unknown key; did you mean 'model'?"]),
        (["-m", "search.trials=2", "run.name=a,b"], ["run.name: says where or how a run takes place"]),
        (["-m", "search.trials=2", "seed=1,2", "launch.at_most=1"], ["launch.at_most: means nothing here"]),
        (["-m", "search.trials=2", "seed=1,2", "search.objective=a"], ["search.mode: whether more or less of a"]),
        (["-m", "search.trials=2", "seed=1,2", "hydra/sweeper=x"], ["search.trials", "leave one of them out", "hydra/sweeper=x"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)  # fmt: skip
def test_what_means_nothing_is_refused_before_anything_is_written(
    arguments: list[str], said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments, conf=ROOT) == 2
    err = capsys.readouterr().err
    assert all(text in err for text in said), err
    assert list(Path().rglob("*")) == []


def test_without_optuna_it_says_what_to_install(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)  # importing it fails
    assert go() == 2
    assert "pip install optuna" in capsys.readouterr().err
    assert (engine.ran, list(Path().rglob("*"))) == ([], [])


def test_a_dry_run_shows_space_and_cost_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    site = ["cluster=juwels", "launch.account=x", "resources.time=1h", "search.parallel=3"]
    assert go(*site, "launch.dry_run=true", trials=20) == 0
    out = capsys.readouterr().out
    assert "20 trials, 3 at once, tpe with seed 1, max of the best validation score" in out
    assert re.search(r"task.lr +numbers from 0.0001 to 0.01, by order of magnitude\n +model.width +one of 8, 16, 32\n", out)
    assert "cost of all trials at most: 80 GPU-hours" in out
    assert "#SBATCH" in out
    assert re.search(r"the first trial: task.lr=0.00\d+ model.width=(8|16|32)\n", out)
    assert list(Path().rglob("*")) == []


def test_ordinary_commands_do_not_load_it() -> None:
    line = "import sys; from longview.app import main; main(['-m', 'seed=1,2', 'launch.dry_run=true'])"
    look = "print([m for m in sys.modules if m.startswith(('optuna', 'longview.launch.search', 'longview.launch.plugin'))])"
    done = subprocess.run([sys.executable, "-c", f"{line}; {look}"], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


# for real -----------------------------------------------------------------------------------------------------------------


def test_a_search_trains_and_table_marks_the_best() -> None:
    small = [*tiny.DATA, *tiny.RUN, *tiny.MANTA, "task.figures=0", "trainer.max_epochs=1"]
    space = ["model.width=8,16", "task.lr=tag(log,interval(1e-4,1e-2))"]
    line = [sys.executable, str(ROOT / "run.py"), "-m", "search.trials=3", *small, *space]
    done = subprocess.run(line, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    directory = sweep("manta-kitchen-search-*")
    scores = {}
    for point in directory.points():
        record = json.loads((directory.run_path(point) / "result.json").read_text())
        assert record["validation"]["name"] == "val/moc"
        assert record["primary"] == {
            "name": "test/mean_moc",
            "value": record["result"]["metrics"]["test/mean_moc"],
            "mode": "max",
        }
        rows = (directory.run_path(point) / "metrics.csv").read_text().splitlines()
        column = rows[0].split(",").index("val/moc")
        assert record["validation"]["value"] == pytest.approx(max(float(v) for r in rows[1:] if (v := r.split(",")[column])))
        scores[point.id] = record["validation"]["value"]
    best = re.search(r"best: val/moc (\S+), run (\w+)", done.stdout)
    assert best is not None
    assert scores[best[2]] == max(scores.values()) == pytest.approx(float(best[1]), rel=1e-4)
    table = subprocess.run([sys.executable, "-m", "longview.cli", "table"], capture_output=True, text=True, timeout=60)
    assert table.stdout.count(" *") == 1
    assert "test/mean_moc" in table.stdout
