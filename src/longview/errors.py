"""Errors a user can act on. The command line prints each as one message, without a traceback.

Nothing here imports more than the standard library: every room of the house may raise these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class LongviewError(Exception):
    """An error whose text says what is wrong, where, and what would be right (exit code 2)."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        key: The key path (``trainer.max_epochs``) or the file the problem is in; may be empty.
        message: What is wrong and what would be right, in plain words.
        origin: Where the value came from (``override 'a.b=1'``, ``conf/model/manta.yaml:7``); may be empty.
        warning: Whether it is only said, not refused: an unverified limit, a waste, a habit that will hurt later.
    """

    key: str
    message: str
    origin: str = ""
    warning: bool = False

    def __str__(self) -> str:
        head = f"{self.key}: " if self.key else ""
        tail = f"  [{self.origin}]" if self.origin else ""
        return f"{head}{self.message}{tail}"


class ConfigError(LongviewError):
    """Everything that is wrong with an experiment, found in one go."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        noun = "problem" if len(self.problems) == 1 else "problems"
        lines = "\n".join(f"  {i}. {p}" for i, p in enumerate(self.problems, 1))
        super().__init__(f"{len(self.problems)} {noun}; nothing was run or written\n{lines}")


class DataError(LongviewError):
    """A data file that is absent or malformed; the message names the file and, where there is one, the line."""
