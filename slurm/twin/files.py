"""The files of a twin, as text: slurm.conf, gres.conf, slurmdbd.conf, submit filter, task prolog, what a shell sources."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from longview.cluster.spec import ClusterConfig
from longview.fields import clock

from .plan import ACCOUNT, Nodes, Plan, Queue

CGROUP_CONF = "CgroupPlugin=cgroup/v1\n"
"""No cgroups are used, yet slurmd looks for them at its start and in a container often fails; this plugin does not look."""
SMALL_MEMORY_MB = 100
"""Memory per core of a job that asks for none, where the site says that it must be asked for."""


@dataclass(frozen=True)
class Ports:
    """Where the daemons listen: on this machine only by name, since SLURM binds to every address."""

    controller: int
    database: int
    nodes: tuple[int, ...]


def slurm_conf(plan: Plan, folder: Path, host: str, ports: Ports, extra: Sequence[str] = ()) -> str:
    """slurm.conf. ``extra`` holds lines ``Key=value`` that replace ours, or whole NodeName= and PartitionName= lines."""
    settings = {
        "ClusterName": plan.slurm_name,
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "SlurmctldPort": str(ports.controller),
        "SlurmUser": "root",
        "SlurmdUser": "root",
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder}/munge.socket",
        "StateSaveLocation": f"{folder}/state",
        "SlurmdSpoolDir": f"{folder}/spool/%n",
        "SlurmctldPidFile": f"{folder}/run/slurmctld.pid",
        "SlurmdPidFile": f"{folder}/run/slurmd-%n.pid",
        "SlurmctldLogFile": f"{folder}/log/slurmctld.log",
        "SlurmdLogFile": f"{folder}/log/slurmd-%n.log",
        # No cgroups and no core binding: the nodes claim more cores than the machine has (config_overrides).
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "TaskProlog": f"{folder}/task_prolog",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core",
        "SlurmdParameters": "config_overrides",
        "GresTypes": "gpu",
        "MpiDefault": "none",
        "ReturnToService": "2",
        "JobSubmitPlugins": "lua",
        "JobRequeue": "1",
        "EnforcePartLimits": "ALL",
        "MaxArraySize": str(plan.cluster.limits.max_array_size or 1001),
        # Quick, so that a rehearsal does not wait for what a busy site spreads out.
        "KillWait": "5",
        "SchedulerParameters": "sched_interval=1,batch_sched_delay=0,bf_interval=1",
        "MessageTimeout": "60",
        "MailProg": "/bin/true",
    }
    if plan.cluster.mem_policy == "must_set":
        settings["SelectTypeParameters"] = "CR_Core_Memory"
        settings["DefMemPerCPU"] = str(SMALL_MEMORY_MB)
        settings |= {"JobAcctGatherType": "jobacct_gather/linux"}
        settings |= {"JobAcctGatherParams": "OverMemoryKill", "JobAcctGatherFrequency": "task=2"}
    if plan.accounting:
        settings |= {
            "AccountingStorageType": "accounting_storage/slurmdbd",
            "AccountingStorageHost": "127.0.0.1",
            "AccountingStoragePort": str(ports.database),
            "AccountingStoragePass": f"{folder}/munge.socket",  # how clients of the database find munge
            "AccountingStorageEnforce": "associations,limits,qos",
            "AccountingStorageTRES": "gres/gpu",
            "JobAcctGatherType": "jobacct_gather/linux",
        }
    lines = [line for line in extra if line.startswith(("PartitionName=", "NodeName="))]
    settings |= dict(line.split("=", 1) for line in extra if line not in lines)
    body = [f"{key}={value}" for key, value in settings.items()]
    first = 0
    for kind in plan.nodes:
        body.append(_node_line(kind, host, ports.nodes[first : first + len(kind.names)]))
        first += len(kind.names)
    body += [_partition_line(queue, plan) for queue in plan.queues]
    return (
        "\n".join([f"# {plan.cluster.name}, rehearsed on one machine; made from its YAML by `make twin`", *body, *lines]) + "\n"
    )


def _node_line(kind: Nodes, host: str, ports: Sequence[int]) -> str:
    span = f"[{ports[0]}-{ports[-1]}]" if len(ports) > 1 else str(ports[0])
    line = f"NodeName={','.join(kind.names)} NodeHostname={host} NodeAddr=127.0.0.1 Port={span}"
    line += f" Sockets=1 CoresPerSocket={kind.cores} ThreadsPerCore=1 RealMemory={kind.memory_mb}"
    return line + (f" Gres={kind.gres}" if kind.gres else "") + " State=UNKNOWN"


def _partition_line(queue: Queue, plan: Plan) -> str:
    names = [name for kind in plan.nodes if kind.type in queue.types for name in kind.names]
    line = f"PartitionName={queue.name} Nodes={','.join(names)} Default={'YES' if queue.default else 'NO'}"
    line += f" MaxTime={clock(queue.max_time) if queue.max_time else 'UNLIMITED'}"
    if queue.default_time:
        line += f" DefaultTime={clock(queue.default_time)}"
    if queue.min_nodes and queue.min_nodes > 1:
        line += f" MinNodes={queue.min_nodes}"
    if queue.max_nodes:
        line += f" MaxNodes={queue.max_nodes}"
    if queue.exclusive:
        line += " OverSubscribe=EXCLUSIVE"
    if queue.allow_qos:
        line += f" AllowQos={','.join(queue.allow_qos)}"
    return line + (f" QOS={queue.own_qos}" if queue.own_qos else "") + " State=UP"


def gres_conf(plan: Plan, folder: Path) -> str:
    """gres.conf: the stand-in device files. SLURM refuses GPUs that are only counted."""
    # Which variable shows a job its GPUs; without a flag SLURM sets those of every vendor.
    flag = {"nvidia": " Flags=nvidia_gpu_env", "amd": " Flags=amd_gpu_env"}.get(plan.cluster.gpu_vendor or "", "")
    lines = ["AutoDetect=off"]
    for kind in plan.nodes:
        if kind.gpus:
            kind_of = f" Type={kind.gres_type}" if kind.gres_type else ""
            span = f"[0-{kind.gpus - 1}]" if kind.gpus > 1 else "0"
            lines.append(f"NodeName={','.join(kind.names)} Name=gpu{kind_of} File={folder}/dev/nvidia{span}{flag}")
    return "\n".join(lines) + "\n"


def slurmdbd_conf(folder: Path, host: str, port: int) -> str:
    """slurmdbd.conf; the database listens on a socket of the twin's folder alone, and has no password."""
    settings = {
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder}/munge.socket",
        "DbdHost": host,
        "DbdAddr": "127.0.0.1",
        "DbdPort": str(port),
        "SlurmUser": "root",
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "localhost",
        "StorageUser": "root",
        "StorageLoc": "slurm",
        "LogFile": f"{folder}/log/slurmdbd.log",
        "PidFile": f"{folder}/run/slurmdbd.pid",
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def accounting(plan: Plan, user: str) -> list[list[str]]:
    """sacctmgr's arguments, call by call: cluster, QoS, the account, its user and limits."""
    calls = [["add", "cluster", plan.slurm_name]]
    for quality in plan.qualities:
        calls.append(["add", "qos", quality.name, *(f"{k}={v}" for k, v in quality.settings.items() if "gres/" not in v)])
    calls.append(["add", "account", ACCOUNT, f"cluster={plan.slurm_name}", "Description=rehearsal", "Organization=rehearsal"])
    names = [name for queue in plan.queues for name in queue.allow_qos]
    limits = plan.cluster.limits
    caps = {"MaxSubmitJobs": limits.max_submit, "MaxJobs": limits.max_running}
    settings = [f"qos={','.join(dict.fromkeys(['normal', *names]))}", *(f"{key}={value}" for key, value in caps.items() if value)]
    calls.append(
        ["add", "user", user, f"account={ACCOUNT}", f"cluster={plan.slurm_name}", f"DefaultAccount={ACCOUNT}", *settings]
    )
    # SLURM itself gives root an account on every cluster; a site's user has none but the granted ones.
    calls.append(["delete", "user", "where", "name=root", "account=root", f"cluster={plan.slurm_name}"])
    return calls


def gpu_limits(plan: Plan) -> list[list[str]]:
    """sacctmgr's arguments for limits on GPUs, which accounting knows only once the controller has told it of them."""
    limits = [(q.name, f"{key}={value}") for q in plan.qualities for key, value in q.settings.items() if "gres/" in value]
    return [["modify", "qos", name, "set", limit] for name, limit in limits]


def job_submit(cluster: ClusterConfig) -> str:
    """job_submit.lua: what sites refuse that SLURM itself has no setting for."""
    refusals = []
    if cluster.account.required:
        refusals.append(("job.account == nil", "no account given: this site needs --account", "slurm.ESLURM_INVALID_ACCOUNT"))
    if cluster.mem_policy == "forbidden":
        asked = "job.pn_min_memory ~= nil and job.pn_min_memory ~= slurm.NO_VAL64"
        refusals.append((asked, "memory must not be asked for at this site: leave --mem out", "slurm.ERROR"))
    checks = "".join(
        f'  if {test} then\n    slurm.log_user("{text}")\n    return {code}\n  end\n' for test, text, code in refusals
    )
    return (
        f"-- {cluster.name}: refusals of the site, made from its YAML\n"
        f"function slurm_job_submit(job, partitions, uid)\n{checks}  return slurm.SUCCESS\nend\n\n"
        "function slurm_job_modify(job, record, partitions, uid)\n  return slurm.SUCCESS\nend\n"
    )


def task_prolog(cluster: ClusterConfig) -> str:
    """Runs before every task; `export` lines it prints enter the task's environment."""
    given = {"NCCL_SOCKET_IFNAME": cluster.network.nccl_ifname, "GLOO_SOCKET_IFNAME": cluster.network.gloo_ifname}
    lines = [f"echo export {name}=lo" for name, value in given.items() if value]
    return "\n".join(["#!/bin/sh", "# the site's network interfaces do not exist here", *lines]) + "\n"


def environment(plan: Plan, folder: Path) -> dict[str, str]:
    """Variables of a shell, or of a test, that works on the twin."""
    cluster = plan.cluster
    variables = {
        "SLURM_CONF": f"{folder}/slurm.conf",
        "LONGVIEW_TWIN": cluster.name,
        "LONGVIEW_TWIN_LOG": f"{folder}/log/stand-ins.log",
        **cluster.detect.env,
    }
    if cluster.account.required and cluster.account.env:
        variables[cluster.account.env[0]] = ACCOUNT
    for name in storage_variables(cluster):
        variables[name] = f"{folder}/storage/{name.lower()}"
    return variables


def storage_variables(cluster: ClusterConfig) -> list[str]:
    """Names of the places that the twin makes folders for; the home folder stays the user's."""
    places = cluster.storage
    named = [places.work, places.scratch, places.data, places.cache_root]
    return [name for name in dict.fromkeys(named) if name and name != places.home and name != "HOME"]


def stand_ins(cluster: ClusterConfig, folder: Path) -> dict[str, str]:
    """Bodies of shell functions for site commands that a batch script calls and that do not exist here.

    Each says on stderr that it is a stand-in, and keeps a log.
    """
    log = '"${LONGVIEW_TWIN_LOG:-/dev/null}"'
    bodies = {"module": f'echo "[twin] module $* (a stand-in: nothing happens)" >&2; echo "module $*" >> {log}'}
    if tools := cluster.storage.workspace:
        place = shlex.quote(f"{folder}/storage/workspace")
        make = f'mkdir -p {place}/"${{@: -1}}"; echo {place}/"${{@: -1}}"'  # the workspace's name comes last
        for command, act in ((tools.allocate, make), (tools.find, make), (tools.list, f"mkdir -p {place}; ls {place}")):
            if command:
                name = command.split()[0]
                bodies[name] = f'echo "[twin] {name} $* (a stand-in)" >&2; echo "{name} $*" >> {log}; {act}'
    return bodies


def exported(bodies: Mapping[str, str]) -> dict[str, str]:
    """Functions as the variables that bash reads them from, so that batch scripts know them."""
    return {f"BASH_FUNC_{name}%%": f"() {{ {body}; }}" for name, body in bodies.items()}


def env_file(variables: Mapping[str, str], bodies: Mapping[str, str]) -> str:
    """What a shell sources."""
    head = "# source this in bash, then: python run.py ... cluster=" + variables["LONGVIEW_TWIN"] + " -m"
    lines: Iterable[str] = (f"export {name}={shlex.quote(value)}" for name, value in variables.items())
    functions = (f"{name}() {{ {body}; }}; export -f {name}" for name, body in bodies.items())
    return "\n".join([head, *lines, "# stand-ins for commands of the site", *functions]) + "\n"
