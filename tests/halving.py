"""A sweeper of Hydra's kind that wants values, put where Hydra looks for plugins.

It is the tests' own: the published ones pin versions that do not go together with this project's (hydra-optuna-sweeper 1.3 wants
Optuna below 3).
"""

from __future__ import annotations

import os
from pathlib import Path

SWEEPER = '''
"""Halves an interval: runs both ends, keeps the better half, and so on. Writes every answer to answers.json."""

import json
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper


class Halving(Sweeper):
    def __init__(self, batches):
        self.batches = batches

    def setup(self, *, hydra_context, task_function, config):
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        fixed = [a for a in arguments if "interval" not in a]
        key, _, text = next(a for a in arguments if "interval" in a).partition("=")
        low, high = (int(end) for end in text[len("interval("):-1].split(","))
        answers = []
        for batch in range(self.batches):
            points = [[*fixed, f"{key}={value}"] for value in (low, high)]
            values = []
            for value, back in zip((low, high), self.launcher.launch(points, initial_job_idx=2 * batch)):
                try:
                    values.append(back.return_value)
                except Exception as error:
                    values.append(-1.0)
                    back = type(error).__name__ + ": " + str(error)
                else:
                    back = [back.status.name, back.cfg.data.seed, back.return_value]
                answers.append([value, back])
            middle = (low + high) // 2
            low, high = (low, middle) if values[0] >= values[1] else (middle, high)
        Path("answers.json").write_text(json.dumps(answers))


@dataclass
class Config:
    _target_: str = "hydra_plugins.halving.Halving"
    batches: int = 2


ConfigStore.instance().store(group="hydra/sweeper", name="halving", node=Config, provider="test")
'''


def install(folder: Path) -> dict[str, str]:
    """The sweeper, as a package of Hydra's namespace; returns the environment that finds it."""
    package = folder / "site" / "hydra_plugins" / "halving"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(SWEEPER)
    return {"PYTHONPATH": found_in(folder)}


def found_in(folder: Path) -> str:
    """PYTHONPATH with what :func:`install` has put into ``folder``."""
    return os.pathsep.join(path for path in (str(folder / "site"), os.environ.get("PYTHONPATH", "")) if path)
