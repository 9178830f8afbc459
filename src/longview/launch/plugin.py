"""Hydra's ``-m`` ends here: every point of a sweep is checked once more and handed to the local launcher, one after another."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from longview.config.experiment import Checker
from longview.errors import LongviewError


class PointError(LongviewError):
    """A point of a sweep that did not end well."""


class LongviewLauncher(Launcher):
    """Launches the points of a sweep in sequence and goes on after one that failed.

    The return value of a point is its exit code; a point that failed is a ``JobReturn`` with status FAILED.
    """

    __module__ = "hydra_plugins.longview"  # see register

    checker: Checker | None = None
    """What checked the sweep before Hydra was asked; its compositions are used again."""
    argv: Sequence[str] = ()
    """Command line, for the record in each run directory."""
    total: int | None = None
    """Number of points, where it is known."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.config: DictConfig | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take Hydra's composed sweep configuration."""
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Launch a batch of points; a point's overrides are its ``key=value`` strings."""
        checker = self.checker or Checker()
        hydra = list(self.config.hydra.overrides.hydra) if self.config is not None else []
        hydra = [text for text in hydra if not text.startswith("hydra.mode")]
        done = []
        for i, point in enumerate(job_overrides, initial_job_idx):
            print(
                f"{'' if i == 0 else chr(10)}[{i + 1}{f'/{self.total}' if self.total else ''}] {_shown(point)}",
                flush=True,
            )
            done.append(self._one(checker, list(point), hydra))
        return done

    def _one(self, checker: Checker, point: list[str], hydra: list[str]) -> JobReturn:
        from longview.launch.local import launch

        result = JobReturn(overrides=point, task_name="longview")
        try:
            experiment = checker.check([*point, *hydra])
            result.cfg = OmegaConf.create(experiment.resolved)
            result.hydra_cfg = self.config
            code = launch(experiment, argv=list(self.argv))
        except LongviewError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            code = 2
        except Exception as error:  # one point must not take the sweep with it
            _say(error)
            code = 1
        if code == 130:
            raise KeyboardInterrupt  # the user stopped the sweep, not this point alone
        FAILED.extend([_shown(point)] if code else [])
        result.status = JobStatus.FAILED if code else JobStatus.COMPLETED
        result.return_value = PointError(f"{_shown(point)} ended with exit code {code}") if code else code
        return result


FAILED: list[str] = []
"""Points of this process's sweep that failed."""


def _say(error: BaseException) -> None:
    import os
    import traceback

    if os.environ.get("LONGVIEW_TRACEBACK") == "1":
        traceback.print_exception(error)
    else:
        print(f"error: {type(error).__name__}: {error}  (LONGVIEW_TRACEBACK=1 shows where)", file=sys.stderr, flush=True)


def _shown(point: Sequence[str]) -> str:
    texts = [text.removeprefix("++") for text in point]
    return " ".join(f"{t[:-2]}null" if t.endswith("=[]") else t for t in texts) or "(no overrides)"  # experiment=[]: none


def register(checker: Checker, argv: Sequence[str], total: int | None = None) -> None:
    """Make the launcher known to Hydra for a sweep of this process.

    Hydra accepts plugins of the namespace ``hydra_plugins`` only, and imports every package it finds there at every start. So
    this module is entered under that name when a sweep begins, instead of lying there and slowing down every command.
    """
    try:
        namespace = importlib.import_module("hydra_plugins")
    except ModuleNotFoundError:  # no other plugin is installed
        namespace = sys.modules["hydra_plugins"] = ModuleType("hydra_plugins")
        namespace.__path__ = []
    sys.modules["hydra_plugins.longview"] = namespace.longview = sys.modules[__name__]  # type: ignore[attr-defined]
    LongviewLauncher.checker, LongviewLauncher.argv, LongviewLauncher.total = checker, argv, total
    FAILED.clear()
    Plugins.instance().register(LongviewLauncher)


def failed() -> list[Any]:
    """Points of the sweep that failed so far."""
    return list(FAILED)
