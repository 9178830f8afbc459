"""The cluster file against SLURM: text captured on a real one (tests/replay.py), changed where a row says so."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from longview.cluster.drift import drift, limits_of, live_partition, submit_cap
from longview.cluster.site import Site
from longview.cluster.spec import ClusterConfig
from longview.config.experiment import Checker
from replay import Change, site

ROOT = Path(__file__).resolve().parents[3]
BOOSTER = "PartitionName=booster "


@pytest.fixture(scope="module")
def checker() -> Checker:
    return Checker(ROOT / "conf")


def cluster(checker: Checker, name: str, *overrides: str) -> ClusterConfig:
    return checker.check(
        [f"cluster={name}", "launch.account=twin", "resources.time=20m", "resources.nodes=2", *overrides]
    ).config.cluster


TABLE: list[tuple[list[str], list[Change], list[tuple[str, str, str, str]]]] = [
    # changes to the file, changes to what SLURM says; key, value of the file, SLURM's, the override that takes SLURM's
    ([], [], []),
    ([], [("partition", BOOSTER, "MaxTime=1-00:00:00", "MaxTime=12:00:00")],
     [("partitions.gpu.max_time", "1-00:00:00", "12:00:00", "cluster.partitions.gpu.max_time=12:00:00")]),
    ([], [("partition", BOOSTER, "MaxTime=1-00:00:00", "MaxTime=UNLIMITED")],
     [("partitions.gpu.max_time", "1-00:00:00", "no limit", "cluster.partitions.gpu.max_time=null")]),
    (["cluster.partitions.gpu.max_nodes=96"], [],
     [("partitions.gpu.max_nodes", "96", "384", "cluster.partitions.gpu.max_nodes=384")]),
    (["cluster.partitions.gpu.max_time=null", "cluster.partitions.gpu.max_nodes=null"], [], []),
    ([], [("partition", BOOSTER, "MinNodes=0", "MinNodes=2")],
     [("partitions.gpu.min_nodes", "1", "2", "cluster.partitions.gpu.min_nodes=2")]),
    ([], [("partition", BOOSTER, "OverSubscribe=EXCLUSIVE", "OverSubscribe=NO")],
     [("partitions.gpu.exclusive", "true", "false", "cluster.partitions.gpu.exclusive=false")]),
    (["cluster.partitions.gpu.partition=boster"], [], [("partitions.gpu.partition", "boster", "no such partition", "")]),
    ([], [("nodes", "gpus|", "gpu:4", "gpu:2"), ("nodes", "develgpus|", "gpu:4", "gpu:2")],
     [("node_types.v100.gpus", "4", "2", "cluster.node_types.v100.gpus=2")]),
    ([], [("nodes", "mem192|", "189440", "94720")], [("node_types.mem192.mem_gb_usable", "185", "92",
                                                     "cluster.node_types.mem192.mem_gb_usable=92")]),
    (["cluster.limits.max_array_size=500"], [], [("limits.max_array_size", "500", "1001", "cluster.limits.max_array_size=1001")]),
    (["cluster.limits.max_submit=300"], [], [("limits.max_submit", "300", "40", "cluster.limits.max_submit=40")]),
]  # fmt: skip


@pytest.mark.parametrize(("file", "live", "expected"), TABLE)
def test_contradictions(checker: Checker, file: list[str], live: list[Change], expected: list[tuple[str, str, str, str]]) -> None:
    found = drift(cluster(checker, "juwels", *file), site("juwels", *live))
    assert [(d.key.removeprefix("cluster."), d.file, d.live, d.override) for d in found] == expected


@pytest.mark.parametrize("row", [row for row in TABLE if row[2] and row[2][0][3]], ids=lambda row: row[2][0][0])
def test_the_override_takes_slurms_value_over(
    checker: Checker, row: tuple[list[str], list[Change], list[tuple[str, str, str, str]]]
) -> None:
    file, live, expected = row
    key = expected[0][3].partition("=")[0]
    kept = [text for text in file if not text.startswith(f"{key}=")]
    assert drift(cluster(checker, "juwels", *kept, expected[0][3]), site("juwels", *live)) == []


def test_evidence_is_told_and_only_the_partition_itself_blocks(checker: Checker) -> None:
    (found,) = drift(cluster(checker, "juwels", "cluster.partitions.gpu.max_nodes=96"), site())
    assert (found.purpose, found.blocks) == ("gpu", False)
    assert "2021-11-26" in found.evidence
    assert "likely" in found.evidence
    (gone,) = drift(cluster(checker, "juwels", "cluster.partitions.gpu.partition=boster"), site())
    assert gone.blocks


def test_nothing_is_said_where_slurm_says_nothing(checker: Checker) -> None:
    wrong = cluster(checker, "juwels", "cluster.partitions.gpu.partition=boster", "cluster.limits.max_submit=3")
    assert drift(wrong, site(broken=["ping"])) == []
    assert drift(wrong, site(broken=["partition"])) == []
    qos = cluster(checker, "leonardo", "cluster.partitions.debug.qos=none_such")
    assert "cluster.partitions.debug.qos" in [d.key for d in drift(qos, site("leonardo"))]
    assert drift(qos, site("leonardo", broken=["qos"])) != []
    assert "cluster.partitions.debug.qos" not in [d.key for d in drift(qos, site("leonardo", broken=["qos"]))]


def test_leonardo_agrees_although_its_qos_go_beyond_the_partition(checker: Checker) -> None:
    assert [d.key for d in drift(cluster(checker, "leonardo"), site("leonardo")) if "default_time" not in d.key] == []


def told(where: Site, partition: str, qos: str | None, name: str) -> tuple[object, str] | None:
    """A limit and whose it is."""
    live = live_partition(where, partition)
    assert live is not None
    bound = getattr(limits_of(where, live, qos), name)
    return bound and (bound.value, bound.source)


def test_the_limits_that_count() -> None:
    where, name, qos = site("leonardo"), "boost_usr_prod", "boost_qos_bprod"
    assert told(where, name, None, "time") == (timedelta(days=1), "partition boost_usr_prod")
    assert told(where, name, None, "max_nodes") == (64, "partition boost_usr_prod")
    assert told(where, name, None, "min_nodes") is None
    assert told(where, name, qos, "max_nodes") == (256, "QoS boost_qos_bprod")
    assert told(where, name, qos, "min_nodes") == (65, "QoS boost_qos_bprod")
    bounded = site("leonardo", ("qos", qos, "DenyOnLimit,PartitionMaxNodes,PartitionMinNodes,PartitionTimeLimit", ""))
    assert told(bounded, name, qos, "max_nodes") == (64, "partition boost_usr_prod"), "without the flag the partition counts too"


def test_a_partitions_own_qos_counts() -> None:
    """As sites set limits per user of a partition; the value is put in by hand."""
    where = site("leonardo", ("partition", "PartitionName=boost", "QoS=N/A", "QoS=boost_qos_dbg"))
    assert told(where, "boost_usr_prod", None, "time") == (timedelta(minutes=30), "QoS boost_qos_dbg")


def test_the_default_partition_and_the_cap() -> None:
    serial = live_partition(site("leonardo"), None)
    assert serial is not None
    assert serial.name == "lrd_all_serial"
    assert live_partition(site("leonardo"), "none_such") is None
    assert submit_cap(ClusterConfig(name="x", scheduler="slurm"), site()) is None
