"""``launch.wait=true``: stay until every run of a submitted sweep has ended, with the live table of ``longview status -w``."""

from __future__ import annotations

import argparse
import sys

from longview.commands import status
from longview.commands.show import name_of
from longview.config.experiment import Sweep
from longview.launch.evaluate import seen
from longview.launch.identity import place_of, point_of, sweep_id
from longview.runs.find import find
from longview.runs.status import Kind
from longview.runs.sweep import SweepDirectory

OK, FAILED = 0, 1
EVERY = 5.0
"""Seconds between two looks: one call of squeue each."""


def wait(sweep: Sweep) -> int:
    """Wait for the runs of a sweep; 0 if all have finished. Ctrl-C leaves, and the jobs go on."""
    place = place_of(sweep)
    name = name_of(find([str(place)], place.parent)[0])
    try:
        status.run(argparse.Namespace(names=[str(place)], root=None, watch=EVERY, json=False, all=False))
    except KeyboardInterrupt:
        print(f"left; the jobs go on: longview status {name}", file=sys.stderr)
        raise
    identity = sweep_id(sweep)
    found = seen(SweepDirectory(place), [point_of(sweep, e, identity).id for e in sweep.points])
    broken = [one for one in found.values() if one.state.kind is not Kind.FINISHED]
    if broken:
        print(f"{len(broken)} of {len(sweep.points)} runs did not finish: longview why {name}", file=sys.stderr)
    return FAILED if broken else OK
