"""``python -m longview.engine RUN_DIR [--test]``: what a job runs. A job is given a run directory and nothing else."""

from __future__ import annotations

import argparse
import sys

from longview.errors import LongviewError
from longview.runs.directory import RunDirectory


def main() -> int:
    """Parse the command line and run one attempt."""
    parser = argparse.ArgumentParser(prog="python -m longview.engine", description=__doc__)
    parser.add_argument("run_dir", help="a run directory made by run.py")
    parser.add_argument("--test", action="store_true", help="score the run again instead of training it")
    arguments = parser.parse_args()
    try:
        run = RunDirectory.open(arguments.run_dir)
    except LongviewError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    from longview.engine.run import execute

    return execute(run, "test" if arguments.test else "fit")


if __name__ == "__main__":
    sys.exit(main())
