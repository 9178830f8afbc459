"""``cluster=<site> -m`` on a real SLURM made from the site's YAML: accepted, run on several nodes, found again, never twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from slurm.twin import Twin

import tiny
from cluster import PATIENCE, ROOT, ended, logs, longview, queue, run, runs, step, sweep
from longview.launch import snapshot
from longview.runs.sweep import Point
from program import metrics, same, until, weights
from twins import Twins

SMALL = [*tiny.DATA, *(a for a in tiny.RUN if not a.startswith("resources")), *tiny.MANTA, "task.figures=0"]
LIGHT = ["cluster=juwels", "model=repeat_last", "resources.devices=1", *tiny.DATA, "task.figures=0"]


@pytest.fixture(scope="module")
def juwels(twin: Twins) -> Twin:
    return twin("juwels")


@pytest.mark.parametrize("cluster", ["juwels", "marvin", "leonardo"])
def test_two_nodes_of_every_site(twin: Twins, tmp_path: Path, cluster: str) -> None:
    """The cluster files as they are; the twin's jobs run on the CPU."""
    site = twin(cluster)
    out, _ = run(site, tmp_path, f"cluster={cluster}", "resources.nodes=2", "resources.devices=2", *SMALL)
    assert "longview status" in out
    directory = runs(tmp_path)[0]
    assert ended(directory)["code"] == 0, logs(directory)
    assert metrics(directory)
    environment = json.loads((directory / "environment.json").read_text())
    assert environment["code"] == sweep(tmp_path).all_submissions()[0].code
    assert {p.name for p in (directory / "logs").glob("*/rank-*.log")} == {f"rank-{r}.log" for r in range(4)}
    batch = next((directory / "logs").glob("*/batch.log")).read_text()
    assert "ranks meet at " in batch
    record = json.loads((directory / "run.json").read_text())
    nodes = site.run("sacct", "-nXP", "-j", str(ended(directory)["job"]), "-o", "NNodes,AllocTRES").stdout
    assert nodes.startswith("2|")
    assert ("gres/gpu=4" in nodes) or ("gres/gpu" not in site.run("sacctmgr", "-nP", "show", "tres").stdout)
    assert record["sweep"] == directory.parent.name
    assert str(directory.name.rpartition("-")[2]) in longview(site, tmp_path, "table")


def test_the_command_of_the_readme_literally(juwels: Twin, tmp_path: Path) -> None:
    out, _ = run(juwels, tmp_path, "task=anticipation", "model=manta", "cluster=juwels", "-m")
    directory = runs(tmp_path)[0]
    assert str(directory.parent) in out
    assert ended(directory, 1500)["code"] == 0, logs(directory)  # 30 epochs in four processes
    assert metrics(directory)["test/mean_moc/obs0.2/horizon0.1"] > 0.2
    assert (directory / "figures" / "index.html").is_file()


def test_a_sweep_is_one_array_that_is_found_again(juwels: Twin, tmp_path: Path) -> None:
    """One of four fails; the others finish; the same command skips, and retries only when asked (F24, F26)."""
    line = [*LIGHT, "seed=1,2,3,4", "-m"]
    out, _ = run(juwels, tmp_path, *line)
    found = sweep(tmp_path)
    assert len(found.all_submissions()) == 1
    job = found.all_submissions()[0].job
    assert f"job {job}_[0-3]: 4 runs" in out
    out, _ = run(juwels, tmp_path, *line)  # at once: some wait, some run, none is submitted again
    assert "nothing to submit" in out
    for directory in runs(tmp_path):
        assert ended(directory)["code"] == 0, logs(directory)
    broken = runs(tmp_path)[2]
    record = json.loads((broken / "attempts" / "001.json").read_text())
    (broken / "attempts" / "001.json").write_text(json.dumps({**record, "outcome": "failed"}))
    (broken / "result.json").unlink()
    out, _ = run(juwels, tmp_path, *line)
    assert "3 of 4 runs finished: skipped" in out
    assert "1 of 4 runs failed, stopped or cancelled: left alone; launch.retry=true submits them again" in out
    assert len(sweep(tmp_path).all_submissions()) == 1
    out, _ = run(juwels, tmp_path, *line, "launch.retry=true")
    assert ended(broken)["code"] == 0, logs(broken)
    assert sweep(tmp_path).all_submissions()[1].runs == [found.points()[2].id]
    assert (broken / "result.json").is_file()
    assert len(list((broken / "attempts").glob("*.json"))) == 2


def test_dry_run_submits_and_writes_nothing(juwels: Twin, tmp_path: Path) -> None:
    before = queue(juwels)
    out, _ = run(juwels, tmp_path, "cluster=juwels", "seed=1,2", "-m", "launch.dry_run=true", "resources.time=2h")
    for text in ("#SBATCH --account=twin", "srun --nodes=1", "CUDA_VISIBLE_DEVICES=0,1,2,3", "array 0-1", "16 GPU-hours"):
        assert text in out
    assert "sbatch --test-only" in out.partition("# checks passed:")[2]
    assert list(tmp_path.iterdir()) == []
    assert queue(juwels) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["launch.account=nosuch"], "launch.account: 'nosuch' is not among your accounts; yours: twin"),
        (["resources.time=30h"], "resources.time: 1-06:00:00 is more than"),
        (["cluster.partitions.gpu.partition=boster"], "SLURM has no partition 'boster'; did you mean 'booster'?"),
        (["launch.sbatch={reservation: nosuch}"], "SLURM would refuse the job"),
        (["resources.devices=5"], "resources.devices: 5"),
    ],
)
def test_what_slurm_would_refuse_is_refused_before_anything_is_written(
    juwels: Twin, tmp_path: Path, arguments: list[str], said: str
) -> None:
    _, err = run(juwels, tmp_path, "cluster=juwels", *arguments, expect=2)
    assert said.lower() in err.lower()
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def wrapped(tmp_path: Path, *body: str) -> str:
    """A PATH on which sbatch, but for --test-only, is a script around the real one: $real."""
    lines = ["#!/bin/bash", f"real={shutil.which('sbatch')}", 'case "$*" in *test-only*) exec $real "$@" ;; esac', *body]
    path = tmp_path / "bin" / "sbatch"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o755)
    return f"{path.parent}:{os.environ['PATH']}"


def test_a_refusal_of_sbatch_leaves_nothing_behind(juwels: Twin, tmp_path: Path) -> None:
    """SLURM may still change its mind after --test-only; of two arrays the second is refused here by a stand-in."""
    once = f'[ -e {tmp_path}/one ] || {{ touch {tmp_path}/one; exec $real "$@"; }}'
    refusal = "echo 'sbatch: error: Batch job submission failed: Job violates accounting/QOS policy' >&2; exit 1"
    path = wrapped(tmp_path, once, refusal)
    home = tmp_path / "home"
    line = ["cluster=juwels", "resources.nodes=1,2", "-m", "launch.sbatch={hold: true}", *SMALL]
    _, err = run(juwels, home, *line, expect=2, PATH=path)
    assert "sbatch refused the job: Batch job submission failed: Job violates accounting/QOS policy" in err
    found = sweep(home)
    assert [p.values["resources.nodes"] for p in found.points()] == ["1"]  # what SLURM has taken stays
    assert sorted(p.name for p in found.submissions.iterdir()) == ["001.json", "001.sh", "001.txt"]
    assert [p.name for p in found.path.glob("*/config.yaml")] == ["config.yaml"]
    longview(juwels, home, "cancel", found.path.name, "-y")
    run(juwels, tmp_path / "other", *line, expect=2, PATH=wrapped(tmp_path, refusal))
    assert list((tmp_path / "other").rglob("*")) == []


def test_an_answer_that_was_lost_does_not_submit_twice(juwels: Twin, tmp_path: Path) -> None:
    """The job is taken, the answer is lost (a stand-in says so): it is found by its mark (F20)."""
    lost = "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1"
    path = wrapped(tmp_path, f'echo x >> {tmp_path}/calls; $real "$@" > /dev/null', lost)
    home = tmp_path / "home"
    before = set(queue(juwels))
    _, err = run(juwels, home, "cluster=juwels", "launch.sbatch={hold: true}", *SMALL, PATH=path)
    assert "SLURM does not answer" in err
    assert (tmp_path / "calls").read_text().count("x") == 1
    new = set(queue(juwels)) - before
    assert {sweep(home).all_submissions()[0].job} == new
    longview(juwels, home, "cancel", sweep(home).path.name, "-y")


def test_a_controller_that_is_away_for_seconds(juwels: Twin, tmp_path: Path) -> None:
    """slurmctld is stopped before sbatch and comes back: one job, no error (F20)."""
    stop = f"[ -e {tmp_path}/calling ] || kill -TERM {juwels.pids()['slurmctld']}; sleep 0.5; touch {tmp_path}/calling"
    path = wrapped(tmp_path, stop, 'exec $real "$@"')
    home = tmp_path / "home"
    home.mkdir()
    env = {**juwels.environ, "PATH": path, "PYTHONPATH": str(ROOT / "src")}
    before = set(queue(juwels))
    line = [sys.executable, str(ROOT / "run.py"), "cluster=juwels", "launch.sbatch={hold: true}", *SMALL]
    process = subprocess.Popen(line, cwd=home, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while not (tmp_path / "calling").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        time.sleep(2)
    finally:
        juwels.restart("slurmctld")
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, out + err
    deadline = time.monotonic() + 60
    while "idle" not in juwels.run("sinfo", "-h", "-p", "booster", "-o", "%t").stdout:  # its nodes have to register again
        assert time.monotonic() < deadline
        time.sleep(0.5)
    while not (new := set(queue(juwels)) - before):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert {sweep(home).all_submissions()[0].job} == new
    longview(juwels, home, "cancel", sweep(home).path.name, "-y")


def test_editing_after_submit_changes_nothing(juwels: Twin, tmp_path: Path) -> None:
    """The job waits, the checkout is broken, the job runs the copy made at submit (F27)."""
    checkout = tmp_path / "checkout"
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True)
    for name in listed.stdout.split("\n"):
        if name.startswith(("src/", "conf/", "run.py", "pyproject.toml")) and (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, checkout / name)
    subprocess.run(["git", "init", "-q", str(checkout)], check=True)
    home = tmp_path / "home"
    line = [
        "cluster=juwels",
        "model=repeat_last",
        "resources.devices=1",
        *tiny.DATA,
        "task.figures=0",
        "launch.sbatch={hold: true}",
    ]
    run(juwels, home, *line, root=checkout)
    (checkout / "src/longview/engine/run.py").write_text("raise RuntimeError('edited after submit')\n")
    (checkout / "conf/config.yaml").write_text("seed: broken\n")
    job = sweep(home).all_submissions()[0].job
    assert juwels.run("scontrol", "release", str(job)).returncode == 0
    directory = runs(home)[0]
    assert ended(directory)["code"] == 0, logs(directory)
    code = home / "runs" / ".code" / json.loads((directory / "environment.json").read_text())["code"]
    assert snapshot.verify(code)


def test_arrays_are_cut_and_the_submit_cap_is_known(twin: Twins, tmp_path: Path) -> None:
    """MaxArraySize 50, at most 60 jobs in the queue (F23)."""
    small = twin("juwels", nodes=2, others=1, overrides=("cluster.limits.max_array_size=50", "cluster.limits.max_submit=60"))
    line = ["cluster=juwels", "model=repeat_last", "launch.sbatch={hold: true}", "-m"]
    _, err = run(small, tmp_path, *line, "seed=range(1,81)", expect=2)
    assert "80 jobs, but you may have 60 in the queue" in err
    assert "launch.at_most=60" in err
    out, _ = run(small, tmp_path, *line, "seed=range(1,81)", "launch.at_most=60")
    assert [len(s.runs) for s in sweep(tmp_path).all_submissions()] == [50, 10]
    assert len(queue(small)) == 60
    longview(small, tmp_path, "cancel", sweep(tmp_path).path.name, "-y")
    out, _ = run(small, tmp_path, *line, "seed=range(1,81)")
    assert "60 of 80 runs failed, stopped or cancelled" in out or "60 of 80 runs" in out
    assert [len(s.runs) for s in sweep(tmp_path).all_submissions()] == [50, 10, 20]
    longview(small, tmp_path, "cancel", sweep(tmp_path).path.name, "-y")


def test_jobs_outlive_the_shell_and_can_be_continued_exactly(juwels: Twin, tmp_path: Path) -> None:
    """The shell dies right after submit (F25); the run is cancelled in training, resumed, and ends bit-identical."""
    line = ["cluster=juwels", "resources.devices=2", *SMALL, "trainer.max_epochs=30", "data.train_videos=40"]
    whole = tmp_path / "whole"
    run(juwels, whole, *line)
    home = tmp_path / "home"
    home.mkdir()
    env = {**juwels.environ, "PYTHONPATH": str(ROOT / "src")}
    shell = subprocess.Popen(
        ["bash", "-c", f"{sys.executable} {ROOT / 'run.py'} {' '.join(line)}; sleep 600"],
        cwd=home, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert shell.stdout is not None
    while "longview status" not in (said := shell.stdout.readline()):
        assert said, "the shell ended"
    os.killpg(shell.pid, signal.SIGKILL)
    shell.wait()
    directory = runs(home)[0]
    end = time.monotonic() + PATIENCE
    while step(directory) < 20:
        assert time.monotonic() < end, logs(directory)
        time.sleep(0.2)
    assert "running" in longview(juwels, home, "status")
    longview(juwels, home, "cancel", directory.name, "-y")
    while str(sweep(home).all_submissions()[0].job) in queue(juwels):
        time.sleep(0.2)
    assert (directory / "checkpoints" / "last.ckpt").is_file(), logs(directory)
    longview(juwels, home, "resume", directory.name)
    assert ended(directory)["code"] == 0, logs(directory)
    twin_run = runs(whole)[0]
    assert ended(twin_run)["code"] == 0, logs(twin_run)
    assert same(weights(directory), weights(twin_run))
    assert (directory / "metrics.csv").read_text() == (twin_run / "metrics.csv").read_text()


def test_waiting_returns_when_all_have_ended(juwels: Twin, tmp_path: Path) -> None:
    out, _ = run(juwels, tmp_path, *LIGHT, "-m", "launch.wait=true")
    assert "finished" in out
    assert metrics(runs(tmp_path)[0])


def test_data_are_staged_to_the_node_and_removed(juwels: Twin, tmp_path: Path) -> None:
    from program import breakfast

    data = tmp_path / "data"
    options = [a for a in breakfast(data) if not a.startswith(("resources", "trainer.max_epochs"))]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    line = ["cluster=juwels", *options, "trainer.max_epochs=1", "resources.devices=1", "launch.stage=true"]
    run(juwels, tmp_path / "home", *line, f"cluster.node_types.a100.local_dir={scratch}")
    directory = runs(tmp_path / "home")[0]
    assert ended(directory)["code"] == 0, logs(directory)
    batch = next((directory / "logs").glob("*/batch.log")).read_text()
    assert f"data staged and verified in {scratch}/longview-" in batch
    until(lambda: not list(scratch.iterdir()), what="the copy being removed")


def test_config_says_what_was_asked_for(juwels: Twin, tmp_path: Path) -> None:
    """One resource block: sbatch, srun and the run's configuration agree, and the configuration alone can be checked again."""
    run(juwels, tmp_path, "cluster=juwels", "resources.nodes=2", "resources.devices=2", "launch.sbatch={hold: true}", *SMALL)
    found = sweep(tmp_path)
    point: Point = found.points()[0]
    config = yaml.safe_load((found.run_path(point) / "config.yaml").read_text())
    assert list(config["cluster"]["partitions"]) == ["gpu"]
    job = juwels.run("scontrol", "show", "job", str(found.all_submissions()[0].job)).stdout
    for text in ("NumNodes=2", "NumTasks=4", "CPUs/Task=12" if "CPUs/Task=12" in job else "CPUs/Task=24", "TimeLimit=1-00:00:00"):
        assert text in job
    longview(juwels, tmp_path, "cancel", found.path.name, "-y")
