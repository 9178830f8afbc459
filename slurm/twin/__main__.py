"""`python -m slurm.twin up|down|status`: what `make twin` calls."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from longview.errors import LongviewError

from .machine import TwinError, install
from .twin import Twin, start

HINT = "python run.py task=anticipation model=manta cluster={} -m"


def default_root() -> Path:
    """Folder of twins that were not given one."""
    return Path(os.environ.get("LONGVIEW_TWIN_DIR") or f"/tmp/longview-twin-{getpass.getuser()}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m slurm.twin", description="A cluster, rehearsed by a real SLURM on this machine."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="install what is missing and start a twin")
    down = commands.add_parser("down", help="end a twin, or all of them")
    status = commands.add_parser("status", help="show what runs")
    up.add_argument("cluster", help="name of a file in conf/cluster")
    for command in (down, status):
        command.add_argument("cluster", nargs="?", help="one twin only")
    for command in (up, down, status):
        command.add_argument("--folder", type=Path, help="its folder; default: $LONGVIEW_TWIN_DIR/<cluster>")
    up.add_argument("--nodes", type=int, default=4, help="nodes of the usual kind (4)")
    up.add_argument("--nodes-per-type", type=int, default=2, help="nodes of every other kind (2)")
    up.add_argument(
        "--extra", action="append", default=[], metavar="KEY=VALUE", help="line of slurm.conf, in place of the twin's own"
    )
    up.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change to the YAML: cluster.limits.max_submit=8"
    )
    up.add_argument("--no-accounting", action="store_true", help="without slurmdbd: no accounts, QoS or sacct")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 2 with one clear message if it cannot be done."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "up":
            _up(options)
        elif options.command == "down":
            _down(options)
        else:
            return _status(options)
    except LongviewError as error:
        print(f"twin: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _up(options: argparse.Namespace) -> None:
    folder = options.folder or default_root() / options.cluster
    if _running(folder):
        print(f"twin of {options.cluster} runs already in {folder}; `make twin-down CLUSTER={options.cluster}` ends it")
        _next(Twin.load(folder))
        return
    install(not options.no_accounting)
    began = time.monotonic()
    twin = start(
        options.cluster,
        folder,
        nodes=options.nodes,
        others=options.nodes_per_type,
        accounting=not options.no_accounting,
        extra=options.extra,
        overrides=options.set,
    )
    print(
        f"twin of {options.cluster} is up after {time.monotonic() - began:.1f} s, {len(twin.facts['nodes'])} nodes, in {folder}"
    )
    _next(twin)


def _next(twin: Twin) -> None:
    print(f"\n  source {twin.folder}/env\n  {HINT.format(twin.cluster)}\n\nwhere it differs from the site:")
    for note in twin.facts["notes"]:
        print(f"  - {note}")


def _down(options: argparse.Namespace) -> None:
    found = _folders(options)
    for folder in found:
        Twin.load(folder).stop()
        print(f"twin in {folder} is ended and deleted")
    if not found:
        print("no twin to end")


def _status(options: argparse.Namespace) -> int:
    found = _folders(options)
    for folder in found:
        twin = Twin.load(folder)
        expected = {file.stem for file in (folder / "run").glob("*.json")}
        dead = expected - set(twin.pids())
        print(f"{twin.cluster}: {folder}, ports {json.dumps(twin.facts['ports'])}")
        print(
            f"daemons: {len(expected) - len(dead)} of {len(expected)} run"
            + (f"; ended: {', '.join(sorted(dead))}" if dead else "")
        )
        print(twin.run("sinfo", "-o", "%12P %.12l %.6D %8T %10G %N").stdout)
        print(twin.run("squeue").stdout)
        _next(twin)
    if not found:
        print("no twin runs; start one with `make twin CLUSTER=juwels`")
    return 0 if found else 1


def _running(folder: Path) -> bool:
    return (folder / "twin.json").exists() and bool(Twin.load(folder).pids())


def _folders(options: argparse.Namespace) -> list[Path]:
    """Folders the command is about."""
    root = default_root()
    if options.folder or options.cluster:
        asked = options.folder or root / options.cluster
        if not (asked / "twin.json").exists():
            raise TwinError(f"there is no twin in {asked}")
        return [asked]
    return sorted(file.parent for file in root.glob("*/twin.json"))


if __name__ == "__main__":
    sys.exit(main())
