"""A sweep to SLURM: decide what is new, copy the code, make run directories, call sbatch once per chunk, return to the prompt."""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from longview.config.experiment import Checker, Sweep
from longview.errors import LongviewError, Problem
from longview.launch import dryrun, sbatch, snapshot
from longview.launch.ask import Answers, ask
from longview.launch.identity import place_of, point_of, sweep_id, sweep_name
from longview.launch.lock import locked
from longview.launch.pin import pinned
from longview.launch.plan import Chunk, Run, chunks
from longview.launch.script import Job, batch_script
from longview.launch.signals import ENDING, collected
from longview.launch.standing import Standing, standings
from longview.launch.transaction import Transaction
from longview.runs.directory import config_text
from longview.runs.find import root_of
from longview.runs.sweep import CODE, Submission, SweepDirectory, SweepError

OK = 0


@dataclass(frozen=True)
class Plan:
    """What is to be submitted: chunks, the script settings of each, and what SLURM says about them."""

    chunks: list[Chunk]
    jobs: list[Job]
    answers: Answers

    @property
    def runs(self) -> list[Run]:
        """Every run of it."""
        return [run for chunk in self.chunks for run in chunk.runs]

    def judged(self, *, dry: bool) -> Plan:
        """Itself; raises LongviewError with everything SLURM would refuse."""
        pairs = zip(self.chunks, self.jobs, strict=True)
        scripts = [(batch_script(c.config, c.request, j), c.request) for c, j in pairs]
        self.answers.judge([(run.point.folder, run.experiment) for run in self.runs], scripts, dry=dry)
        return self


def submit(sweep: Sweep, argv: Sequence[str]) -> int:
    """Submit every point that is not done or under way; returns the exit code.

    Raises:
        LongviewError: With everything that keeps it from being submitted; nothing was written then.
    """
    directory, identity = SweepDirectory(place_of(sweep)), sweep_id(sweep)
    every = [Run(point_of(sweep, e, identity), e) for e in sweep.points]
    runs = list({run.point.id: run for run in every}.values())  # points that come to the same computation are one run
    if len(runs) < len(every):
        print(f"{len(every)} points, of which {len(runs)} differ")
    if sweep.points[0].config.launch.dry_run:
        plan, _ = _planned(directory, sweep, runs, dry=True)
        warnings = [*_warnings(sweep), *plan.answers.warnings]
        print(dryrun.report(plan.chunks, plan.jobs, checks=plan.answers.checks, warnings=warnings) if plan.chunks else "")
        print(f"# nothing was submitted or written; the runs would lie in {directory.path}")
        return OK
    with locked(directory):
        plan, code = _planned(directory, sweep, runs, dry=False)
        for warning in (*_warnings(sweep), *plan.answers.warnings):
            print(f"warning: {warning}", file=sys.stderr)
        if not plan.chunks:
            print(f"nothing to submit: {directory.path}")
            return OK
        with Transaction(directory) as written:
            written.copy_code(code)
            directory.submissions.mkdir(exist_ok=True)
            _write(directory, sweep, argv, plan.runs, written)
            _call(directory, plan, written)
    _farewell(directory, plan.chunks)
    return OK


def resubmit(directory: SweepDirectory, run_ids: Sequence[str], mode: str = "fit") -> int:
    """Put runs of a sweep back into the queue, with the configuration and the code they have; returns the exit code.

    ``mode``: "fit" goes on with runs that ended without a result, "test" scores runs again.

    Raises:
        LongviewError: With everything that keeps them from being submitted; nothing was written then.
    """
    with locked(directory):
        points = [p for p in directory.points() if p.id in set(run_ids)]
        _refuse(directory, [p.id for p in points], mode)
        jobs = directory.jobs()
        lost = [p.folder for p in points if p.id not in jobs or not _code(directory, jobs[p.id][1]).is_dir()]
        if lost:
            text = f"the code that {', '.join(lost)} ran is gone"
            raise SweepError(f"{text}; give the command of the sweep again with launch.retry=true")
        checker = Checker()
        by_code: dict[Path, list[Run]] = {}
        for point in points:
            run = Run(point, checker.load(directory.run_path(point) / "config.yaml"))
            by_code.setdefault(_code(directory, jobs[point.id][1]), []).append(run)
        answers = ask([run.experiment for members in by_code.values() for run in members])
        parts = [(code, chunk) for code, members in by_code.items() for chunk in _chunks(members, answers)]
        made = _jobs([chunk for _, chunk in parts], directory, directory.path)
        with_code = [replace(job, code=code, mode=mode) for (code, _), job in zip(parts, made, strict=True)]
        plan = Plan([chunk for _, chunk in parts], with_code, answers).judged(dry=False)
        with Transaction(directory) as written:
            for run in plan.runs:
                written.forget_end(run.point.id, directory.run_path(run.point))
            _call(directory, plan, written)
    _farewell(directory, plan.chunks)
    return OK


def _code(directory: SweepDirectory, submission: Submission) -> Path:
    return directory.path.parent / CODE / str(submission.code)


def _refuse(directory: SweepDirectory, ids: Sequence[str], mode: str) -> None:
    """Two jobs must not work in one run directory: raises SweepError for runs that wait or run, or may."""
    known = standings(directory, set(ids))
    wrong = []
    for identity in ids:
        standing = known.get(identity, Standing.NEW)
        if standing in (Standing.ACTIVE, Standing.UNKNOWN):
            wrong.append(f"run {identity} is {standing.value}; longview cancel {identity} ends it")
        elif standing is Standing.FINISHED and mode == "fit":
            wrong.append(f"run {identity} has finished; run.test={directory.path / identity} scores it again")
    if wrong:
        raise SweepError("; ".join(wrong))


def _planned(directory: SweepDirectory, sweep: Sweep, runs: Sequence[Run], *, dry: bool) -> tuple[Plan, snapshot.Snapshot]:
    """What is left to submit, and the code it will run."""
    launch = sweep.points[0].config.launch
    chosen = _choose(directory, runs, retry=launch.retry, at_most=launch.at_most)
    code = snapshot.read()
    answers = ask([run.experiment for run in chosen] or sweep.points[:1], patient=not dry)
    parts = _chunks(chosen, answers)
    return Plan(parts, _jobs(parts, directory, code.place(directory.path.parent)), answers).judged(dry=dry), code


def _chunks(runs: Sequence[Run], answers: Answers) -> list[Chunk]:
    return chunks(runs, array_limit=answers.array_limit, account=answers.account)


def _warnings(sweep: Sweep) -> list[Problem]:
    return list(dict.fromkeys(w for e in sweep.points for w in e.warnings))


def _choose(directory: SweepDirectory, runs: Sequence[Run], *, retry: bool, at_most: int | None) -> list[Run]:
    """What is to be submitted; what is left out is said."""
    known = standings(directory, {run.point.id for run in runs}) if directory.record_file.is_file() else {}
    by: dict[Standing, list[Run]] = {}
    for run in runs:
        by.setdefault(known.get(run.point.id, Standing.NEW), []).append(run)
    advice = {
        Standing.FINISHED: "skipped; launch.sweep=<name> runs them again",
        Standing.ACTIVE: "left alone",
        Standing.UNKNOWN: "left alone; try again when SLURM answers",
        Standing.ENDED: "submitted again" if retry else "left alone; launch.retry=true submits them again",
    }
    for standing, text in advice.items():
        if members := by.get(standing):
            print(f"{len(members)} of {len(runs)} runs {standing.value}: {text}", flush=True)
    wanted = {Standing.NEW, Standing.ENDED} if retry else {Standing.NEW}
    chosen = [run for run in runs if known.get(run.point.id, Standing.NEW) in wanted]
    if at_most is not None and len(chosen) > at_most:
        print(f"{at_most} of {len(chosen)} now (launch.at_most); the same command later submits the rest", flush=True)
        chosen = chosen[:at_most]
    return chosen


def _jobs(plan: Sequence[Chunk], directory: SweepDirectory, code: Path) -> list[Job]:
    numbers = [int(p.stem) for p in directory.submissions.glob("[0-9]*.json") if p.stem.isdecimal()]
    following = max(numbers, default=0) + 1
    jobs = []
    for i, chunk in enumerate(plan):
        cluster, launch = chunk.config.cluster, chunk.config.launch
        jobs.append(
            Job(
                name=directory.path.name,
                uid=f"longview:{directory.path.name}:{secrets.token_hex(4)}",
                folder=directory.path,
                number=following + i,
                code=code,
                python=cluster.python or sys.executable,
                count=len(chunk.runs),
                parallel=launch.parallel or cluster.limits.array_parallelism,
            )
        )
    return jobs


def _write(directory: SweepDirectory, sweep: Sweep, argv: Sequence[str], runs: Sequence[Run], written: Transaction) -> None:
    """Run directories and the sweep's record."""
    known = directory.points() if directory.record_file.is_file() else []
    record: dict[str, Any] = (
        directory.record() if known else {"id": sweep_id(sweep), "name": sweep_name(sweep), "created": _now()}
    )
    record.pop("points", None)
    for run in runs:
        about: dict[str, Any] = {
            "id": run.point.id,
            "name": run.experiment.name,
            "sweep": directory.path.name,
            "values": run.point.values,
        }
        about |= {"command": list(argv), "overrides": run.experiment.overrides}
        written.run(run.point.id, directory.run_path(run.point), about, config_text(pinned(run.experiment)))
    new = [run.point for run in runs if run.point.id not in {p.id for p in known}]
    record |= {"keys": sweep.keys, "cluster": sweep.points[0].config.cluster.name, "command": list(argv)}
    directory.write(record, [*known, *new])


def _call(directory: SweepDirectory, plan: Plan, written: Transaction) -> None:
    """sbatch for every chunk. Signals wait until its answer is on record: a job nobody knows of would train beside the next."""
    for chunk, job in zip(plan.chunks, plan.jobs, strict=True):
        with collected(ENDING) as received:
            number = _one(directory, chunk, job, plan.answers.site.config.get("ClusterName"), written, received)
        array = f"_[0-{job.count - 1}]" if job.count > 1 else ""
        print(f"job {number}{array}: {job.count} run{'s' if job.count > 1 else ''}", flush=True)
        if received:
            raise KeyboardInterrupt


def _one(
    directory: SweepDirectory, chunk: Chunk, job: Job, slurm: str | None, written: Transaction, received: Sequence[object]
) -> str:
    ids = [run.point.id for run in chunk.runs]
    request = {**asdict(chunk.request), "time": chunk.request.time.total_seconds() if chunk.request.time else None}
    request |= {"slurm_cluster": slurm, "account": None}  # names of accounts are not kept on disk
    code = job.code.name
    pending = Submission(
        job.number, job.uid, "submitting", None, job.count > 1, ids, chunk.request.cluster, request, code, _now()
    )
    script = directory.script(job.number)
    written.file(Path(f"{job.stem}.txt"), "".join(f"{directory.run_path(run.point)}\n" for run in chunk.runs), ids)
    written.file(script, batch_script(chunk.config, chunk.request, job), ids)
    written.files[directory.submission_file(job.number)] = ids
    directory.write_submission(pending)
    written.taken.update(ids)  # from here on it may be in the queue, whatever happens to this process
    try:
        number = sbatch.submit(script, job.uid, stop=lambda: bool(received))
    except sbatch.SbatchError as error:
        if not error.lost:
            written.taken.difference_update(ids)
        raise
    directory.write_submission(replace(pending, state="submitted", job=number))
    return number


def _farewell(directory: SweepDirectory, plan: Sequence[Chunk]) -> None:
    count = sum(len(chunk.runs) for chunk in plan)
    first = plan[0].runs[0].point
    print(f"{count} run{'s' if count > 1 else ''} in {directory.path}")
    if _usual(directory.path.parent):
        run, sweep = first.id, directory.path.name if count > 1 else first.id
    else:  # names are looked for under ./runs alone
        run, sweep = shlex.quote(str(directory.run_path(first))), shlex.quote(str(directory.path))
    for text in (f"longview status {sweep}", f"longview logs -f {run}", f"longview cancel {sweep}"):
        print(f"  {text}")
    info = plan[0].config.cluster.info
    if info.monitor:
        print(f"  the site's own view: {info.monitor}")


def _usual(root: Path) -> bool:
    try:
        return os.path.samefile(root, root_of(None))
    except (OSError, LongviewError):
        return False


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
