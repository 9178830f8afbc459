"""Command lines of the subcommands that follow runs. What a command does is imported when it is called."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

_NAMES = "a sweep or run: its path, its id or a unique beginning of it, its folder's name, or a SLURM job id; none: the newest"
_STATUS = """\
examples:
  longview status                 every sweep, and the runs of the newest
  longview status -w              the same, live; Ctrl-C leaves, jobs go on
  longview status 3f9a            one sweep or run, by the beginning of its id
  longview status --json | jq '.[] | select(.state == "failed") | .path'

states: pending (with SLURM's reason), starting, running, finished, failed, stopped, cancelled, timeout, preempted, node failure,
out of memory, lost (SLURM does not know the job and the run left no word), unknown (it cannot be known now: never shown as dead).
"""
_LOGS = """\
examples:
  longview logs 3f9a              the last lines of rank 0
  longview logs 3f9a -f           follow it, over requeues, until the run ends
  longview logs 3f9a --rank all   all ranks, each line with its rank
  longview logs 3f9a --batch      the batch script: set-up lines, srun, SLURM's own words
  longview logs 3f9a --attempt 1 -n 0
                                  all of the first attempt
"""
_WHY = """\
examples:
  longview why 3f9a               what ended this run, on which rank and node, and what to do
  longview why                    the newest sweep: its failures by cause, and why the others wait
"""
_CANCEL = """\
examples:
  longview cancel 3f9a            one run, or all jobs of a sweep
  longview cancel my_sweep --pending
                                  only what has not started yet
"""
_RESUME = """\
examples:
  longview resume 3f9a            this run goes on from its last checkpoint
  longview resume my_sweep        everything that failed, was stopped, ran out of time, was pre-empted or got lost
  longview resume my_sweep --failed
"""
_TABLE = """\
examples:
  longview table                  the newest sweep: mean ± standard deviation over seeds, the best marked
  longview table my_sweep --metric 'test/mean_moc/*' --sort mean_moc/obs0.2
  longview table my_sweep --over seed,data.split
  longview table my_sweep --csv > results.csv
"""
_OPEN = """\
examples:
  longview open 3f9a              paths of its results, logs, figures, checkpoints
  longview open 3f9a --figures    and show its figures in a browser, where there is a display
"""
_DOCTOR = """\
examples:
  longview doctor                 is this machine set up?
  longview doctor cluster=juwels  does what the cluster file says agree with what SLURM says here?
"""
_EXPORT = """\
examples:
  longview export 3f9a            one plain checkpoint of the best weights, whatever strategy trained them
  longview export 3f9a --which last --out weights.ckpt
"""
_COMPLETION = """\
examples:
  longview completion bash >> ~/.bashrc
  longview completion zsh > "${fpath[1]}/_longview"
  longview completion fish > ~/.config/fish/completions/longview.fish
"""


def add(commands: Any) -> None:
    """Add the subcommands to a parser's ``add_subparsers()``."""
    status = _command(commands, "status", "what waits, runs, has finished or is broken", _STATUS)
    status.add_argument("names", nargs="*", metavar="SWEEP|RUN", help=_NAMES)
    status.add_argument(
        "-w",
        "--watch",
        nargs="?",
        type=_seconds,
        const=5.0,
        metavar="SECONDS",
        help="live table, every 5 s if nothing else is said",
    )
    status.add_argument("--json", action="store_true", help="as data")
    status.add_argument("-a", "--all", action="store_true", help="every sweep and every run")

    logs = _command(commands, "logs", "what a run prints", _LOGS)
    logs.add_argument("name", nargs="?", metavar="RUN", help=_NAMES)
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the run ends; Ctrl-C leaves the job alone")
    logs.add_argument("-n", "--lines", type=_count, default=40, metavar="LINES", help="so many from the end (40); 0: all")
    logs.add_argument("--rank", type=_rank, default=0, metavar="R", help="a rank's number, or all")
    logs.add_argument("--batch", action="store_true", help="of the batch script instead of a rank")
    which = logs.add_mutually_exclusive_group()
    which.add_argument("--attempt", type=_count, metavar="N", help="of this attempt; else of the newest")
    which.add_argument("--job", metavar="ID", help="of this SLURM job")

    why = _command(commands, "why", "what ended a run, or why it does not start", _WHY)
    why.add_argument("names", nargs="*", metavar="SWEEP|RUN", help=_NAMES)

    cancel = _command(commands, "cancel", "end jobs", _CANCEL)
    cancel.add_argument("names", nargs="+", metavar="SWEEP|RUN", help=_NAMES.rpartition(";")[0])
    cancel.add_argument("--pending", action="store_true", help="only what has not started")
    cancel.add_argument("-y", "--yes", action="store_true", help="do not ask")

    resume = _command(commands, "resume", "put runs that ended without a result back to work", _RESUME)
    resume.add_argument("names", nargs="+", metavar="SWEEP|RUN", help=_NAMES.rpartition(";")[0])
    kinds = resume.add_mutually_exclusive_group()
    kinds.add_argument("--failed", action="store_true", help="only what failed, ran out of memory, lost its node or got lost")
    kinds.add_argument("--all-stopped", action="store_true", help="whatever has ended without a result, cancelled ones too")

    table = _command(commands, "table", "results, averaged over seeds", _TABLE)
    table.add_argument("names", nargs="*", metavar="SWEEP|RUN", help=_NAMES)
    table.add_argument("--metric", action="append", default=[], metavar="NAME", help="name or pattern; may be repeated")
    table.add_argument("--sort", metavar="NAME", help="a metric (best first) or a swept key; -NAME turns it round")
    table.add_argument("--over", default="seed", metavar="KEYS", help="average over these keys (seed); '' for none")
    form = table.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="plain, with every digit")
    form.add_argument("--json", action="store_true", help="as data")

    opened = _command(commands, "open", "where everything of a run lies", _OPEN)
    opened.add_argument("names", nargs="*", metavar="SWEEP|RUN", help=_NAMES)
    opened.add_argument("--figures", action="store_true", help="show the figures in a browser, where there is a display")

    export = _command(commands, "export", "one plain checkpoint of a run", _EXPORT)
    export.add_argument("name", metavar="RUN", help=_NAMES.rpartition(";")[0])
    export.add_argument("--which", choices=("best", "last"), default="best", help="which weights (best)")
    export.add_argument("--out", type=Path, metavar="FILE", help="where to; else beside the run's checkpoints")

    doctor = _command(commands, "doctor", "is this machine, and this cluster, as the files say?", _DOCTOR, root=False)
    doctor.add_argument("overrides", nargs="*", metavar="key=value", help="cluster=<name>; as for python run.py")

    completion = _command(
        commands, "completion", "a script that completes commands and names in your shell", _COMPLETION, root=False
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))


def _command(commands: Any, name: str, text: str, epilog: str, *, root: bool = True) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}{'' if text.endswith('?') else '.'}",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if root:
        parser.add_argument("--root", type=Path, metavar="FOLDER", help="where runs are; else $LONGVIEW_RUNS, else ./runs")
    parser.set_defaults(run=_later(name))
    return parser


def _later(module: str, function: str = "run") -> Callable[[argparse.Namespace], int]:
    """The command's function; its module is imported when it is called."""

    def call(options: argparse.Namespace) -> int:
        result: int = getattr(import_module(f"longview.commands.{module}"), function)(options)
        return result

    return call


def _seconds(text: str) -> float | str:
    """A number of seconds; ``-w NAME`` is understood, too."""
    try:
        value = float(text)
    except ValueError:
        return text
    if not 0 < value < 86400:
        raise ValueError
    return value


_seconds.__name__ = "number of seconds"


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError
    return value


_count.__name__ = "count"


def _rank(text: str) -> int | str:
    return text if text == "all" else _count(text)


_rank.__name__ = "rank"
