"""A sweep to SLURM: decide what is new, copy the code, make run directories, call sbatch once per chunk, return to the prompt."""

from __future__ import annotations

import secrets
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from longview.config.experiment import Checker, Sweep
from longview.launch import dryrun, sbatch, snapshot
from longview.launch.identity import place_of, point_of, sweep_id, sweep_name
from longview.launch.lock import locked
from longview.launch.pin import pinned
from longview.launch.plan import Chunk, Run, chunks
from longview.launch.script import Job, batch_script
from longview.launch.standing import Standing, standings
from longview.runs.directory import HEADER, RunDirectory, config_text, write_atomically
from longview.runs.sweep import CODE, Submission, SweepDirectory, SweepError

OK, REFUSED = 0, 2


def submit(sweep: Sweep, argv: Sequence[str]) -> int:
    """Submit every point that is not done or under way; returns the exit code.

    Raises:
        LongviewError: With everything that keeps it from being submitted; nothing was written then.
    """
    launch = sweep.points[0].config.launch
    directory, identity = SweepDirectory(place_of(sweep)), sweep_id(sweep)
    root = directory.path.parent
    runs = _unique([Run(point_of(sweep, e, identity), e) for e in sweep.points])
    chosen = _choose(directory, runs, retry=launch.retry, at_most=launch.at_most)
    code = snapshot.read()
    from longview.launch.ask import ask

    answers = ask([run.experiment for run in chosen] or sweep.points[:1])
    plan = chunks(chosen, array_limit=answers.array_limit, account=answers.account)
    jobs = _jobs(plan, directory, code.place(root))
    scripts = [batch_script(c.config, c.request, j) for c, j in zip(plan, jobs, strict=True)]
    answers.judge([(run.point.folder, run.experiment) for run in chosen], scripts, dry=launch.dry_run)
    warnings = list(dict.fromkeys(w for e in sweep.points for w in e.warnings)) + answers.warnings
    if launch.dry_run:
        print(dryrun.report(plan, jobs, checks=answers.checks, warnings=warnings) if plan else "nothing is left to submit")
        print(f"# nothing was submitted or written; the runs would lie in {directory.path}")
        return OK
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if not plan:
        print(f"nothing to submit: {directory.path}")
        return OK
    with locked(directory):
        written = _Written(directory)
        try:
            written.code = None if code.place(root).is_dir() else code.place(root)
            code.write(root)
            directory.submissions.mkdir(exist_ok=True)
            _write(directory, sweep, argv, identity, chosen, written)
            for chunk, job in zip(plan, jobs, strict=True):
                _submit(directory, chunk, job, code.hash, answers.site.config.get("ClusterName"), written)
        except BaseException:
            written.take_back()
            raise
    _farewell(directory, plan)
    return OK


def resubmit(directory: SweepDirectory, run_ids: Sequence[str], mode: str = "fit") -> int:
    """Put runs of a sweep back into the queue, with the configuration and the code they have; returns the exit code.

    Raises:
        LongviewError: With everything that keeps them from being submitted; nothing was written then.
    """
    points = [p for p in directory.points() if p.id in set(run_ids)]
    jobs = directory.jobs()
    lost = [p for p in points if p.id not in jobs or not _code_of(directory, jobs[p.id][1]).is_dir()]
    if lost:
        names = ", ".join(p.folder for p in lost)
        raise SweepError(f"the code that {names} ran is gone; give the command of the sweep again with launch.retry=true")
    checker = Checker()
    runs = [Run(p, checker.load(directory.run_path(p) / "config.yaml")) for p in points]
    by_code: dict[str, list[Run]] = {}
    for run in runs:
        by_code.setdefault(str(jobs[run.point.id][1].code), []).append(run)
    from longview.launch.ask import ask

    answers = ask([run.experiment for run in runs])
    everything: list[tuple[str, Chunk]] = []
    for code, members in by_code.items():
        everything += [(code, c) for c in chunks(members, array_limit=answers.array_limit, account=answers.account)]
    plan = [chunk for _, chunk in everything]
    made = [
        replace(job, code=directory.path.parent / CODE / code, mode=mode)
        for (code, _), job in zip(everything, _jobs(plan, directory, directory.path), strict=True)
    ]
    scripts = [batch_script(c.config, c.request, j) for c, j in zip(plan, made, strict=True)]
    answers.judge([(run.point.folder, run.experiment) for run in runs], scripts, dry=False)
    with locked(directory):
        written = _Written(directory)
        try:
            for run in runs:  # how the last attempt ended stays in its record and logs
                (directory.run_path(run.point) / "exit.json").unlink(missing_ok=True)
            for (code, chunk), job in zip(everything, made, strict=True):
                _submit(directory, chunk, job, code, answers.site.config.get("ClusterName"), written)
        except BaseException:
            written.take_back()
            raise
    _farewell(directory, plan)
    return OK


def _code_of(directory: SweepDirectory, submission: Submission) -> Path:
    return directory.path.parent / CODE / str(submission.code)


def _unique(runs: Sequence[Run]) -> list[Run]:
    """Points that come to the same computation are one run."""
    return list({run.point.id: run for run in runs}.values())


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
    chosen = [r for r in runs if r in by.get(Standing.NEW, []) or (retry and r in by.get(Standing.ENDED, []))]
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


class _Written:
    """What this command has made so far, so that a refusal leaves nothing half-made."""

    def __init__(self, directory: SweepDirectory) -> None:
        self.directory = directory
        self.code: Path | None = None
        self.runs: dict[str, Path] = {}
        self.files: list[Path] = []
        self.submitted: set[str] = set()
        self.before = directory.record_file.read_text(encoding="utf-8") if directory.record_file.is_file() else None

    def take_back(self) -> None:
        """Remove what SLURM has not taken; what it has taken stays."""
        for identity, path in self.runs.items():
            if identity not in self.submitted:
                shutil.rmtree(path, ignore_errors=True)
        for path in self.files:
            path.unlink(missing_ok=True)
        if self.submitted:
            record = self.directory.record()
            record.pop("points")
            kept = [p for p in self.directory.points() if p.id not in self.runs or p.id in self.submitted]
            self.directory.write(record, kept)
        elif self.before is not None:
            write_atomically(self.directory.record_file, self.before)
        else:
            shutil.rmtree(self.directory.path, ignore_errors=True)
        if self.code is not None and not self.submitted:
            shutil.rmtree(self.code, ignore_errors=True)
        for folder in (self.directory.path.parent / CODE, self.directory.path.parent):
            with suppress(OSError):
                folder.rmdir()


def _write(
    directory: SweepDirectory, sweep: Sweep, argv: Sequence[str], identity: str, runs: Sequence[Run], written: _Written
) -> None:
    known = directory.points() if directory.record_file.is_file() else []
    record: dict[str, Any] = directory.record() if known else {"id": identity, "name": sweep_name(sweep), "created": _now()}
    record.pop("points", None)
    for run in runs:
        path, text = directory.run_path(run.point), config_text(pinned(run.experiment))
        about = {"id": run.point.id, "name": run.experiment.name, "sweep": directory.path.name, "values": run.point.values}
        about |= {"command": list(argv), "overrides": run.experiment.overrides}
        if (path / "config.yaml").is_file():  # tried again: what is computed is the same, where and how long may differ
            write_atomically(path / "config.yaml", HEADER + text)
            (path / "exit.json").unlink(missing_ok=True)
        else:
            RunDirectory.make(path, about, text, durable=False)
            written.runs[run.point.id] = path
    new = [run.point for run in runs if run.point.id not in {p.id for p in known}]
    directory.write(
        {**record, "keys": sweep.keys, "cluster": sweep.points[0].config.cluster.name, "command": list(argv)}, [*known, *new]
    )


def _submit(directory: SweepDirectory, chunk: Chunk, job: Job, code: str, slurm: str | None, written: _Written) -> None:
    ids = [run.point.id for run in chunk.runs]
    listed, script = Path(f"{job.stem}.txt"), directory.script(job.number)
    request = {**asdict(chunk.request), "time": chunk.request.time.total_seconds() if chunk.request.time else None}
    request |= {"slurm_cluster": slurm, "account": None}  # names of accounts are not kept on disk
    pending = Submission(
        job.number, job.uid, "submitting", None, job.count > 1, ids, chunk.request.cluster, request, code, _now()
    )
    own = [listed, script, directory.submissions / f"{job.number:03d}.json"]
    written.files += own
    write_atomically(listed, "".join(f"{directory.run_path(run.point)}\n" for run in chunk.runs))
    write_atomically(script, batch_script(chunk.config, chunk.request, job))
    directory.write_submission(pending)
    try:
        number = sbatch.submit(script, job.uid)
    except sbatch.SbatchError as error:
        if error.lost:  # it may be in the queue: keep the record, so that the next command can tell
            written.submitted.update(ids)
            written.files = [path for path in written.files if path not in own]
        raise
    directory.write_submission(replace(pending, state="submitted", job=number))
    written.submitted.update(ids)
    written.files = [path for path in written.files if path not in own]
    array = f"_[0-{job.count - 1}]" if job.count > 1 else ""
    print(f"job {number}{array}: {job.count} run{'s' if job.count > 1 else ''}", flush=True)


def _farewell(directory: SweepDirectory, plan: Sequence[Chunk]) -> None:
    count = sum(len(chunk.runs) for chunk in plan)
    first = plan[0].runs[0].point
    print(f"{count} run{'s' if count > 1 else ''} in {directory.path}")
    target = directory.path.name if count > 1 else first.id
    for text in (f"longview status {target}", f"longview logs -f {first.id}", f"longview cancel {target}"):
        print(f"  {text}")
    info = plan[0].config.cluster.info
    if info.monitor:
        print(f"  the site's own view: {info.monitor}")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
