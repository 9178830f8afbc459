"""A real SLURM for every test here that asks for one: ``twin("juwels")``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from twins import Twins


@pytest.fixture(scope="session")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """Starts twins on demand, one per cluster and options, and ends them after the last test."""
    twins = Twins(tmp_path_factory.mktemp("twin"))
    try:
        yield twins
    finally:
        twins.stop()
