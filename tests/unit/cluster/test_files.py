"""What every conf/cluster/*.yaml of a SLURM site must be: a valid job by itself, every fact with its source and its certainty,
nothing private, and a page in docs/clusters. A new file is found and tested without being named here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from longview.cluster.request import request_of
from longview.cluster.spec import ClusterConfig
from longview.config.experiment import Checker

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs" / "clusters"
PROBE = ROOT / "scripts" / "site_probe.sh"
CHECKER = Checker()


def raw(name: str) -> dict[str, Any]:
    """The file as it stands, every value a string."""
    tree: dict[str, Any] = yaml.load((ROOT / f"conf/cluster/{name}.yaml").read_text(), Loader=yaml.BaseLoader)
    return tree


SITES = [name for name in CHECKER.conf.options("cluster") if raw(name)["scheduler"] == "slurm"]
ABOUT_THE_FILE = {"name", "scheduler", "docs", "notes", "verified", "limits_verified", "purpose", "evidence"}
NO_TIME = {"slurm": ["resources.time=1h"]}  # the generic file knows no limit, so a time must be given
PURPOSES = [(site, purpose) for site in SITES for purpose in raw(site)["partitions"]]


def job(site: str, *extra: str) -> Any:
    return CHECKER.check([f"cluster={site}", "launch.account=x", *extra]).config


def cluster(site: str) -> ClusterConfig:
    found: ClusterConfig = job(site, *NO_TIME.get(site, [])).cluster
    return found


def leaves(tree: Any, path: str = "") -> Iterator[str]:
    """Key paths of every fact: what is neither a block nor about the file itself."""
    if not isinstance(tree, dict):
        yield path
        return
    for key, value in tree.items():
        if path or key not in ABOUT_THE_FILE:
            yield from leaves(value, f"{path}.{key}" if path else key)


def test_all_sites_are_there() -> None:
    wanted = """juwels jureca jusuf jupiter marvin bender leonardo leonardo_dcgp lumi marenostrum5 karolina horeka snellius
    capella alps slurm"""
    assert set(wanted.split()) <= set(SITES)


@pytest.mark.parametrize("site", SITES)
def test_name_and_account_alone_are_a_job_on_one_whole_node(site: str) -> None:
    config = job(site, *NO_TIME.get(site, []))
    request = request_of(config)
    here = config.cluster
    node = here.node_types[here.partitions[here.purpose].node]
    assert (here.name, request.purpose, request.nodes) == (site, raw(site)["purpose"], 1)
    assert request.tasks == (node.gpus or 1)
    assert request.time is not None


@pytest.mark.parametrize("site", SITES)
def test_partitions_name_kinds_of_nodes_that_exist_and_none_is_idle(site: str) -> None:
    here = cluster(site)
    assert {p.node for p in here.partitions.values()} == set(here.node_types)
    assert set(here.modules) <= {*here.node_types, "default"}


@pytest.mark.parametrize(("site", "purpose"), PURPOSES)
def test_every_purpose_asks_for_what_the_site_can_give(site: str, purpose: str) -> None:
    here = cluster(site)
    partition = here.partitions[purpose]
    node = here.node_types[partition.node]
    short = f"resources.time={min(partition.max_time or timedelta(hours=1), timedelta(hours=1)).seconds // 60}m"
    request = request_of(job(site, f"resources.purpose={purpose}", f"resources.nodes={partition.min_nodes or 1}", short))
    written = request.directives()
    gpu = {"gres", "gpus", "gpus-per-node"} & set(written)
    assert len(gpu) == (1 if node.gpus != 0 and here.gpu_directive else 0)
    for key in gpu:  # filled in, and for all GPUs of the node
        count = (node.gpus or 1) * (request.nodes if key == "gpus" else 1)
        assert re.fullmatch(rf"(gpu:([a-z0-9]+:)?)?{count}", str(written[key]))
    if node.cores:
        assert request.tasks * (request.cpus or 1) <= node.cores
    if node.cpus_per_gpu_exact:
        assert request.cpus == node.cpus_per_gpu
    assert ("mem" in written) == (here.mem_policy == "must_set")
    if request.memory_gb and node.mem_gb_usable:
        assert request.memory_gb <= node.mem_gb_usable
    usual = partition.default_time or partition.max_time
    if usual and partition.max_time:
        assert usual <= partition.max_time
    assert request.partition or site in ("slurm", "capella"), "a partition is left to the site only where that is right"


@pytest.mark.parametrize("site", SITES)
def test_every_fact_has_its_evidence_and_no_evidence_is_idle(site: str) -> None:
    here = cluster(site)
    facts = list(leaves(raw(site)))
    assert [f for f in facts if here.evidence_of(f) is None] == []
    used = {id(here.evidence_of(f)) for f in facts}
    assert [key for key, entry in here.evidence.items() if id(entry) not in used] == []


@pytest.mark.parametrize("site", SITES)
def test_what_is_called_sure_names_a_source_to_look_at(site: str) -> None:
    for key, entry in cluster(site).evidence.items():
        if entry.certainty == "sure":
            assert not re.search(r"no source|guess|estimate|taken over|not found|disagree", entry.source), key
            assert "undated" in entry.source or entry.date < "2026-11-20", f"{key}: of what day is the source?"
        if re.search(r"no source|guess|estimated|taken over|not found|sources (say|disagree)", entry.source):
            assert entry.certainty == "unverified", key


CAUTION = [
    ("juwels", "partitions.gpu.max_time", "likely"),
    ("juwels", "partitions.gpu.max_nodes", "likely"),
    ("juwels", "threads_per_core", "likely"),
    ("juwels", "modules.default.valid_until", "unverified"),
    ("juwels", "node_types.cpu.mem_gb_usable", "unverified"),
    ("jureca", "network.hca", "unverified"),
    ("jusuf", "partitions.cpu.partition", "unverified"),
    ("jupiter", "partitions.gpu.max_time", "likely"),
    ("jupiter", "visible_devices", "unverified"),
    ("marvin", "internet.compute", "unverified"),
    ("marvin", "limits.max_submit", "likely"),
    ("marvin", "partitions.gpu.max_gpus_user", "likely"),
    ("bender", "partitions.gpu.max_time", "likely"),
    ("leonardo", "partitions.debug.max_nodes", "unverified"),
    ("leonardo", "partitions.long.max_nodes", "unverified"),
    ("leonardo", "limits.max_submit", "likely"),
    ("leonardo_dcgp", "mem_policy", "unverified"),
    ("lumi", "partitions.gpu.max_time", "likely"),
    ("lumi", "limits.max_submit", "likely"),
    ("marenostrum5", "partitions.gpu.max_time", "likely"),
    ("karolina", "partitions.gpu.max_time", "likely"),
    ("horeka", "threads_per_core", "unverified"),
    ("snellius", "partitions.gpu.max_time", "likely"),
    ("capella", "partitions.gpu.max_time", "likely"),
    ("alps", "internet.compute", "likely"),
]


@pytest.mark.parametrize(("site", "fact", "certainty"), CAUTION)
def test_what_the_sources_leave_open_is_not_called_sure(site: str, fact: str, certainty: str) -> None:
    entry = cluster(site).evidence_of(fact)
    assert entry is not None
    assert entry.certainty == certainty


SURE = [
    ("juwels", "node_types.a100.gpus", 4),
    ("juwels", "node_types.a100.cores", 48),
    ("juwels", "network.master_suffix", "i"),
    ("juwels", "network.gloo_ifname", "ib0"),
    ("juwels", "visible_devices", "set_all"),
    ("juwels", "internet.compute", False),
    ("jureca", "network.master_suffix", "i"),
    ("jupiter", "arch", "aarch64"),
    ("jupiter", "network.master_suffix", ""),
    ("jupiter", "network.gloo_ifname", None),
    ("marvin", "gpu_directive", "gres=gpu:{type}:{n}"),
    ("marvin", "mem_policy", "must_set"),
    ("marvin", "partitions.gpu.partition", "sgpu_medium"),
    ("marvin", "partitions.long.max_time", timedelta(days=7)),
    ("marvin", "node_types.a40.gpus", 8),
    ("leonardo", "node_types.booster.cpus_per_gpu", 8),
    ("leonardo", "partitions.big.min_nodes", 65),
    ("leonardo", "partitions.debug.qos", "boost_qos_dbg"),
    ("leonardo", "login.max_cpu_minutes", 10),
    ("leonardo_dcgp", "node_types.dcgp.cores", 112),
    ("lumi", "gpu_directive", "gpus-per-node={n}"),
    ("lumi", "node_types.mi250x.gpus", 8),
    ("marenostrum5", "mem_policy", "forbidden"),
    ("snellius", "node_types.a100.cores", 72),
    ("alps", "arch", "aarch64"),
    ("alps", "partitions.gpu.max_time", timedelta(hours=12)),
    ("alps", "partitions.debug.max_node_minutes", 90),
]


@pytest.mark.parametrize(("site", "fact", "value"), SURE)
def test_known_values(site: str, fact: str, value: Any) -> None:
    here: Any = cluster(site)
    entry = here.evidence_of(fact)
    assert entry is not None
    assert entry.certainty == "sure"
    for step in fact.split("."):
        here = here[step] if isinstance(here, dict) else getattr(here, step)
    assert here == value


ASKS = [
    ("juwels", ["resources.nodes=2"], {"gres": "gpu:4", "cpus-per-task": 12, "threads-per-core": 1, "exclusive": True}),
    ("marvin", ["resources.devices=2"], {"gres": "gpu:a100:2", "mem": "480G", "cpus-per-task": 32}),
    ("marvin", ["resources.devices=3", "resources.purpose=a40"], {"gres": "gpu:a40:3", "mem": "180G"}),
    ("leonardo", ["resources.devices=1"], {"gres": "gpu:1", "mem": "120G", "cpus-per-task": 8}),
    ("leonardo", ["resources.purpose=debug"], {"qos": "boost_qos_dbg", "partition": "boost_usr_prod", "time": "00:30:00"}),
    ("lumi", [], {"gpus-per-node": "8", "cpus-per-task": 7, "mem": "480G"}),
    ("karolina", ["resources.nodes=2"], {"gpus": "16", "cpus-per-task": 16}),
    ("marenostrum5", ["resources.devices=2"], {"qos": "acc_ehpc", "cpus-per-task": 20, "gres": "gpu:2"}),
    ("capella", ["resources.devices=1"], {"mem": "177G", "gres": "gpu:1", "cpus-per-task": 14}),
    ("leonardo_dcgp", [], {"cpus-per-task": 112, "mem": "490G"}),
]


@pytest.mark.parametrize(("site", "extra", "wanted"), ASKS)
def test_what_sbatch_is_told(site: str, extra: list[str], wanted: dict[str, Any]) -> None:
    written = request_of(job(site, *extra)).directives()
    assert {key: written.get(key) for key in wanted} == wanted


CHARGES = [
    # nodes alone: whole ones are charged; shared ones: what was asked for
    ("juwels", ["resources.devices=1"], 4, 48),
    ("juwels", ["resources.nodes=2"], 8, 96),
    ("juwels", ["resources.devices=1", "launch.sbatch={exclusive: false}"], 4, 48),  # the partition is what it is
    ("juwels", ["resources.purpose=cpu", "resources.devices=1", "resources.cpus_per_device=2"], 0, 48),
    ("leonardo", ["resources.devices=1"], 1, 8),
    ("leonardo", ["resources.devices=1", "launch.sbatch={exclusive: true}"], 4, 32),
    ("leonardo", ["resources.devices=1", "launch.sbatch={exclusive: user}"], 1, 8),
    ("alps", [], 4, 288),  # no directive names its GPUs: whole nodes bring them
]


@pytest.mark.parametrize(("site", "extra", "gpus", "cores"), CHARGES)
def test_what_an_hour_costs(site: str, extra: list[str], gpus: int, cores: int) -> None:
    request = request_of(job(site, "resources.time=1h", *extra))
    assert (request.gpu_hours, request.core_hours) == (gpus, cores)


def test_evidence_goes_to_the_most_exact_path() -> None:
    said = {
        key: {"certainty": "likely", "date": "2026-01-01", "source": key or "rest"}
        for key in ("", "partitions", "partitions.gpu", "partitions.*.exclusive", "partitions.gpu.max_time", "*.gpu.node")
    }
    here = ClusterConfig.model_validate({"name": "x", "scheduler": "slurm", "evidence": said})

    def source(path: str) -> str:
        entry = here.evidence_of(path)
        assert entry is not None
        return entry.source

    assert source("env.NCCL_DEBUG") == "rest"
    assert source("partitions.cpu.node") == "partitions"
    assert source("partitions.gpu.max_nodes") == "partitions.gpu"
    assert source("partitions.gpu.max_time") == "partitions.gpu.max_time"
    assert source("partitions.gpu.exclusive") == "partitions.*.exclusive"
    assert source("partitions.gpu.node") == "*.gpu.node"
    assert ClusterConfig.model_validate({"name": "x", "scheduler": "slurm"}).evidence_of("arch") is None


@pytest.mark.parametrize("site", SITES)
def test_dates_are_past_and_times_are_quoted(site: str) -> None:
    here = cluster(site)
    for said in (here.verified, here.limits_verified, *(e.date for e in here.evidence.values())):
        assert said is None or date(2020, 1, 1) <= date.fromisoformat(said) <= date.today()
    text = (ROOT / f"conf/cluster/{site}.yaml").read_text()
    assert re.findall(r"^[^#]*time: *(?!\")[\d-]+:[\d:]+", text, re.M) == []  # 24:00:00 without quotes is 86400 in YAML 1.1


@pytest.mark.parametrize("site", SITES)
def test_nothing_is_promised_that_has_not_been_seen(site: str) -> None:
    here = cluster(site)
    assert (here.resume.strategy, here.resume.proven) == ("resubmit", False)
    assert here.sbatch.keys() & {"account", "wckey", "mail-user", "partition"} == set()


@pytest.mark.parametrize("site", SITES)
def test_environment_variables_look_like_some(site: str) -> None:
    here = cluster(site)
    storage = here.storage
    places = [v for v in (storage.home, storage.work, storage.scratch, storage.data, storage.cache_root) if v]
    names = [*here.account.env, *here.env, *here.offline_env, *here.detect.env, *places]
    assert [n for n in names if not re.fullmatch(r"[A-Z][A-Z0-9_]{2,}", n)] == []
    if here.account.required:
        assert here.account.env, "a way to give the account without typing it"


PRIVATE = re.compile(
    r"""[\w.+-]+@[\w-]+\.\w+              # mail addresses
    | \bproject_\d{5,} | \bag_[a-z]+_\w+ | \bhk-project-[a-z]+\d* | \bp_[a-z]{3,}\d* | \bAIFAC\w+ | \bEUHPC\w+ | \bIscr[A-Z]\w+
    | --account[= ](?!<|x\b)\S+ | launch\.account=(?!<|x\b)\S+
    | /(home|users|p/project1|p/scratch|e/project1|leonardo_work|scratch/project)/(?!<)[\w-]+   # somebody's place
    | \b(ghp|hf|wandb|sk)_[A-Za-z0-9]{16,} | \bBEGIN\ [A-Z ]*PRIVATE\ KEY | (?i:api_key|password|token)\s*[:=]\s*\S{8,}""",
    re.X,
)


def test_nothing_private_is_in_the_files() -> None:
    """Check 32: no account, user, mail or credential in what is committed about the sites."""
    files = [*ROOT.glob("conf/cluster/*.yaml"), *DOCS.glob("*.md"), PROBE]
    found = [f"{f.name}: {m.group()}" for f in files for m in PRIVATE.finditer(f.read_text())]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "ask jane.doe@uni-bonn.de",
        "account: project_462000123",
        "form: ag_ifk_gall",
        "#SBATCH --account=mybudget",
        "cd /p/project1/mybudget/run",
        "launch.account=hk-project-abc",
        "api_key: 0123456789abcdef",
        "hf_abcdefghijklmnopqrst",
    ],
)
def test_the_search_for_private_things_finds_them(text: str) -> None:
    assert PRIVATE.search(text)


@pytest.mark.parametrize("site", SITES)
def test_every_site_has_a_page_that_says_how_sure_it_is(site: str) -> None:
    here = cluster(site)
    assert here.docs
    page = (ROOT / here.docs).read_text()
    assert f"conf/cluster/{site}.yaml" in page
    assert f"cluster={site}" in page
    assert Path(here.docs).name in (DOCS / "README.md").read_text()
    open_questions = [key for key, entry in here.evidence.items() if entry.certainty == "unverified"]
    assert [key for key in open_questions if f"`{key}`" not in page] == []
    if site != "slurm":
        assert "nobody of this project has run it there" in " ".join(page.split())


def commands() -> list[tuple[str, str]]:
    found = []
    for page in sorted(DOCS.glob("*.md")):
        for line in re.findall(r"^ *(?:\$ )?python run\.py (.+)$", page.read_text(), re.M):
            found.append((page.name, line.partition("  #")[0].strip()))
    return found


@pytest.mark.parametrize(("page", "line"), commands())
def test_the_pages_commands_pass_the_check(page: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_ACCOUNT", "x")  # as the page says, once per shell
    words = line.replace("<account>", "x").split()
    if "-m" in words:
        CHECKER.sweep([w for w in words if w != "-m"])
    else:
        CHECKER.check(words)


def test_links_of_the_pages_lead_somewhere() -> None:
    for page in DOCS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_probe_reads_and_hides_names(tmp_path: Path) -> None:
    """A stand-in for SLURM's commands says what a real one might; names must not come through, and nothing may be written."""
    bash = shutil.which("bash")
    assert bash
    says = {
        "scontrol": "PartitionName=booster AllowGroups=climate AllowAccounts=mybudget,other MaxTime=1-00:00:00",
        "sinfo": "slurm 22.05.8",
        "sacctmgr": "|normal|10|20|cpu=48",
        "sacct": "COMPLETED",
        "sbatch": "sbatch: error: job of jdoe42 invalid",
    }
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in says.items():
        (tools / name).write_text(f'#!/bin/sh\necho "{name} $*" >> "{tmp_path}/called"\ncat <<"END"\n{text}\nEND\n')
        (tools / name).chmod(0o755)
    place = tmp_path / "here"
    place.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
    environment |= {"PATH": f"{tools}:{os.environ['PATH']}", "USER": "jdoe42", "PROBE_URL": "http://127.0.0.1:9/"}
    done = subprocess.run([bash, PROBE], cwd=place, env=environment, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0
    assert "MaxTime=1-00:00:00" in done.stdout
    assert "sacct: yes" in done.stdout
    assert re.search(r"mybudget|climate|jdoe42", done.stdout) is None
    assert list(place.iterdir()) == []
    assert "--test-only" in next(c for c in (tmp_path / "called").read_text().splitlines() if c.startswith("sbatch"))
