"""Who a process is, what its node must give it, what it leaves when it fails, and what it says on the way."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from longview.cluster.spec import ClusterConfig
from longview.config.experiment import Checker
from longview.config.schema import Experiment
from longview.engine import ranks
from longview.engine.failures import job, record_failure
from longview.engine.ranks import RankError
from longview.engine.run import execute
from longview.runs.directory import RunDirectory
from longview.tasks.anticipation import Anticipation

CHECKER = Checker()
SLURM = {
    "LONGVIEW_RANKS": "slurm",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_NTASKS": "4",
    "SLURM_NNODES": "2",
    "MASTER_ADDR": "127.0.0.1",
}


def configured(nodes: int = 2, devices: int = 2, *, cores: int = 8, gpus: int = 0, **trainer: Any) -> Experiment:
    """An experiment on a cluster of nodes with so many cores and GPUs."""
    cluster = ClusterConfig.model_validate(
        {
            "name": "here",
            "scheduler": "slurm",
            "partitions": {"gpu": {"node": "node"}},
            "node_types": {"node": {"gpus": gpus, "cores": cores}},
            "gpu_directive": "gres=gpu:{n}",
        }
    )
    config = CHECKER.check(tiny.DATA).config
    resources = config.resources.model_copy(update={"nodes": nodes, "devices": devices})
    changed = {"cluster": cluster, "resources": resources, "trainer": config.trainer.model_copy(update=trainer)}
    return config.model_copy(update=changed)


def adopted(**changes: str) -> dict[str, str]:
    """The environment of rank 3 of 4 after it was told who it is."""
    environment = {**SLURM, **changes}
    ranks.adopt(environment)
    return environment


def test_slurm_tells_a_process_who_it_is_when_the_batch_script_says_so() -> None:
    found = adopted()
    assert [found[k] for k in ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE")] == ["3", "1", "1", "4"]
    ranks.check(configured(), found)


def test_an_allocation_around_a_run_changes_nothing() -> None:
    environment = {k: v for k, v in SLURM.items() if k != "LONGVIEW_RANKS"}
    before = dict(environment)
    ranks.adopt(environment)
    assert environment == before
    ranks.check(configured(1, 1), environment)


def test_ranks_from_slurm_outside_srun_are_refused() -> None:
    with pytest.raises(
        RankError, match="SLURM_PROCID, SLURM_LOCALID, SLURM_NODEID, SLURM_NTASKS is not set; start the processes with"
    ):
        ranks.adopt({"LONGVIEW_RANKS": "slurm"})
    with pytest.raises(RankError, match="LONGVIEW_RANKS=mpi is unknown"):
        ranks.adopt({"LONGVIEW_RANKS": "mpi"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"SLURM_NTASKS": "8"}, r"8 process\(es\) were started, but the configuration says nodes=2, devices=2, which is 4"),
        ({"SLURM_NNODES": "1"}, "the job has 1 nodes, but the configuration says nodes=2"),
        ({"SLURM_LOCALID": "2"}, "a process has number 2 on its node, but .* use --ntasks-per-node=2"),
        ({"SLURM_PROCID": "1"}, "not numbered node by node; use srun --distribution=block"),
        ({"MASTER_ADDR": "jwb0001i.invalid"}, "MASTER_ADDR=jwb0001i.invalid does not resolve .* cluster.network.master_suffix"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR is not set"),
        ({"GLOO_SOCKET_IFNAME": "ib0"}, "GLOO_SOCKET_IFNAME=ib0, but the node has only .*lo.* cluster.network.gloo_ifname"),
        ({"NCCL_SOCKET_IFNAME": "=l"}, "NCCL_SOCKET_IFNAME==l, but the node has only"),
    ],
)
def test_what_would_hang_is_refused_with_the_cure(changes: dict[str, str], said: str) -> None:
    with pytest.raises(RankError, match=said):
        ranks.check(configured(), adopted(**changes))


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(RankError) as caught:
        ranks.check(configured(), adopted(SLURM_NTASKS="8", GLOO_SOCKET_IFNAME="ib0"))
    assert str(caught.value).startswith(f"{socket.gethostname()}: ")
    assert "8 process(es)" in str(caught.value)
    assert "ib0" in str(caught.value)


@pytest.mark.parametrize("value", ["lo", "l", "eth9,lo", "=lo", "^docker"])
def test_interfaces_are_read_as_nccl_reads_them(value: str) -> None:
    ranks.check(configured(), adopted(NCCL_SOCKET_IFNAME=value))


def test_a_test_cluster_goes_on_without_the_sites_interface() -> None:
    environment = adopted(GLOO_SOCKET_IFNAME="ib0", LONGVIEW_TWIN="juwels")
    ranks.check(configured(), environment)
    assert "GLOO_SOCKET_IFNAME" not in environment


def test_too_few_cpus_are_told_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "cpus", lambda: 1)  # a bound process: this machine's kernel would need a second core to show it
    told = ranks.affinity(configured(cores=8, devices=2), adopted())
    assert told is not None
    assert (told["asked"], told["usable"]) == (4, 1)
    assert "srun --cpus-per-task=4" in told["fix"]
    assert ranks.affinity(configured(cores=8, devices=2), adopted(LONGVIEW_TWIN="t")) is None
    assert ranks.affinity(configured(cores=8, devices=2), {}) is None
    monkeypatch.setattr(ranks, "cpus", lambda: 4)
    assert ranks.affinity(configured(cores=8, devices=2), adopted()) is None


@pytest.mark.parametrize(
    ("environment", "there", "threads"),
    [(adopted(), 16, 4), (adopted(), 3, 3), (adopted(LONGVIEW_TWIN="t"), 2, 1), (adopted(LONGVIEW_TWIN="t"), 16, 4), ({}, 16, 4)],
)
def test_threads_are_the_ranks_share(
    environment: dict[str, str], there: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "cpus", lambda: there)
    assert ranks.threads(configured(cores=8, devices=2), environment) == threads


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about a node whose GPU cannot be seen")
def test_a_missing_gpu_is_an_error_and_never_a_silent_cpu() -> None:
    with pytest.raises(RankError, match=f"{socket.gethostname()}: a GPU was asked for, but torch sees none .*nvidia-smi"):
        ranks.accelerator(configured(gpus=4), adopted())
    with pytest.raises(RankError, match="torch sees none"):
        ranks.accelerator(configured(gpus=4, accelerator="cuda"), adopted(LONGVIEW_TWIN="juwels"))
    assert ranks.accelerator(configured(gpus=4, accelerator="cpu"), adopted()) == ("cpu", "")
    assert ranks.accelerator(configured(gpus=0), adopted()) == ("cpu", "")
    kind, line = ranks.accelerator(configured(gpus=4), adopted(LONGVIEW_TWIN="juwels"))
    assert kind == "cpu"
    assert line.endswith("training on the CPU")


def new(root: Path, *extra: str) -> RunDirectory:
    """A tiny run."""
    experiment = CHECKER.check([*tiny.DATA, *tiny.RUN, *tiny.MANTA, "trainer.max_epochs=2", f"run.root={root}", *extra])
    return RunDirectory.create(root, experiment.name, experiment.resolved, [], [])


def test_a_failure_leaves_a_record_that_no_other_overwrites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(self: Anticipation, batch: Any, batch_idx: int) -> Any:
        raise ZeroDivisionError("no step")

    monkeypatch.setattr(Anticipation, "training_step", fail)
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    run = new(tmp_path)
    assert [execute(run), execute(run)] == [1, 1]
    found = [json.loads(p.read_text()) for p in sorted((run.path / "failures").iterdir())]
    assert len(found) == 2
    for record in found:
        assert (record["rank"], record["host"], record["job"]) == (0, socket.gethostname(), "7_2")
        assert record["error"] == "ZeroDivisionError: no step"
        assert "in fail" in record["traceback"]
    assert found[0]["time"] < found[1]["time"]
    assert json.loads((run.path / "progress.json").read_text())["ended"] == "failed"


def test_a_failure_on_a_full_disk_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = new(tmp_path)
    (run.path / "failures").write_text("a file")
    record_failure(run, 3, "error", "traceback")
    assert "failures cannot be written" in capsys.readouterr().err


def test_a_jobs_name_is_slurms() -> None:
    assert job({}) is None
    assert job({"SLURM_JOB_ID": "12"}) == "12"
    assert job({"SLURM_JOB_ID": "13", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "4"}) == "12_4"


def test_progress_says_where_a_run_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longview.engine.heartbeat.EVERY", 0.0)
    seen: list[dict[str, Any]] = []
    replace = os.replace

    def noting(source: Any, target: Any) -> None:
        if Path(target).name == "progress.json":
            seen.append(json.loads(Path(source).read_text()))
        replace(source, target)

    monkeypatch.setattr("longview.engine.heartbeat.os.replace", noting)
    run = new(tmp_path)
    assert execute(run) == 0
    states = [s["state"] for s in seen]
    assert list(dict.fromkeys(states)) == ["starting", "training", "validating", "testing"]
    training = [s for s in seen if s["state"] == "training" and s["step"]]
    assert [s["step"] for s in training] == sorted(s["step"] for s in training)
    early = next(s for s in training if s["metric"])
    assert (early["metric"]["name"], early["epoch"], early["epochs"], early["steps"]) == ("train/loss", 1, 2, 16)
    assert early["samples_per_second"] > 0
    assert early["eta_seconds"] > 0
    last = seen[-1]
    assert (last["step"], last["epoch"], last["eta_seconds"], last["ended"]) == (16, 2, 0.0, "finished")
    assert last["metric"]["name"] == "val/moc"
    assert last["attempt"] == 1


def test_the_engine_in_a_job_of_another_size_exits_with_2_and_says_why(tmp_path: Path) -> None:
    run = new(tmp_path)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
    changes = {**SLURM, "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
    command = [sys.executable, "-m", "longview.engine", str(run.path)]
    done = subprocess.run(command, env={**environment, **changes}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "error: " in done.stderr
    assert "4 process(es) were started, but the configuration says nodes=1, devices=1" in done.stderr
    assert "Traceback" not in done.stderr
    assert run.attempt(1)["outcome"] == "failed"


def test_other_code_than_the_copy_is_refused(tmp_path: Path) -> None:
    """A rank that silently ran another checkout would make results nobody can repeat (F27)."""
    slurm = {"LONGVIEW_RANKS": "slurm", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NTASKS": "1"}
    with pytest.raises(RankError, match="the job is to run the copy of the code in"):
        ranks.adopt({**slurm, "LONGVIEW_CODE": str(tmp_path)})
    ranks.adopt({**slurm, "LONGVIEW_CODE": str(Path(ranks.__file__).parents[3])})
