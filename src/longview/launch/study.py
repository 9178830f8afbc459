"""The trials of a search, in an Optuna study that is a file of the sweep directory: asked one by one, told one by one."""

from __future__ import annotations

import hashlib
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longview.config.schema import SearchConfig
from longview.errors import ConfigError, Problem
from longview.launch.search_space import Space

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

FILE = "study.jsonl"
_ASKED = 5
"""Suggestions that repeat a point before one that was never tried is taken instead."""


def require_optuna() -> None:
    """Raises ConfigError where Optuna is not installed."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        text = "a search needs Optuna, which is not installed; pip install optuna (or this project with its extra 'search')"
        raise ConfigError([Problem("search.trials", text)]) from None


@dataclass(frozen=True)
class Tried:
    """A finished trial: its values as typed, its run, and what it came to (None: it failed)."""

    values: dict[str, str]
    run: str
    value: float | None


class Trials:
    """One search: a space, an objective, a direction. Another one in the same file starts with what fits of its trials.

    Args:
        folder: The sweep's directory; None: in memory.
        mode: "max" or "min".
    """

    def __init__(self, folder: Path | None, space: Space, settings: SearchConfig, mode: str) -> None:
        import optuna
        from optuna.study import StudyDirection

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.settings, self.mode = space, settings, mode
        self.distributions = space.distributions()
        storage = _storage(folder) if folder else optuna.storages.InMemoryStorage()
        known = optuna.study.get_all_study_names(storage)
        name = hashlib.sha256(repr((space, settings.objective, mode)).encode()).hexdigest()[:8]
        direction = StudyDirection.MAXIMIZE if mode == "max" else StudyDirection.MINIMIZE
        self.study: Study = optuna.create_study(
            storage=storage, study_name=name, direction=direction, load_if_exists=True, sampler=self._sampler(0)
        )
        if name not in known:
            self.study.set_user_attr("search", {"objective": settings.objective, "mode": mode})
            for other in known:
                self._take_over(optuna.load_study(study_name=other, storage=storage))

    def _sampler(self, number: int) -> Any:
        """A sampler for one suggestion: seeded by its number, a search that goes on suggests what it would have suggested."""
        import optuna

        seed = (self.settings.seed * 1_000_003 + number) % 2**32
        if self.settings.sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        with _no_experiments():
            return optuna.samplers.TPESampler(seed=seed, constant_liar=True)  # trials in flight repel each other

    def _take_over(self, other: Study) -> None:
        """Let the sampler know finished trials of an earlier search: after a space was widened, or a choice was added."""
        import optuna

        if other.user_attrs.get("search") != self.study.user_attrs["search"]:
            return
        for trial in other.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE]):
            values = trial.user_attrs.get("values")
            if isinstance(values, dict) and self.space.has(values):
                attributes = {"values": values, "run": trial.user_attrs.get("run", ""), "before": True}
                self.study.add_trial(
                    optuna.trial.create_trial(
                        params=self.space.parameters(values),
                        distributions=self.distributions,
                        value=trial.value,
                        user_attrs=attributes,
                    )
                )
        if metric := other.user_attrs.get("metric"):
            self.study.set_user_attr("metric", metric)

    # what there is ------------------------------------------------------------------------------------------------------

    def _all(self) -> list[FrozenTrial]:
        return [t for t in self.study.get_trials(deepcopy=False) if not t.user_attrs.get("repeats")]

    def running(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Trials that were begun and not told: number, values."""
        for trial in self._all():
            if not trial.state.is_finished() and trial.params:
                yield trial.number, self.space.values(trial.params)

    def finished(self) -> list[Tried]:
        """Every trial told, in order; those of earlier searches are left out."""
        return [_tried(t) for t in self._all() if t.state.is_finished() and not t.user_attrs.get("before")]

    @property
    def known(self) -> int:
        """Trials of earlier searches that fit."""
        return sum(bool(t.user_attrs.get("before")) for t in self._all())

    @property
    def best(self) -> Tried | None:
        """The best of all, earlier searches included; None where none has finished."""
        scored = [t for t in map(_tried, self._all()) if t.value is not None]
        better: Callable[..., Tried] = max if self.mode == "max" else min
        return better(scored, key=lambda t: t.value) if scored else None

    @property
    def exhausted(self) -> bool:
        """Whether every point of the space has been tried."""
        return self.space.size is not None and len(self._points()) >= self.space.size

    @property
    def metric(self) -> str | None:
        """The metric that is optimised, as soon as it is known."""
        return self.settings.objective or self.study.user_attrs.get("metric")

    @metric.setter
    def metric(self, name: str) -> None:
        self.study.set_user_attr("metric", name)

    def importances(self) -> dict[str, float]:
        """Swept key -> its part in the objective's spread, the largest first; empty while there is too little to say."""
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        values = [t.value for t in map(_tried, self._all()) if t.value is not None]
        if len(values) < max(4, 2 * len(self.space.keys)) or len(set(values)) < 3:
            return {}
        with _no_experiments():
            return dict(get_param_importances(self.study, evaluator=PedAnovaImportanceEvaluator()))

    # ask and tell -------------------------------------------------------------------------------------------------------

    def ask(self) -> tuple[int, dict[str, str]]:
        """A point that was not tried, unless the space has an end and every one was: number, values."""
        points = self._points()
        for asked in range(_ASKED + 1):
            count = len(self.study.get_trials(deepcopy=False))
            if asked == _ASKED and (untried := self._untried(points, count)):
                self.study.enqueue_trial(self.space.parameters(untried))
            self.study.sampler = self._sampler(count)
            trial = self.study.ask(self.distributions)
            values = self.space.values(trial.params)
            if asked == _ASKED or tuple(values.values()) not in points:
                break
            trial.set_user_attr("repeats", True)
            self.fail(trial.number)
        return trial.number, values

    def belongs(self, number: int, values: dict[str, str], run: str) -> None:
        """Note the values and the run of a trial."""
        from optuna.trial import Trial

        trial = Trial(self.study, self.study.get_trials(deepcopy=False)[number]._trial_id)
        trial.set_user_attr("values", values)
        trial.set_user_attr("run", run)

    def tell(self, number: int, value: float) -> None:
        """A trial has finished."""
        self.study.tell(number, value)

    def fail(self, number: int) -> None:
        """A trial came to nothing; the sampler leaves it out of account."""
        from optuna.trial import TrialState

        self.study.tell(number, state=TrialState.FAIL)

    def _points(self) -> set[tuple[str, ...]]:
        return {tuple(self.space.values(t.params).values()) for t in self._all() if t.params}

    def _untried(self, points: set[tuple[str, ...]], count: int) -> dict[str, str] | None:
        size = self.space.size
        if size is None:
            return None
        first = random.Random(self.settings.seed * 1_000_003 + count).randrange(size)
        candidates = (self.space.at((first + i) % size) for i in range(size))
        return next((point for point in candidates if tuple(point.values()) not in points), None)


@contextmanager
def _no_experiments() -> Iterator[None]:
    """Optuna 4 calls experimental what Optuna 5 has by default."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def _tried(trial: FrozenTrial) -> Tried:
    done = trial.state.name == "COMPLETE"
    return Tried(dict(trial.user_attrs.get("values", {})), str(trial.user_attrs.get("run", "")), trial.value if done else None)


def _storage(folder: Path) -> Any:
    """A journal that grows by lines, and a lock that holds on network file systems."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    folder.mkdir(parents=True, exist_ok=True)
    path = str(folder / FILE)
    return JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path)))
