"""One attempt at a run: build, resume if there is a checkpoint, fit, test, write the result."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import traceback
import warnings
from dataclasses import dataclass, field
from typing import Any, Literal

import lightning as L
import torch
from rich.console import Console

from longview.config.schema import Experiment
from longview.config.validate import validate
from longview.engine import ranks
from longview.engine.build import Built, build, memory_loader, typical_batch
from longview.engine.checkpoints import newest, readable, weights_to_test
from longview.engine.company import begin
from longview.engine.failures import record_failure
from longview.engine.heartbeat import Heartbeat
from longview.engine.report import PLAIN, finish, shown
from longview.engine.stop import RunStopped, StopFlag
from longview.engine.summary import Summary, measure_flops, show
from longview.engine.trainer import make_trainer
from longview.errors import ConfigError, LongviewError
from longview.runs import environment
from longview.runs.directory import RunDirectory, write_atomically

OK, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 130
Mode = Literal["fit", "test"]

QUIET = (
    ".*in eval mode at the start of training.*",  # the weight average
    ".*does not have many workers.*",
    ".*LeafSpec.*",
    ".*exists and is not empty.*",  # the checkpoint folder of a resumed run
    ".*smaller than the logging interval.*",
    ".*is deprecated. Please use .torch.distributed.*",  # said by DeepSpeed about itself
    ".*`srun` command is available.*",  # our batch script uses it, or the user chose not to
    ".*broadcast_buffers. is deprecated.*",  # the new name came after torch 2.4
)
"""Warnings of Lightning's that are no news to the user."""


@dataclass
class Ending:
    """How an attempt ended: its record's outcome and details, and the exit code."""

    outcome: str
    code: int
    details: dict[str, Any] = field(default_factory=dict)


def execute(run: RunDirectory, mode: Mode = "fit") -> int:
    """Run an attempt and record how it ended; returns the exit code (0 ok, 1 failed, 2 bad input, 130 stopped).

    Raises:
        RunDirectoryError: The attempt cannot be recorded.
        CompanyError: Another attempt is at work on the run; nothing was recorded.
    """
    rank = int(os.environ.get("RANK", "0"))
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1  # Lightning deletes it when it is done
    console = Console(quiet=rank != 0)
    with StopFlag().listening() as flag:
        number = begin(run, mode, rank)
        if number is None:
            return BAD_INPUT
        heartbeat = Heartbeat(run, number, rank)
        heartbeat.start()
        ending = _tried(run, mode, flag, console, rank, heartbeat)
        failed = ending.outcome == "failed"
        if failed:
            record_failure(run, rank, ending.details["error"], ending.details["traceback"])
        else:
            _leave_group()
        heartbeat.end(ending.outcome)
        if rank == 0:
            _close(run, number, ending)
    again = _again(run, mode)
    if ending.outcome == "stopped":
        console.print(f"stopped; {'continue' if mode == 'fit' else 'score'} with: {again}", **PLAIN)
    elif failed:
        _explain(run, ending, rank, several, f"continue with: {again}" if mode == "fit" and newest(run.last_checkpoint) else "")
        if several:
            _leave_at_once(ending.code)
    return ending.code


def _again(run: RunDirectory, mode: Mode) -> str:
    """The command that goes on with a run; what is typed on a login node is not relative to where a job runs."""
    if mode == "fit" and os.environ.get("LONGVIEW_RANKS") == "slurm":
        return f"longview resume {run.path}"
    return f"python run.py {'run.resume' if mode == 'fit' else 'run.test'}={shown(run.path)}"


def _leave_at_once(code: int) -> None:
    """End this rank now. Its peers wait for it in a collective, and so might the ordinary end of the interpreter; the launcher
    or srun sees the code and ends them."""
    for worker in multiprocessing.active_children():
        worker.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _tried(run: RunDirectory, mode: Mode, flag: StopFlag, console: Console, rank: int, heartbeat: Heartbeat) -> Ending:
    try:
        attempt(run, mode, flag, console, rank, heartbeat)
    except (RunStopped, KeyboardInterrupt) as stopped:
        return _stopped(run, str(stopped) or "interrupted")
    except SystemExit as left:
        if isinstance(left.__context__, KeyboardInterrupt):  # Lightning answers an interrupt with sys.exit
            return _stopped(run, "interrupted")
        return _failure(f"SystemExit: {left}", FAILED)
    except LongviewError as error:
        return _failure(str(error), FAILED if flag.underway else BAD_INPUT)
    except Exception as error:
        return _failure(f"{type(error).__name__}: {error}", FAILED)
    return Ending("finished", OK)


def _stopped(run: RunDirectory, reason: str) -> Ending:
    return Ending("stopped", STOPPED, {"reason": reason, "saved": newest(run.last_checkpoint) is not None})


def _leave_group() -> None:
    """End gloo's process group: its threads, alive at interpreter exit, now and then abort a rank that has succeeded."""
    group = torch.distributed
    if group.is_available() and group.is_initialized() and group.get_backend() == "gloo":  # Lightning ends NCCL's itself
        if "deepspeed" in sys.modules:  # it remembers the group and would use it in the next run of this process
            from deepspeed import comm

            comm.destroy_process_group()
        else:
            group.destroy_process_group()


def _failure(error: str, code: int) -> Ending:
    return Ending("failed", code, {"error": error, "traceback": traceback.format_exc()})


def _close(run: RunDirectory, number: int, ending: Ending) -> None:
    try:
        run.end_attempt(number, ending.outcome, **ending.details)
    except OSError as error:  # a full disk must not hide why the run ended
        print(f"warning: {run.attempts} cannot be written: {error.strerror}", file=sys.stderr)


def _explain(run: RunDirectory, ending: Ending, rank: int, several: bool, again: str) -> None:
    """One line for what went wrong and one for what to do; the traceback where several ranks leave no other place for it."""
    head = f"[rank {rank}] " if several else ""
    if ending.code != BAD_INPUT and (several or os.environ.get("LONGVIEW_TRACEBACK") == "1"):
        print("".join(f"{head}{line}\n" for line in ending.details["traceback"].splitlines()), end="", file=sys.stderr)
    print(f"{head}error: {ending.details['error']}", file=sys.stderr)
    if rank == 0:
        where = f"the traceback is in {shown(run.attempts)}" if ending.code != BAD_INPUT else ""
        if hint := "; ".join(text for text in (where, again) if text):
            print(hint, file=sys.stderr, flush=True)


def load(run: RunDirectory) -> Experiment:
    """The typed configuration of a run; raises ConfigError if its config.yaml was damaged."""
    validated = validate(run.config())
    if validated.problems:
        raise ConfigError(validated.problems)
    return validated.experiment()


def _quieten() -> None:
    # Lightning's tips and hardware banners would bury what the user asked for; real warnings stay.
    import logging

    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in QUIET:
        warnings.filterwarnings("ignore", message=text)


def attempt(
    run: RunDirectory, mode: Mode, flag: StopFlag, console: Console, rank: int, heartbeat: Heartbeat | None = None
) -> None:
    """Build, fit and test; what it raises says how it ended."""
    config = load(run)
    try:
        _attempt(config, run, mode, flag, console, rank, heartbeat or Heartbeat(run, 0, rank))
    finally:
        if config.logger.wandb is not None:
            from longview.engine.wandb_logger import finish

            finish(failed=not isinstance(sys.exc_info()[1], (RunStopped, KeyboardInterrupt, type(None))))


def _attempt(
    config: Experiment, run: RunDirectory, mode: Mode, flag: StopFlag, console: Console, rank: int, heartbeat: Heartbeat
) -> None:
    _quieten()
    ranks.check(config)
    accelerator, remark = ranks.accelerator(config)
    if remark:
        console.print(remark, **PLAIN)
    torch.set_num_threads(ranks.threads(config))
    L.seed_everything(config.seed, workers=False, verbose=False)
    built = build(config)
    weights = readable(weights_to_test(built.task, run)) if mode == "test" else None
    validate = built.task.trainable and len(built.source.videos("val")) > 0
    trainer = make_trainer(
        config,
        built.task,
        run,
        flag,
        console,
        validate=validate,
        accelerator=accelerator,
        heartbeat=heartbeat,
        fits=mode == "fit",
    )
    if rank == 0:
        _record(config, run, trainer)
    summary = _summary(config, built, trainer)
    if rank == 0 and mode == "fit":
        show(summary, f"{run.path.name}", console)
    begun = time.perf_counter()
    if mode == "fit":
        _fit(config, built, trainer, run, console)
        weights = weights_to_test(built.task, run)
        if config.strategy.name == "deepspeed" and built.task.trainable:
            built = build(config)  # DeepSpeed has taken the fitted one apart
    elif not built.task.trainable:
        _memorise(config, built)
    fitted = time.perf_counter()
    trainer.test(built.task, datamodule=built.data, ckpt_path=weights, verbose=False, weights_only=True)
    tested = time.perf_counter()
    result = built.task.result()
    if rank == 0:
        seconds = {"fit": round(fitted - begun, 2), "test": round(tested - fitted, 2)}
        finish(config, run, built, trainer, result, summary, weights, seconds, console, repeated=mode == "test")


def _record(config: Experiment, run: RunDirectory, trainer: L.Trainer) -> None:
    device = trainer.strategy.root_device
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    extra = {"device": hardware, "threads": torch.get_num_threads(), "cuda": torch.version.cuda}
    if few := ranks.affinity(config):
        found = f"{few['usable']} CPUs per process instead of {few['asked']} on {few['host']}"
        print(f"warning: {found}, so this run is slow; {few['fix']}", file=sys.stderr)
        extra["affinity"] = few
    run.write_json(run.path / "environment.json", {**environment.describe(), **extra})
    diff = environment.uncommitted_diff()
    if diff:
        write_atomically(run.path / "code.diff", diff)
    else:  # that of an earlier attempt would be taken for this one's
        (run.path / "code.diff").unlink(missing_ok=True)


def _summary(config: Experiment, built: Built, trainer: L.Trainer) -> Summary:
    task, data = built.task, built.data
    parameters = list(task.model.parameters())
    flops, of = None, ""
    if task.trainable:
        batch = typical_batch(built)
        flops, of = measure_flops(task, batch), f"forward, counted: {task.size_of(batch)}"
    sizes = {part: len(data.examples(part)) for part in ("train", "val", "test")}
    steps = -(-sizes["train"] // (config.loader.batch_size * trainer.world_size)) if task.trainable else 0
    return Summary(
        parameters=sum(p.numel() for p in parameters),
        trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        flops_per_sample=flops,
        flops_of=of,
        train_examples=sizes["train"],
        val_examples=sizes["val"],
        test_examples=sizes["test"],
        steps_per_epoch=-(-steps // config.trainer.accumulate),
        device=str(trainer.strategy.root_device),
        precision=config.trainer.precision,
        processes=trainer.world_size,
    )


def _fit(config: Experiment, built: Built, trainer: L.Trainer, run: RunDirectory, console: Console) -> None:
    if not built.task.trainable:
        _memorise(config, built)
        return
    last = readable(newest(run.last_checkpoint))
    if last is not None:
        console.print(f"resuming from {shown(last)}", **PLAIN)
    trainer.fit(built.task, datamodule=built.data, ckpt_path=last, weights_only=True if last else None)


def _memorise(config: Experiment, built: Built) -> None:
    memorise = getattr(built.task.model, "memorise", None)
    if memorise is not None:
        memorise(memory_loader(built, config.loader.eval_batch_size))
