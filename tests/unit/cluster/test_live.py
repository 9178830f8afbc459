"""Every check that asks SLURM, both ways. A ``Site`` is built from text captured on a real SLURM and changed where a row says so
(tests/replay.py); tests/slurm/test_doctor.py asks a real one."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from longview.cluster import machine
from longview.cluster.detect import detect_cluster
from longview.cluster.live import array_limit, live_problems, only_account, submit_room
from longview.cluster.machine import TorchBuild, torch_record
from longview.cluster.places import untouched_days
from longview.cluster.request import request_of
from longview.cluster.site import Site
from longview.cluster.spec import Detect
from longview.cluster.waiting import only_waits
from longview.config.experiment import Checker
from longview.errors import Problem
from replay import Change, site

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def checker() -> Checker:
    return Checker(ROOT / "conf")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("SLURM_ACCOUNT", "SBATCH_ACCOUNT", "BUDGET_ACCOUNTS", "SYSTEMNAME", "SCRATCH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(machine.TWIN, "juwels")  # GPUs may be asked for although this torch is a CPU build
    monkeypatch.chdir(tmp_path)


def asked(checker: Checker, where: Site, overrides: list[str], points: int = 1, **other: Any) -> list[Problem]:
    config = checker.check(overrides).config
    named = [(f"point #{i + 1}", config) for i in range(points)]
    return live_problems(named, where, [request_of(config)] * points, **other)


JUWELS = ["cluster=juwels", "launch.account=twin", "resources.time=2h"]
V100 = [*JUWELS, "resources.purpose=v100"]
LEONARDO = ["cluster=leonardo", "launch.account=twin", "resources.time=20m"]
BOOSTER, GPUS = "PartitionName=booster ", "PartitionName=gpus "
SHORTER: Change = ("partition", BOOSTER, "MaxTime=1-00:00:00", "MaxTime=12:00:00")
SMALLER: Change = ("partition", BOOSTER, "MaxNodes=384", "MaxNodes=3")
LARGER: Change = ("partition", BOOSTER, "MinNodes=0", "MinNodes=2")
CLOSED: Change = ("partition", BOOSTER, "AllowAccounts=ALL", "AllowAccounts=west,east")
DRAIN: Change = ("partition", GPUS, "State=UP", "State=DRAIN")
DOWN: Change = ("partition", GPUS, "State=UP", "State=DOWN")
DRAINED: Change = ("nodes", "gpus|", "idle", "drained")
DRAINED_TOO: Change = ("nodes", "develgpus|", "idle", "drained")
FEWER: Change = ("nodes", "booster|", "gpu:4", "gpu:2")
NARROWER: Change = ("nodes", "booster|", "|48|1|48|", "|24|1|24|")
TYPED: Change = ("nodes", "booster|", "gpu:4", "gpu:h100:4")
SECOND: Change = ("assoc", "twin", "twin||normal||40", "twin||normal||40\nother||normal||")
ELSEWHERE: Change = ("assoc", "twin", "twin||", "twin|gpus|")
NOBODY: tuple[Change, ...] = (("assoc", "twin", "", ""), ("assoc", "root", "", ""))
UNLIMITED: Change = ("assoc", "twin", "||40", "||")
NOT_ENFORCED: Change = ("config", "AccountingStorageEnforce", "associations,limits,qos", "none")
NO_REQUEUE: Change = ("config", "JobRequeue", "1", "0")
NO_QOS: Change = ("assoc", "twin", "boost_qos_bprod,boost_qos_dbg,boost_qos_lprod,normal", "normal")
NOT_HERE: Change = ("partition", "PartitionName=boost", "normal,boost_qos_dbg", "normal")
DEBUG = [*LEONARDO, "resources.purpose=debug"]
LONG = [*LEONARDO, "resources.purpose=long", "resources.time=3d"]

TABLE: list[tuple[str, str, list[str], list[Change], str, str]] = [
    # id, site, arguments, changes to what SLURM says, key, what is said ("" if nothing is)
    ("all is well", "juwels", JUWELS, [], "", ""),
    ("account of another", "juwels", [*JUWELS, "launch.account=west"], [], "launch.account",
     "'west' is not among your accounts; yours: twin"),
    ("account in capitals", "juwels", [*JUWELS, "launch.account=TWIN"], [], "", ""),
    ("account where none is checked", "juwels", [*JUWELS, "launch.account=west"], [NOT_ENFORCED], "launch.account",
     "warning: 'west' is not among your accounts; yours: twin; SLURM does not check it here"),
    ("no account at all", "juwels", JUWELS, [*NOBODY], "launch.account",
     "you have none here"),
    ("account of another partition", "juwels", JUWELS, [ELSEWHERE], "launch.account",
     "not valid for partition booster, only for: gpus"),
    ("account of this partition", "juwels", V100, [ELSEWHERE], "", ""),
    ("account not let in", "juwels", JUWELS, [CLOSED], "launch.account", "partition booster does not let 'twin' in"),
    ("partition gone", "juwels", [*JUWELS, "cluster.partitions.gpu.partition=boster"], [], "cluster.partitions.gpu.partition",
     "SLURM has no partition 'boster'; did you mean 'booster'? it has: batch, booster, devel"),
    ("no partition, a default", "slurm", ["cluster=slurm", "resources.time=1h"], [], "", ""),
    ("no partition, no default", "slurm", ["cluster=slurm", "resources.time=1h"],
     [("partition", BOOSTER, "Default=YES", "Default=NO")], "cluster.partitions.gpu.partition",
     "SLURM has no default partition here; give one of: batch, booster"),
    ("drained partition", "juwels", V100, [DRAIN], "cluster.partitions.v100.partition",
     "partition gpus takes no jobs now (SLURM: DRAIN); give resources.purpose=v100_debug"),
    ("partition down", "juwels", V100, [DOWN, DRAINED_TOO], "cluster.partitions.v100.partition",
     "warning: partition gpus starts no jobs now (SLURM: DOWN); the job would wait until it is opened"),
    ("nodes drained", "juwels", V100, [DRAINED], "cluster.partitions.v100.partition",
     "warning: no node of partition gpus starts jobs now (all drained, down or reserved); the job would wait; "
     "give resources.purpose=v100_debug"),
    ("time above SLURM's limit", "juwels", [*JUWELS, "resources.time=20h"], [SHORTER], "resources.time",
     "20:00:00 is more than SLURM's present limit of 12:00:00 (partition booster; the cluster file says 1-00:00:00); "
     "give at most 12:00:00"),
    ("time within both", "juwels", [*JUWELS, "resources.time=20h"], [], "", ""),
    ("file behind SLURM", "juwels", JUWELS, [SHORTER], "cluster",
     "warning: the cluster file is behind on purpose gpu: max_time 1-00:00:00 (SLURM: 12:00:00)"),
    ("too many nodes for the limit", "juwels", [*JUWELS, "resources.nodes=4"], [SMALLER], "resources.nodes",
     "4 nodes are more than SLURM's present limit of 3 (partition booster; the cluster file says 384); give at most 3"),
    ("too many nodes for the machine", "juwels", [*JUWELS, "resources.nodes=5"], [], "resources.nodes",
     "5 nodes, but partition booster has 4 in all; give at most 4"),
    ("enough nodes", "juwels", [*JUWELS, "resources.nodes=4"], [], "", ""),
    ("too few GPUs on a node", "juwels", JUWELS, [FEWER], "resources.devices",
     "4 GPUs per node, but SLURM's nodes of partition booster have 2"),
    ("too few nodes", "juwels", JUWELS, [LARGER], "resources.nodes",
     "1 is fewer than SLURM's present limit of 2 (partition booster; the cluster file says 1); give at least 2"),
    ("too few cores on a node", "juwels", JUWELS, [NARROWER], "resources.cpus_per_device",
     "4 x 12 cores per node, but SLURM's nodes of partition booster have 24; give at most 6"),
    ("another type of GPU", "juwels", [*JUWELS, "cluster.gpu_directive='gres=gpu:{type}:{n}'"], [TYPED], "resources.purpose",
     "partition booster has no GPU of type 'a100', only h100"),
    ("QoS unknown", "leonardo", [*DEBUG, "cluster.partitions.debug.qos=boost_dbg"], [],
     "cluster.partitions.debug.qos", "SLURM has no QoS 'boost_dbg'; it has: boost_qos_bprod, boost_qos_dbg"),
    ("QoS not yours", "leonardo", DEBUG, [NO_QOS], "cluster.partitions.debug.qos",
     "your account may not use QoS 'boost_qos_dbg'; it may use: normal"),
    ("QoS not of this partition", "leonardo", DEBUG, [NOT_HERE],
     "cluster.partitions.debug.qos", "partition boost_usr_prod does not take QoS 'boost_qos_dbg'; it takes: normal"),
    ("QoS fine", "leonardo", DEBUG, [], "", ""),
    ("time above the QoS", "leonardo", DEBUG, [("qos", "boost_qos_dbg", "00:30:00", "00:10:00")], "resources.time",
     "00:20:00 is more than SLURM's present limit of 00:10:00 (QoS boost_qos_dbg; the cluster file says 00:30:00)"),
    ("QoS above its partition", "leonardo", LONG, [], "", ""),
    ("QoS not above its partition", "leonardo", LONG,
     [("qos", "boost_qos_lprod", ",PartitionTimeLimit", "")], "resources.time", "limit of 1-00:00:00 (partition boost_usr_prod"),
    ("requeue where SLURM does not", "juwels", [*JUWELS, "cluster.resume.strategy=requeue"], [NO_REQUEUE],
     "cluster.resume.strategy", "warning: 'requeue', but SLURM's JobRequeue is 0 here"),
    ("requeue where SLURM does", "juwels", [*JUWELS, "cluster.resume.strategy=requeue"], [], "", ""),
    ("resubmit there", "juwels", [*JUWELS, "cluster.resume.strategy=resubmit"], [NO_REQUEUE], "", ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "cluster", "arguments", "changes", "key", "said"), TABLE, ids=[row[0] for row in TABLE])
def test_what_slurm_would_refuse(
    checker: Checker, name: str, cluster: str, arguments: list[str], changes: list[Change], key: str, said: str
) -> None:
    found = asked(checker, site("juwels" if cluster == "slurm" else cluster, *changes), arguments)
    if not said:
        assert found == []
        return
    assert [p.key for p in found] == [key], [str(p) for p in found]
    assert said.removeprefix("warning: ") in found[0].message
    assert found[0].warning is said.startswith("warning: ")


def test_an_open_partition_is_offered_only_if_the_job_fits_there(checker: Checker) -> None:
    offered = "give resources.purpose=v100_debug"
    assert offered in asked(checker, site("juwels", DRAINED), V100)[0].message
    assert offered not in asked(checker, site("juwels", DRAINED), [*V100, "resources.time=3h"])[0].message
    assert offered not in asked(checker, site("juwels", DRAINED, DRAINED_TOO), V100)[0].message


def test_every_problem_at_once(checker: Checker) -> None:
    arguments = [*JUWELS, "launch.account=west", "resources.time=20h", "resources.nodes=5"]
    found = asked(checker, site("juwels", SHORTER, FEWER), arguments)
    assert [p.key for p in found] == ["launch.account", "resources.time", "resources.nodes", "resources.devices"]


@pytest.mark.parametrize(
    "broken", [["ping"], ["config"], ["partition"], ["partition", "nodes", "qos", "assoc", "sshare", "queue"]]
)
def test_an_answer_that_does_not_come_refuses_nothing(checker: Checker, broken: list[str]) -> None:
    arguments = [
        *JUWELS,
        "resources.nodes=5",
        *(["launch.account=west"] if "assoc" in broken or "partition" not in broken else []),
    ]
    assert asked(checker, site("juwels", broken=broken), arguments) == []


def test_a_point_of_a_sweep_is_named(checker: Checker) -> None:
    configs = [checker.check([*JUWELS, f"resources.nodes={n}", f"seed={n}"]).config for n in (1, 2, 5)]
    named = [(f"point #{i + 1}", c) for i, c in enumerate(configs)]
    (found,) = live_problems(named, site(), [request_of(c) for c in configs])
    assert found.message.endswith("give at most 4  (in point #3)")


def test_room_in_the_queue(checker: Checker) -> None:
    """40 jobs are allowed (the association's MaxSubmitJobs), 16 are there."""
    assert asked(checker, site(), JUWELS, points=24) == []
    (found,) = asked(checker, site(), JUWELS, points=25)
    assert found.key == "launch.at_most"
    assert found.message == (
        "25 jobs, but you may have 40 in the queue (SLURM: your association) and 16 are there; "
        "give launch.at_most=24, and the same command later submits the rest"
    )
    assert asked(checker, site(), [*JUWELS, "launch.at_most=24"], points=100) == []
    full = site("juwels", ("assoc", "twin", "||40", "||16"))
    assert "wait until some have ended" in asked(checker, full, JUWELS)[0].message


def test_numbers_for_the_submission(checker: Checker) -> None:
    config = checker.check([*JUWELS, "cluster.limits.max_array_size=500", "cluster.limits.max_submit=20"]).config
    request, silent = request_of(config), site(broken=["ping"])
    assert array_limit(config.cluster, site()) == 500, "who asks for smaller arrays gets them"
    larger = checker.check([*JUWELS, "cluster.limits.max_array_size=2000"]).config
    assert array_limit(larger.cluster, site()) == 1001, "SLURM would refuse more"
    assert array_limit(config.cluster, silent) == 500
    unsaid = checker.check([*JUWELS, "cluster.limits.max_array_size=null"]).config
    assert (array_limit(unsaid.cluster, site()), array_limit(unsaid.cluster, silent)) == (1001, None)
    assert submit_room(config.cluster, site(), request) == 40 - 16
    assert submit_room(config.cluster, site("juwels", UNLIMITED), request) == 20 - 16, "the file's where SLURM has none"
    by_qos = site("leonardo", ("qos", "boost_qos_dbg", "node=2||||", "node=2||||2"))
    assert submit_room(config.cluster, by_qos, replace(request, partition=None, qos="boost_qos_dbg")) == 2
    assert submit_room(config.cluster, silent, request) is None
    no_limit = checker.check(JUWELS).config.cluster
    assert submit_room(no_limit, site("juwels", UNLIMITED), request) is None


def test_the_only_account_is_taken() -> None:
    assert only_account(site()) == "twin"
    assert only_account(site("juwels", SECOND)) is None, "of two, the user has to choose"
    assert only_account(site(broken=["assoc", "sshare"])) is None


def test_a_dry_run_needs_no_account(checker: Checker) -> None:
    config = checker.check(JUWELS).config
    request = replace(request_of(config), account=None)
    (found,) = live_problems([("p", config)], site("juwels", SECOND), [request])
    assert (found.key, found.warning) == ("launch.account", False)
    assert "yours: other, twin" in found.message
    dry = checker.check([*JUWELS, "launch.dry_run=true"]).config
    assert live_problems([("p", dry)], site("juwels", SECOND), [request]) == []


def test_another_cluster_than_the_chosen_one(checker: Checker) -> None:
    specs = {"juwels": Detect(env={"SYSTEMNAME": "juwelsbooster"}), "marvin": Detect(slurm_cluster_name="juwels")}
    (found,) = asked(checker, site(), JUWELS, specs=specs)
    assert found.warning
    assert found.message.startswith("this looks like marvin, and the experiment is made for juwels; give cluster=marvin")
    os.environ["SYSTEMNAME"] = "juwelsbooster"
    try:
        assert asked(checker, site(), JUWELS, specs=specs) == []
    finally:
        del os.environ["SYSTEMNAME"]


def test_how_a_cluster_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "systemname").write_text("first\n")
    by_file = Detect(file=str(tmp_path / "systemname"), equals="first")
    by_env = Detect(env={"A": "1", "B": "2"})
    by_host = Detect(hostname=r"^login\d\.second$")
    by_name = Detect(slurm_cluster_name="juwels")
    monkeypatch.setattr("longview.cluster.detect.host_names", lambda: ("login3.second", "login3"))
    specs = {"d": by_name, "c": by_host, "b": by_env, "a": by_file}
    both = {"A": "1", "B": "2"}
    assert detect_cluster(specs, site(), environment=both) == "a"
    del specs["a"]
    assert detect_cluster(specs, site(), environment=both) == "b"
    assert detect_cluster(specs, site(), environment={"A": "1"}) == "c", "all of the variables have to fit"
    del specs["c"]
    assert detect_cluster(specs, site(), environment={}) == "d"
    assert detect_cluster(specs, site(broken=["ping"]), environment={}) is None
    assert detect_cluster({"x": by_host, "y": by_host}, environment={}) == "x"
    assert detect_cluster({"x": by_host, "y": by_host}, prefer="y", environment={}) == "y"
    assert detect_cluster({"x": Detect()}, site(), environment={}) is None


@pytest.mark.parametrize(("left", "refused"), [("1 days 1 hours", True), ("1 days 3 hours", False), ("40 days 0 hours", False)])
def test_a_workspace_that_ends_before_the_job(checker: Checker, tmp_path: Path, left: str, refused: bool) -> None:
    """Two hours of training and a day to spare. ws_list is a stand-in in the format of its manual."""
    listed = f"id: w\n     workspace directory  : {tmp_path}\n     remaining time       : {left}\n"
    found = asked(checker, site(ws_list=listed), [*JUWELS, f"run.root={tmp_path}/runs"])
    assert [p.key for p in found] == (["run.root"] if refused else [])
    if refused:
        assert not found[0].warning
        assert f"the workspace {tmp_path}, which ends in 25 h; the job may run 2 h" in found[0].message
    assert asked(checker, site(ws_list=listed), [*JUWELS, "run.root=/var/tmp/elsewhere"]) == []


def test_data_about_to_be_deleted(checker: Checker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from longview.cluster.places import place_problems

    (tmp_path / "data" / "sub").mkdir(parents=True)
    for name in ("new.npy", "sub/old.npy"):
        (tmp_path / "data" / name).write_text("x")
    assert untouched_days(tmp_path / "data") == 0
    assert untouched_days(tmp_path / "nowhere") is None
    config = checker.check(JUWELS).config

    class Data:
        """A data block on disk, of which only the folder matters here."""

        params = type("P", (), {"root": str(tmp_path / "data")})

    class Point:
        run, cluster, data = config.run, config.cluster, Data

    monkeypatch.setenv("SCRATCH", str(tmp_path))
    assert list(place_problems(Point, request_of(config), site())) == []
    then = os.stat(tmp_path).st_mtime - timedelta(days=80).total_seconds()
    os.utime(tmp_path / "data" / "sub" / "old.npy", (then, then))
    (found,) = place_problems(Point, request_of(config), site())
    assert found.warning
    assert "files untouched for 90 days are deleted; some are at 80" in found.message
    monkeypatch.setenv("SCRATCH", str(tmp_path / "other"))
    assert list(place_problems(Point, request_of(config), site())) == []


NOT_AVAILABLE = "allocation failure: Requested node configuration is not available"
AWAY: Change = ("nodes", "booster|", "idle", "drained")
LIGHTER: Change = ("nodes", "booster|", "501760", "401760")
ONE_AWAY: Change = ("nodes", "booster|", "booster|4|idle|48|1|48|501760|gpu:4",
                    "booster|1|drained|48|1|48|501760|gpu:4\nbooster|3|idle|48|1|48|501760|gpu:4")  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "arguments", "text", "waits"),
    [
        ([AWAY], [], NOT_AVAILABLE, True),
        ([AWAY], ["resources.nodes=4"], NOT_AVAILABLE, True),
        ([ONE_AWAY], ["resources.nodes=4"], NOT_AVAILABLE, True),
        ([AWAY], ["resources.nodes=5"], NOT_AVAILABLE, False),
        ([AWAY, FEWER], [], NOT_AVAILABLE, False),  # 4 GPUs are wanted, the drained nodes have 2
        ([AWAY, NARROWER], [], NOT_AVAILABLE, False),
        ([AWAY, LIGHTER], ["resources.memory_gb=480"], NOT_AVAILABLE, False),
        ([], [], NOT_AVAILABLE, False),
        ([AWAY], [], "allocation failure: Invalid feature specification", False),
        ([AWAY], [], "allocation failure: Requested time limit is invalid (missing or exceeds some limit)", False),
        ([], [], "allocation failure: Required node not available (down, drained or reserved)", True),
        ([], [], "allocation failure: Requested nodes are busy", True),
    ],
)
def test_a_job_that_waits_for_drained_nodes_is_told_from_one_that_cannot_be(
    checker: Checker, changes: list[Change], arguments: list[str], text: str, waits: bool
) -> None:
    """A real SLURM 22.05 says "Requested node configuration is not available" of both (tests/slurm/test_doctor.py)."""
    request = request_of(checker.check([*JUWELS, *arguments]).config)
    assert only_waits(text, site("juwels", *changes), request) is waits
    assert only_waits(NOT_AVAILABLE, site("juwels", *changes, broken=["nodes"]), request) is False


CUDA = TorchBuild("2.8.0+cu128", "cuda", "12.8")
CPU = TorchBuild("2.13.0+cpu", "cpu")


@pytest.mark.parametrize(
    ("build", "vendor", "said"),
    [
        (CUDA, "nvidia", ""),
        (CPU, "nvidia", "cpu build"),
        (CUDA, "amd", "cuda build"),
        (TorchBuild("2.8.0", "rocm", "6.2"), "amd", ""),
    ],
)
def test_torch_of_the_submitting_interpreter(
    checker: Checker, monkeypatch: pytest.MonkeyPatch, build: TorchBuild, vendor: str, said: str
) -> None:
    monkeypatch.delenv(machine.TWIN)
    monkeypatch.setattr(machine, "torch_build", lambda: build)
    found = asked(checker, site(), [*JUWELS, f"cluster.gpu_vendor={vendor}"])
    assert [p.key for p in found] == (["cluster.python"] if said else [])
    if said:
        assert said in found[0].message
        assert asked(checker, site(), [*JUWELS, f"cluster.gpu_vendor={vendor}", "cluster.python=/other/python"]) == []


def test_torchs_own_record_of_its_build() -> None:
    cuda = "__all__ = ['__version__', 'cuda']\n__version__ = '2.8.0+cu128'\ncuda: Optional[str] = '12.8'\nhip = None\n"
    cpu = "__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n"
    rocm = "__version__ = '2.7.0+rocm6.2'\ncuda: Optional[str] = None\nhip: Optional[str] = '6.2.41133'\n"
    assert torch_record(cuda) == CUDA
    assert torch_record(cpu) == CPU
    assert torch_record(rocm) == TorchBuild("2.7.0+rocm6.2", "rocm", "6.2.41133")
    assert torch_record("") is None
    assert machine.torch_build() is not None, "the one that is installed here"
