"""A sweep on this machine: its points one after another, at the places their identity gives them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress

from longview.config.experiment import CheckedExperiment, Sweep
from longview.errors import LongviewError
from longview.launch.identity import place_of, point_of, sweep_id, sweep_name
from longview.launch.local import run_in, said
from longview.launch.pin import pinned
from longview.launch.plan import Run
from longview.launch.standing import Standing, standings
from longview.runs.directory import RunDirectory, config_text
from longview.runs.sweep import Point, SweepDirectory

OK, FAILED, STOPPED = 0, 1, 130


def sweep_here(sweep: Sweep, argv: Sequence[str]) -> int:
    """Run every point that is not finished; one that fails does not end the sweep. Returns the exit code."""
    launch = sweep.points[0].config.launch
    directory, identity = SweepDirectory(place_of(sweep)), sweep_id(sweep)
    runs = list({run.point.id: run for run in (Run(point_of(sweep, e, identity), e) for e in sweep.points)}.values())
    points = [run.point for run in runs]
    _record(directory, sweep, points, argv, identity)
    known = standings(directory, {point.id for point in points}, scheduled=False)
    failed: list[str] = []
    begun = 0
    for i, run in enumerate(runs, 1):
        point, standing = run.point, known.get(run.point.id, Standing.NEW)
        shown = " ".join(f"{key}={value}" for key, value in point.values.items()) or "(no overrides)"
        head = f"{'' if i == 1 else chr(10)}[{i}/{len(points)}] {shown}"
        if standing is Standing.FINISHED:
            print(f"{head}: finished before, skipped (launch.sweep=<name> runs it again)", flush=True)
        elif standing is Standing.ACTIVE:
            print(f"{head}: runs in another process, left alone", flush=True)
        elif standing is Standing.ENDED and not launch.retry:
            print(f"{head}: did not end well before, left alone (launch.retry=true continues it)", flush=True)
            failed.append(shown)
        elif launch.at_most is not None and begun >= launch.at_most:
            print(f"{head}: left for later (launch.at_most)", flush=True)
        else:
            print(head, flush=True)
            begun += 1
            code = _one(directory, point, run.experiment, argv)
            if code == STOPPED:
                raise KeyboardInterrupt  # the user stopped the sweep, not this point alone
            failed += [shown] if code else []
    if failed:
        print(f"\n{len(failed)} of {len(points)} points failed: {'; '.join(failed)}", file=sys.stderr)
        return FAILED
    print(f"\nall {len(points)} points finished" if len(points) > 1 else "\nfinished")
    print(f"compare them: longview table {directory.path.name}")
    return OK


def _record(directory: SweepDirectory, sweep: Sweep, points: Sequence[Point], argv: Sequence[str], identity: str) -> None:
    known = directory.points() if directory.record_file.is_file() else []
    record = {"id": identity, "name": sweep_name(sweep), "keys": sweep.keys, "cluster": "local", "command": list(argv)}
    try:
        directory.path.mkdir(parents=True, exist_ok=True)
        directory.write(record, [*known, *(p for p in points if p.id not in {k.id for k in known})])
    except OSError as error:
        raise LongviewError(f"run.root: {directory.path} cannot be written: {error.strerror}") from error


def _one(directory: SweepDirectory, point: Point, experiment: CheckedExperiment, argv: Sequence[str]) -> int:
    """One point; what goes wrong with it must not take the sweep along."""
    try:
        path = directory.run_path(point)
        about = {"id": point.id, "name": experiment.name, "sweep": directory.path.name, "values": point.values}
        about |= {"command": list(argv), "overrides": experiment.overrides}
        with suppress(FileExistsError):
            RunDirectory.make(path, about, config_text(pinned(experiment)))
        print(f"run directory: {path}", flush=True)
        return run_in(RunDirectory.open(path), experiment.config, "fit")
    except Exception as error:
        said(error)
        return FAILED
