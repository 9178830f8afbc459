"""The batch script: what SLURM runs. Readable on purpose; ``launch.dry_run=true`` prints it whole.

Its body finds the run directory by array index, sets up the site's environment, agrees on an address and a free port, starts one
process per device with srun and records how that ended. Python starts only inside the ranks.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from longview.cluster.request import Request, node_of, partition_of
from longview.cluster.spec import ClusterConfig
from longview.config.schema import Experiment

WAIT = 60
"""Seconds srun gives the other ranks once one has ended (``--wait``)."""
EXAMPLE = "<run>"
LOG = "$logs/rank-%t.log"


@dataclass(frozen=True)
class Job:
    """Everything a batch script says beside its body.

    Attributes:
        name: Job name in SLURM.
        uid: Mark of the submission (the job's comment).
        folder: The sweep's directory.
        number: Number of the submission.
        code: Snapshot that the ranks run.
        python: Interpreter of the ranks.
        count: Number of runs; more than one is an array.
        parallel: Array elements that may run at once; None: all.
        mode: "fit", or "test" to score runs again.
    """

    name: str
    uid: str
    folder: Path
    number: int
    code: Path
    python: str
    count: int
    parallel: int | None = None
    mode: str = "fit"

    @property
    def stem(self) -> str:
        """Path of the submission's files without ending."""
        return str(self.folder / "submissions" / f"{self.number:03d}")


def batch_script(experiment: Experiment, request: Request, job: Job) -> str:
    """The whole script."""
    from submitit.slurm import slurm  # writes the directives; its pickles and signal handlers stay out of the job

    values = request.directives()
    own = {
        "nodes": values.pop("nodes"),
        "ntasks_per_node": values.pop("ntasks-per-node"),
        "cpus_per_task": values.pop("cpus-per-task", None),
        "time": values.pop("time", None),
    }
    resume = experiment.cluster.resume
    values.setdefault("signal", f"{resume.signal}@{int(resume.lead.total_seconds())}")
    values.setdefault("comment", job.uid)
    values |= {"output": f"{job.stem}-{'%A_%a' if job.count > 1 else '%j'}.out", "open-mode": "append"}
    values |= {"chdir": str(job.folder)}
    if excluded := _excluded(experiment.cluster):
        values.setdefault("exclude", excluded)
    text = slurm._make_sbatch_string(
        command=_body(experiment, request, job),
        folder=job.folder,
        job_name=job.name,
        wckey=None,  # type: ignore[arg-type]  # some sites refuse the one submitit writes
        stderr_to_stdout=True,
        use_srun=False,
        map_count=job.count if job.count > 1 else None,
        array_parallelism=job.parallel or job.count,
        additional_parameters=values,
        **{key: value for key, value in own.items() if value is not None},  # type: ignore[arg-type]
    )
    lines = text.splitlines()
    if own["time"] is None:  # submitit would ask for its own five minutes
        lines = [line for line in lines if not line.startswith("#SBATCH --time=")]
    return "\n".join(line for line in lines if line != "export SUBMITIT_EXECUTOR=slurm") + "\n"


def _excluded(cluster: ClusterConfig) -> str:
    """Nodes to keep away from, from the cluster's file: it changes daily, so it is read at every submission."""
    if cluster.exclude_file is None:
        return ""
    try:
        lines = Path(cluster.exclude_file).expanduser().read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return ",".join(word for line in lines if (word := line.partition("#")[0].strip()))


def environment(experiment: Experiment, request: Request) -> dict[str, str]:
    """Variables of the ranks beside the address and port of the rendezvous."""
    cluster = experiment.cluster
    network = cluster.network
    values: dict[str, str | None] = {
        "LONGVIEW_RANKS": "slurm",
        "NCCL_SOCKET_IFNAME": network.nccl_ifname,
        "GLOO_SOCKET_IFNAME": network.gloo_ifname,
        "NCCL_IB_HCA": network.hca,
        "NCCL_SOCKET_FAMILY": network.socket_family if network.nccl_ifname else None,
    }
    if request.gpus and cluster.visible_devices == "set_all":
        name = "ROCR_VISIBLE_DEVICES" if cluster.gpu_vendor == "amd" else "CUDA_VISIBLE_DEVICES"
        values[name] = ",".join(str(i) for i in range(request.gpus))
    partition = partition_of(experiment)
    reachable = partition.internet if partition and partition.internet is not None else cluster.internet.compute
    values |= {**cluster.env, **({} if reachable else cluster.offline_env)}
    return {key: value for key, value in values.items() if value is not None}


def srun_line(experiment: Experiment, request: Request, job: Job, run: str = EXAMPLE) -> list[str]:
    """The srun command, word by word; ``run`` stands for the run directory."""
    cluster = experiment.cluster
    command = ["srun", f"--nodes={request.nodes}", f"--ntasks={request.nodes * request.tasks}"]
    command += [f"--ntasks-per-node={request.tasks}"]
    command += [f"--cpus-per-task={request.cpus}"] if request.cpus else []
    command += ["--kill-on-bad-exit=1", f"--wait={WAIT}", "--unbuffered", f"--output={LOG}", f"--error={LOG}"]
    names = {"cpus_per_task": request.cpus, "gpus": request.gpus, "nodes": request.nodes, "tasks": request.tasks}
    command += [text.format_map(names) for text in cluster.srun_args]
    engine = [job.python, "-u", "-m", "longview.engine", run, *(["--test"] if job.mode == "test" else [])]
    if box := cluster.container:
        binds = [word for bind in (str(job.folder.parent), *box.binds) for word in ("--bind", bind)]
        flag = [box.gpu_flag] if box.gpu_flag and request.gpus else []
        engine = [box.runtime, "exec", *flag, *binds, box.image, *engine]
    return [*command, *engine]


def _body(experiment: Experiment, request: Request, job: Job) -> str:
    return "\n".join(
        [
            *_find(job),
            *_set_up(experiment),
            *_environment(experiment, request),
            *_rendezvous(experiment.cluster, request),
            *_stage(experiment, request, job),
            *_start(experiment, request, job),
            *experiment.cluster.teardown,
            f'early={shlex.quote(job.stem)}-"$job".out; [ -s "$early" ] || rm -f "$early"  # empty: the log was open in time',
            'exit "$code"',
        ]
    )


def _find(job: Job) -> Iterator[str]:
    yield from (
        "# which run this is",
        "job=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}",
        f'run=$(sed -n "$((${{SLURM_ARRAY_TASK_ID:-0}} + 1))p" {shlex.quote(job.stem + ".txt")})',
        'restart=${SLURM_RESTART_COUNT:-0}; logs="$run/logs/$job"; [ "$restart" = 0 ] || logs="$logs.$restart"',
        "record() {  # how it ended, for `longview status` and `longview why`",
        '  printf \'{"code": %d, "job": "%s", "restart": %d, "time": %d}\\n\' "$1" "$job" "$restart" "$(date +%s)" \\',
        '    > "$run/.exit.$job" && mv "$run/.exit.$job" "$run/exit.json"',
        "}",
        'fail() { echo "longview: error: $*"; record 2; exit 2; }',
        '[ -d "$run" ] || { echo "longview: error: the run directory \'$run\' is gone"; exit 2; }',
        'rm -f "$run/exit.json"; mkdir -p "$logs" && exec > "$logs/batch.log" 2>&1 || exit 2',
        'export LONGVIEW_JOB="$job"',
        'echo "$(date -u +%FT%TZ) job $job (restart $restart) on $SLURM_JOB_NODELIST: $run"',
        f"code={shlex.quote(str(job.code))}",
        '[ -d "$code/src" ] || fail "the copy of the code, $code, is gone; submit the run again"',
        "",
    )


def _set_up(experiment: Experiment) -> Iterator[str]:
    cluster, partition = experiment.cluster, partition_of(experiment)
    modules = cluster.modules.get(partition.node if partition else "") or cluster.modules.get("default")
    lines = [*cluster.setup, *(modules.lines if modules else [])]
    if lines:
        yield "# the site's software"
        yield from (f"{line} || fail {shlex.quote(f'this set-up line failed: {line}')}" for line in lines)
        yield ""


def _environment(experiment: Experiment, request: Request) -> Iterator[str]:
    yield "# environment of the ranks"
    yield 'export PYTHONPATH="$code/src${PYTHONPATH:+:$PYTHONPATH}" LONGVIEW_CODE="$code"  # the copy of the code comes first'
    yield from (f"export {key}={shlex.quote(value)}" for key, value in environment(experiment, request).items())
    if root := experiment.cluster.storage.cache_root:
        yield f'if [ -n "${{{root}:-}}" ]; then  # compiled kernels stay out of the home folder'
        yield f'  export TRITON_CACHE_DIR="${root}/.cache/triton" TORCH_EXTENSIONS_DIR="${root}/.cache/torch_extensions"'
        yield "fi"
    yield ""


def _rendezvous(cluster: ClusterConfig, request: Request) -> Iterator[str]:
    """Address and port that the ranks meet at (specs: T13, T21 to T23)."""
    network = cluster.network
    yield "# where the ranks meet"
    if request.nodes == 1:
        yield "export MASTER_ADDR=127.0.0.1"
    else:
        yield 'host=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)'
        if network.master_fqdn:
            yield 'case "$host" in *.*) ;; *) host="$host.$(hostname -d)" ;; esac'
        yield f'export MASTER_ADDR="${{host}}{network.master_suffix}"'
        yield 'address=$(getent ahostsv4 "$MASTER_ADDR" | head -n 1 | cut -d" " -f1)'
        yield '[ -n "$address" ] || fail "MASTER_ADDR: $MASTER_ADDR does not resolve; see cluster.network.master_suffix"'
        if network.resolve_ipv4:
            yield 'export MASTER_ADDR="$address"'
    if network.port:
        yield f"export MASTER_PORT={network.port}"
    else:  # of this attempt alone: old ranks that still die cannot meet the new ones
        yield 'port=$((10000 + $(printf %s "$SLURM_JOB_ID-$restart" | cksum | cut -d" " -f1) % 20000))'
        yield 'while (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do port=$((10000 + (port - 9999) % 20000)); done'
        yield "export MASTER_PORT=$port"
    yield 'echo "ranks meet at $MASTER_ADDR:$MASTER_PORT"'
    yield ""


def _stage(experiment: Experiment, request: Request, job: Job) -> Iterator[str]:
    node = node_of(experiment)
    if not experiment.launch.stage or node is None:
        return
    place = f"{node.local_dir or '${TMPDIR:-/tmp}'}/longview-$SLURM_JOB_ID"
    yield "# data to node-local scratch, once per node, verified"
    yield f'export LONGVIEW_STAGED="{place}"'
    yield f"trap 'srun --nodes={request.nodes} --ntasks-per-node=1 rm -rf \"$LONGVIEW_STAGED\"' EXIT"
    yield (
        f"srun --nodes={request.nodes} --ntasks={request.nodes} --ntasks-per-node=1 --kill-on-bad-exit=1 "
        f'{shlex.quote(job.python)} -m longview.launch.stage "$run" "$LONGVIEW_STAGED" || fail "the data could not be staged"'
    )
    yield ""


def _start(experiment: Experiment, request: Request, job: Job) -> Iterator[str]:
    words = srun_line(experiment, request, job)
    quoted = ['"$run"' if word == EXAMPLE else f'"{word}"' if LOG in word else shlex.quote(word) for word in words]
    split = quoted.index(shlex.quote(job.python))
    yield "# one process per device; bash runs a trap only while it waits, so srun is in the background"
    yield "trap : USR1 USR2 TERM  # SLURM tells the ranks itself; this shell stays to record the end"
    yield f"{' '.join(quoted[:split])} \\\n  {' '.join(quoted[split:])} &"
    yield 'pid=$!; code=0; while :; do wait "$pid"; code=$?; kill -0 "$pid" 2> /dev/null || break; done'
    yield 'record "$code"; echo "$(date -u +%FT%TZ) ended with exit code $code"'
