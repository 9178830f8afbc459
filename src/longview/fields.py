"""Types and the strict base class of every fixed block of a configuration; durations as people and SLURM write them."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import Annotated, Any

from annotated_types import Ge, Le, MinLen
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

STRICT = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_CLOCK = re.compile(r"(?:(\d{1,3})-)?(\d{1,3}):([0-5]\d):([0-5]\d)")
_WORDS = re.compile(r"(?:\d{1,6}[dhms]\s*)+")
_TIME_PATTERN = r"^((\d{1,3}-)?\d{1,3}:[0-5]\d:[0-5]\d|(\d{1,6}[dhms]\s*)+)$"


def _duration(value: Any) -> Any:
    """'2h', '1h30m', '90m', '1d', '00:30:00', '1-00:00:00' -> timedelta."""
    hint = "write for example '2h', '90m', '1d', '00:30:00' or '1-00:00:00'"
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f"{value} has no unit; {hint}, in quotes in a YAML file")
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a duration; {hint}")
    text = value.strip().lower()
    if re.fullmatch(r"\d+:\d+", text):
        raise ValueError(f"'{value}' could be hours and minutes or, as SLURM reads it, minutes and seconds; {hint}")
    if match := _CLOCK.fullmatch(text):
        days, hours, minutes, seconds = (int(g or 0) for g in match.groups())
        length = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    elif _WORDS.fullmatch(text):
        length = timedelta(seconds=sum(int(n) * _UNITS[u] for n, u in re.findall(r"(\d+)([dhms])", text)))
    else:
        raise ValueError(f"'{value}' is not a duration; {hint}")
    if length < timedelta(minutes=1):
        raise ValueError(f"'{value}' is less than a minute; {hint}")
    if length > timedelta(days=365):
        raise ValueError(f"'{value}' is more than a year; {hint}")
    return length


def clock(length: timedelta) -> str:
    """SLURM's d-hh:mm:ss of a duration."""
    minutes, seconds = divmod(int(length.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{f'{days}-' if days else ''}{hours:02}:{minutes:02}:{seconds:02}"


Count = Annotated[int, Ge(1), Le(2**31 - 1)]
Text = Annotated[str, MinLen(1)]
Folder = Annotated[Text, AfterValidator(os.path.expanduser)]
"""A path; ``~`` is the home folder, as in a shell."""
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(clock, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _TIME_PATTERN, "examples": ["2h", "90m", "1d", "00:30:00", "1-00:00:00"]}),
]


class Section(BaseModel):
    """A block of the tree: no unknown key, no silent conversion, no change after the check."""

    model_config = STRICT
