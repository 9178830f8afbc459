"""`longview doctor [cluster=NAME]`: is this machine ready, and is what the cluster file says still true?

Read-only: nothing is submitted or written. Names of accounts appear on a terminal only.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longview.commands.findings import Finding, Visit
from longview.errors import ConfigError

if TYPE_CHECKING:
    from longview.cluster.spec import ClusterConfig, Detect
    from longview.config.experiment import Checker

Section = tuple[str, list[Finding]]
_COLOURS = {"ok": "green", "!": "yellow", "x": "bold red", "-": "dim"}


def run(options: Any) -> int:
    """Run the command.

    Args:
        options: ``overrides``: arguments such as ``cluster=juwels`` and ``run.root=...``; ``json``: print findings as JSON.

    Returns:
        0 if nothing blocks a run, 1 if something does.

    Raises:
        ConfigError: With everything wrong with the arguments or the cluster file.
    """
    from longview.cluster.detect import detect_cluster
    from longview.cluster.site import Site
    from longview.config.experiment import Checker

    checker, site, overrides = Checker(), Site(), list(options.overrides)
    chosen = next((text.partition("=")[2] for text in overrides if text.startswith("cluster=")), None)
    here = detect_cluster(known_clusters(checker), site, prefer=chosen)
    if chosen is None:
        overrides.append(f"cluster={here or 'local'}")
    cluster, root = _cluster(checker, overrides)
    visit = Visit(cluster, here, site, root)
    sections, rows = examine(visit, names=sys.stdout.isatty())
    if getattr(options, "json", False):
        listed = [{"section": title, **vars(finding)} for title, findings in sections for finding in findings]
        print(json.dumps({"cluster": cluster.name, "findings": listed}, indent=2))
    else:
        _show(cluster.name, sections, rows)
    return 1 if any(f.mark == "x" for _, findings in sections for f in findings) else 0


def known_clusters(checker: Checker) -> dict[str, Detect]:
    """How every cluster of conf/cluster is recognised; a file that is wrong is left out here."""
    from pydantic import ValidationError

    from longview.cluster.spec import Detect
    from longview.config.tree import load_yaml

    found = {}
    for option in checker.conf.options("cluster"):
        file = checker.conf.read(f"cluster/{option}")
        try:
            found[option] = Detect.model_validate((load_yaml(file.text) or {}).get("detect") or {})
        except (ValidationError, AttributeError, ValueError):
            continue
    return found


def examine(visit: Visit, *, names: bool) -> tuple[list[Section], list[tuple[str, ...]]]:
    """Every section with its findings, and the table of partitions; ``names``: whether accounts may be named."""
    from longview.commands import findings, findings_slurm

    looked: list[tuple[str, Iterable[Finding]]] = [("Cluster", findings.facts(visit))]
    if visit.slurm:
        looked += [("SLURM", findings_slurm.slurm(visit, names=names)), ("Partitions", findings_slurm.partitions(visit))]
    looked += [
        ("Python", findings.python(visit)),
        ("Places", findings.places(visit)),
        ("Network", findings.network(visit)),
        ("Commands of the site", findings.commands(visit)),
    ]
    return [(title, list(found)) for title, found in looked], findings_slurm.table(visit) if visit.slurm else []


def _cluster(checker: Checker, overrides: list[str]) -> tuple[ClusterConfig, Path]:
    """The cluster block and run.root; what is wrong with other blocks is of no interest."""
    from longview.config.validate import validate

    composition = checker.composer.compose(overrides)
    validated = validate(composition.tree, composition.dropped)
    known = {a.key.partition(".")[0] for a in composition.arguments} | {"cluster", "run", ""}
    found = composition.origins.filled([*composition.problems, *validated.problems])
    if problems := [p for p in found if p.key.partition(".")[0] in known or not composition.complete]:
        raise ConfigError(problems)
    return validated.sections["cluster"], Path(os.path.expanduser(validated.sections["run"].root))


def _show(name: str, sections: list[Section], rows: list[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"longview doctor: cluster [bold]{escape(name)}[/bold]")
    for title, found in sections:
        if not found and not (title == "Partitions" and rows):
            continue
        console.print(f"\n[bold]{title}[/bold]")
        if title == "Partitions" and rows:
            grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
            for head in ("  purpose", "partition", "nodes", "longest", "most nodes", "GPUs"):
                grid.add_column(head, overflow="fold")
            for first, *rest in rows:
                grid.add_row(f"  {first}", *rest)
            console.print(grid)
        grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
        for least in (2, 13, None):
            grid.add_column(overflow="fold", min_width=least)
        for f in found:
            grid.add_row(f"[{_COLOURS[f.mark]}]{f.mark:>2}[/]", escape(f.what), escape(f.found))
            if f.todo:
                grid.add_row("", "", f"[cyan]-> {escape(f.todo)}[/cyan]")
        console.print(grid)
    marks = [f.mark for _, found in sections for f in found]
    blocked, looks = marks.count("x"), marks.count("!")
    said = f"{blocked} thing{'s block' if blocked > 1 else ' blocks'} a run here" if blocked else "nothing blocks a run here"
    console.print(f"\n{said}{f'; {looks} worth a look' if looks else ''}")
    console.print("[dim]ok: fine, !: worth a look, x: blocks a run, -: not known or not needed[/dim]")
