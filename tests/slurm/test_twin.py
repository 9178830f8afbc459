"""The twin is a real SLURM that looks and refuses as the cluster's YAML says; nothing of it is left after it was stopped."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from slurm.twin import Twin, TwinError, start
from slurm.twin.files import Ports, gres_conf, job_submit, slurm_conf
from slurm.twin.machine import job_processes, write_hosts
from slurm.twin.plan import Plan, make_plan, read_cluster

from twins import Twins

ROOT = Path(__file__).parents[2]
SMALL = {"nodes": 2, "others": 1, "overrides": ("cluster.limits.max_array_size=50", "cluster.limits.max_submit=60")}


@pytest.fixture(scope="module")
def juwels(twin: Twins) -> Twin:
    """Two Booster nodes and one of each other kind, with small limits to run into."""
    return twin("juwels", **SMALL)


def refusal(twin: Twin, *options: str, **variables: str) -> str:
    """What sbatch says about a job that it must not take."""
    done = twin.run("sbatch", "-o", "/dev/null", *options, "--wrap=true", **variables)
    assert done.returncode != 0, f"sbatch took a job with {options}: {done.stdout}"
    return done.stderr


def job_state(twin: Twin, job: str) -> str:
    """State of a job in the accounting, as soon as it has ended there."""
    for _ in range(100):
        state = twin.run("sacct", "-nXP", "-j", job, "-o", "State").stdout.strip()
        if state not in ("", "PENDING", "RUNNING"):
            return state
        time.sleep(0.2)
    raise AssertionError(f"job {job} is still '{state}'")


def config(name: str, *overrides: str, accounting: bool = True) -> tuple[Plan, dict[str, dict[str, str]]]:
    """A cluster's plan, and its slurm.conf as NodeName/PartitionName -> settings. Text only, nothing is started."""
    plan = make_plan(read_cluster(name, overrides), accounting=accounting)
    text = slurm_conf(plan, Path("/twin"), "here", Ports(1, 2, tuple(range(3, 3 + len(plan.node_names)))))
    found: dict[str, dict[str, str]] = {"": {}}
    for line in text.splitlines():
        pairs = dict(word.split("=", 1) for word in line.split() if "=" in word and not line.startswith("#"))
        head = pairs.pop("PartitionName", None) or pairs.pop("NodeName", None)
        found.setdefault(head or "", {}).update(pairs)
    return plan, found


def test_sinfo_shows_the_partitions_and_limits_of_the_yaml(juwels: Twin) -> None:
    rows = juwels.run("sinfo", "-h", "-o", "%P|%l|%c|%G").stdout.split()
    assert "booster*|1-00:00:00|48|gpu:4" in rows
    assert "develbooster|2:00:00|48|gpu:4" in rows
    assert "batch|1-00:00:00|48|(null)" in rows
    partition = juwels.run("scontrol", "-o", "show", "partition", "develbooster").stdout
    assert "MaxNodes=4 " in partition
    assert "OverSubscribe=EXCLUSIVE" in partition
    shown = juwels.run("scontrol", "show", "config").stdout
    assert "ClusterName             = juwels" in shown
    assert "MaxArraySize            = 50" in shown


def test_ranks_on_two_nodes_see_stand_in_gpus_and_an_interface_that_exists(juwels: Twin) -> None:
    show = "echo $SLURM_PROCID $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES $GLOO_SOCKET_IFNAME $LONGVIEW_TWIN"
    size = ("-A", "twin", "-p", "booster", "-N2", "--ntasks-per-node=2", "-c12", "--gres=gpu:4", "-t5")
    done = juwels.run("srun", *size, "bash", "-c", show, GLOO_SOCKET_IFNAME="ib0")
    assert sorted(done.stdout.split("\n")[:4]) == [
        f"{rank} jwb000{1 + rank // 2} 0,1,2,3 lo juwels" for rank in range(4)
    ], done.stderr  # fmt: skip


def test_names_of_the_nodes_resolve_with_the_suffix_of_the_site(juwels: Twin) -> None:
    assert socket.gethostbyname("jwb0001i") == "127.0.0.1"
    assert socket.gethostbyname("jwb0002") == "127.0.0.1"


def test_what_the_site_refuses_is_refused_at_submission(juwels: Twin) -> None:
    assert "time limit is invalid" in refusal(juwels, "-A", "twin", "-p", "booster", "-t", "24:01:00")
    assert "invalid partition" in refusal(juwels, "-A", "twin", "-p", "boster").lower()
    assert "Invalid account" in refusal(juwels, "-A", "somebody", "-p", "booster")
    assert "needs --account" in refusal(juwels, "-p", "booster")
    assert "Invalid qos" in refusal(juwels, "-A", "twin", "-q", "fast", "-p", "booster")
    assert "Node count" in refusal(juwels, "-A", "twin", "-p", "develbooster", "-N5")
    assert "Requested node configuration is not available" in refusal(juwels, "-A", "twin", "-p", "batch", "--gres=gpu:1")


def test_array_and_queue_limits_hold(juwels: Twin) -> None:
    assert "Invalid job array" in refusal(juwels, "-A", "twin", "-p", "booster", "--array=0-50")
    held = ("-A", "twin", "-p", "booster", "-H", "-o", "/dev/null", "--wrap=true")
    assert juwels.run("sbatch", "--array=0-49", *held).returncode == 0
    over = juwels.run("sbatch", "--array=0-49", *held)
    juwels.run("scancel", "--account=twin")
    assert over.returncode != 0
    assert "job submit limit" in over.stderr


def test_a_batch_script_of_the_site_runs_and_accounting_knows_how_it_ended(juwels: Twin, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/bash\nmodule load Stages/2025\necho $SYSTEMNAME $SCRATCH\nsrun -n1 true\nexit 7\n")
    options = ("-A", "twin", "-p", "develbooster", "-N1", "--exclusive", "-t5", "-o", f"{tmp_path}/out.txt")
    job = juwels.run("sbatch", "--parsable", *options, str(script)).stdout.strip()
    assert job_state(juwels, job) == "FAILED"
    assert juwels.run("sacct", "-nXP", "-j", job, "-o", "ExitCode,Account").stdout.strip() == "7:0|twin"
    said = (tmp_path / "out.txt").read_text()
    assert "[twin] module load Stages/2025 (a stand-in: nothing happens)" in said
    assert f"juwelsbooster {juwels.folder}/storage/scratch" in said
    assert Path(juwels.env["SCRATCH"]).is_dir()


def test_sourcing_env_is_all_a_shell_needs(juwels: Twin) -> None:
    script = f"source {juwels.folder}/env; sinfo -h -o %P; module purge; echo $SLURM_ACCOUNT $LONGVIEW_TWIN"
    done = subprocess.run(["bash", "-c", script], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=30)
    assert "booster*" in done.stdout
    assert done.stdout.endswith("twin juwels\n")
    assert "[twin] module purge (a stand-in" in done.stderr


def test_the_commands_say_what_runs_and_a_second_start_says_so(juwels: Twin) -> None:
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", "slurm.twin", *words, "--folder", str(juwels.folder)]
        return subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=60)

    again = command("up", "juwels")
    assert again.returncode == 0
    assert "runs already" in again.stdout
    assert f"source {juwels.folder}/env" in again.stdout
    status = command("status")
    assert status.returncode == 0
    assert "develbooster" in status.stdout
    assert "narrows CUDA_VISIBLE_DEVICES" in status.stdout
    with pytest.raises(TwinError, match=r"runs in .* already"):
        start("juwels", juwels.folder)


def test_the_controller_can_be_ended_and_started_again_while_a_job_runs(juwels: Twin) -> None:
    options = ("-A", "twin", "-p", "booster", "-N1", "-t5", "-o", "/dev/null")
    job = juwels.run("sbatch", "--parsable", *options, "--wrap=sleep 4").stdout.strip()
    juwels.signal("slurmctld", signal.SIGTERM)
    assert "slurmctld" not in juwels.pids()
    juwels.restart("slurmctld")
    assert job_state(juwels, job) == "COMPLETED"


def test_two_twins_run_side_by_side_and_stopping_one_leaves_nothing_of_it_and_all_of_the_other(
    juwels: Twin, tmp_path: Path
) -> None:
    folder = tmp_path / "t"
    other = start("slurm", folder, nodes=1, accounting=False, extra=["KillWait=30"])
    try:
        assert "KillWait                = 30 sec" in other.run("scontrol", "show", "config").stdout
        sleeper = f"env -i sh -c 'sleep 300 & echo $! > {tmp_path}/pid; wait'"  # without any variable of the twin
        assert other.run("sbatch", "-o", "/dev/null", f"--wrap={sleeper}").returncode == 0
        for _ in range(100):
            if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip():
                break
            time.sleep(0.1)
        sleep = int((tmp_path / "pid").read_text())
        daemons = other.pids()
        assert {"munged", "slurmctld", "slurmd-node-01"} == set(daemons)
        assert f"# longview twin {folder}: begin" in Path("/etc/hosts").read_text()
    finally:
        other.stop()
    assert not folder.exists()
    assert not [pid for pid in [*daemons.values(), sleep] if _runs(pid)]
    assert str(folder) not in Path("/etc/hosts").read_text()
    assert not job_processes(folder / "slurm.conf")
    assert "booster" in juwels.run("sinfo", "-h").stdout
    assert socket.gethostbyname("jwb0001i") == "127.0.0.1"
    other.stop()  # once more is no error


def _runs(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_a_failed_start_says_why_and_leaves_nothing(twin: Twins, juwels: Twin, tmp_path: Path) -> None:
    before = Path("/etc/hosts").read_text()
    with pytest.raises(TwinError, match=r"slurm\S+ did not come up") as caught:
        start("slurm", tmp_path / "t", nodes=1, accounting=False, extra=["SelectType=select/nonsense"])
    assert "select/nonsense" in str(caught.value)
    assert not (tmp_path / "t").exists()
    assert Path("/etc/hosts").read_text() == before


def test_a_folder_with_other_things_is_not_touched(juwels: Twin, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(TwinError, match="holds something else"):
        start("slurm", tmp_path, accounting=False)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_hosts_blocks_of_several_twins_do_not_disturb_one_another(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    write_hosts(Path("/a"), ["127.0.0.1 n1"], hosts)
    write_hosts(Path("/b"), ["127.0.0.1 n2"], hosts)
    write_hosts(Path("/a"), ["127.0.0.1 n3"], hosts)
    assert "n1" not in hosts.read_text()
    write_hosts(Path("/b"), [], hosts)
    assert hosts.read_text() == "127.0.0.1 localhost\n# longview twin /a: begin\n127.0.0.1 n3\n# longview twin /a: end\n"
    write_hosts(Path("/a"), [], hosts)
    assert hosts.read_text() == "127.0.0.1 localhost\n"


def test_marvin_has_typed_gpus_tracked_memory_and_limits_per_user() -> None:
    plan, text = config("marvin")
    assert text[""]["SelectTypeParameters"] == "CR_Core_Memory"
    assert "DefMemPerCPU" in text[""]
    assert text["sgpu_medium"]["MaxTime"] == "1-00:00:00"
    assert text["sgpu_medium"]["QOS"] == "part_sgpu_medium"
    assert text["mlgpu_devel"]["MaxTime"] == "01:00:00"
    assert "OverSubscribe" not in text["sgpu_medium"]
    nodes = {name: values for name, values in text.items() if "Gres" in values}
    assert {values["Gres"] for values in nodes.values()} == {"gpu:a100:4", "gpu:a40:8"}
    assert text[""]["ClusterName"] == "marvin"
    assert {q.settings["MaxTRESPU"] for q in plan.qualities if q.name == "part_sgpu_long"} == {"gres/gpu=48"}


def test_leonardo_has_qos_with_their_own_limits_and_staging_as_default_partition() -> None:
    plan, text = config("leonardo")
    assert text["boost_usr_prod"]["MaxTime"] == "1-00:00:00"
    assert text["boost_usr_prod"]["MaxNodes"] == "64"
    assert "boost_qos_dbg" in text["boost_usr_prod"]["AllowQos"].split(",")
    assert text["lrd_all_serial"]["Default"] == "YES"
    assert text["boost_usr_prod"]["Default"] == "NO"
    limits = {quality.name: quality.settings for quality in plan.qualities}
    assert limits["boost_qos_dbg"]["MaxWall"] == "00:30:00"
    assert limits["boost_qos_dbg"]["MaxTRES"] == "node=2"
    assert limits["boost_qos_bprod"]["MinTRES"] == "node=65"


def test_without_accounting_a_partition_is_as_wide_as_its_widest_purpose() -> None:
    plan, text = config("leonardo", accounting=False)
    assert text["boost_usr_prod"]["MaxTime"] == "4-00:00:00"
    assert "AllowQos" not in text["boost_usr_prod"]
    assert "AccountingStorageType" not in text[""]
    assert plan.qualities == ()


def test_sites_that_forbid_memory_or_a_missing_account_get_a_submit_filter() -> None:
    assert "leave --mem out" in job_submit(read_cluster("marenostrum5"))
    assert "--account" in job_submit(read_cluster("juwels"))
    assert "slurm.log_user" not in job_submit(read_cluster("slurm"))


CLUSTERS = [path.stem for path in sorted((ROOT / "conf" / "cluster").glob("*.yaml")) if path.stem != "local"]


@pytest.mark.parametrize("name", CLUSTERS)
def test_every_cluster_can_be_rehearsed(name: str) -> None:
    plan, text = config(name)
    assert len(set(plan.node_names)) == len(plan.node_names) <= 20
    assert [queue.default for queue in plan.queues].count(True) == 1
    for queue in plan.queues:
        assert text[queue.name]["Nodes"]
    devices = gres_conf(plan, Path("/twin"))
    for kind in plan.nodes:
        assert (",".join(kind.names) in devices) == bool(kind.gpus)
    assert json.dumps(plan.notes)


def test_a_cluster_without_slurm_is_refused_in_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "slurm.twin", "up", "local", "--folder", "/nonexistent/t"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "has no SLURM" in done.stderr
    assert "Traceback" not in done.stderr
