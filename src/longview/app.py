"""``python run.py``: compose, check, launch."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longview.errors import ConfigError, LongviewError, Problem

if TYPE_CHECKING:
    from longview.config.experiment import CheckedExperiment, Checker

__all__ = ["CheckedExperiment", "guarded", "main"]

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
_COMPLETION = r"(install|uninstall|query)=(bash|zsh|fish)"
_REFUSED = {
    "config_path": "--config-path: set LONGVIEW_CONF to another conf folder instead",
    "config_name": "--config-name: choose an experiment instead, experiment=<name>",
    "config_dir": "--config-dir: set LONGVIEW_CONF to another conf folder instead",
    "experimental_rerun": "--experimental-rerun: continue a run with run.resume=<run directory> instead",
}


def main(argv: Sequence[str] | None = None, *, conf: Path | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name; default: those of the process.
        conf: Folder that holds conf/ (run.py's own).

    Returns:
        Exit code: 0 ok, 1 failed run, 2 bad input (nothing written), 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _main(arguments, conf))


def guarded(work: Callable[[], int]) -> int:
    """Run ``work``; an error becomes one message on stderr and an exit code. LONGVIEW_TRACEBACK=1 shows tracebacks."""
    try:
        return work()
    except LongviewError as error:
        if os.environ.get("LONGVIEW_TRACEBACK") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `... --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:
        if os.environ.get("LONGVIEW_TRACEBACK") == "1":
            raise
        print(f"error: {type(error).__name__}: {error}\n(LONGVIEW_TRACEBACK=1 shows where)", file=sys.stderr)
        return FAILED


def _main(arguments: list[str], conf: Path | None) -> int:
    from longview.config.tree import find_conf

    folder = find_conf(conf)
    if "--version" in arguments:
        from longview import __version__

        print(f"longview {__version__}")
        return OK
    from hydra._internal.utils import get_args_parser

    options = get_args_parser().parse_intermixed_args(arguments)
    if refused := [*_misused(options)]:
        raise ConfigError([Problem("", text) for text in refused])
    if options.help or options.hydra_help or options.cfg or options.info or options.shell_completion:
        return _hydra(options, arguments, folder)

    from longview.config.experiment import Checker

    checker = Checker(folder)
    if options.multirun and (launch := _by_value(checker, options.overrides)):
        return launch(arguments)
    sweep = checker.sweep(options.overrides) if options.multirun else checker.single(options.overrides)
    if not options.multirun:
        _refuse_search(sweep.points[0])
    from longview.launch.start import start

    code = start(sweep, arguments, several=options.multirun)
    first = sweep.points[0].config
    if code == OK and first.launch.wait and first.cluster.scheduler == "slurm" and not first.launch.dry_run:
        from longview.commands.wait import wait

        return wait(sweep)
    return code


def _by_value(checker: Checker, overrides: Sequence[str]) -> Callable[[list[str]], int] | None:
    """What launches a sweep whose next points follow from the values of those before; None: all its points are known now."""
    composition = checker.composer.compose(overrides, sweeps=True)
    if not composition.complete:
        return None  # what is wrong is said where all points are checked
    sweeper = next((a for a in composition.arguments if a.key == "hydra/sweeper" and a.value != "basic"), None)
    settings = composition.tree.get("search")
    trials = settings.get("trials") if isinstance(settings, dict) else None
    asked = [a.text for a in composition.arguments if a.key.partition(".")[0] == "search"]
    if sweeper and trials is not None:
        raise ConfigError([Problem("search.trials", f"'{sweeper.text}' searches in its own way; leave one of them out")])
    if sweeper:
        from longview.launch import plugin

        return lambda argv: plugin.run(checker, composition, argv)
    if trials is not None:
        from longview.launch import search

        return lambda argv: search.run(checker, composition, argv)
    if asked:
        said = f"is not set, so nothing is searched and {' '.join(asked)} means nothing; give search.trials=20"
        raise ConfigError([*composition.origins.filled(composition.problems), Problem("search.trials", said)])
    return None


def _refuse_search(point: CheckedExperiment) -> None:
    """One run chooses nothing: raises ConfigError where a search is asked for without ``-m``."""
    asked = [text for text in point.overrides if text.lstrip("+").startswith(("search.", "hydra/sweeper"))]
    asked += ["search.trials"] if point.config.search.trials and not asked else []
    if asked and not (point.config.run.resume or point.config.run.test):
        text = f"{asked[0]} means nothing for one run; add -m, and values to choose from such as model.width=16,32,64"
        raise ConfigError([Problem("", text)])


def _misused(options: Any) -> Iterator[str]:
    """What is wrong with the options of the command line, before any setting is looked at."""
    yield from (f"not an option of longview; {text}" for name, text in _REFUSED.items() if getattr(options, name) is not None)
    if not options.cfg:
        yield from (
            f"--{name} belongs to --cfg, as in --cfg job -p trainer" for name in ("package", "resolve") if getattr(options, name)
        )
    elif options.multirun:
        yield "--cfg shows one experiment; leave out --multirun and name one value for each key"
    if options.shell_completion and not re.fullmatch(_COMPLETION, " ".join(options.overrides)):
        yield "--shell-completion needs install=bash, install=zsh or install=fish (or uninstall=...)"


def _hydra(options: Any, arguments: list[str], folder: Path) -> int:
    """Hydra's own features, on a tree that composes."""
    from hydra import main as hydra_main

    overrides = options.overrides
    if not options.shell_completion and (overrides or options.cfg):
        from longview.config.experiment import Checker

        checker = Checker(folder)
        problems = checker.compose_problems(overrides)
        if options.cfg == "job" and options.package and options.package.partition(".")[0] not in checker.blocks:
            problems.append(Problem("--package", f"there is no block '{options.package}'; blocks: {', '.join(checker.blocks)}"))
        if problems:
            raise ConfigError(problems)
        arguments = [a for a in arguments if a not in overrides] + checker.canonical(overrides)
    before = sys.argv
    sys.argv = [before[0], *arguments]
    try:
        hydra_main(config_path=str(folder.resolve()), config_name="config", version_base="1.3")(_nothing)()
    except SystemExit as done:
        return int(done.code or 0) if isinstance(done.code, (int, type(None))) else FAILED
    except (LongviewError, KeyboardInterrupt, BrokenPipeError):
        raise
    except Exception:
        from longview.config.experiment import Checker

        problems = Checker(folder).compose_problems(overrides)
        if problems and not options.shell_completion:
            raise ConfigError(problems) from None
        raise
    finally:
        sys.argv = before
    return OK


def _nothing(config: Any) -> None:
    """Hydra wants a function; runs do not pass through it."""


def __getattr__(name: str) -> Any:
    """``CheckedExperiment`` is offered here too; imported only when asked for."""
    if name == "CheckedExperiment":
        from longview.config.experiment import CheckedExperiment

        return CheckedExperiment
    raise AttributeError(name)
