"""What SLURM says before anything is written: the account, the limits, and whether it would take the scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from longview.config.experiment import CheckedExperiment
from longview.errors import Problem


@dataclass
class Answers:
    """SLURM's answers for one command."""

    array_limit: int | None = None
    account: str | None = None
    checks: list[str] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    info: list[str] = field(default_factory=list)

    def judge(self, scripts: Sequence[str], count: int) -> None:
        """Raises ConfigError with everything SLURM would refuse."""


def ask(experiments: Sequence[CheckedExperiment]) -> Answers:
    """Ask once for all points."""
    return Answers(checks=["configuration"])
