"""Real SLURM clusters for tests: one twin per cluster and set of options, started when it is first asked for, always ended."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # the folder slurm/ lies beside src/, and is not installed

from slurm.twin import Twin, start
from slurm.twin.machine import install, obstacle


class Twins:
    """Calling it with a cluster's name gives a running twin; the same name and options give the same one again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.running: dict[str, Twin] = {}

    def __call__(self, cluster: str, **options: Any) -> Twin:
        """A twin of a cluster; ``options`` as for ``slurm.twin.start``.

        On a developer's machine without SLURM or root the test is skipped; in CI (CI=true) SLURM is installed instead.
        """
        key = f"{cluster} {sorted(options.items())}"
        if key not in self.running:
            if os.environ.get("CI") == "true":
                install()
            elif reason := obstacle():
                pytest.skip(f"needs a real SLURM on this machine (`make twin` installs it): {reason}")
            self.running[key] = start(cluster, self.root / f"{cluster[:8]}{len(self.running)}", **options)
        return self.running[key]

    def stop(self) -> None:
        """End all of them."""
        for twin in self.running.values():
            twin.stop()
