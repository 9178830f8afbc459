"""``longview export``: one plain checkpoint of a run, whatever strategy trained it."""

from __future__ import annotations

import argparse

from longview.commands.show import short
from longview.runs.directory import RunDirectory
from longview.runs.find import one, root_of

OK = 0


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    directory = RunDirectory.open(one([options.name], root_of(options.root)).path)
    from longview.engine.export import export  # torch comes with it

    print(short(export(directory, options.which, options.out)))
    return OK
