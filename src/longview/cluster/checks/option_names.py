"""Options of sbatch and srun: which ones longview writes, and which ones there are."""

from __future__ import annotations

WRITTEN = {
    "account": "launch.account",
    "partition": "resources.purpose",
    "qos": "resources.purpose",
    "nodes": "resources.nodes",
    "ntasks": "resources.devices",
    "ntasks-per-node": "resources.devices",
    "cpus-per-task": "resources.cpus_per_device",
    "cpus-per-gpu": "resources.cpus_per_device",
    "gpus": "resources.devices",
    "gpus-per-node": "resources.devices",
    "mem": "resources.memory_gb",
    "mem-per-cpu": "resources.memory_gb",
    "mem-per-gpu": "resources.memory_gb",
    "time": "resources.time",
    "time-min": "resources.time",
    "threads-per-core": "cluster.threads_per_core",
    "job-name": "run.name",
    "array": "a sweep (seed=1,2,3 -m), launch.parallel",
    "comment": "nothing: longview finds its jobs by it",
    "signal": "cluster.resume.signal and cluster.resume.lead",
    "requeue": "cluster.resume.strategy",
    "no-requeue": "cluster.resume.strategy",
    "output": "run.root: logs lie in the run directory",
    "error": "run.root: logs lie in the run directory",
    "open-mode": "nothing: logs are appended to",
    "chdir": "run.root",
    "wrap": "nothing: the job runs the engine",
    "wait": "launch.wait",
    "test-only": "launch.dry_run",
    "parsable": "nothing: longview reads the job's number",
}
"""sbatch option -> the key that says it."""
FROM_SHELL = {
    "SBATCH_ARRAY_INX": "array",
    "SBATCH_CPU_FREQ_REQ": "cpu-freq",
    "SBATCH_MEM_PER_NODE": "mem",
    "SBATCH_REQ_SWITCH": "switches",
    "SBATCH_TIMELIMIT": "time",
    "SBATCH_WAIT4SWITCH": "switches",
}
"""Variables that sbatch reads and that are not called as their option; for SBATCH_QOS and its like it is qos."""
SHORT = {
    "A": "account", "C": "constraint", "D": "chdir", "G": "gpus", "J": "job-name", "L": "licenses", "M": "clusters",
    "N": "nodes", "a": "array", "c": "cpus-per-task", "d": "dependency", "e": "error", "n": "ntasks", "o": "output",
    "p": "partition", "q": "qos", "t": "time", "w": "nodelist", "x": "exclude",
}  # fmt: skip
NARROWING = {"gpus-per-task", "ntasks-per-gpu", "gpu-bind", "tres-per-task", "tres-bind"}
"""Options that may leave every rank one visible GPU, while Lightning indexes GPUs by local rank."""
BOUND = {"licenses": "licences", "wckey": "keys", "gres": "resources"}
"""Options of SLURM whose values only some sites know."""
OTHER = {
    "acctg-freq", "batch", "bb", "bbf", "begin", "cluster-constraint", "clusters", "constraint", "container", "contiguous",
    "core-spec", "cores-per-socket", "cpu-freq", "deadline", "dependency", "delay-boot", "exclude", "exclusive", "export",
    "export-file", "extra", "extra-node-info", "get-user-env", "gid", "gpu-freq", "gpus-per-socket", "gres-flags", "hint",
    "hold", "kill-on-invalid-dep", "mail-type", "mail-user", "mcs-label", "mem-bind", "mincpus", "network", "nice", "no-kill",
    "nodefile", "nodelist", "ntasks-per-core", "ntasks-per-socket", "oom-kill-step", "overcommit", "oversubscribe", "power",
    "prefer", "priority", "profile", "propagate", "reboot", "reservation", "resv-ports", "segment", "sockets-per-node",
    "spread-job", "stepmgr", "switches", "thread-spec", "tmp", "uid", "use-min-nodes", "wait-all-nodes",
}  # fmt: skip
"""The other options of sbatch, 22.05 to 25.05."""
STANDARD = set(WRITTEN) | NARROWING | set(BOUND) | OTHER
SRUN_SHORT = {"c": "cpus-per-task", "n": "ntasks", "N": "nodes", "G": "gpus", "K": "kill-on-bad-exit", "W": "wait"}
SRUN_WRITTEN = {
    "cpus-per-task": "resources.cpus_per_device",
    "ntasks": "resources.devices",
    "ntasks-per-node": "resources.devices",
    "nodes": "resources.nodes",
    "gpus": "resources.devices",
    "gpus-per-node": "resources.devices",
    "kill-on-bad-exit": "nothing: always on",
    "wait": "nothing: always on",
}
"""srun option -> the key that says it."""
PLACEHOLDERS = {"cpus_per_task", "gpus", "nodes", "tasks"}
"""What stands in braces in ``cluster.srun_args``."""
