"""DeepSpeed's ZeRO 1, 2 and 3 on GPUs and, for tests and small runs, on CPUs.

What differs from Lightning's own strategy: it also runs on CPUs (gloo); weights stay in float32 and ``bf16-mixed`` means
autocast, as with every other strategy; checkpoint folders are committed as a whole and load without executing anything from the
file; a moving average of the weights is kept under ZeRO-3 too.
"""

from __future__ import annotations

import importlib
import os
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.seed import reset_seed
from lightning.pytorch.plugins.precision import DeepSpeedPrecision
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn

from longview.config.schema import Experiment
from longview.engine.checkpoints import refuse_other_ranks, write_folder
from longview.engine.export import consolidate
from longview.engine.parts import MeanOfCounts, average_in_parts
from longview.errors import LongviewError

TAG = "checkpoint"
"""Folder that DeepSpeed makes inside a checkpoint; the name is Lightning's."""


class Precision(DeepSpeedPrecision):
    """float32 weights; with ``autocast`` the forward pass computes in bfloat16, as Lightning's ``bf16-mixed`` does elsewhere."""

    def __init__(self, device: str, autocast: bool) -> None:
        super().__init__("32-true")
        self._device, self._autocast = device, autocast

    def forward_context(self) -> AbstractContextManager[Any]:
        """Around every step."""
        return torch.autocast(self._device, torch.bfloat16) if self._autocast else nullcontext()


def make_deepspeed(config: Experiment, accelerator: str) -> Zero:
    """The strategy of a run whose ``strategy.name`` is deepspeed."""
    chosen, cpu = config.strategy, accelerator == "cpu"
    if cpu:
        os.environ["DS_ACCELERATOR"] = "cpu"  # read when deepspeed is imported
        # It would compile a faster exchange between processes of one machine: half a minute, a compiler, one node alone.
        vars(importlib.import_module("deepspeed.comm.torch"))["build_shm_op"] = lambda: None
    strategy = Zero(
        stage=chosen.stage or 2,
        offload_optimizer=chosen.offload_optimizer,
        offload_parameters=chosen.offload_parameters,
        overlap_comm=not cpu,
        process_group_backend="gloo" if cpu else None,
        precision_plugin=Precision(accelerator, config.trainer.precision == "bf16-mixed"),
    )
    # DeepSpeed would insist on an optimizer of its own, compiled on the spot, and so change what is computed.
    assert isinstance(strategy.config, dict)
    strategy.config["zero_force_ds_cpu_optimizer"] = False
    return strategy


@contextmanager
def trusted_load() -> Iterator[None]:
    """Have DeepSpeed's own ``torch.load(weights_only=False)`` load data alone, and the few plain classes it writes."""
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        with torch.serialization.safe_globals([LossScaler, ZeroStageEnum, fragment_address]):
            yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


class Zero(MeanOfCounts, DeepSpeedStrategy):
    """Lightning's DeepSpeed strategy with the differences named above."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._whole: Any = None
        self._hooks: list[tuple[nn.Module, Any, Any]] = []

    def _configure_launcher(self) -> None:
        """Processes are started by longview or SLURM, never by Lightning."""

    @property
    def root_device(self) -> torch.device:
        """This rank's device; DeepSpeed asks a CPU for an index too."""
        device = super().root_device
        return torch.device("cpu", 0) if device.type == "cpu" else device

    @property
    def _evaluating(self) -> bool:
        assert self.lightning_module is not None
        return self.lightning_module.trainer.state.fn != TrainerFn.FITTING

    def setup_environment(self) -> None:
        """As Lightning's, without its refusal of anything but CUDA."""
        DDPStrategy.setup_environment(self)

    def setup_distributed(self) -> None:
        """As Lightning's; only CUDA has device numbers to check."""
        if self.root_device.type == "cuda":
            super().setup_distributed()
            return
        reset_seed()
        self.set_world_ranks()
        self._init_deepspeed_distributed()

    def setup(self, trainer: L.Trainer) -> None:
        """As Lightning's; then weight averages learn to work on parts.

        To evaluate, every rank holds the whole model, without DeepSpeed: it cannot load what it saved in stage 3 for that. The
        task must not be the one that was fitted.
        """
        if self._evaluating:
            DDPStrategy.setup(self, trainer)
            return
        super().setup(trainer)
        if self.zero_stage_3:
            assert self.lightning_module is not None
            average_in_parts(self.lightning_module, lambda p: p.ds_tensor.data, _refresh)

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """The task's own, around DeepSpeed: its machinery expects that every rank takes every step."""
        assert self.lightning_module is not None
        with self.precision_plugin.val_step_context():
            return self.lightning_module.validation_step(*args, **kwargs)

    def gather(self) -> None:
        """Have every rank hold all weights, and no hook fetch or release them, until :meth:`divide`; collective."""
        if self._evaluating or not self.zero_stage_3 or self._whole is not None:
            return
        import deepspeed

        assert self.lightning_module is not None
        for module in self.lightning_module.modules():
            self._hooks.append((module, module._forward_pre_hooks, module._forward_hooks))
            module._forward_pre_hooks, module._forward_hooks = OrderedDict(), OrderedDict()
        parts = [p for p in self.lightning_module.parameters() if not _available(p)]
        self._whole = deepspeed.zero.GatheredParameters(parts)
        self._whole.__enter__()

    def divide(self) -> None:
        """Have every rank hold its part again."""
        if self._whole is None:
            return
        self._whole.__exit__(None, None, None)
        self._whole = None
        for module, before, after in self._hooks:
            module._forward_pre_hooks, module._forward_hooks = before, after
        self._hooks.clear()

    def on_train_start(self) -> None:
        """Raises LongviewError where DeepSpeed would carry half an accumulated step over the end of an epoch."""
        assert self.lightning_module is not None
        trainer = self.lightning_module.trainer
        every, batches = trainer.accumulate_grad_batches, trainer.num_training_batches
        if every > 1 and batches % every:
            text = f"trainer.accumulate={every} does not divide the {batches} batches of an epoch; with DeepSpeed it has to"
            fits = int(batches // every * every)
            raise LongviewError(f"{text}, or a resume would lose gradients: give trainer.limit_train_batches={fits}")

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any | None = None) -> None:
        """DeepSpeed's folder, committed as a whole; collective."""
        path = Path(self.broadcast(filepath))
        self.divide()  # a save in the middle of an evaluation

        def write(folder: Path) -> None:
            DeepSpeedStrategy.save_checkpoint(self, checkpoint, folder, storage_options)

        write_folder(path, int(checkpoint["global_step"]), self, write)

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Put every rank's part back; returns the rest of the checkpoint."""
        path = Path(self.broadcast(checkpoint_path))
        if self._evaluating:
            return consolidate(path)
        refuse_other_ranks(path, self.world_size)
        with trusted_load():
            return super().load_checkpoint(path, weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """To evaluate, the whole weights; in training DeepSpeed has loaded them with the rest."""
        if self._evaluating:
            assert self.lightning_module is not None
            self.lightning_module.load_state_dict(checkpoint["state_dict"], strict=strict)


def model_files(path: Path) -> list[Path]:
    """Files of a checkpoint that hold the model, in order of rank: one, or with ZeRO-3 one per rank."""
    found = (path / TAG).glob("*mp_rank_00_model_states.pt")
    return sorted(found, key=lambda p: [int(number) for number in re.findall(r"\d+", p.name)])


def _available(parameter: Any) -> bool:
    """Whether a weight divided by ZeRO-3 is whole on this rank at the moment."""
    from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus

    return bool(parameter.ds_status == ZeroParamStatus.AVAILABLE)


def _refresh(averaged: nn.Module) -> None:
    """Small weights are kept whole on every rank: gather them again from the changed parts."""
    parameters: list[Any] = list(averaged.parameters())
    if whole := [p for p in parameters if _available(p)]:
        whole[0].partition(whole)
        whole[0].all_gather(whole)
