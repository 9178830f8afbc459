"""What can be said of a job before SLURM is asked: one row per mistake, and beside it what the same check lets pass."""

from __future__ import annotations

import os
import shutil
import time
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from longview.cluster.checks import CHECKS, limits, site
from longview.config.experiment import Checker
from longview.errors import ConfigError, Problem

CONF = Path(__file__).resolve().parents[3] / "conf"
ERROR, WARNING = False, True
JUWELS, MARVIN, LEONARDO, LUMI, SLURM = (f"cluster={name}" for name in ("juwels", "marvin", "leonardo", "lumi", "slurm"))
HERE = "launch.account=x"
INTEL = "cluster.python=/opt/software/easybuild-INTEL/software/Python/3.12.3/bin/python"

# check, arguments that are told, severity, what is said (start of the line first), arguments that pass
Row = tuple[str, list[str], bool, list[str], list[str]]
ROWS: list[Row] = [
    # purpose, partition, account
    ("purpose_known", [JUWELS, HERE, "resources.purpose=debgu"], ERROR,
     ["resources.purpose: 'debgu' is no purpose of cluster 'juwels'; did you mean 'debug'?; there are: gpu, debug, v100"],
     [JUWELS, HERE, "resources.purpose=debug"]),
    ("purpose_known", [JUWELS, HERE, "resources.purpose=develbooster"], ERROR,
     ["resources.purpose: 'develbooster' is no purpose", "SLURM's 'develbooster' is the purpose debug here"],
     [JUWELS, HERE, "resources.purpose=v100"]),
    ("purpose_known", [LEONARDO, HERE, "resources.purpose=boost_qos_lprod"], ERROR,
     ["resources.purpose: 'boost_qos_lprod' is no purpose", "is the purpose long here"],
     [LEONARDO, HERE, "resources.purpose=long"]),
    ("node_known", [JUWELS, HERE, "cluster.partitions.gpu.node=a1000"], ERROR,
     ["cluster.partitions.gpu.node: 'a1000' is not one of cluster.node_types: a100, v100"],
     [JUWELS, HERE, "cluster.partitions.gpu.node=v100"]),
    ("partition_named", [LEONARDO, HERE, "cluster.partitions.gpu.partition=null"], ERROR,
     ["cluster.partitions.gpu.partition: no partition, so the site's default would be taken", "boost_usr_prod"],
     ["cluster=capella", HERE]),
    ("qos_is_qos", [LEONARDO, HERE, "cluster.partitions.gpu.partition=boost_qos_dbg"], ERROR,
     ["cluster.partitions.gpu.partition: 'boost_qos_dbg' is a QoS of this cluster", "give it as cluster.partitions.gpu.qos"],
     [LEONARDO, HERE, "cluster.partitions.gpu.qos=boost_qos_dbg"]),
    ("qos_is_qos", ["cluster=marenostrum5", HERE, "cluster.partitions.gpu.qos=acc"], ERROR,
     ["cluster.partitions.gpu.qos: 'acc' is a partition of this cluster"],
     ["cluster=marenostrum5", HERE]),
    ("account_known", [JUWELS], ERROR,
     ["launch.account: juwels charges every job to an account and none is known; give launch.account=<name>",
      "or set SLURM_ACCOUNT or SBATCH_ACCOUNT or BUDGET_ACCOUNTS", "this lists yours: jutil user projects"],
     [JUWELS, HERE]),
    ("account_known", [LUMI, "launch.dry_run=true"], WARNING,
     ["launch.account: lumi charges every job", "(names look like project_...)"],
     [SLURM, "resources.time=1h"]),
    # time
    ("time_known", [SLURM], ERROR,
     ["resources.time: not given, and cluster 'slurm' names no usual time for purpose gpu; give for"],
     [SLURM, "resources.time=2h"]),
    ("time_fits", [JUWELS, HERE, "resources.time=30h"], ERROR,
     ["resources.time: 1-06:00:00 is more than the 1-00:00:00 of partition booster (likely;",
      "2021-11-26); give at most 1-00:00:00"],
     [JUWELS, HERE, "resources.time=24h"]),
    ("time_fits", [LEONARDO, HERE, "resources.time=2d"], ERROR,
     ["resources.time: 2-00:00:00 is more than the 1-00:00:00 of partition boost_usr_prod (sure;", "or resources.purpose=long"],
     [LEONARDO, HERE, "resources.time=2d", "resources.purpose=long"]),
    ("time_fits", [MARVIN, HERE, "resources.time=2h", "resources.purpose=debug"], ERROR,
     ["resources.time: 02:00:00 is more than the 01:00:00 of partition mlgpu_devel",
      "or resources.purpose=short or a40 or a40_long"],
     [MARVIN, HERE, "resources.time=2h", "resources.purpose=short"]),
    ("time_fits", [JUWELS, HERE, "cluster.partitions.gpu.default_time=2d"], ERROR,
     ["cluster.partitions.gpu.default_time: 2-00:00:00 is more than"],
     [JUWELS, HERE, "cluster.partitions.gpu.default_time=1d"]),
    ("lead_fits", [JUWELS, HERE, "resources.time=5m"], ERROR,
     ["resources.time: 00:05:00, and the job is told to save 00:05:00 before its end", "give at least 00:07:00"],
     [JUWELS, HERE, "resources.time=7m"]),
    ("lead_fits", [JUWELS, HERE, "resources.time=6m"], WARNING,
     ["resources.time: 00:06:00, and the job is told to save", "00:07:00 or more"],
     [JUWELS, HERE, "resources.time=6m", "cluster.resume.lead=1m"]),
    # nodes
    ("nodes_fit", [JUWELS, HERE, "resources.purpose=debug", "resources.nodes=5"], ERROR,
     ["resources.nodes: 5 nodes are more than the 4 of partition develbooster (likely;",
      "give at most 4, or resources.purpose=gpu"],
     [JUWELS, HERE, "resources.purpose=debug", "resources.nodes=4"]),
    ("nodes_fit", [LEONARDO, HERE, "resources.purpose=big", "resources.nodes=64"], ERROR,
     ["resources.nodes: 64 is fewer than the 65 nodes that partition boost_usr_prod with QoS boost_qos_bprod is for",
      "give at least 65, or resources.purpose=gpu"],
     [LEONARDO, HERE, "resources.purpose=big", "resources.nodes=65"]),
    ("nodes_fit", [LEONARDO, HERE, "resources.purpose=debug", "resources.time=30m", "resources.nodes=3"], WARNING,
     ["resources.nodes: 3 nodes are more than the 2 of partition boost_usr_prod with QoS boost_qos_dbg (unverified;"],
     [LEONARDO, HERE, "resources.purpose=debug", "resources.time=30m", "resources.nodes=2"]),
    ("node_minutes_fit", ["cluster=alps", "resources.purpose=debug", "resources.nodes=4", "resources.time=30m"], ERROR,
     ["resources.time: 4 x 00:30:00 is more than the 90 node-minutes of partition debug (sure;",
      "give at most 22m, or resources.purpose=gpu"],
     ["cluster=alps", "resources.purpose=debug", "resources.nodes=3", "resources.time=30m"]),
    ("node_minutes_fit", ["cluster=alps", "resources.purpose=debug", "cluster.partitions.debug.max_node_minutes=2",
     "resources.nodes=2", "resources.time=7m"], ERROR,
     ["resources.time: 2 x 00:07:00 is more than the 2 node-minutes of partition debug", "give at most 1m"],
     ["cluster=alps", "resources.purpose=debug", "resources.nodes=3", "resources.time=30m"]),
    ("user_gpus_fit", [MARVIN, HERE, "resources.nodes=13"], ERROR,
     ["resources.nodes: 13 x 4 GPUs are more than the 48 a user may have in partition sgpu_medium (likely;", "give at most 12"],
     [MARVIN, HERE, "resources.nodes=12"]),
    # GPUs, cores, memory
    ("gpus_fit", [JUWELS, HERE, "resources.devices=5"], ERROR,
     ["resources.devices: 5 devices, but a node of partition booster has 4 GPUs (", "give at most 4"],
     [JUWELS, HERE, "resources.devices=4"]),
    ("gpus_fit", [MARVIN, HERE, "resources.devices=8"], ERROR,
     ["resources.devices: 8 devices, but a node of partition sgpu_medium has 4 GPUs", "(resources.nodes=2 makes 8)",
      "resources.purpose=debug or short or a40"],
     [MARVIN, HERE, "resources.devices=8", "resources.purpose=a40"]),
    ("gpus_fit", ["cluster=jusuf", HERE, "resources.devices=2"], ERROR,
     ["resources.devices: 2 devices, but a node of", "has 1 GPU ("],
     ["cluster=jusuf", HERE]),
    ("node_filled", [JUWELS, HERE, "resources.devices=2"], WARNING,
     ["resources.devices: 2 of the 4 GPUs of a node, but partition booster gives and charges whole nodes"],
     [JUWELS, HERE]),
    ("node_filled", ["cluster=snellius", "resources.nodes=2", "resources.devices=2"], ERROR,
     ["resources.devices: 2 of the 4 GPUs of a node, but jobs of several nodes must use whole ones",
      "give 4, or resources.nodes=1"],
     ["cluster=snellius", "resources.devices=2"]),
    ("node_filled", [MARVIN, HERE, "resources.nodes=2", "resources.devices=2"], WARNING,
     ["resources.devices: 2 of the 4 GPUs of a node, on 2 nodes: 1 filled node has as many"],
     [MARVIN, HERE, "resources.devices=2"]),
    ("cores_fit", [LUMI, HERE, "resources.cpus_per_device=8"], ERROR,
     ["resources.cpus_per_device: 8 x 8 CPU cores are more than the 56 of a node of partition standard-g", "give at most 7"],
     [LUMI, HERE, "resources.cpus_per_device=7"]),
    ("cores_fit", ["cluster=leonardo_dcgp", HERE, "resources.devices=113"], ERROR,
     ["resources.devices: 113 processes on the 112 CPU cores of a node of partition dcgp_usr_prod", "give at most 112"],
     ["cluster=leonardo_dcgp", HERE, "resources.devices=112"]),
    ("cores_fit", ["cluster=leonardo_dcgp", HERE, "resources.devices=112", "resources.cpus_per_device=2"], ERROR,
     ["resources.cpus_per_device: 112 x 2 CPU cores are more than the 112", "give at most 1"],
     ["cluster=leonardo_dcgp", HERE, "resources.devices=112", "resources.cpus_per_device=1"]),
    ("cores_fit", ["cluster=leonardo_dcgp", HERE, "resources.devices=113", "resources.cpus_per_device=2"], ERROR,
     ["resources.devices: 113 processes on the 112 CPU cores"],
     ["cluster=leonardo_dcgp", HERE, "resources.devices=56", "resources.cpus_per_device=2"]),
    ("cores_are_shared", ["cluster=marenostrum5", HERE, "resources.cpus_per_device=16"], ERROR,
     ["resources.cpus_per_device: 16, but marenostrum5 accepts exactly 20 CPU cores per GPU (likely;"],
     ["cluster=marenostrum5", HERE, "resources.cpus_per_device=20"]),
    ("cores_are_shared", [LEONARDO, HERE, "resources.devices=1", "resources.cpus_per_device=16"], WARNING,
     ["resources.cpus_per_device: 16 is more than a GPU's share of 8 CPU cores"],
     [LEONARDO, HERE, "resources.cpus_per_device=8"]),
    ("cores_are_shared", [LEONARDO, HERE, "resources.devices=2", "resources.cpus_per_device=9"], WARNING,
     ["resources.cpus_per_device: 9 is more than a GPU's share of 8 CPU cores"],
     [JUWELS, HERE, "resources.devices=2", "resources.cpus_per_device=24"]),
    ("memory_is_policy", [SLURM, "resources.time=1h", "cluster.mem_policy=must_set"], ERROR,
     ["resources.memory_gb: slurm wants to be told"],
     [SLURM, "resources.time=1h", "cluster.mem_policy=must_set", "resources.memory_gb=20"]),
    ("memory_is_policy", ["cluster=marenostrum5", HERE, "resources.memory_gb=100"], ERROR,
     ["resources.memory_gb: marenostrum5 refuses jobs that say it (sure;", "leave it null"],
     ["cluster=marenostrum5", HERE]),
    ("memory_is_policy", [JUWELS, HERE, "resources.memory_gb=100"], WARNING,
     ["resources.memory_gb: juwels gives nodes with all"],
     [MARVIN, HERE, "resources.memory_gb=100"]),
    ("memory_fits", [LEONARDO, HERE, "resources.memory_gb=600"], ERROR,
     ["resources.memory_gb: 600 GB are more than the 482 GB of a node of partition boost_usr_prod (likely;",
      "give at most 482"],
     [LEONARDO, HERE, "resources.memory_gb=482"]),
    ("memory_fits", [MARVIN, HERE, "resources.purpose=a40", "resources.memory_gb=980"], WARNING,
     ["resources.memory_gb: 980 GB are more than the 490 GB", "(unverified;",
      "or resources.purpose=gpu or gpu_short or long or cpu"],
     [MARVIN, HERE, "resources.memory_gb=980"]),
    ("memory_fits", [LEONARDO, HERE, "resources.devices=1", "resources.memory_gb=200"], WARNING,
     ["resources.memory_gb: 200 GB are more than the 120 GB that go with 1 GPU, so more than"],
     [LEONARDO, HERE, "resources.devices=2", "resources.memory_gb=200"]),
    ("accelerator_is_there", [JUWELS, HERE, "resources.purpose=cpu", "trainer.accelerator=cuda"], ERROR,
     ["trainer.accelerator: 'cuda' needs GPUs, and nodes of partition batch have none",
      "or resources.purpose=gpu or debug or v100"],
     [JUWELS, HERE, "resources.purpose=cpu"]),
    ("accelerator_is_there", [JUWELS, HERE, "trainer.accelerator=cpu"], WARNING,
     ["trainer.accelerator: 'cpu' on nodes with 4 GPUs: they are asked for, charged and idle",
      "resources.purpose=cpu or cpu_debug"],
     [JUWELS, HERE, "trainer.accelerator=cuda"]),
    ("gpus_are_asked_for", [MARVIN, HERE, "cluster.gpu_directive=null"], WARNING,
     ["cluster.gpu_directive: null, so no GPU is asked for", "give for example gres=gpu:{n}"],
     ["cluster=alps"]),
    ("gpus_are_asked_for", [SLURM, "resources.time=1h", "cluster.gpu_directive='gres=gpu:{type}:{n}'"], ERROR,
     ["cluster.node_types.node.gres_type: not known"],
     [SLURM, "resources.time=1h", "cluster.gpu_directive='gres=gpu:{type}:{n}'", "cluster.node_types.node.gres_type=a30"]),
    ("workers_have_cores", [LEONARDO, HERE, "loader.num_workers=12"], WARNING,
     ["loader.num_workers: 12 loader processes share the 8 CPU cores of a training process"],
     [LEONARDO, HERE, "loader.num_workers=8"]),
    ("stage_has_place", ["cluster=alps", "launch.stage=true"], WARNING,
     ["launch.stage: no node-local scratch is known for partition normal"],
     [MARVIN, HERE, "launch.stage=true"]),
    # free options of sbatch and srun
    ("spelled", [JUWELS, HERE, "launch.sbatch={--nice: 10}"], ERROR,
     ["launch.sbatch.--nice: write it as sbatch's long name", ": nice"],
     [JUWELS, HERE, "launch.sbatch={nice: 10}"]),
    ("spelled", [JUWELS, HERE, "launch.sbatch={w: jwb0001}"], ERROR,
     ["launch.sbatch.w: write it as sbatch's long name", ": nodelist"],
     [JUWELS, HERE, "launch.sbatch={nodelist: jwb0001}"]),
    ("spelled", [JUWELS, HERE, "launch.sbatch={mail_user: me@example.org}"], ERROR,
     ["launch.sbatch.mail_user: write", ": mail-user"],
     [JUWELS, HERE, "launch.sbatch={mail-user: me@example.org}"]),
    ("spelled", [JUWELS, HERE, "launch.sbatch={mail.type: END}"], ERROR,
     ["launch.sbatch.mail.type: 'mail.type' cannot name an option"],
     [JUWELS, HERE]),
    ("spelled", [JUWELS, HERE, 'launch.sbatch={reservation: "a \t b"}'], ERROR,
     ["launch.sbatch.reservation: 'a \\t b' does not fit on a line"],
     [JUWELS, HERE, 'launch.sbatch={reservation: "a b"}']),
    ("not_written_twice", [JUWELS, HERE, 'launch.sbatch={time: "02:00:00"}'], ERROR,
     ["launch.sbatch.time: longview writes --time itself; give resources.time"],
     [JUWELS, HERE, "resources.time=2h"]),
    ("not_written_twice", [JUWELS, HERE, "launch.sbatch={ntasks: 8}"], ERROR,
     ["launch.sbatch.ntasks:", "give resources.devices"],
     [JUWELS, HERE, "resources.devices=4"]),
    ("not_written_twice", [JUWELS, HERE, "+cluster.sbatch.output=x.log"], ERROR,
     ["cluster.sbatch.output: longview writes --output"],
     [JUWELS, HERE, "+cluster.sbatch.nice=10"]),
    ("not_written_twice", [JUWELS, HERE, "+cluster.partitions.gpu.sbatch={mem: 10G}"], ERROR,
     ["cluster.partitions.gpu.sbatch.mem:", "give resources.memory_gb"],
     [JUWELS, HERE, "+cluster.partitions.gpu.sbatch={constraint: x}"]),
    ("not_written_twice", [JUWELS, HERE, "launch.sbatch={hint: nomultithread}"], ERROR,
     ["launch.sbatch.hint: SLURM refuses it beside --threads-per-core=1"],
     [MARVIN, HERE, "launch.sbatch={hint: nomultithread}"]),
    ("not_written_twice", [MARVIN, HERE, 'launch.sbatch={gres: "gpu:a40:2"}'], ERROR,
     ["launch.sbatch.gres: GPUs are asked for by resources.devices, and their type by resources.purpose: 'gpu' does not fit",
      "(its GPUs are a100)",
      "debug or short or a40 or a40_long does"],
     [MARVIN, HERE, "resources.purpose=a40", "resources.devices=2"]),
    ("not_written_twice", [JUWELS, HERE, 'launch.sbatch={gres: "gpu:2"}'], ERROR,
     ["launch.sbatch.gres: GPUs are asked for by resources.devices  [override"],
     [JUWELS, HERE, "resources.devices=2"]),
    ("not_written_twice", [MARVIN, HERE, 'launch.sbatch={gres: "gpu:a100:2"}'], ERROR,
     ["launch.sbatch.gres: GPUs are asked for by resources.devices  [override"],
     [MARVIN, HERE, "resources.devices=2"]),
    ("not_written_twice", [JUWELS, HERE, 'launch.sbatch={gres: "gpu:a100:2"}'], ERROR,
     ["launch.sbatch.gres: GPUs are asked for by resources.devices  [override"],
     [JUWELS, HERE, "resources.devices=2"]),
    ("not_written_twice", [JUWELS, HERE, 'launch.sbatch={gres: "gpu:v100:4"}'], ERROR,
     ["launch.sbatch.gres: GPUs are", "'gpu' does not fit (its GPUs are a100), v100 or v100_debug does"],
     [JUWELS, HERE, "resources.purpose=v100"]),
    ("environment_arrives", [JUWELS, HERE, "launch.sbatch={export: NONE}"], ERROR,
     ["launch.sbatch.export: 'NONE' keeps your environment from the job", "remove it, or give ALL,NAME=value"],
     [JUWELS, HERE, "launch.sbatch={export: ALL}"]),
    ("environment_arrives", [JUWELS, HERE, "+cluster.sbatch={export: 'A=1'}"], ERROR,
     ["cluster.sbatch.export: 'A=1' keeps your environment", "give ALL,A=1"],
     [JUWELS, HERE, "+cluster.sbatch={export: 'ALL,A=1'}"]),
    ("environment_arrives", [JUWELS, HERE, "launch.sbatch={export: ALLES}"], ERROR,
     ["launch.sbatch.export: 'ALLES' keeps"],
     [JUWELS, HERE, "launch.sbatch={export: 'all,A=1'}"]),
    ("environment_arrives", [JUWELS, HERE, "cluster.srun_args=['--cpu-bind=none','--export=NONE']"], ERROR,
     ["cluster.srun_args.1: 'NONE' keeps your environment"],
     [JUWELS, HERE, "cluster.srun_args=['--export=ALL,N={nodes}']"]),
    ("every_gpu_visible", [JUWELS, HERE, "launch.sbatch={gpus-per-task: 1}"], ERROR,
     ["launch.sbatch.gpus-per-task: --gpus-per-task: it may leave each rank one visible GPU"],
     [JUWELS, HERE]),
    ("every_gpu_visible", [JUWELS, HERE, "+cluster.sbatch.gpu-bind=closest"], ERROR,
     ["cluster.sbatch.gpu-bind: --gpu-bind: it may leave"],
     [JUWELS, HERE, "+cluster.sbatch.gpu-bind=none"]),
    ("every_gpu_visible", [JUWELS, HERE, "cluster.srun_args=['--gpu-bind=single:1']"], ERROR,
     ["cluster.srun_args.0: '--gpu-bind=single:1': it may leave"],
     ["cluster=jupiter", HERE]),
    ("srun_arguments", [JUWELS, HERE, "cluster.srun_args=['--cpu-bind=none','--cpus-per-task=4']"], ERROR,
     ["cluster.srun_args.1: '--cpus-per-task=4': longview writes srun's --cpus-per-task itself; give resources.cpus_per_device"],
     [JUWELS, HERE, "cluster.srun_args=['--cpu-bind=none','--mpi=none']"]),
    ("srun_arguments", [JUWELS, HERE, "cluster.srun_args=['-c4']"], ERROR,
     ["cluster.srun_args.0: '-c4': longview writes"],
     [JUWELS, HERE, "cluster.srun_args=['-l']"]),
    ("srun_arguments", [JUWELS, HERE, "cluster.srun_args=['--export=ALL,N={node}']"], ERROR,
     ["cluster.srun_args.0: '--export=ALL,N={node}': nothing is known for {node}; there are {cpus_per_task}, {gpus}"],
     [JUWELS, HERE, "cluster.srun_args=['--export=ALL,N={nodes}']"]),
    ("srun_arguments", [JUWELS, HERE, "cluster.srun_args=['--export=ALL,N={']"], ERROR,
     ["cluster.srun_args.0: '--export=ALL,N={': nothing is known for"],
     [JUWELS, HERE]),
    ("site_options", [MARVIN, HERE, "launch.sbatch={disable-dcgm: true}"], ERROR,
     ["launch.sbatch.disable-dcgm: --disable-dcgm is no option of SLURM itself, and cluster 'marvin' names none of its own",
      "if the site has it: +cluster.sbatch.disable-dcgm=true"],
     [JUWELS, HERE, "++cluster.sbatch.disable-dcgm=false", "launch.sbatch={disable-dcgm: true}"]),
    ("site_options", [JUWELS, HERE, "launch.sbatch={mial-user: me@example.org}"], ERROR,
     ["launch.sbatch.mial-user: --mial-user is no option of SLURM itself", "did you mean mail-user?"],
     [JUWELS, HERE, "launch.sbatch={mail-user: me@example.org}"]),
    ("site_options", [JUWELS, HERE, 'launch.sbatch={licenses: "cat:1"}'], ERROR,
     ["launch.sbatch.licenses: cluster 'juwels' names no licences"],
     ["cluster=capella", HERE, "++cluster.sbatch.licenses=false", 'launch.sbatch={licenses: "cat:1"}']),
    ("site_options", [JUWELS, HERE, "launch.sbatch={wckey: submitit}"], ERROR,
     ["launch.sbatch.wckey: cluster 'juwels' names no keys"],
     [JUWELS, HERE, "++cluster.sbatch.wckey=false", "launch.sbatch={wckey: mine}"]),
    ("site_options", [LEONARDO, HERE, 'launch.sbatch={gres: "tmpfs:10g"}'], ERROR,
     ["launch.sbatch.gres: 'tmpfs:10g' would take the place of the GPUs"],
     ["cluster=leonardo_dcgp", HERE, "++cluster.sbatch.gres=false", 'launch.sbatch={gres: "tmpfs:10g"}']),
    ("mail_has_address", [JUWELS, HERE, "launch.sbatch={mail-type: END}"], ERROR,
     ["launch.sbatch.mail-type: without mail-user nobody gets the mail",
      "give your address: launch.sbatch={mail-type: END, mail-user: you@example.org}, or remove it"],
     [JUWELS, HERE, "launch.sbatch={mail-type: END, mail-user: you@example.org}"]),
    ("mail_has_address", [JUWELS, HERE, "launch.sbatch={mail-type: 'END,FAIL'}"], ERROR,
     ["launch.sbatch.mail-type:", "launch.sbatch={mail-type: 'END,FAIL', mail-user: you@example.org}"],
     [JUWELS, HERE, "launch.sbatch={mail-type: 'END,FAIL', mail-user: you@example.org}"]),
    # the place
    ("queue_exists", ["launch.account=x"], ERROR,
     ["launch.account: means nothing on cluster 'local', which has no scheduler; remove it"],
     []),
    ("queue_exists", ["launch.sbatch={nice: 10}"], ERROR,
     ["launch.sbatch: means nothing on cluster 'local'"],
     ["launch.dry_run=true", "launch.retry=true", "launch.at_most=2", "launch.sweep=a"]),
    ("queue_exists", ["resources.purpose=debug"], ERROR,
     ["resources.purpose: means nothing on cluster 'local'"],
     ["resources.time=1h"]),
    ("online_is_possible", [JUWELS, HERE, "logger=wandb", "logger.wandb.mode=online"], ERROR,
     ["logger.wandb.mode: 'online' needs internet, and compute nodes of juwels have none (sure;",
      "give offline, and `wandb sync` later"],
     [JUWELS, HERE, "logger=wandb", "logger.wandb.mode=offline"]),
    ("online_is_possible", [MARVIN, HERE, "logger=wandb", "logger.wandb.mode=online"], ERROR,
     ["logger.wandb.mode: 'online' needs internet", "are not known to have it", "cluster.internet.compute=true"],
     [MARVIN, HERE, "logger=wandb", "logger.wandb.mode=online", "cluster.internet.compute=true"]),
    ("online_is_possible",
     [JUWELS, HERE, "logger=wandb", "logger.wandb.mode=online", "cluster.partitions.gpu.internet=false",
      "cluster.internet.compute=true"], ERROR,
     ["logger.wandb.mode: 'online' needs", "cluster.partitions.gpu.internet=true"],
     [JUWELS, HERE, "logger=wandb", "logger.wandb.mode=online", "cluster.partitions.gpu.internet=true"]),
    ("online_is_possible", [JUWELS, HERE, "cluster.setup=['source venv/bin/activate','pip install einops']"], ERROR,
     ["cluster.setup.1: 'pip install einops' needs internet", "do it once on a login node"],
     [JUWELS, HERE, "cluster.setup=['module load git curl','pip install --no-index --find-links wheels einops']"]),
    ("online_is_possible", [JUWELS, HERE, "cluster.container={runtime: apptainer, image: 'docker://pytorch/pytorch'}"], ERROR,
     ["cluster.container.image: 'docker://pytorch/pytorch' would be fetched in the job", "`apptainer pull` it"],
     [JUWELS, HERE, "cluster.container={runtime: apptainer, image: /p/project1/pytorch.sif}"]),
    ("setup_is_sane", [JUWELS, HERE, "cluster.setup=['#SBATCH --nice=10']"], ERROR,
     ["cluster.setup.0: '#SBATCH --nice=10' would not be read"],
     [JUWELS, HERE, "cluster.setup=['# niceness stands in sbatch']"]),
    ("setup_is_sane", [JUWELS, HERE, "cluster.setup=['exit 0']"], ERROR,
     ["cluster.setup.0: 'exit 0' would end the batch script; remove it"],
     [JUWELS, HERE, "cluster.setup=['export EXIT=0']"]),
    ("setup_is_sane", [JUWELS, HERE, "cluster.setup=['if [ -d venv ]; then','. venv/bin/activate','fi']"], ERROR,
     ["cluster.setup.0: 'if [ -d venv ]; then' is not a whole command, and each line is one of its own"],
     [JUWELS, HERE, "cluster.setup=['if [ -d venv ]; then . venv/bin/activate; fi','export OMP_PLACES=cores']"]),
    ("setup_is_sane", [JUWELS, HERE, "cluster.setup=['module load GCC \\\\','  OpenMPI']"], ERROR,
     ["cluster.setup.0: 'module load GCC", "is not a whole command"],
     [JUWELS, HERE, "cluster.teardown=['if [ $code = 0 ]; then','rm -rf cache','fi']"]),
    ("root_is_shared", [JUWELS, HERE, "run.root=/dev/shm/runs"], ERROR,
     ["run.root: '/dev/shm/runs' is in /dev/shm, which every node has for itself", "give a folder in $SCRATCH or $PROJECT"],
     [JUWELS, HERE, "run.root=/p/scratch/group/runs"]),
    ("root_is_shared", [MARVIN, HERE, "run.root=/tmp/runs"], ERROR,
     ["run.root: '/tmp/runs' is in /tmp"],
     ["run.root=/tmp/runs"]),
    ("root_is_shared", [JUWELS, HERE, "run.root=/home/user/runs"], WARNING,
     ["run.root: '/home/user/runs' is in the home folder, which holds 20 GB on juwels"],
     [MARVIN, HERE, "run.root=/home/user/runs"]),
    ("root_is_plain", [JUWELS, HERE, "run.root='$SCRATCH/runs'"], ERROR,
     ["run.root: '$SCRATCH/runs' (that is '", "holds $, which SLURM", "let the shell put a variable's value in"],
     [JUWELS, HERE, "run.root=/p/scratch/runs"]),
    ("root_is_plain", [JUWELS, HERE, "run.root=/p/scratch/100%/runs"], ERROR,
     ["run.root: '/p/scratch/100%/runs' holds %, which SLURM and batch scripts read as something else; give a folder"],
     [JUWELS, HERE, "run.root=\"/p/scratch/it's my ü/runs\""]),
    ("root_is_plain", [JUWELS, HERE, "run.root='/p/a`b'"], ERROR, ["run.root: '/p/a`b' holds `, which"],
     ["run.root='/p/a`b'"]),
    ("root_is_plain", [JUWELS, HERE, "run.root='/p/a\"b'"], ERROR, ["run.root: '/p/a\"b' holds \", which"],
     [JUWELS, HERE, "run.root=/p/ab"]),
    ("root_is_plain", [JUWELS, HERE, "run.root='/p/a\\b'"], ERROR, ["run.root: '/p/a", "holds \\, which"],
     [JUWELS, HERE, "run.root=/p/ab"]),
    ("interpreter_fits", [MARVIN, HERE, INTEL], ERROR,
     ["cluster.python: '/opt/software/easybuild-INTEL/software/Python/3.12.3/bin/python' is of the stack INTEL",
      "nodes of partition sgpu_medium are AMD, where it dies of SIGILL"],
     [MARVIN, HERE, INTEL, "resources.purpose=cpu"]),
    ("interpreter_fits", ["cluster=jupiter", HERE], WARNING,
     ["cluster.python: null, so jobs run the Python that submits, and this one is for x86_64; nodes of"],
     ["cluster=jupiter", HERE, "cluster.python=/p/project1/venv/bin/python"]),
    ("port_is_free", [MARVIN, HERE, "cluster.network.port=29500"], ERROR,
     ["cluster.network.port: 29500 is fixed, and nodes of partition sgpu_medium are shared"],
     [JUWELS, HERE, "cluster.network.port=29500"]),
    ("port_is_free", [MARVIN, HERE, "cluster.env.MASTER_PORT='29500'"], ERROR,
     ["cluster.env.MASTER_PORT: 29500 is fixed"],
     [MARVIN, HERE]),
    ("controller_is_welcome", [LEONARDO, HERE, "launch.wait=true"], WARNING,
     ["launch.wait: login nodes of leonardo end long-lived processes (limit: 10 CPU minutes)", "in partition lrd_all_serial"],
     [JUWELS, HERE, "launch.wait=true"]),
    ("controller_is_welcome", [JUWELS, HERE, "launch.wait=true", "cluster.login.max_cpu_minutes=30"], WARNING,
     ["launch.wait: login nodes of juwels end long-lived processes (limit: 30 CPU minutes); submit without it"],
     [JUWELS, HERE, "cluster.login.max_cpu_minutes=30"]),
    ("controller_is_welcome", [JUWELS, HERE, "launch.wait=true", "cluster.login.controller_allowed=false"], WARNING,
     ["launch.wait: login nodes of juwels end long-lived processes; submit without it"],
     [JUWELS, HERE, "cluster.login.controller_allowed=false"]),
    ("requeue_is_proven", [JUWELS, HERE, "cluster.resume.strategy=requeue"], WARNING,
     ["cluster.resume.strategy: users' right to requeue has not been seen to work on juwels; resubmit is safe"],
     [JUWELS, HERE, "cluster.resume.strategy=requeue", "cluster.resume.proven=true"]),
    ("facts_are_fresh", [JUWELS, HERE, "cluster.limits_verified=2026-05-23"], WARNING,
     ["cluster.limits_verified: limits last read in an official place 2026-05-23, 181 days ago"],
     [JUWELS, HERE, "cluster.limits_verified=2026-05-24"]),
    ("facts_are_fresh", ["cluster=jusuf", HERE], WARNING,
     ["cluster.verified: last seen in use 2021-11-26, 1820 days ago"],
     [MARVIN, HERE]),
    ("modules_are_valid", [JUWELS, HERE, "cluster.modules.default.valid_until=2026-11-19"], WARNING,
     ["cluster.modules.default.valid_until: these modules were expected to last until 2026-11-19, 1 days ago"],
     [JUWELS, HERE, "cluster.modules.default.valid_until=2026-11-20"]),
    ("name_is_no_shell", [JUWELS, HERE, "run.name=bash"], ERROR,
     ["run.name: a job named 'bash' is taken for an interactive session"],
     [JUWELS, HERE, "run.name=bash-1"]),
    ("name_is_no_shell", [JUWELS, HERE, "launch.sweep=interactive"], ERROR,
     ["launch.sweep: a job named 'interactive'"],
     ["run.name=interactive"]),
]  # fmt: skip


@pytest.fixture(scope="module")
def checker() -> Checker:
    return Checker(CONF)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A login node on one day: mocks for what this machine lacks, its file systems, processor, home and date."""
    for name in ("SLURM_ACCOUNT", "SBATCH_ACCOUNT", "BUDGET_ACCOUNTS", "LONGVIEW_TWIN"):
        monkeypatch.delenv(name, raising=False)
    for name in [name for name in os.environ if name.startswith("SBATCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "/home/user")
    monkeypatch.setattr("os.access", lambda *_: True)
    monkeypatch.setattr(site, "today", lambda: date(2026, 11, 20))
    monkeypatch.setattr(site, "_machine", lambda: "x86_64")
    monkeypatch.setattr(limits, "_slurm_is_here", lambda: False)


def told(checker: Checker, arguments: list[str]) -> list[Problem]:
    """Everything that is said: what is refused, or the warnings."""
    try:
        return list(checker.check(arguments).warnings)
    except ConfigError as error:
        return list(error.problems)


def matching(problems: list[Problem], fragments: list[str], severity: bool) -> list[Problem]:
    return [
        p
        for p in problems
        if p.warning is severity and str(p).startswith(fragments[0]) and all(f in str(p) for f in fragments[1:])
    ]


NAMES = [f"{check} {' '.join(arguments)}" for check, arguments, *_ in ROWS]


@pytest.mark.parametrize(("check", "wrong", "severity", "fragments", "right"), ROWS, ids=NAMES)
def test_mistake_is_told_and_its_cure_passes(
    checker: Checker, check: str, wrong: list[str], severity: bool, fragments: list[str], right: list[str]
) -> None:
    said = told(checker, wrong)
    assert matching(said, fragments, severity), "\n".join(map(str, said))
    experiment = checker.check(right)  # not refused
    own = next(c for c in CHECKS if c.__name__ == check)
    key = fragments[0].partition(":")[0]
    assert [p for p in own(experiment.config) if p.key == key] == []


def test_every_check_has_a_row() -> None:
    in_a_test_of_its_own = {"shell_is_heard"}
    assert {c.__name__ for c in CHECKS} == {row[0] for row in ROWS} | in_a_test_of_its_own


def test_variables_of_the_shell_that_sbatch_would_obey_are_told(checker: Checker, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PARTITION", "TIMELIMIT", "ARRAY_INX", "RESERVATION", "OPEN_MODE", "DEBUG", "ACCOUNT"):
        monkeypatch.setenv(f"SBATCH_{name}", "x")
    monkeypatch.setenv("SLURM_ACCOUNT", "x")
    said = [p for p in checker.check([JUWELS]).warnings if "SBATCH_" in p.message]
    assert {p.key for p in said} == {"launch.sbatch"}
    tail = "is set in your shell; longview does not pass it on;"
    assert [p.message for p in said] == [
        f"SBATCH_ARRAY_INX {tail} give a sweep (seed=1,2,3 -m), launch.parallel if you mean it",
        f"SBATCH_OPEN_MODE {tail} logs are appended to",
        f"SBATCH_PARTITION {tail} give resources.purpose if you mean it",
        f"SBATCH_RESERVATION {tail} give launch.sbatch.reservation if you mean it",
        f"SBATCH_TIMELIMIT {tail} give resources.time if you mean it",
    ], "an account is read where the cluster says so, and SBATCH_DEBUG asks for nothing"
    assert [p for p in checker.check([]).warnings if "SBATCH_" in p.message] == [], "no queue, nothing to tell"
    monkeypatch.setenv("SBATCH_ACCOUNT", "x")
    bender = [p.message for p in checker.check(["cluster=bender"]).warnings if "SBATCH_ACCOUNT" in p.message]
    assert bender == [f"SBATCH_ACCOUNT {tail} give launch.account if you mean it"]


def test_everything_is_said_at_once(checker: Checker) -> None:
    wrong = ["resources.time=30h", "resources.nodes=500", "resources.devices=5", "launch.sbatch={time: 3, gpus-per-task: 1}"]
    keys = {p.key for p in told(checker, [JUWELS, *wrong, "trainer.max_epochs=x"]) if not p.warning}
    expected = {"resources.time", "resources.nodes", "resources.devices", "launch.sbatch.time", "launch.sbatch.gpus-per-task"}
    assert keys == expected | {"launch.account", "trainer.max_epochs"}


def test_a_wrong_value_does_not_silence_other_checks(checker: Checker) -> None:
    said = [str(p) for p in told(checker, [JUWELS, HERE, "resources.memory_gb=much", "resources.time=30h"])]
    assert any(line.startswith("resources.memory_gb: 'much'") for line in said)
    assert any(line.startswith("resources.time: 1-06:00:00 is more than") for line in said)


def test_a_cluster_file_without_purposes(tmp_path: Path) -> None:
    shutil.copytree(CONF, tmp_path / "conf")
    (tmp_path / "conf/cluster/new.yaml").write_text("name: new\nscheduler: slurm\n")
    said = told(Checker(tmp_path / "conf"), ["cluster=new", "resources.time=1h"])
    assert matching(said, ["cluster.partitions: 'new' names no purposes"], ERROR)


@pytest.mark.parametrize("name", ["SLURM_ACCOUNT", "SBATCH_ACCOUNT", "BUDGET_ACCOUNTS"])
def test_account_from_the_environment(checker: Checker, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")
    assert not matching(told(checker, [JUWELS]), ["launch.account"], ERROR)


def test_where_slurm_can_be_asked_a_missing_account_is_its_to_name(checker: Checker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_slurm_is_here", lambda: True)
    assert matching(told(checker, [JUWELS]), ["launch.account:", "if SLURM names just one of yours, it is taken"], WARNING)


def test_a_relative_root_on_a_node_local_place_is_only_warned_of(checker: Checker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/tmp")
    assert matching(told(checker, [JUWELS, HERE]), ["run.root: 'runs' is in /tmp, which every node has for itself"], WARNING)
    monkeypatch.setenv("LONGVIEW_TWIN", "juwels")  # a rehearsal: every node is this machine
    assert not matching(told(checker, [JUWELS, HERE]), ["run.root"], WARNING)
    monkeypatch.delenv("LONGVIEW_TWIN")
    monkeypatch.chdir("/")
    assert not matching(told(checker, [JUWELS, HERE]), ["run.root"], WARNING)


@pytest.mark.parametrize("name", sorted(p.stem for p in (CONF / "cluster").glob("*.yaml")))
def test_no_purpose_of_a_cluster_file_is_refused(checker: Checker, name: str) -> None:
    """Every purpose is a job once account, time and the smallest number of nodes are given."""
    base = [f"cluster={name}"] if name == "local" else [f"cluster={name}", HERE, "resources.time=30m"]
    for purpose, partition in checker.check(base).config.cluster.partitions.items():
        checker.check([*base, f"resources.purpose={purpose}", f"resources.nodes={partition.min_nodes or 1}"])


def test_checks_cost_less_than_half_a_millisecond_per_point(checker: Checker) -> None:
    experiment: Any = checker.check([LEONARDO, HERE]).config
    times = []
    for _ in range(50):
        start = time.perf_counter()
        for check in CHECKS:
            list(check(experiment))
        times.append(time.perf_counter() - start)
    assert min(times) < 0.0005, f"{min(times) * 1e3:.2f} ms"
