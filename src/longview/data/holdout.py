"""Holding out a part of the training videos for validation, without sharing a person between the two."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from longview.errors import DataError

__all__ = ["hold_out"]


def hold_out(videos: Sequence[str], fraction: float, person: Callable[[str], str]) -> tuple[list[str], list[str]]:
    """Split training videos into (train, val); all videos of one person land on the same side.

    Persons are ordered by the SHA-256 of their name and the first ``round(fraction * persons)`` (at least one) are held
    out, so the answer is the same on every machine and for every seed. Order within each part is that of ``videos``.

    Raises:
        DataError: ``fraction`` > 0 but there are fewer than two persons.
    """
    if fraction == 0:
        return list(videos), []
    persons = sorted({person(video) for video in videos}, key=lambda name: hashlib.sha256(name.encode()).digest())
    if len(persons) < 2:
        raise DataError(
            f"{fraction} needs training videos of at least two persons, there are {len(persons)}; use data.val_fraction=0"
        )
    held = set(persons[: min(max(1, round(fraction * len(persons))), len(persons) - 1)])
    train = [video for video in videos if person(video) not in held]
    return train, [video for video in videos if person(video) in held]
