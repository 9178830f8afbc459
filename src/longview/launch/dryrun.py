"""What ``launch.dry_run=true`` prints: script, srun line, environment, array plan, cost, and what was checked."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace

from longview.errors import Problem
from longview.fields import clock
from longview.launch.plan import Chunk, cost
from longview.launch.script import Job, batch_script, environment, srun_line


def report(plan: Sequence[Chunk], jobs: Sequence[Job], *, checks: Sequence[str], warnings: Sequence[Problem]) -> str:
    """The whole text; ``jobs`` are those of the plan's chunks."""
    lines: list[str] = []
    scripts: list[str] = []
    for chunk, job in zip(plan, jobs, strict=True):
        text = batch_script(chunk.config, chunk.request, job)
        as_first = replace(job, number=jobs[0].number, count=jobs[0].count, uid=jobs[0].uid)
        same = batch_script(chunk.config, chunk.request, as_first)
        if scripts and same == scripts[0]:
            lines += [f"# batch script {job.number}: as script {jobs[0].number}, with {len(chunk.runs)} array elements", ""]
            continue
        scripts.append(text)
        lines += [f"# batch script {job.number} " + "-" * 80, text.rstrip(), ""]
    first, job = plan[0], jobs[0]
    lines += ["# srun line", " ".join(shlex.quote(w) for w in srun_line(first.config, first.request, job)), ""]
    lines += ["# environment of the ranks (beside that of the shell that submits)"]
    lines += [f"{key}={value}" for key, value in environment(first.config, first.request).items()]
    lines += ["", "# plan", *_plan(plan, jobs), "", *_cost(plan), ""]
    lines += [f"# checks passed: {', '.join(checks)}", *(f"# warning: {w}" for w in warnings)]
    return "\n".join(lines)


def _plan(plan: Sequence[Chunk], jobs: Sequence[Job]) -> list[str]:
    found = []
    for chunk, job in zip(plan, jobs, strict=True):
        r, n = chunk.request, len(chunk.runs)
        array = f"array 0-{n - 1}, {job.parallel or n} at once" if n > 1 else "one job"
        size = f"{r.nodes} node{'s' if r.nodes > 1 else ''} x {r.tasks} process{'es' if r.tasks > 1 else ''}"
        size += f" x {r.cpus} CPUs" if r.cpus else ""
        size += f", {r.gpus} GPUs per node" if r.gpus else ""
        where = r.partition or "the site's default partition"
        limit = clock(r.time) if r.time else "the site's default time"
        found.append(f"sbatch {job.number}: {array}: {size}, {where}{f' ({r.qos})' if r.qos else ''}, at most {limit}")
        found += [f"  [{i}] {run.point.folder}" for i, run in enumerate(chunk.runs[:5])]
        found += [f"  ... and {n - 5} more"] if n > 5 else []
    return found


def _cost(plan: Sequence[Chunk]) -> list[str]:
    total = cost(plan)
    hours = []
    if total.gpu_hours:
        hours.append(f"{_hours(total.gpu_hours)} GPU-hours")
    if total.core_hours is not None:
        hours.append(f"{_hours(total.core_hours)} core-hours")
    text = " and ".join(hours) or "unknown, since there is no time limit"
    return [f"# cost at most: {text} ({total.jobs} run{'s' if total.jobs > 1 else ''}, each until its time limit)"]


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"
