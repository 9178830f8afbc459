"""Asking a real SLURM: what it says is understood, and what it would refuse is found before sbatch is called."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from slurm.twin import Twin

from longview.cluster.drift import drift
from longview.cluster.live import array_limit, live_problems, only_account, submit_room
from longview.cluster.request import request_of
from longview.cluster.site import Site
from longview.cluster.waiting import only_waits
from longview.config.experiment import Checker
from longview.config.schema import Experiment
from longview.errors import Problem
from twins import Twins

ROOT = Path(__file__).parents[2]
SMALL = {"nodes": 2, "others": 1, "overrides": ("cluster.limits.max_array_size=50", "cluster.limits.max_submit=60")}
FILE = ["cluster=juwels", "cluster.limits.max_array_size=50", "cluster.limits.max_submit=60", "resources.time=1h"]


@pytest.fixture(scope="module")
def juwels(twin: Twins) -> Twin:
    """The small twin of test_twin.py."""
    return twin("juwels", **SMALL)


@pytest.fixture
def site(juwels: Twin, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A new Site, in the twin's environment."""
    for name, value in juwels.environ.items():
        monkeypatch.setenv(name, value)
    for name in ("SLURM_ACCOUNT", "SBATCH_ACCOUNT"):
        monkeypatch.delenv(name, raising=False)
    return Site()


def experiment(*overrides: str) -> Experiment:
    return Checker(ROOT / "conf").check([*FILE, "launch.account=twin", *overrides]).config


def asked(site: Site, *overrides: str, points: int = 1) -> list[Problem]:
    config = experiment(*overrides)
    return live_problems([("p", config)] * points, site, [request_of(config)] * points)


def doctor(twin: Twin, *overrides: str, **variables: str) -> tuple[int, dict[str, Any], float]:
    """Run the command in a process of its own: exit code, findings by what was looked at, seconds."""
    code = "import sys; from types import SimpleNamespace as N; from longview.commands.doctor import run; "
    code += "sys.exit(run(N(overrides=sys.argv[1:], json=True)))"
    began = time.monotonic()
    env = {**twin.environ, "LONGVIEW_CONF": str(ROOT / "conf"), **variables}
    done = subprocess.run(
        [sys.executable, "-c", code, *overrides],
        capture_output=True,
        text=True,
        env=env,
        cwd=twin.folder,
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    return done.returncode, {f["what"]: f for f in json.loads(done.stdout)["findings"]}, time.monotonic() - began


def test_everything_is_answered(site: Site) -> None:
    assert site.reachable()
    assert site.version is not None
    assert site.version >= (22, 5)
    assert (site.number("MaxArraySize"), site.enforced, site.config["EnforcePartLimits"]) == (50, True, "ALL")
    assert site.partitions is not None
    assert site.nodes is not None
    assert site.partitions["booster"].max_nodes == 384
    assert [(g.count, g.gpu_count, g.cores) for g in site.nodes["booster"]] == [(2, 4, 48)]
    assert site.qos is not None
    assert "normal" in site.qos
    assert site.silences == []


def test_a_wrong_account_is_found_before_sbatch_would_refuse_it(site: Site) -> None:
    (found,) = asked(site, "launch.account=west")
    assert (found.key, found.warning) == ("launch.account", False)
    assert found.message == "'west' is not among your accounts; yours: twin"
    script = "#!/bin/bash\n#SBATCH --account=west --partition=booster --nodes=1 --time=10\ntrue\n"
    verdict, said = site.test_only(script)
    assert verdict is False
    assert "account" in said.lower()
    assert site.test_only(script.replace("west", "twin"))[0] is True
    assert asked(site) == []
    assert site.queued() == 0, "nothing was submitted by asking"


def test_the_only_account_is_taken(site: Site) -> None:
    assert site.accounts() == ["twin"]
    assert only_account(site) == "twin"


def test_jobs_in_the_queue_are_counted_and_found_again(site: Site, juwels: Twin) -> None:
    config = experiment()
    request = request_of(config)
    assert array_limit(config.cluster, site) == 50
    assert submit_room(config.cluster, site, request) == 60
    options = ["-A", "twin", "-p", "booster", "-N1", "-t5", "-o", "/dev/null", "--hold", "--parsable"]
    uid = "doctor-4711"
    done = juwels.run("sbatch", *options, "--array=0-18:2%3", f"--comment=longview {uid}", "--wrap=true")
    job = done.stdout.strip()
    try:
        assert site.queued() == 10
        assert submit_room(config.cluster, site, request) == 50
        assert site.jobs_with_comment(uid) == [job]
        assert site.jobs_with_comment("doctor") == []
        assert asked(site, points=50) == []
        (found,) = asked(site, points=51)
        assert "51 jobs, but you may have 60 in the queue (SLURM: your association) and 10 are there" in found.message
    finally:
        juwels.run("scancel", job)
    assert site.jobs_with_comment(uid) == [job], "also shortly after its end"


def test_more_nodes_than_there_are(site: Site) -> None:
    (found,) = asked(site, "resources.nodes=3")
    assert found.message == "3 nodes, but partition booster has 2 in all; give at most 2"


def test_a_drained_partition_and_a_changed_limit(site: Site, juwels: Twin) -> None:
    changes = [
        ("PartitionName=booster", "MaxTime=00:30:00", "MaxTime=1-00:00:00"),
        ("PartitionName=gpus", "State=DRAIN", "State=UP"),
    ]
    for place, now, _ in changes:
        assert juwels.run("scontrol", "update", place, now).returncode == 0
    try:
        (late,) = asked(Site())
        assert late.message == (
            "01:00:00 is more than SLURM's present limit of 00:30:00 (partition booster; the cluster file says 1-00:00:00); "
            "give at most 00:30:00"
        )
        (shut,) = asked(Site(), "resources.purpose=v100")
        assert shut.message.startswith("partition gpus takes no jobs now (SLURM: DRAIN)")
        assert [(d.key, d.live) for d in drift(experiment().cluster, Site())] == [("cluster.partitions.gpu.max_time", "00:30:00")]
        code, seen, _ = doctor(juwels, *FILE)
        assert code == 0
        assert seen["partitions.gpu.max_time"]["found"].startswith("file 1-00:00:00, SLURM 00:30:00 (file: likely")
        assert seen["v100"]["found"] == "partition gpus is DRAIN"
    finally:
        for place, _, before in changes:
            juwels.run("scontrol", "update", place, before)


def test_a_job_for_drained_nodes_is_taken_and_an_impossible_one_refused_in_the_same_words(site: Site, juwels: Twin) -> None:
    request = request_of(experiment())
    nodes = juwels.run("sinfo", "-h", "-p", "booster", "-o", "%N").stdout.strip()
    script = "#!/bin/bash\n#SBATCH --account=twin --partition=booster --nodes=1 --time=10 --gres=gpu:{}\ntrue\n"
    assert juwels.run("scontrol", "update", f"nodename={nodes}", "state=drain", "reason=test").returncode == 0
    try:
        for gpus, waits in ((4, True), (8, False)):
            verdict, said = site.test_only(script.format(gpus))
            assert (verdict, said) == (False, "allocation failure: Requested node configuration is not available")
            assert only_waits(said, Site(), replace(request, gpus=gpus)) is waits
            options = ["-A", "twin", "-p", "booster", "-N1", "-t5", "-o", "/dev/null", "--parsable", f"--gres=gpu:{gpus}"]
            done = juwels.run("sbatch", *options, "--wrap=true")
            assert (done.returncode == 0) is waits, "what sbatch itself does"
            juwels.run("scancel", done.stdout.strip())
    finally:
        juwels.run("scontrol", "update", f"nodename={nodes}", "state=resume")
        for _ in range(100):  # it takes the controller a moment
            if juwels.run("sinfo", "-h", "-p", "booster", "-o", "%T").stdout.split() == ["idle"]:
                break
            time.sleep(0.2)


def test_variables_of_the_shell_do_not_change_what_is_asked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SBATCH_PARTITION", "nosuch")
    monkeypatch.setenv("SBATCH_TIMELIMIT", "900-0")
    verdict, said = site.test_only("#!/bin/bash\n#SBATCH --account=twin --partition=booster --nodes=1 --time=10\ntrue\n")
    assert verdict is True, said


def test_the_doctor_on_a_cluster(juwels: Twin) -> None:
    code, seen, seconds = doctor(juwels, *FILE[:3])
    assert code == 0
    assert seen["this machine"]["mark"] == "ok"
    assert seen["SLURM"]["mark"] == "ok"
    assert seen["cluster file"]["found"] == "agrees with SLURM"
    assert seen["accounts"]["found"] == "1"
    assert seen["queue"]["found"].endswith("arrays of up to 50")
    assert seconds < 20, "2 s on an idle machine"
    code, seen, _ = doctor(juwels, "cluster=juwels")
    assert seen["SLURM"]["mark"] == "ok"
    code, seen, _ = doctor(juwels, *FILE[:3], SLURM_ACCOUNT="west")
    assert (code, seen["accounts"]["mark"]) == (1, "x")


def test_a_twin_of_an_altered_cluster_shows_the_drift(twin: Twins) -> None:
    """A site that has changed since its file was written: started with another limit than conf/cluster/juwels.yaml has."""
    other = twin("juwels", nodes=1, others=1, accounting=False, overrides=("cluster.partitions.debug.max_time=1h",))
    code, seen, _ = doctor(other, "cluster=juwels")
    assert code == 0
    assert seen["partitions.debug.max_time"]["found"].startswith("file 02:00:00, SLURM 01:00:00 (file: likely, official ")
    assert seen["partitions.debug.max_time"]["todo"].endswith("cluster.partitions.debug.max_time=01:00:00")
    assert seen["accounts"]["mark"] == "-", "without slurmdbd nobody knows"
    assert seen["queue"]["mark"] == "ok"


def test_a_controller_that_ends_is_noticed_at_once(
    twin: Twins, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, juwels: Twin
) -> None:
    """slurm.conf names a port on which nobody listens: scontrol show config would try for a minute."""
    text = (juwels.folder / "slurm.conf").read_text()
    lines = ["SlurmctldPort=1" if line.startswith("SlurmctldPort=") else line for line in text.splitlines()]
    (tmp_path / "slurm.conf").write_text("\n".join(lines) + "\n")
    began = time.monotonic()
    code, seen, _ = doctor(juwels, "cluster=juwels", SLURM_CONF=str(tmp_path / "slurm.conf"))
    assert time.monotonic() - began < 20
    assert (code, seen["SLURM"]["mark"]) == (1, "x")
    assert "does not answer" in seen["SLURM"]["found"]
