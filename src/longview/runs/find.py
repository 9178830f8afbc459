"""Which sweeps and runs there are under a root, and which of them a name on the command line means."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from longview.errors import LongviewError
from longview.runs.group import Group, Run, read_group, single
from longview.runs.sweep import SweepDirectory

ROOT_VARIABLE = "LONGVIEW_RUNS"
_SHORTEST = 2
"""Characters of an id that may stand for it."""
_SHOWN = 60
"""Characters of a name that a message repeats."""


class NotFound(LongviewError):
    """A name that means no run or sweep, or several."""


def root_of(option: Path | None) -> Path:
    """``--root``, else $LONGVIEW_RUNS, else ``runs`` in the current directory."""
    return option or Path(os.environ.get(ROOT_VARIABLE) or "runs")


def groups_under(root: Path) -> list[Group]:
    """Every sweep and the single runs under a root, newest first; a sweep whose record is damaged is one without runs.

    Raises:
        LongviewError: There is no such folder.
    """
    found: list[Group] = []
    singles: list[tuple[float, Run]] = []
    try:
        with os.scandir(root.resolve()) as entries:
            folders = [e for e in entries if not e.name.startswith(".") and e.is_dir()]
    except OSError as error:
        raise NotFound(
            f"no runs here: '{root}' cannot be read ({error.strerror}); give --root <folder> or {ROOT_VARIABLE}"
        ) from None
    for entry in folders:
        if os.path.exists(f"{entry.path}/sweep.json"):
            found.append(read_group(SweepDirectory(Path(entry.path))))
        elif os.path.exists(f"{entry.path}/config.yaml"):
            singles.append((entry.stat().st_mtime, single(entry.path)))
    found.sort(key=lambda g: g.created, reverse=True)
    if singles:
        singles.sort(key=lambda pair: pair[1].name, reverse=True)  # names begin with date and time
        alone = Group("single runs", "", max(t for t, _ in singles), tuple(run for _, run in singles))
        found.insert(next((i for i, g in enumerate(found) if g.created < alone.created), len(found)), alone)
    return found


def find(names: Sequence[str], root: Path) -> list[Group]:
    """What names mean: paths, ids or unique beginnings of them, folder names, or SLURM job ids. No name: the newest.

    Raises:
        LongviewError: A name means nothing, or several things; all such names at once.
    """
    if not names:
        groups = groups_under(root)
        if not groups:
            raise NotFound(f"no runs in '{root}' yet; start one with `python run.py`, or say where runs are with --root <folder>")
        newest = next((group for group in groups if not group.damaged), groups[0])
        if newest.damaged:
            raise NotFound(newest.damaged)
        return [newest if newest.sweep else replace(newest, runs=newest.runs[:1], whole=False)]
    known: list[Group] | None = None
    found: list[Group] = []
    wrong: list[str] = []
    for name in names:
        if not name.strip():
            wrong.append(f"'{name}' is no name; leave it out to mean the newest")
            continue
        group = _by_path(Path(name))
        if group is None:
            if known is None:
                known = groups_under(root)
            matches = _by_name(name, known)
            if len(matches) != 1:
                wrong.append(_wrong(name, matches, known, root))
                continue
            group = matches[0]
        if group.damaged:
            wrong.append(group.damaged)
        found.append(group)
    if wrong:
        raise NotFound("\n".join(wrong))
    return found


def group_of(names: Sequence[str], root: Path) -> Group:
    """The group of the one run that is meant; raises NotFound where a sweep of several is named."""
    groups = find(names, root)
    runs = [run for group in groups for run in group.runs]
    if len(runs) == 1:
        return next(group for group in groups if group.runs)
    shown = "\n".join(f"  {run.id}  {cut(run.label)}" for run in runs[:12]) + ("\n  ..." if len(runs) > 12 else "")
    raise NotFound(f"{groups[0].name} has {len(runs)} runs; name one of them:\n{shown}")


def one(names: Sequence[str], root: Path) -> Run:
    """The one run that is meant; raises NotFound where a sweep of several is named."""
    return group_of(names, root).runs[0]


def _by_path(path: Path) -> Group | None:
    """The sweep or run at a path, or around it: a run's log file names the run."""
    try:
        if not path.exists():
            return None
        path = path.resolve()
    except OSError:
        return None
    for folder in (path, *path.parents):
        if (folder / "sweep.json").is_file():
            return read_group(SweepDirectory(folder))
        if (folder / "config.yaml").is_file() and (folder / "run.json").is_file():
            if (folder.parent / "sweep.json").is_file():
                group = read_group(SweepDirectory(folder.parent))
                if group.damaged:
                    return group
                if runs := tuple(run for run in group.runs if run.name == folder.name):
                    return replace(group, runs=runs, whole=False)
            run = single(str(folder))
            return Group(run.name, "", folder.stat().st_mtime, (run,), whole=False)
    return None


def _by_name(name: str, known: Sequence[Group]) -> list[Group]:
    name = name.rstrip("/")
    exact = [g for g in known if g.sweep and name in (g.name, g.id)]
    exact += [replace(g, runs=(r,), whole=False) for g in known for r in g.runs if _exactly(name, r, g)]
    if exact:
        return exact
    found = [g for g in known if g.sweep and (_begins(name, g.id) or name in _jobs(g) or _begins(name, g.name))]
    runs = [replace(g, runs=(r,), whole=False) for g in known for r in g.runs if _begins(name, r.id) or _begins(name, r.name)]
    if len(found) == 1 and len(found[0].runs) == 1 and [g.name for g in runs] == [found[0].name]:
        return found  # a sweep and its only run
    return found + runs


def _exactly(name: str, run: Run, group: Group) -> bool:
    return name in (run.id, run.name, f"{group.name}/{run.name}", f"{group.name}/{run.id}") or name in run.jobs


def _begins(name: str, whole: str) -> bool:
    return len(name) >= _SHORTEST and whole.startswith(name)


def _jobs(group: Group) -> set[str]:
    return {job.partition("_")[0] for run in group.runs for job in run.jobs}


def cut(text: str) -> str:
    """A name as a message repeats it."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _wrong(name: str, matches: Sequence[Group], known: Sequence[Group], root: Path) -> str:
    name = cut(name)
    if matches:
        shown = ", ".join(_named(g) for g in matches[:6]) + (", ..." if len(matches) > 6 else "")
        return f"'{name}' could be any of {len(matches)}: {shown}; give more of the name"
    names = {text: text for g in known for text in ([g.name, g.id] if g.sweep else [])}
    names |= {text: f"{r.id} ({cut(r.label)})" for g in known for r in g.runs for text in (r.id, r.name)}
    near = list(dict.fromkeys(names[n] for n in difflib.get_close_matches(name, [n for n in names if n], n=4, cutoff=0.5)))
    newest = [g.name for g in known if g.sweep][:3] + [r.id for g in known if not g.sweep for r in g.runs[:3]]
    hint = f"nearest: {', '.join(near)}" if near else f"newest: {', '.join(newest[:3])}" if newest else "there are no runs there"
    return f"no sweep or run is called '{name}' in '{root}'; {hint}"


def _named(group: Group) -> str:
    return cut(group.name) if group.whole else f"{group.runs[0].id} ({cut(group.runs[0].label)})"
