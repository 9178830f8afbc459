"""The ``longview`` command: what does not train. Nothing here imports torch; every subcommand is imported when it is called."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from longview.app import BAD_INPUT, OK, guarded
from longview.errors import ConfigError, LongviewError, Problem

_HELP = """\
before a run:
  longview doctor cluster=juwels                       is this machine, and this cluster, as the files say?
  longview check model=manta data=breakfast seed=1     compose and check; nothing is run or written
  longview check seed=1,2,3 model=manta,repeat_last -m every point of a sweep
  longview data check data=breakfast data.root=/data/breakfast
  longview schema --out schema.json                    JSON schema of the whole tree, for your editor

while it runs, from any shell, also after a logout:
  longview status -w                                   what waits, runs, has finished or is broken, live
  longview logs 3f9a -f                                what rank 0 of run 3f9a... prints, across requeues
  longview why 3f9a                                    why it failed, or why it does not start, and what to do
  longview cancel 3f9a          longview resume 3f9a   end it; let it go on from its last checkpoint

when it is done:
  longview table                                       the newest sweep's results, mean and deviation over seeds
  longview open 3f9a --figures                         where its results, logs, figures and checkpoints are
  longview export 3f9a                                 its weights as one plain checkpoint

runs are started with `python run.py`, which takes the same arguments as check: see `python run.py --help`.
a sweep or run is named by its path, its id or the beginning of it, its folder's name or its SLURM job; without a name it is
the newest. Runs are looked for in --root <folder>, else $LONGVIEW_RUNS, else ./runs.
exit codes: 0 ok, 1 something failed, 2 bad input (all that is wrong is listed), 130 interrupted.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (0 ok, 2 bad input, 130 interrupted)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _main(arguments))


def _main(arguments: list[str]) -> int:
    if arguments[:1] == ["_names"]:  # asked by the completion scripts, and by nobody else
        from longview.commands import completion

        return completion.names(arguments[1:])
    parser, commands = _parser()
    if arguments and not arguments[0].startswith("-") and arguments[0] not in commands:
        raise LongviewError(_no_command(arguments[0], commands))
    options, rest = parser.parse_known_args(arguments)
    if not hasattr(options, "run"):
        parser.print_help()
        return OK
    if hasattr(options, "overrides"):
        options.overrides = [*options.overrides, *rest]  # "-x" and "--seed" are named as bad overrides with the others
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    result: int = options.run(options)
    return result


def _no_command(name: str, commands: Sequence[str]) -> str:
    import difflib

    shown = name if len(name) <= 60 else f"{name[:60]}..."
    near = difflib.get_close_matches(shown, commands, n=1)
    return f"there is no command '{shown}'{f'; did you mean {near[0]}' if near else ''}; there are: {', '.join(commands)}"


def _parser() -> tuple[argparse.ArgumentParser, list[str]]:
    """The parser, and the names of the commands."""
    from longview import __version__

    raw = argparse.RawDescriptionHelpFormatter
    text = "Check experiments and data, follow runs, and read what came out."
    parser = argparse.ArgumentParser("longview", description=text, epilog=_HELP, formatter_class=raw, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"longview {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    check = commands.add_parser("check", help="compose and check an experiment without running it", allow_abbrev=False)
    check.add_argument("overrides", nargs="*", metavar="key=value", help="as for python run.py")
    check.add_argument("-m", "--multirun", action="store_true", help="check every point of a sweep")
    check.set_defaults(run=_check)

    schema = commands.add_parser("schema", help="print the JSON schema of the whole tree", allow_abbrev=False)
    schema.add_argument("--out", type=Path, metavar="FILE", help="write it there instead")
    schema.set_defaults(run=_schema)

    data = commands.add_parser("data", help="look at a data set", allow_abbrev=False)
    inner = data.add_subparsers(title="commands", metavar="COMMAND", required=True)
    whole = inner.add_parser("check", help="read a data set once and report every malformed file", allow_abbrev=False)
    whole.add_argument("overrides", nargs="*", metavar="key=value", help="data=<option> data.root=<folder> ...")
    whole.set_defaults(run=_data_check)

    from longview.commands import arguments

    arguments.add(commands)
    return parser, list(commands.choices)


def _check(options: argparse.Namespace) -> int:
    from longview.config.experiment import Checker
    from longview.config.summary import summary

    checker = Checker()
    if options.multirun:
        points = checker.sweep(options.overrides).points
        print(f"ok: {len(points)} point{'' if len(points) == 1 else 's'}")
        for i, point in enumerate(points, 1):
            print(f"  [{i}/{len(points)}] {' '.join(point.overrides)}")
        print("the first of them:" if len(points) > 1 else "that is:")
        print(summary(points[0]))
        return OK
    experiment = checker.check(options.overrides)
    print("ok")
    print(summary(experiment))
    return OK


def _schema(options: argparse.Namespace) -> int:
    import json

    from longview.config.experiment import Checker
    from longview.config.jsonschema import tree_schema

    text = json.dumps(tree_schema(Checker()), indent=2) + "\n"
    if options.out is None:
        sys.stdout.write(text)
        return OK
    try:
        options.out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError([Problem("--out", f"'{options.out}' cannot be written: {error.strerror}")]) from None
    print(f"wrote {options.out}")
    return OK


def _data_check(options: argparse.Namespace) -> int:
    from longview.config.experiment import Checker

    block = Checker().data_block(options.overrides)
    source = block.build()
    if found := source.problems():
        quick = {str(p) for p in found}
        found += [p for p in source.verify()[0] if str(p) not in quick]  # the same look again, and what it leaves unread
        return _report(found)
    from rich.console import Console

    from longview.data.source import OnDisk

    console = Console()
    where = f" in {source.place}" if isinstance(source, OnDisk) else ""
    with console.status(f"reading {block.name}{where}") as status:
        if isinstance(source, OnDisk):
            source.watch = lambda done, of: status.update(f"reading {block.name}{where}: {done:,} of {of:,} videos")
        found, statistics = source.verify()
    if found or statistics is None:
        return _report(found)
    print(f"data={block.name}{where}: ok")
    _table(console, source.describe(), statistics)
    return OK


def _report(problems: Sequence[Problem]) -> int:
    text = "\n".join(f"  {i}. {p}" for i, p in enumerate(problems, 1))
    print(f"error: {len(problems)} problem{'' if len(problems) == 1 else 's'} in the data\n{text}", file=sys.stderr)
    return BAD_INPUT


def _table(console: Any, description: Any, statistics: Any) -> None:
    from rich.table import Table

    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name in ("videos", "classes", "frames", "segments"):
        table.add_row(name, f"{getattr(statistics, name):,}")
    table.add_row("shortest video", f"{statistics.shortest:,} frames")
    table.add_row("longest video", f"{statistics.longest:,} frames")
    by_frames = sorted(statistics.class_frames.items(), key=lambda item: -item[1])
    for head, (name, frames) in (("commonest class", by_frames[0]), ("rarest class", by_frames[-1])):
        table.add_row(head, f"{name}, {frames:,} frames ({frames / statistics.frames:.2%})")
    for name, (train, test) in statistics.splits.items():
        table.add_row(name, f"{train:,} train, {test:,} test")
    parts = ", ".join(f"{count:,} {part}" for part, count in description.parts.items())
    table.add_row("this configuration", parts)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
