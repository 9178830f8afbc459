"""`longview doctor`, as it speaks to a user. Without SLURM it runs as it is; where SLURM is to answer, captured text does
(tests/replay.py). tests/slurm/test_doctor.py lets it look at a real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from longview.app import guarded
from longview.cluster import machine
from longview.cluster.machine import Driver, TorchBuild
from longview.cluster.site import Answer, Site
from longview.commands import doctor, findings
from longview.commands.findings import Visit
from longview.config.experiment import Checker
from replay import Replay, site

ROOT = Path(__file__).resolve().parents[3]
Output = pytest.CaptureFixture[str]
Seen = dict[str, dict[str, str]]
Look = Callable[..., tuple[int, Seen]]
VARIABLES = ("SLURM_ACCOUNT", "SBATCH_ACCOUNT", "BUDGET_ACCOUNTS", "SYSTEMNAME", "SLURM_CONF", "WANDB_API_KEY", "WANDB_BASE_URL",
             "NETRC", "SCRATCH", "PROJECT", "DATA", "XDG_CACHE_HOME", machine.TWIN, *findings.CACHES)  # fmt: skip


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine of its own: an empty home, no commands, no network to wait for."""
    (tmp_path / "home").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "work").mkdir()
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("LONGVIEW_CONF", str(ROOT / "conf"))
    monkeypatch.setattr(machine, "online", lambda: False)
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> Look:
    """Run the command on a SLURM; its exit code and its findings by what was looked at."""

    def run(*overrides: str, where: Site | None = None) -> tuple[int, Seen]:
        if where is not None:
            monkeypatch.setattr("longview.cluster.site.Site", lambda: where)
        code = doctor.run(SimpleNamespace(overrides=list(overrides), json=True))
        return code, {f["what"]: f for f in json.loads(capsys.readouterr().out)["findings"]}

    return run


def test_a_laptop(capsys: Output, tmp_path: Path) -> None:
    assert doctor.run(SimpleNamespace(overrides=[])) == 0
    out = capsys.readouterr().out
    assert out.startswith("longview doctor: cluster local\n")
    for text in (
        "Python",
        "torch",
        "run.root",
        "/dev/shm",
        "not installed; longview's own scan is used",
        "nothing blocks a run here",
    ):
        assert text in out
    assert "SLURM" not in out
    assert list((tmp_path / "work").iterdir()) == []
    assert list((tmp_path / "home").iterdir()) == []


def test_a_cluster_looked_at_from_a_laptop(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert doctor.run(SimpleNamespace(overrides=["cluster=juwels"])) == 0
    out = capsys.readouterr().out
    for text in ("this is not juwels, so it cannot be asked", "develbooster", "1-00:00:00", "gpu *", "jutil user cpuquota"):
        assert text in out
    assert "! limits read" in out, "the limits of 2021 are old"
    assert "compute nodes have none" in " ".join(out.split())


@pytest.mark.parametrize("columns", [60, 200])
def test_it_fits_the_terminal(capsys: Output, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    doctor.run(SimpleNamespace(overrides=["cluster=marvin"]))
    assert max(map(len, capsys.readouterr().out.splitlines())) <= columns


def test_bad_input_is_refused_all_at_once(capsys: Output) -> None:
    options = SimpleNamespace(overrides=["cluster=juwel", "run.rot=3", "cluster.purpos=x"])
    assert guarded(lambda: doctor.run(options)) == 2
    err = capsys.readouterr().err
    assert "no option 'juwel'; did you mean 'juwels'?" in err
    assert "run.rot: unknown key; did you mean 'root'?" in err


def test_all_is_well_on_the_cluster(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSTEMNAME", "juwelsbooster")
    monkeypatch.setattr(machine, "torch_build", lambda: TorchBuild("2.8.0+cu128", "cuda", "12.8"))
    code, seen = look(where=site())
    assert code == 0
    assert {name: f["mark"] for name, f in seen.items() if f["section"] in ("SLURM", "Partitions")} == dict.fromkeys(
        ("SLURM", "limits", "accounts", "queue", "cluster file"), "ok"
    )
    assert seen["this machine"]["found"] == "belongs to juwels", "it was recognised without being named"
    assert seen["SLURM"]["found"] == "22.05.8 answers, cluster juwels"
    assert "srun does not take over --cpus-per-task" in seen["SLURM"]["todo"]
    assert seen["queue"]["found"] == "16 jobs of yours, room for 24 more, arrays of up to 1001"


@pytest.mark.parametrize(
    ("version", "said"),
    [("21.08.8", ""), ("22.05.8", "does not take over"), ("23.02.1", "does not take over"), ("23.11.0", "contradicting")],
)
def test_the_version_of_slurm_and_what_to_know(look: Look, version: str, said: str) -> None:
    _, seen = look("cluster=slurm", where=site("juwels", ("config", "SLURM_VERSION", "22.05.8", version)))
    assert (said in seen["SLURM"]["todo"]) if said else (seen["SLURM"]["todo"] == "")


def test_drift_is_shown_with_both_values_and_evidence(look: Look) -> None:
    changed = site("juwels", ("partition", "PartitionName=booster ", "MaxTime=1-00:00:00", "MaxTime=12:00:00"))
    _, seen = look("cluster=juwels", where=changed)
    found = seen["partitions.gpu.max_time"]
    assert found["mark"] == "!"
    assert found["found"].startswith("file 1-00:00:00, SLURM 12:00:00 (file: likely, ")
    assert found["todo"].endswith("cluster.partitions.gpu.max_time=12:00:00")
    assert "cluster file" not in seen


def test_what_blocks_makes_it_fail(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(machine.TWIN, "juwels")
    monkeypatch.setenv("SYSTEMNAME", "juwelsbooster")
    assert look("cluster=juwels", where=site())[0] == 0
    code, seen = look("cluster=juwels", "cluster.partitions.gpu.partition=boster", where=site())
    assert (code, seen["partitions.gpu.partition"]["mark"]) == (1, "x")
    code, seen = look("cluster=juwels", "cluster.partitions.debug.partition=boster", where=site())
    assert (code, seen["partitions.debug.partition"]["mark"]) == (0, "!"), "another purpose than the usual one"
    code, seen = look("cluster=juwels", where=site("juwels", ("assoc", "twin", "", ""), ("assoc", "root", "", "")))
    assert (code, seen["accounts"]["mark"]) == (1, "x")
    code, seen = look("cluster=juwels", "run.root=/dev/null/runs", where=site())
    assert (code, seen["run.root"]["mark"]) == (1, "x")


def test_a_controller_that_is_down(look: Look, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """scontrol is a stand-in that says what a real one said."""
    (tmp_path / "bin" / "scontrol").write_text(
        "#!/bin/sh\necho 'Slurmctld(primary) at host is DOWN'; exit 1\n"
    )  # as a real one says
    (tmp_path / "bin" / "scontrol").chmod(0o755)
    code, seen = look("cluster=slurm")
    assert (code, seen["SLURM"]["mark"]) == (1, "x")
    code, seen = look("cluster=juwels")
    assert (code, seen["SLURM"]["mark"]) == (0, "!"), "SLURM of some other machine"
    monkeypatch.setenv("SYSTEMNAME", "juwelsbooster")
    code, seen = look("cluster=juwels")
    assert (code, seen["SLURM"]["mark"]) == (1, "x")


def test_settings_that_need_a_look(look: Look) -> None:
    settings = tuple(
        ("config", *row) for row in (("EnforcePartLimits", "ALL", "NO"), ("TrackWCKey", "No", "Yes"), ("JobRequeue", "1", "0"))
    )
    states = (("partition", "PartitionName=gpus ", "State=UP", "State=DRAIN"), ("nodes", "mem192|", "idle", "drained"))
    where = site("juwels", *settings, *states)
    _, seen = look("cluster=juwels", where=where)
    assert seen["limits"]["mark"] == "!"
    assert "never starts them" in seen["limits"]["found"]
    assert seen["requeue"]["found"] == "SLURM does not put jobs back by itself; longview resume does"
    assert "longview writes none" in seen["wckey"]["found"]
    assert seen["v100"]["found"] == "partition gpus is DRAIN"
    assert seen["cpu_mem"]["found"] == "no node of partition mem192 starts jobs now"


def test_accounts_are_named_on_a_terminal_only(capsys: Output, monkeypatch: pytest.MonkeyPatch, look: Look) -> None:
    _, seen = look("cluster=juwels", where=site())
    assert seen["accounts"]["found"] == "1"
    assert "twin" not in json.dumps(seen["accounts"])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    doctor.run(SimpleNamespace(overrides=["cluster=juwels"]))
    assert "1: twin" in capsys.readouterr().out


def test_an_account_in_the_environment_that_is_not_yours(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SBATCH_ACCOUNT", "west")
    code, seen = look("cluster=juwels", where=site())
    assert (code, seen["accounts"]["mark"]) == (1, "x")
    assert "what $SBATCH_ACCOUNT holds is none of them" in seen["accounts"]["found"]
    assert "west" not in json.dumps(seen)
    monkeypatch.setenv("SBATCH_ACCOUNT", "twin")
    assert look("cluster=juwels", where=site())[1]["accounts"]["mark"] == "ok"
    _, seen = look("cluster=juwels", where=site(broken=["assoc", "sshare"]))
    assert seen["accounts"]["mark"] == "-"
    assert seen["accounts"]["found"].startswith("not known (s")


def test_another_machine_than_the_chosen_one(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSTEMNAME", "juwelsbooster")
    _, seen = look("cluster=marvin", where=site())
    assert (seen["this machine"]["mark"], seen["this machine"]["found"]) == ("!", "looks like juwels, not marvin")
    assert seen["partitions"]["found"].startswith("SLURM has none of sgpu_medium, ")


def test_age_of_the_facts(capsys: Output) -> None:
    def mark(days: int, cluster: Any) -> str:
        today = date(2026, 8, 13) + timedelta(days=days)
        visit = Visit(cluster, None, site(), Path("runs"), today)
        return next(f.mark for f in findings.facts(visit) if f.what == "seen in use")

    cluster = Checker(ROOT / "conf").check(["cluster=juwels", "launch.account=x"]).config.cluster
    assert cluster.verified == "2026-08-13"
    assert mark(180, cluster) == "ok"
    assert mark(181, cluster) == "!"
    late = Visit(cluster, None, site(), Path("runs"), date(2027, 7, 1))
    assert any(f.what == "modules" and f.mark == "!" for f in findings.facts(late))


def test_caches_in_a_small_home(look: Look, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _, seen = look("cluster=juwels")
    assert "HF_HOME, TORCH_HOME" in seen["caches"]["found"]
    assert seen["caches"]["todo"].startswith("export XDG_CACHE_HOME=$SCRATCH/cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "scratch"))
    _, seen = look("cluster=juwels")
    assert seen["caches"]["found"].endswith(": TRITON_CACHE_DIR")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "scratch"))
    assert look("cluster=juwels")[1]["caches"]["mark"] == "ok"


def test_places(look: Look, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    _, seen = look("cluster=juwels")
    assert f"{tmp_path}, " in seen["$SCRATCH"]["found"]
    assert "deleted after 90 days" in seen["$SCRATCH"]["found"]
    assert seen["$PROJECT"]["found"] == "not set here"
    listed = f"id: w\n     workspace directory  : {tmp_path}\n     remaining time       : 0 days 9 hours\n"
    code, seen = look("cluster=marvin", f"run.root={tmp_path}/runs", where=site(ws_list=listed))
    assert (seen["workspace"]["mark"], code) == ("x", 1)
    _, seen = look("cluster=marvin", where=site(ws_list=listed.replace("0 days", "5 days").replace(str(tmp_path), "/elsewhere")))
    assert seen["workspace"]["mark"] == "!"


@pytest.mark.parametrize(
    ("build", "driver", "marks"),
    [
        (TorchBuild("2.8.0+cu128", "cuda", "12.8"), Driver("550.54", "12.4"), ("ok", "ok")),
        (TorchBuild("2.11.0+cu130", "cuda", "13.0"), Driver("550.54", "12.4"), ("ok", "x")),
        (TorchBuild("2.13.0+cpu", "cpu"), None, ("x", "-")),
        (TorchBuild("2.7.0+rocm6.2", "rocm", "6.2"), None, ("x", "-")),
    ],
)
def test_torch_and_the_driver(
    look: Look, monkeypatch: pytest.MonkeyPatch, build: TorchBuild, driver: Driver | None, marks: tuple[str, str]
) -> None:
    monkeypatch.setenv("SYSTEMNAME", "juwelsbooster")
    monkeypatch.setattr(machine, "torch_build", lambda: build)
    monkeypatch.setattr(machine, "driver", lambda: driver)
    _, seen = look("cluster=juwels", where=site())
    assert (seen["torch"]["mark"], seen["driver"]["mark"]) == marks
    assert build.version in seen["torch"]["found"]
    monkeypatch.setenv(machine.TWIN, "juwels")
    assert look("cluster=juwels", where=site())[1]["torch"]["mark"] == "ok", "a rehearsal has no real GPUs"


def test_the_other_architecture_and_the_other_stack(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSTEMNAME", "jupiter")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    code, seen = look("cluster=jupiter", where=site())
    assert (code, seen["architecture"]["mark"]) == (1, "x")
    assert seen["architecture"]["found"] == "x86_64 here, jupiter is aarch64"
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert "architecture" not in look("cluster=jupiter", where=site())[1]
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(sys, "base_prefix", "/opt/software/easybuild-INTEL/software/Python/3.12.3")
    assert "exit code 132" in look("cluster=marvin")[1]["software stack"]["todo"]
    monkeypatch.setattr(sys, "base_prefix", "/opt/software/easybuild-AMD/software/Python/3.12.3")
    assert "software stack" not in look("cluster=marvin")[1]


def distribution(folder: Path, name: str, version: str, requires: list[str], url: str = "") -> None:
    """An installed package, as pip leaves it."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    needs = "".join(f"Requires-Dist: {r}\n" for r in requires)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
    if url:
        (info / "direct_url.json").write_text(json.dumps({"url": url, "archive_info": {}}))


def test_compiled_packages_that_do_not_fit(look: Look, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    wheel = "https://example.org/mamba_ssm-2.2.4+cu12torch2.5cxx11abiFALSE-cp311-cp311-linux_x86_64.whl"
    distribution(tmp_path / "site", "mamba-ssm", "2.2.4", ["torch", "transformers>=99; extra == 'x'"], wheel)
    distribution(tmp_path / "site", "causal-conv1d", "1.4.0", ["torch>=99", "no-such-package"])
    monkeypatch.setattr(machine, "torch_build", lambda: TorchBuild("2.8.0+cu128", "cuda", "12.8"))
    _, seen = look("cluster=local")
    assert (seen["mamba-ssm"]["mark"], seen["mamba-ssm"]["found"]) == ("!", "2.2.4, built for torch 2.5; 2.8.0+cu128 is here")
    assert "causal-conv1d needs torch>=99, and " in seen["causal-conv1d"]["found"]
    assert "needs no-such-package, which is not installed" in seen["causal-conv1d"]["found"]
    monkeypatch.setattr(machine, "torch_build", lambda: TorchBuild("2.5.1+cu124", "cuda", "12.4"))
    assert look("cluster=local")[1]["mamba-ssm"]["mark"] == "ok"
    monkeypatch.setattr(machine, "torch_build", lambda: TorchBuild("2.5.1+cu118", "cuda", "11.8"))
    assert "built for CUDA 12; torch's is 11.8" in look("cluster=local")[1]["mamba-ssm"]["found"]


def test_driver_and_compiler_are_read() -> None:
    """The head of nvidia-smi and nvcc as NVIDIA's manuals show them: neither exists here."""
    smi = "| NVIDIA-SMI 550.54.15              Driver Version: 550.54.15      CUDA Version: 12.4     |\n"
    nvcc = "nvcc: NVIDIA (R) Cuda compiler driver\nCuda compilation tools, release 12.6, V12.6.20\n"
    assert machine.driver(lambda *_: Answer(0, smi)) == Driver("550.54.15", "12.4")
    assert machine.compiler(lambda *_: Answer(0, nvcc)) == "12.6"
    assert machine.driver() is None
    assert machine.compiler() is None


def test_a_wandb_login_is_seen_and_never_shown(look: Look, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key = "0123456789abcdef"
    assert look()[1]["W&B login"]["mark"] == "-"
    (tmp_path / "home" / ".netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {key}\n")
    _, seen = look()
    assert seen["W&B login"]["found"] == f"found in {tmp_path}/home/.netrc"
    assert key not in json.dumps(seen)
    monkeypatch.setenv("WANDB_API_KEY", key)
    _, seen = look()
    assert seen["W&B login"]["found"] == "found in WANDB_API_KEY"
    assert key not in json.dumps(seen)


def test_it_asks_slurm_little_and_never_loads_torch(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    replay = Replay()
    look("cluster=juwels", where=Site(replay, user="somebody"))
    assert len(replay.asked) <= 9
    assert not any("submit" in word or word == "sbatch" for command in replay.asked for word in command)
    code = "import sys; from types import SimpleNamespace as N; from longview.commands.doctor import run; run(N(overrides=[])); "
    code += "print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'lightning', 'numpy', 'wandb', 'matplotlib'}))"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.splitlines()[-1] == "[]"
