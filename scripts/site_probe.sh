#!/usr/bin/env bash
# What a SLURM site is like, for writing or checking conf/cluster/<site>.yaml. Only reads: it submits nothing and writes no file.
#
#   on a login node:                          bash scripts/site_probe.sh > login.txt
#   inside a short job, two nodes if you can: srun --ntasks-per-node=1 --label bash scripts/site_probe.sh > job.txt
#
# Accounts, groups and user names are taken out of what SLURM says; read the two files once before you pass them on.
# Where jobs need an account, set SBATCH_ACCOUNT first: what SLURM says to an impossible job is part of the answer.
# PROBE_URL is the address that is tried to find out about internet access (default https://example.org/).
set -u

url="${PROBE_URL:-https://example.org/}"
has() { command -v "$1" >/dev/null 2>&1; }
title() { printf '\n### %s\n' "$1"; }
address() { getent ahostsv4 "$1" 2>/dev/null | awk 'NR == 1 { print $1 }'; }
hide() { sed -E -e 's/((Allow|Deny)(Accounts|Groups)|Slurmd?User)( *= *)[^ ]*/\1\4.../g' -e "s/\b${USER:-nobody}\b/<you>/g"; }

machine() {
    title machine
    hostname -f
    date -u '+%Y-%m-%d'
    uname -m
    if [ -r /etc/FZJ/systemname ]; then echo "/etc/FZJ/systemname: $(cat /etc/FZJ/systemname)"; fi
    echo "SYSTEMNAME: ${SYSTEMNAME:-not set}"
    echo "CPUs of this process: $(nproc) ($(grep Cpus_allowed_list /proc/self/status | awk '{ print $2 }'))"
    lscpu 2>/dev/null | grep -E '^(Model name|Socket|Core|Thread|NUMA node\(s\))'
    free -g | awk '/^Mem/ { print "memory: " $2 " GB" }'
    if has nvidia-smi; then nvidia-smi -L | sed -E 's/ \(UUID.*//'; elif has rocm-smi; then rocm-smi --showproductname; else echo "no GPU tool"; fi
}

scheduler() {
    title "SLURM"
    sinfo -V
    local wanted='ClusterName|MaxArraySize|MaxJobCount|EnforcePartLimits|KillOnBadExit|KillWait|JobRequeue|Preempt(Mode|Type)'
    wanted="$wanted|TrackWCKey|DefMemPer|MaxMemPer|SelectType|TaskPlugin|AccountingStorageEnforce"
    scontrol show config | grep -E "^($wanted)" | hide
    title "partitions"
    scontrol show partition --oneliner | hide
    title "kinds of nodes: partition, time limit, nodes, CPUs, memory in MB, GPUs, features"
    sinfo --noheader --format='%R|%l|%D|%c|%m|%G|%f' | sort -u
    if has sacctmgr; then
        title "limits of your associations (partition, QoS, jobs, submitted jobs, resources)"
        sacctmgr --noheader --parsable2 show assoc user="${USER:-}" format=Partition,QOS,MaxJobs,MaxSubmit,GrpTRES 2>&1 | sort -u | hide
        title "QoS (name, time, per user: resources, jobs, submitted jobs; minimum; may pre-empt)"
        sacctmgr --noheader --parsable2 show qos format=Name,MaxWall,MaxTRESPU,MaxJobsPU,MaxSubmitPU,MinTRES,Preempt 2>&1
    fi
    title "does accounting answer; is an impossible time refused"
    if sacct --noheader -X -S now-1hour -o state >/dev/null 2>&1; then echo "sacct: yes"; else echo "sacct: no"; fi
    sbatch --test-only --time=400-0 --wrap=true 2>&1 | tail -n 1 | hide   # --test-only puts nothing into the queue
}

inside_job() {
    title "how ranks would find one another"
    local first name
    first="$(scontrol show hostnames "${SLURM_JOB_NODELIST:-}" | head -n 1)"
    for name in "$first" "${first}i" "$first.$(hostname -d)"; do echo "$name: $(address "$name")"; done
    title "what this task was given"
    env | grep -E '^(CUDA_VISIBLE_DEVICES|ROCR_VISIBLE_DEVICES|SLURM_CPUS_PER_TASK|SRUN_CPUS_PER_TASK|SLURM_GPUS|SLURM_MEM|TMPDIR)' | hide
}

surroundings() {
    title "network interfaces"
    if has ip; then ip -brief link | awk '{ print $1, $2 }'; else ls /sys/class/net; fi
    if [ -d /sys/class/infiniband ]; then echo "adapters: $(ls /sys/class/infiniband | tr '\n' ' ')"; fi
    title "internet"
    if ! has curl; then echo "no curl, not tried"; elif curl -s -m 8 -o /dev/null "$url"; then echo "yes"; else echo "no"; fi
    title "places"
    df -hP /tmp /dev/shm "${TMPDIR:-/tmp}" 2>/dev/null | awk 'NR == 1 || !seen[$6]++ { print $2, $4, $6 }' | hide
    local name
    for name in HOME PROJECT WORK SCRATCH CINECA_SCRATCH FSCRATCH FAST DATA TMPDIR; do
        if [ -n "${!name:-}" ]; then echo "$name is set"; fi
    done
    if has ws_list; then echo "workspace tools: yes"; fi
    title "modules"
    if type module >/dev/null 2>&1; then
        module --terse avail 2>&1 | grep -iE '^(stages|python|cuda|rocm|nccl|gcc|pytorch|apptainer|singularity|cineca-ai)/' | sort -u | head -n 60
    else
        echo "none"
    fi
}

machine
if [ -n "${SLURM_JOB_ID:-}" ]; then inside_job; elif has sinfo; then scheduler; fi
surroundings
exit 0
