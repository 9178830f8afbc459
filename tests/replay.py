"""A stand-in for a machine's SLURM commands: it answers with text captured from a real one (tests/captured), changed where a
test says so. Only parsing and judging are tested with it; tests/slurm asks a real SLURM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from longview.cluster.site import Answer, Site

FOLDER = Path(__file__).parent / "captured"
QUESTIONS = {
    ("scontrol", "ping"): "ping",
    ("scontrol", "show", "config"): "config",
    ("scontrol", "-a", "-o", "show", "partition"): "partition",
    ("sinfo",): "nodes",
    ("sacctmgr", "-nP", "show", "qos"): "qos",
    ("sacctmgr", "-nP", "show", "assoc"): "assoc",
    ("sshare",): "sshare",
    ("squeue", "-h", "-t", "all"): "comments",
    ("squeue", "-h", "-u"): "queue",
}
Change = tuple[str, str, str, str]
"""File, how a line begins, text in that line ("": all of it), what stands there instead."""


def captured(cluster: str, name: str) -> str:
    """A captured answer."""
    return (FOLDER / cluster / f"{name}.txt").read_text()


@dataclass
class Replay:
    """The commands of ``cluster``, with ``changes`` to their output and ``broken`` commands that do not answer.

    Attributes:
        asked: Every command that was run, in order.
        ws_list: Output of the workspace tools; None: not installed.
    """

    cluster: str = "juwels"
    changes: Sequence[Change] = ()
    broken: Sequence[str] = ()
    ws_list: str | None = None
    test_only: Answer | None = None
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def __call__(self, command: Sequence[str], stdin: str, patience: float) -> Answer:
        self.asked.append(tuple(command))
        if command[0] == "ws_list":
            return Answer(0, self.ws_list) if self.ws_list is not None else Answer(None, err="not installed")
        if command[0] == "sbatch":
            return self.test_only or Answer(0)
        name = next(name for prefix, name in QUESTIONS.items() if tuple(command[: len(prefix)]) == prefix)
        if name in self.broken:
            return Answer(1, err=f"{command[0]}: error: no answer in this test")
        text = captured(self.cluster, name)
        for file, start, old, new in self.changes:
            if file == name:
                lines = text.splitlines()
                assert any(line.startswith(start) and old in line for line in lines), (
                    f"captured {name}.txt has no {start}...{old}"
                )
                text = "\n".join((line.replace(old, new) if old else new) if line.startswith(start) else line for line in lines)
        return Answer(0, text)


def site(cluster: str = "juwels", *changes: Change, broken: Sequence[str] = (), **other: object) -> Site:
    """A Site that asks a ``Replay``."""
    runner: Callable[..., Answer] = Replay(cluster, changes, broken, **other)  # type: ignore[arg-type]
    return Site(runner, user="somebody")
