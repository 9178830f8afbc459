"""A cluster as data: what ``conf/cluster/*.yaml`` may say, typed and strict.

A key that is absent (null) means "not known", never "no limit". Every fact has its source, date and certainty in ``evidence``;
a limit that is unverified is a warning, never a refusal.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt
from pydantic import AfterValidator, Field, WithJsonSchema

from longview.fields import Count, Duration, Section, Text

Certainty = Literal["sure", "likely", "unverified"]
_DATE = r"20\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"


def _date(value: str) -> str:
    if not re.fullmatch(_DATE, value):
        raise ValueError(f"'{value}' is not a date; write for example 2026-08-31")
    return value


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"'{value}' is not a regular expression: {error}") from None
    return value


Date = Annotated[str, AfterValidator(_date), WithJsonSchema({"type": "string", "pattern": f"^{_DATE}$"})]
Pattern = Annotated[Text, AfterValidator(_pattern)]
Gigabytes = Annotated[int | float, Gt(0)]
Whole = Annotated[int, Ge(0)]


class Evidence(Section):
    """How far a fact can be trusted."""

    certainty: Certainty = Field(
        description="sure: official text, vendor source or two sources agree; likely: one credible source"
    )
    source: Text = Field(description="Where it was read")
    date: Date = Field(description="When that was written or last seen in use; of undated pages and estimates, when read or made")


class Detect(Section):
    """How a login node of this cluster is told from others; tried in this order."""

    file: Text | None = Field(None, description="A file that holds ``equals``")
    equals: Text | None = None
    env: dict[Text, Text] = Field({}, description="Environment variables and their values")
    hostname: Pattern | None = Field(None, description="Searched in the fully qualified host name")
    slurm_cluster_name: Text | None = Field(None, description="ClusterName of `scontrol show config`")


class Account(Section):
    """What jobs are charged to. Names of accounts never stand in a cluster file."""

    required: bool = False
    env: list[Text] = Field([], description="Environment variables that may hold it, the first that is set counts")
    discover: Text | None = Field(None, description="Command that lists yours")
    form: Text | None = Field(None, description="What names look like here, for messages (ag_..., project_...)")


class NodeType(Section):
    """A kind of node."""

    gpus: Whole | None = Field(None, description="GPUs (LUMI: GCDs) per node; 0: none; null: not known")
    gpu: Text | None = Field(None, description="GPU model")
    gpu_mem_gb: Gigabytes | None = None
    gres_type: Text | None = Field(None, description="Type in --gres=gpu:TYPE:N where the site wants it")
    cores: Count | None = Field(None, description="CPU cores a job may use")
    threads_per_core: Count = 1
    mem_gb_usable: Gigabytes | None = Field(None, description="Memory a job may ask for on one node")
    cpus_per_gpu: Count | None = Field(None, description="Fair share of cores per GPU")
    cpus_per_gpu_exact: bool = Field(False, description="The site refuses any other number")
    mem_gb_per_gpu: Gigabytes | None = Field(None, description="Fair share of memory per GPU")
    local_dir: Text | None = Field(None, description="Node-local scratch")
    local_gb: Gigabytes | None = Field(None, description="Its size; null: not known")
    hostnames: Text | None = Field(None, description="Compute nodes' names, # for a digit: jwb####")
    arch: Literal["x86_64", "aarch64"] | None = Field(None, description="If not the cluster's")
    stack: Text | None = Field(None, description="Software stack of these nodes (Marvin: AMD on GPU nodes)")


class Partition(Section):
    """What one purpose (gpu, debug, long, cpu, ...) means to SLURM. Without ``partition`` the site's default is taken."""

    partition: Text | None = None
    qos: Text | None = None
    node: Text = Field(description="Key of node_types")
    max_time: Duration | None = None
    default_time: Duration | None = Field(None, description="Asked for when resources.time is null; else max_time")
    min_nodes: Count | None = None
    max_nodes: Count | None = None
    max_node_minutes: Count | None = Field(None, description="nodes x minutes of one job")
    max_gpus_user: Count | None = None
    max_jobs_user: Count | None = Field(None, description="Jobs of one user in the queue")
    exclusive: bool | None = Field(None, description="Whether a job has its nodes alone (and pays for whole ones)")
    whole_nodes: bool = Field(False, description="Jobs of several nodes must use whole ones")
    internet: bool | None = Field(None, description="If not as internet.compute says")
    sbatch: dict[Text, Text | int | bool] = Field({}, description="Further sbatch options of this purpose")


class Limits(Section):
    """What one user may put into the queue; null: not known, read from SLURM where it answers."""

    max_array_size: Count | None = Field(None, description="MaxArraySize: largest index + 1")
    max_submit: Count | None = Field(None, description="Jobs in the queue at once, array elements counted one by one")
    max_running: Count | None = None
    array_parallelism: Count | None = Field(None, description="Array elements that run at once; null: as many as there are")


class Network(Section):
    """How ranks find one another."""

    nccl_ifname: Text | None = None
    gloo_ifname: Text | None = None
    hca: Text | None = Field(None, description="NCCL_IB_HCA")
    socket_family: Literal["AF_INET", "AF_INET6"] | None = "AF_INET"
    master_suffix: str = Field("", description="Appended to the first host's name (JSC: i)")
    master_fqdn: bool = Field(False, description="Append the domain to the first host's name")
    resolve_ipv4: bool = Field(True, description="Give MASTER_ADDR as an IPv4 address")
    port: Count | None = Field(None, description="A fixed MASTER_PORT; null: derived from the job, and probed")


class Workspace(Section):
    """Commands of the workspace tools."""

    allocate: Text | None = None
    find: Text | None = None
    list: Text | None = None
    default_days: Count | None = None
    max_days: Count | None = None


class Storage(Section):
    """Names of the environment variables that hold the places."""

    home: Text | None = "HOME"
    work: Text | None = None
    scratch: Text | None = None
    data: Text | None = None
    purge_days: Count | None = Field(None, description="Files on scratch not touched for so long are deleted")
    home_gb: Gigabytes | None = Field(None, description="Quota of the home folder")
    cache_root: Text | None = Field(None, description="Variable of the place for caches, out of the home folder")
    workspace: Workspace | None = None


class Internet(Section):
    """What is reachable from where; null: not known, which counts as no."""

    login: bool | None = True
    compute: bool | None = None


class Modules(Section):
    """Set-up lines that change with the site's software stages."""

    lines: list[Text]
    valid_until: Date | None = None


class Container(Section):
    """Run the ranks inside an image."""

    runtime: Literal["apptainer", "singularity"]
    image: Text
    binds: list[Text] = []
    gpu_flag: Text | None = "--nv"


class Resume(Section):
    """How a job that reached its time limit goes on; putting it back is `longview resume`'s so far, nothing does it by itself."""

    strategy: Literal["resubmit", "requeue", "none"] = "resubmit"
    proven: bool = Field(False, description="Whether users' right to requeue has been seen to work here")
    signal: Literal["USR1", "USR2", "TERM"] = "USR1"
    lead: Duration = Field(timedelta(minutes=5), description="How long before the limit a job is told to save")
    max_attempts: Count = 20


class LoginPolicy(Section):
    """Rules of the login nodes."""

    max_cpu_minutes: Count | None = None
    controller_allowed: bool = Field(True, description="Whether a process may stay there for hours (launch.wait)")
    controller_partition: Text | None = None


class Info(Section):
    """Commands to look things up with, shown after a submission and by `longview doctor`."""

    monitor: Text | None = None
    budget_cmd: Text | None = None
    quota_cmd: Text | None = None


class ClusterConfig(Section):
    """Where runs take place."""

    name: Text
    scheduler: Literal["none", "slurm"] = Field(description="none: the run starts here and now")
    verified: Date | None = Field(None, description="When this site was last seen in use with these settings")
    limits_verified: Date | None = Field(None, description="When the limits were last read in an official place")
    docs: Text | None = None
    notes: Text | None = None
    evidence: dict[str, Evidence] = Field(
        {}, description="Key path -> how sure; longest path counts; *: any one step; '': the rest"
    )
    detect: Detect = Detect()
    arch: Literal["x86_64", "aarch64"] | None = None
    gpu_vendor: Literal["nvidia", "amd", "none"] | None = None
    account: Account = Account()
    purpose: Text | None = Field(None, description="The purpose of a job that names none")
    partitions: dict[Text, Partition] = Field({}, description="Purpose -> partition")
    node_types: dict[Text, NodeType] = {}
    devices: Count | None = Field(None, description="Processes per node of a job that says nothing; null: one per GPU")
    gpu_directive: Literal["gres=gpu:{n}", "gres=gpu:{type}:{n}", "gpus-per-node={n}", "gpus={n}"] | None = None
    visible_devices: Literal["leave", "set_all"] = Field(
        "leave", description="set_all: name every device that was asked for in CUDA_VISIBLE_DEVICES (AMD: ROCR_VISIBLE_DEVICES)"
    )
    mem_policy: Literal["omit", "must_set", "forbidden", "optional"] = "optional"
    threads_per_core: Count | None = Field(None, description="--threads-per-core, where SLURM counts threads as CPUs")
    limits: Limits = Limits()
    network: Network = Network()
    env: dict[Text, Text] = {}
    offline_env: dict[Text, Text] = Field(
        {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "WANDB_MODE": "offline"},
        description="Set where compute nodes have no internet",
    )
    srun_args: list[Text] = Field(["--cpu-bind=none"], description="Beside -c, --kill-on-bad-exit and --wait")
    setup: list[Text] = Field([], description="Lines of the batch script before anything else")
    modules: dict[Text, Modules] = Field({}, description="Node type (or default) -> set-up lines")
    teardown: list[Text] = []
    python: Text | None = Field(None, description="Interpreter of the jobs; null: the one that submits")
    container: Container | None = None
    storage: Storage = Storage()
    internet: Internet = Internet()
    resume: Resume = Resume()
    dependency: Literal["afterany", "afterok"] = "afterany"
    sbatch: dict[Text, Text | int | bool] = Field({}, description="Further sbatch options of every job")
    exclude_file: Text | None = Field(None, description="File of nodes to keep away from, read at every submission")
    login: LoginPolicy = LoginPolicy()
    info: Info = Info()

    def evidence_of(self, path: str) -> Evidence | None:
        """How sure a fact is: the entry of the longest path that ``path`` begins with, ``*`` standing for any one step."""
        steps = path.split(".")
        found: Evidence | None = None
        best = (-1, 0)
        for key, evidence in self.evidence.items():
            wanted = key.split(".") if key else []
            rank = (len(wanted), -wanted.count("*"))
            fits = len(wanted) <= len(steps) and all(w in ("*", s) for w, s in zip(wanted, steps, strict=False))
            if fits and rank > best:
                found, best = evidence, rank
        return found


def purposes(cluster: Any) -> str:
    """The purposes of a cluster, for messages."""
    return ", ".join(cluster.partitions) or "none"
