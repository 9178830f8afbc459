"""``-m search.trials=20``: swept arguments are a space, and every next run is chosen by what the runs before it came to."""

from __future__ import annotations

import io
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

from longview.config.compose import Composition
from longview.config.experiment import Checker, Sweep
from longview.errors import ConfigError, LongviewError
from longview.launch.evaluate import EVERY, SOON, Metric, Watch, mode_of, points_of
from longview.launch.identity import place_of
from longview.launch.lock import locked
from longview.launch.plan import Run, chunks, cost
from longview.launch.prepare import Prepared, prepare, typed
from longview.launch.start import start
from longview.launch.study import Trials, require_optuna
from longview.runs.look import Seen
from longview.runs.status import Kind
from longview.runs.sweep import Point, SweepDirectory

OK, FAILED = 0, 1


def run(checker: Checker, composition: Composition, argv: Sequence[str]) -> int:
    """Search; returns the exit code.

    Raises:
        LongviewError: Something is wrong with the command, SLURM takes no job, or the runs do not have the objective.
    """
    prepared = prepare(checker, composition, [a.text for a in composition.arguments if not a.sweep])
    require_optuna()
    if prepared.config.launch.dry_run:
        return _dry(prepared, argv)
    directory = SweepDirectory(place_of(prepared.family.sweep([prepared.first])))
    with locked(directory, "searched"):
        search = Search(prepared, directory, argv)
        try:
            search.all()
        except KeyboardInterrupt:
            jobs = f"; its jobs go on: longview status {directory.path.name}" if prepared.on_slurm else ""
            print(f"\nleft{jobs}. The same command goes on with the search", file=sys.stderr)
            raise
        return search.summary()


@dataclass(frozen=True)
class Flight:
    """A trial that waits or runs."""

    sweep: Sweep
    point: Point
    head: str


@dataclass
class Search:
    """Keeps the wanted number of trials in flight until all are done."""

    prepared: Prepared
    directory: SweepDirectory
    argv: Sequence[str]
    flights: dict[int, Flight] = field(default_factory=dict)
    postponed: list[tuple[int, dict[str, str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        config = self.prepared.config
        self.settings = config.search
        self.trials = Trials(self.directory.path, self.prepared.space, config.search, mode_of(config) or "max")
        self.at_once = config.search.parallel if self.prepared.on_slurm else 1
        self.wanted = config.search.trials or 0
        self.watch = Watch(self.directory)
        self.metric = Metric(self.trials.metric, known=self.trials.best is not None)

    def all(self) -> None:
        """Go on with what was begun, then begin and tell trials until there are enough."""
        done, begun = len(self.trials.finished()), list(self.trials.running())
        print(f"search in {self.directory.path}: {self.wanted} trials{f', {done} done' if done else ''}")
        if known := self.trials.known:
            print(f"{known} trials of an earlier search lie in this space too and are known to the sampler")
        for number, values in begun:
            self._begin(number, values, again=True)
        while True:
            while len(self.flights) < self.at_once and (following := self._next()):
                self._begin(*following)
            if not self.flights:
                break
            self._land()
        if self._left() > 0:
            print(f"every one of the {self.prepared.space.size} points has been tried")

    def _left(self) -> int:
        return self.wanted - len(self.trials.finished()) - len(self.flights)

    def _next(self) -> tuple[int, dict[str, str]] | None:
        if self.postponed:
            return self.postponed.pop()
        return self.trials.ask() if self._left() > 0 and not self.trials.exhausted else None

    def _begin(self, number: int, values: dict[str, str], *, again: bool = False) -> None:
        """Launch a trial, or put it off if the queue takes no more now."""
        ordinal = len(self.trials.finished()) + len(self.flights) + 1
        head = f"trial {ordinal} of {max(self.wanted, ordinal)}"
        shown = " ".join(typed(values))
        # Cut short on this machine, a run goes on; on a cluster it has its own attempts, and has ended when they have.
        retry = ["launch.retry=true"] if again and not self.prepared.on_slurm else []
        try:
            experiment = self.prepared.family.check([*typed(values), *retry])
        except ConfigError as error:
            print(f"{head}: {shown}: cannot be run: {'; '.join(str(p) for p in error.problems)}", flush=True)
            self.trials.fail(number)
            return
        sweep = self.prepared.family.sweep([experiment])
        flight = Flight(sweep, points_of(sweep)[0], head)
        self.trials.belongs(number, values, flight.point.id)
        if not self.prepared.on_slurm:
            print(f"\n{head}", flush=True)
            self.flights[number] = flight
            start(sweep, self.argv, several=True)
            return
        try:
            with redirect_stdout(io.StringIO()):  # what a single submission has to say is said in one line below
                start(sweep, self.argv, several=True)
        except LongviewError as error:
            if not self.flights:
                raise
            self.at_once = len(self.flights)
            self.postponed.append((number, values))
            print(f"{head}: not taken now, so {self.at_once} at once from here on: {error}", file=sys.stderr, flush=True)
            return
        self.flights[number] = flight
        job = self.directory.jobs().get(flight.point.id, (None, None))[0]
        print(f"{head}: {shown}: {f'job {job}, ' if job else ''}run {flight.point.id}", flush=True)

    def _land(self) -> None:
        """Wait until a trial is over, and tell its value."""
        while True:
            ids = {flight.point.id: number for number, flight in self.flights.items()}
            ended = self.watch.ended(ids)
            for identity, one in ended.items():
                number = ids[identity]
                self._tell(number, self.flights[number], one)
                del self.flights[number]
            if ended:
                return
            time.sleep(EVERY if self.prepared.on_slurm else SOON)

    def _tell(self, number: int, flight: Flight, one: Seen) -> None:
        value, said = None, f"{one.state.kind.value}{f' ({one.state.detail})' if one.state.detail else ''}"
        if one.state.kind is Kind.FINISHED:
            value, said = self.metric.value(Path(one.run.path))
            if self.trials.metric is None and self.metric.name:
                self.trials.metric = self.metric.name
        if value is None:
            self.trials.fail(number)
        else:
            self.trials.tell(number, value)
        best = self.trials.best
        so_far = f"  (best {best.value:.5g}, run {best.run})" if best else ""
        print(f"{flight.head}: run {flight.point.id} {said}{so_far}", flush=True)

    def summary(self) -> int:
        """Say what was found, and draw it; returns the exit code."""
        from longview.launch.search_figure import draw

        tried, best = self.trials.finished(), self.trials.best
        failed = sum(t.value is None for t in tried)
        print(f"\n{len(tried)} trials: {len(tried) - failed} finished{f', {failed} failed' if failed else ''}")
        if best is None:
            print(f"none came to a value: longview why {self.directory.path.name}", file=sys.stderr)
            return FAILED
        print(f"best: {self.trials.metric} {best.value:.5g}, run {best.run}")
        print("\n".join(f"  {text}" for text in typed(best.values)))
        fixed = [a for a in self.prepared.family.fixed if not a.lstrip("+").startswith(("search.", "launch.", "search="))]
        print(f"once more, by itself: python run.py {shlex.join([*fixed, *typed(best.values)])}")
        print(f"compare: longview table {self.directory.path.name}")
        print(f"figure: {draw(self.trials, self.directory.path / 'figures' / 'search.png')}")
        return OK


def _dry(prepared: Prepared, argv: Sequence[str]) -> int:
    """Show the space, the cost at most, and the script of one trial."""
    settings, mode = prepared.config.search, mode_of(prepared.config)
    trials = min(settings.trials or 0, prepared.space.size or settings.trials or 0)
    metric = settings.objective or "the best validation score, else the task's primary metric"
    at_once = f", {settings.parallel} at once" if prepared.on_slurm else ", one after another"
    print(f"# search: {trials} trials{at_once}, {settings.sampler} with seed {settings.seed}, {mode} of {metric}")
    print(f"{prepared.space}\n  {prepared.space.size or 'no end of'} points")
    _, values = Trials(None, prepared.space, settings, mode or "max").ask()
    sweep = prepared.family.sweep([prepared.family.check(typed(values))])
    if prepared.on_slurm:
        once = cost(chunks([Run(points_of(sweep)[0], sweep.points[0])], array_limit=None))
        hours = [f"{trials * h:,.0f} {unit}" for h, unit in ((once.gpu_hours, "GPU-hours"), (once.core_hours, "core-hours")) if h]
        print(f"# cost of all trials at most: {' and '.join(hours) or 'unknown, since there is no time limit'}")
    print(f"# the first trial: {' '.join(typed(values))}\n")
    return start(sweep, argv, several=True)
