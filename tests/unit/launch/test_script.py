"""The batch script, read and run by a real bash; srun and scontrol are stand-ins here (tests/slurm runs it on a real SLURM)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from longview.cluster.request import request_of
from longview.config.experiment import Checker
from longview.launch.script import Job, batch_script, environment, srun_line

CONF = Path(__file__).resolve().parents[3] / "conf"
CLUSTERS = sorted(p.stem for p in (CONF / "cluster").glob("*.yaml") if "scheduler: slurm" in p.read_text())


@pytest.fixture(scope="module")
def checker() -> Checker:
    return Checker(CONF)


def made(checker: Checker, folder: Path, *overrides: str, **job: object) -> str:
    config = checker.check(["launch.account=x", "resources.time=30m", *overrides]).config
    values = {"name": "s", "uid": "longview:s:1", "folder": folder, "number": 1, "code": folder / "code", "count": 1}
    return batch_script(config, request_of(config), Job(**{"python": sys.executable, **values, **job}))  # type: ignore[arg-type]


def directives(text: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")]


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_every_purpose_of_every_cluster_gives_a_sound_script(checker: Checker, tmp_path: Path, cluster: str) -> None:
    facts = checker.check([f"cluster={cluster}", "launch.account=x", "resources.time=30m"]).config.cluster
    for purpose, partition in facts.partitions.items():
        text = made(
            checker, tmp_path, f"cluster={cluster}", f"resources.purpose={purpose}", f"resources.nodes={partition.min_nodes or 1}"
        )
        done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), f"{purpose}: {done.stderr}"
        found = directives(text)
        assert not any("wckey" in line for line in found)
        assert "--time=00:30:00" in found
        assert f"--partition={partition.partition}" in found or partition.partition is None
        assert len({line.partition("=")[0] for line in found}) == len(found), found


def test_array_and_single(checker: Checker, tmp_path: Path) -> None:
    one, many = (directives(made(checker, tmp_path, "cluster=juwels", count=n, parallel=p)) for n, p in ((1, None), (7, 3)))
    assert not any(line.startswith("--array") for line in one)
    assert "--array=0-6%3" in many
    assert any(line.endswith("001-%A_%a.out") for line in many)


def test_srun_says_cores_and_how_to_end(checker: Checker, tmp_path: Path) -> None:
    config = checker.check(["cluster=juwels", "launch.account=x", "resources.nodes=2"]).config
    words = srun_line(config, request_of(config), Job("s", "u", tmp_path, 1, tmp_path, "python", 1))
    for word in ("--nodes=2", "--ntasks=8", "--ntasks-per-node=4", "--cpus-per-task=12", "--kill-on-bad-exit=1", "--wait=60"):
        assert word in words
    assert words[-4:] == ["-u", "-m", "longview.engine", "<run>"]
    scored = srun_line(config, request_of(config), Job("s", "u", tmp_path, 1, tmp_path, "python", 1, mode="test"))
    assert scored[-2:] == ["<run>", "--test"]


def test_container(checker: Checker, tmp_path: Path) -> None:
    box = "cluster.container={runtime: apptainer, image: /images/lv.sif, binds: ['/p/data']}"
    config = checker.check(["cluster=juwels", "launch.account=x", box]).config
    words = srun_line(config, request_of(config), Job("s", "u", tmp_path / "sweep", 1, tmp_path, "python", 1))
    inside = words[words.index("apptainer") :]
    assert inside[:3] == ["apptainer", "exec", "--nv"]
    assert inside.index("/images/lv.sif") < inside.index("python")
    assert f"{tmp_path}" in inside


@pytest.mark.parametrize(
    ("overrides", "variable", "value"),
    [
        (["cluster=juwels"], "CUDA_VISIBLE_DEVICES", "0,1,2,3"),
        (["cluster=juwels", "resources.devices=1"], "CUDA_VISIBLE_DEVICES", "0"),
        (["cluster=juwels", "resources.purpose=cpu"], "CUDA_VISIBLE_DEVICES", None),
        (["cluster=marvin"], "CUDA_VISIBLE_DEVICES", None),
        (["cluster=juwels"], "GLOO_SOCKET_IFNAME", "ib0"),
        (["cluster=jupiter"], "GLOO_SOCKET_IFNAME", None),
        (["cluster=juwels"], "WANDB_MODE", "offline"),
        (["cluster=juwels", "cluster.internet.compute=true"], "WANDB_MODE", None),
        (["cluster=lumi"], "ROCR_VISIBLE_DEVICES", "0,1,2,3,4,5,6,7"),
    ],
)
def test_environment(checker: Checker, overrides: list[str], variable: str, value: str | None) -> None:
    config = checker.check(["launch.account=x", *overrides]).config
    assert environment(config, request_of(config)).get(variable) == value


class Bench:
    """A folder with a script, a code copy, run directories and stand-ins for SLURM's commands."""

    def __init__(self, folder: Path, text: str, rank: str) -> None:
        self.folder = folder
        for name in ("bin", "code/src", "submissions", "r0", "r1"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "submissions" / "001.txt").write_text(f"{folder / 'r0'}\n{folder / 'r1'}\n")
        self.script = folder / "job.sh"
        self.script.write_text(text)
        self.command("srun", f"shift; {rank}")
        self.command("scontrol", "echo localhost")
        self.command("module", "exit 0")

    def command(self, name: str, body: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)

    def start(self, **env: str) -> subprocess.Popen[str]:
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        slurm = {"SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "localhost", "PATH": path, **env}
        line = ["bash", str(self.script)]
        return subprocess.Popen(
            line, cwd=self.folder, env={**os.environ, **slurm}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, **env: str) -> int:
        process = self.start(**env)
        process.communicate(timeout=30)
        return process.returncode

    def exit(self, name: str) -> dict[str, object]:
        return json.loads((self.folder / name / "exit.json").read_text())


def bench(checker: Checker, tmp_path: Path, *overrides: str, rank: str = "exit 0", **job: object) -> Bench:
    return Bench(tmp_path, made(checker, tmp_path, "cluster=juwels", *overrides, **job), rank)


def test_an_element_finds_its_run_and_records_its_end(checker: Checker, tmp_path: Path) -> None:
    made_of = bench(checker, tmp_path, rank='echo "$@" > seen; exit 7', count=2)
    code = made_of.run(SLURM_ARRAY_JOB_ID="70", SLURM_ARRAY_TASK_ID="1")
    assert code == 7
    record = made_of.exit("r1")
    assert (record["code"], record["job"], record["restart"]) == (7, "70_1", 0)
    assert not (tmp_path / "r0" / "exit.json").exists()
    log = (tmp_path / "r1" / "logs" / "70_1" / "batch.log").read_text()
    assert "ranks meet at 127.0.0.1:" in log
    assert "ended with exit code 7" in log


def test_a_restart_keeps_the_first_log(checker: Checker, tmp_path: Path) -> None:
    made_of = bench(checker, tmp_path)
    ports = []
    for restart in ("0", "1"):
        assert made_of.run(SLURM_RESTART_COUNT=restart) == 0
        log = tmp_path / "r0" / "logs" / ("77" if restart == "0" else "77.1") / "batch.log"
        ports.append(log.read_text().partition("ranks meet at ")[2].split()[0])
    assert ports[0] != ports[1]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["resources.nodes=2", "cluster.network.master_suffix=.no.such.host"], "MASTER_ADDR: localhost.no.such.host does not"),
        (["cluster.setup=['false']"], "this set-up line failed: false"),
    ],
)
def test_what_cannot_work_ends_at_once(checker: Checker, tmp_path: Path, overrides: list[str], said: str) -> None:
    made_of = bench(checker, tmp_path, *overrides)
    assert made_of.run() == 2
    assert f"longview: error: {said}" in (tmp_path / "r0" / "logs" / "77" / "batch.log").read_text()
    assert made_of.exit("r0")["code"] == 2


def test_code_that_is_gone_is_not_replaced_by_other_code(checker: Checker, tmp_path: Path) -> None:
    made_of = bench(checker, tmp_path)
    (tmp_path / "code" / "src").rmdir()
    assert made_of.run() == 2
    assert "the copy of the code" in (tmp_path / "r0" / "logs" / "77" / "batch.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_the_shell_outlives_a_signal_and_records_the_end(checker: Checker, tmp_path: Path, number: signal.Signals) -> None:
    made_of = bench(checker, tmp_path, rank=f"touch {tmp_path}/up; sleep 1.5; exit 130")
    process = made_of.start()
    while not (tmp_path / "up").exists():
        time.sleep(0.02)
    process.send_signal(number)
    time.sleep(0.2)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert made_of.exit("r0")["code"] == 130


def test_a_port_in_use_is_passed_over(checker: Checker, tmp_path: Path) -> None:
    import socket

    made_of = bench(checker, tmp_path)

    def port() -> int:
        assert made_of.run() == 0
        return int((tmp_path / "r0" / "logs" / "77" / "batch.log").read_text().partition("127.0.0.1:")[2].split()[0])

    first = port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        assert port() == first + 1


def test_nodes_to_keep_away_from_are_read_at_every_submission(checker: Checker, tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("jwb0007  # ECC\n\njwb[0100-0101]\n")
    text = made(checker, tmp_path, "cluster=juwels", f"cluster.exclude_file={tmp_path / 'bad'}")
    assert "--exclude='jwb0007,jwb[0100-0101]'" in directives(text)


def test_options_of_the_user_come_last(checker: Checker, tmp_path: Path) -> None:
    text = made(
        checker, tmp_path, "cluster=juwels", "launch.sbatch={mail-type: END, mail-user: me@example.org, exclusive: false}"
    )
    found = directives(text)
    assert "--mail-type=END" in found
    assert "--exclusive" not in found
