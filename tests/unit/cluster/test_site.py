"""What SLURM prints, read back. The texts were captured on a real SLURM 22.05 (tests/captured); formats other versions and sites
add to them are written out here and say so. tests/slurm/test_doctor.py asks a real one."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from longview.cluster import answers
from longview.cluster.site import Answer, Site, run
from replay import Replay, captured, site


def test_the_whole_site() -> None:
    found = site()
    assert found.reachable()
    assert found.version == (22, 5, 8)
    assert found.number("MaxArraySize") == 1001
    assert found.number("KillWait") == 5
    assert found.config["ClusterName"] == "juwels"
    assert found.enforced is True
    assert found.accounts() == ["twin"], "the accounting tree's own trunk, root, is no account to charge"
    assert found.queued() == 4 + 10 + 2
    assert found.silences == []


def test_partitions() -> None:
    found = answers.partitions(captured("juwels", "partition"))
    assert list(found) == ["booster", "develbooster", "gpus", "develgpus", "batch", "devel", "mem192"]
    booster, devel = found["booster"], found["develbooster"]
    assert (booster.max_time, booster.max_nodes, booster.min_nodes, booster.nodes) == (timedelta(days=1), 384, None, 4)
    assert (booster.default, devel.default) == (True, False)
    assert (booster.exclusive, booster.state, booster.default_time, booster.qos) == (True, "UP", None, None)
    assert booster.allow_accounts is None
    assert devel.max_time == timedelta(hours=2)
    serial, prod = (answers.partitions(captured("leonardo", "partition"))[n] for n in ("lrd_all_serial", "boost_usr_prod"))
    assert serial.default
    assert not serial.exclusive
    assert prod.allow_qos == ("normal", "boost_qos_dbg", "boost_qos_bprod", "boost_qos_lprod")


def test_a_partition_without_limits_and_with_a_list_of_accounts() -> None:
    line = captured("juwels", "partition").splitlines()[0]
    for old, new in (
        ("MaxTime=1-00:00:00", "MaxTime=UNLIMITED"),
        ("MaxNodes=384", "MaxNodes=UNLIMITED"),
        ("AllowAccounts=ALL", "AllowAccounts=a,b"),
        ("QoS=N/A", "QoS=part"),
        ("DefaultTime=NONE", "DefaultTime=00:30:00"),
        ("MinNodes=0", "MinNodes=65"),
    ):
        assert old in line
        line = line.replace(old, new)
    found = answers.partitions(line)["booster"]
    assert (found.max_time, found.max_nodes, found.min_nodes) == (None, None, 65)
    assert (found.allow_accounts, found.qos, found.default_time) == (("a", "b"), "part", timedelta(minutes=30))


def test_nodes() -> None:
    found = answers.nodes(captured("juwels", "nodes"))
    (booster,) = found["booster"]
    assert (booster.count, booster.cpus, booster.cores, booster.memory_gb, booster.gpu_count) == (4, 48, 48, 490.0, 4)
    assert found["batch"][0].gpus == ()


@pytest.mark.parametrize(
    ("state", "serves"),
    [*((s, True) for s in ("idle", "mixed", "allocated", "idle~", "mixed-", "completing", "planned"))]
    + [(s, False) for s in ("drained", "draining", "down", "idle*", "down*", "maint")],
)
def test_which_nodes_start_jobs(state: str, serves: bool) -> None:
    """States as sinfo(1) lists them; idle, mixed, drained and down were also seen on the real one."""
    assert answers.nodes(f"p|1|{state}|4|1|4|1000|(null)")["p"][0].serves is serves


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("gpu:4", (("", 4),)),
        ("gpu:a100:4(S:0-1)", (("a100", 4),)),  # with sockets, as real GPU nodes print it
        ("gpu:a40:6(S:0,3),gpu:a100:2,tmpfs:100G", (("a40", 6), ("a100", 2))),
        ("(null)", ()),
    ],
)
def test_gpus(text: str, found: tuple[tuple[str, int], ...]) -> None:
    assert answers.gpus(text) == found


def test_qos_and_associations() -> None:
    found = answers.qos(captured("leonardo", "qos"))
    assert list(found) == ["normal", "boost_qos_dbg", "boost_qos_bprod", "boost_qos_lprod"]
    assert found["normal"].max_wall is None
    big = found["boost_qos_bprod"]
    assert (big.max_wall, big.max_tres, big.min_tres) == (timedelta(days=1), (("node", 256),), (("node", 65),))
    assert "PartitionTimeLimit" in big.flags
    (row,) = answers.associations(captured("leonardo", "assoc"))
    assert (row.account, row.partition, row.max_submit) == ("twin", None, 1000)
    assert "boost_qos_lprod" in row.qos
    assert [a.account for a in answers.share_accounts(captured("juwels", "sshare"))] == ["root", "twin"]


def test_a_row_with_unlike_columns_is_left_out() -> None:
    assert answers.qos("a|b\nnormal|||||||\nx|y|z") == {"normal": answers.Qos("normal")}


@pytest.mark.parametrize(
    ("text", "length"),
    [("1-00:00:00", 86400), ("02:00:00", 7200), ("30:00", 1800), ("UNLIMITED", None), ("NONE", None), ("", None), ("n/a", None)],
)
def test_times(text: str, length: int | None) -> None:
    assert answers.duration(text) == (None if length is None else timedelta(seconds=length))


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("12", 1), ("1_0", 1), ("1_[2-5%2]", 4), ("7_[0-18:2]", 10), ("9_[3,7,30-31]", 4), ("8_[0-999%10]\n9\n", 1001)],
)
def test_array_elements_are_counted_one_by_one(text: str, count: int) -> None:
    assert answers.elements(text) == count


def test_a_submission_is_found_by_its_comment() -> None:
    assert site().jobs_with_comment("8f3a1c") == ["1"], "once for all elements, and 8f3a1c99 is another one"
    assert site().jobs_with_comment("8f3a1c99") == ["2"]
    assert site().jobs_with_comment("thing") == ["3"]
    assert site().jobs_with_comment("8f3a") == []
    assert site(broken=["comments"]).jobs_with_comment("8f3a1c") is None, "not known is not none"


@pytest.mark.parametrize(
    ("answer", "ok", "said"),
    [  # the messages of a real sbatch
        (Answer(0, "", "sbatch: Job 6 to start at 2026-11-20T06:48:14 using 48 processors on nodes jwb0003 in partition booster"),
         True, "Job 6 to start"),
        (Answer(1, "", "allocation failure: Requested time limit is invalid (missing or exceeds some limit)"), False,
         "time limit"),
        (Answer(1, "", "sbatch: error: invalid partition specified: boost\nallocation failure: Invalid partition name specified"),
         False, "invalid partition specified: boost; allocation failure: Invalid partition name specified"),
        (Answer(None, err="no answer within 10 s"), None, "no answer"),
        (Answer(1, "", "sbatch: error: Unable to contact slurm controller (connect failure)"), None, "Unable to contact"),
    ],
)  # fmt: skip
def test_a_script_is_judged_without_being_submitted(answer: Answer, ok: bool | None, said: str) -> None:
    verdict, text = site(test_only=answer).test_only("#!/bin/bash\n")
    assert verdict is ok
    assert said in text
    assert not text.startswith("sbatch:")


def test_nothing_is_known_of_a_silent_controller_and_it_is_asked_once() -> None:
    replay = Replay(broken=["ping"])
    found = Site(replay, user="somebody")
    assert not found.reachable()
    assert (found.version, found.enforced, found.partitions, found.nodes, found.qos) == (None, None, None, None, None)
    assert (found.accounts(), found.queued(), found.jobs_with_comment("x")) == (None, None, None)
    assert found.test_only("")[0] is None
    assert found.number("MaxArraySize") is None
    assert replay.asked == [("scontrol", "ping")]
    assert found.silences == ["scontrol ping: no answer in this test"]


def test_accounts_come_from_sshare_where_the_database_does_not_answer() -> None:
    found = site(broken=["assoc"])
    assert found.accounts() == ["twin"]
    assert "sacctmgr" in found.silences[0]
    assert site("juwels", ("sshare", "", "", ""), broken=["assoc"]).accounts() is None, (
        "sshare without a database: nothing, code 0"
    )
    neither = site(broken=["assoc", "sshare"])
    assert neither.accounts() is None
    assert neither.queued() == 16, "the rest is still known"


def test_a_user_without_accounts_has_none_which_is_known() -> None:
    assert site("juwels", ("assoc", "twin", "", ""), ("assoc", "root", "", "")).accounts() == []


def test_answers_are_kept() -> None:
    replay = Replay()
    found = Site(replay, user="somebody")
    for _ in range(3):
        assert found.partitions
        assert found.accounts()
    assert len(replay.asked) == len(set(replay.asked)) == 4
    assert found.queued() == found.queued()
    assert len(replay.asked) == 6, "the queue changes, so it is asked anew"


def test_a_command_that_is_missing_hangs_or_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert run(["no-such-command-anywhere"]).code is None
    slow = tmp_path / "sinfo"
    slow.write_text("#!/bin/sh\nexec sleep 30\n")
    slow.chmod(0o755)
    began = time.monotonic()
    answer = run(["sinfo"], patience=0.3)
    assert time.monotonic() - began < 5
    assert (answer.code, answer.ok, answer.err) == (None, False, "no answer within 0.3 s")
    slow.write_text("#!/bin/sh\nexit 3\n")
    assert run(["sinfo"]).code == 3


def test_the_users_own_formats_do_not_reach_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "squeue").write_text("#!/bin/sh\nenv\ncat\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for name in ("SQUEUE_FORMAT", "SINFO_FORMAT", "SLURM_TIME_FORMAT", "SACCT_FORMAT", "SBATCH_PARTITION", "SBATCH_ARRAY_INX"):
        monkeypatch.setenv(name, "odd")
    monkeypatch.setenv("SLURM_CONF", "/some/slurm.conf")
    out = run(["squeue"], "from stdin").out
    assert "odd" not in out
    assert "SLURM_CONF=/some/slurm.conf\n" in out
    assert "SLURM_BITSTR_LEN=0\n" in out
    assert out.endswith("from stdin")


WS_LIST = """\
id: breakfast
     workspace directory  : /lustre/scratch/data/somebody-breakfast
     remaining time       : 9 days 23 hours
     creation time        : Tue Nov 10 10:00:00 2026
     expiration date      : Mon Nov 30 10:00:00 2026
     filesystem name      : scratch
     available extensions : 3
id: late
     workspace directory  : /lustre/scratch/data/somebody-late
     remaining time       : 0 days 5 hours
"""


def test_workspaces() -> None:
    """The format of the workspace tools' own manual: they cannot be installed here."""
    found = site(ws_list=WS_LIST).workspaces()
    folder = "/lustre/scratch/data/somebody-"
    assert found == {f"{folder}breakfast": timedelta(days=9, hours=23), f"{folder}late": timedelta(hours=5)}
    assert site().workspaces() is None
