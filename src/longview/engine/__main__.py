"""``python -m longview.engine RUN_DIR [--test]``: what a job runs. A job is given a run directory and nothing else."""

from __future__ import annotations

import argparse
import os
import signal
import sys

from longview.config.validate import validate
from longview.errors import LongviewError
from longview.runs.directory import RunDirectory


def _stop_with_launcher() -> None:
    """Have the kernel ask this process to stop should the process that started it die (Linux)."""
    launcher = os.environ.get("LONGVIEW_LAUNCHER")
    if launcher is None:
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the engine listens: leave without a traceback
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != int(launcher):  # it died before that
            sys.exit(1)


def _refuse_alone(run: RunDirectory) -> None:
    """Raises LongviewError if the run has several processes and nobody has said which of them this is."""
    validated = validate(run.config())
    if validated.problems or "RANK" in os.environ:
        return  # problems are reported by the engine
    if (size := validated.experiment().world_size) > 1:
        raise LongviewError(f"{run.path} has {size} processes; start all of them: python run.py run.resume={run.path}")


def main() -> int:
    """Parse the command line and run one attempt."""
    parser = argparse.ArgumentParser(prog="python -m longview.engine", description=__doc__)
    parser.add_argument("run_dir", help="a run directory made by run.py")
    parser.add_argument("--test", action="store_true", help="score the run again instead of training it")
    arguments = parser.parse_args()
    _stop_with_launcher()
    try:
        run = RunDirectory.open(arguments.run_dir)
        if "LONGVIEW_RANKS" in os.environ:
            from longview.engine.ranks import adopt

            adopt()
        _refuse_alone(run)
        from longview.engine.run import execute

        return execute(run, "test" if arguments.test else "fit")
    except LongviewError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
