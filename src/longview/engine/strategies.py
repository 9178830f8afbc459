"""From ``strategy.name`` to Lightning's strategy object; FSDP with a checkpoint format of plain tensors.

Every strategy leaves the same names in the model's state, so a consolidated checkpoint (``longview.engine.export``) of any of
them is that of a plain run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.optimizer import _optimizers_to_device
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from longview.config.schema import Experiment
from longview.engine.checkpoints import META, rank_file, refuse_other_ranks, write_folder
from longview.engine.parts import MeanOfCounts, average_in_parts

STEPS = ("training_step", "validation_step", "test_step", "predict_step")
"""What Lightning calls on a task instead of ``forward``; parameters are gathered around these."""


def make_strategy(config: Experiment, accelerator: str, *, trainable: bool = True) -> str | Strategy:
    """The strategy of a run ("auto" is Lightning's name for one process on one device); without weights nothing is divided."""
    chosen, world = config.strategy, config.world_size
    if chosen.name == "single" or (chosen.name == "auto" and world == 1):
        return "auto"
    if not trainable and world == 1:
        return "auto"
    if chosen.name == "fsdp" and trainable:
        return FullySharded(world, chosen.min_unit or 1)
    if chosen.name == "deepspeed" and trainable:
        from longview.engine.zero import make_deepspeed  # only where the package is installed

        return make_deepspeed(config, accelerator)
    # Buffers are equal on all ranks; broadcasting them would be a collective in evaluation, where ranks may have different
    # numbers of batches.
    return Replicated(find_unused_parameters=chosen.find_unused_parameters, broadcast_buffers=False)


def shardable(module: nn.Module, min_unit: int) -> Iterator[nn.Module]:
    """Repeated blocks of a network, innermost first: modules that stand in a list and hold enough parameters."""
    for _, parent in reversed(list(module.named_modules())):
        if not isinstance(parent, (nn.ModuleList, nn.Sequential)):
            continue
        for child in parent:
            large = sum(p.numel() for p in child.parameters()) >= min_unit
            if large and not isinstance(child, (nn.ModuleList, nn.ModuleDict)):
                yield child


class Replicated(MeanOfCounts, DDPStrategy):
    """DDP whose sums are taken in the same order from the first step on, so that a resume on any number of ranks is exact.

    torch's DDP begins with one bucket of all gradients and lays new ones out after the first step, in the order in which the
    gradients came. Where in a bucket a number lies decides which rank's share is added first: with three ranks or more, the first
    step after a resume would round otherwise than the same step of a run that was never stopped.
    """

    def setup(self, trainer: L.Trainer) -> None:
        """As Lightning's, and a pass without effect after which torch lays the buckets out, last parameter first."""
        super().setup(trainer)
        if not isinstance(self.model, DistributedDataParallel) or self.model.find_unused_parameters:
            return  # with find_unused_parameters torch keeps the buckets it began with
        parameters = [p for p in self.model.module.parameters() if p.requires_grad]
        self.model.reducer.prepare_for_backward([])
        for parameter in reversed(parameters):
            (parameter.flatten()[:1].sum() * 0.0).backward()
        for parameter in parameters:
            parameter.grad = None


class WholeToEvaluate(Callback):
    """Has the weights gathered once for a whole evaluation.

    There, ranks may have different numbers of batches, so nothing in a step may wait for another rank. It also spares a sampler
    of many steps as many exchanges. Has to come before callbacks that save.
    """

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gather; collective."""
        getattr(trainer.strategy, "gather", _nothing)()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Divide again."""
        getattr(trainer.strategy, "divide", _nothing)()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gather; collective."""
        getattr(trainer.strategy, "gather", _nothing)()

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Divide again."""
        getattr(trainer.strategy, "divide", _nothing)()


def _nothing() -> None:
    """What other strategies do."""


class FullySharded(MeanOfCounts, ModelParallelStrategy):
    """torch's FSDP2 over all ranks: parameters, gradients and optimizer state are divided.

    A repeated block with at least ``min_unit`` parameters is gathered by itself, when it is used; the rest together, around a
    step. A block must be used through its ``forward``, and by all ranks alike: where one draws a branch that another does not,
    they wait for one another. Checkpoints are folders of one file of plain tensors per rank: they load with
    ``weights_only=True`` (torch's own format reads a pickle), and only on the same number of ranks, as an exact resume has to.
    """

    def __init__(self, world_size: int, min_unit: int) -> None:
        super().__init__(data_parallel_size=world_size, tensor_parallel_size=1)
        self._min_unit = min_unit

    def _configure_launcher(self) -> None:
        """Processes are started by longview or SLURM, never by Lightning."""

    def setup(self, trainer: L.Trainer) -> None:
        """Divide the task's parameters, then make the optimizers on what this rank holds."""
        assert self.model is not None
        assert self.accelerator is not None
        self.accelerator.setup(trainer)
        if not isinstance(self.model, FSDPModule):  # a test pass follows on the fit of the same task
            self._divide(self.model)
        self.model_to_device()
        self.barrier()
        fitting = trainer.state.fn == TrainerFn.FITTING
        if fitting:
            self.setup_optimizers(trainer)
        self.setup_precision_plugin()
        if fitting:
            _optimizers_to_device(self.optimizers, self.root_device)

    def _divide(self, model: nn.Module) -> None:
        mesh = self.device_mesh["data_parallel"]
        model.to(self.root_device)
        for block in shardable(model, self._min_unit):
            if not isinstance(block, FSDPModule):  # one block may stand in two lists
                fully_shard(block, mesh=mesh)
        # After every step: the optimizer, the weight average and checkpoints work on what is divided.
        fully_shard(model, mesh=mesh, reshard_after_forward=True)
        for name in STEPS:
            register_fsdp_forward_method(model, name)
        average_in_parts(model, DTensor.to_local)

    def gather(self) -> None:
        """Have every rank hold all weights until :meth:`divide`; collective."""
        for module in self._units():
            module.set_reshard_after_forward(False, recurse=False)
            module.unshard()

    def divide(self) -> None:
        """Have every rank hold its part again."""
        for module in self._units():
            module.set_reshard_after_forward(True, recurse=False)
            module.reshard()

    def _units(self) -> list[FSDPModule]:
        assert self.model is not None
        return [module for module in self.model.modules() if isinstance(module, FSDPModule)]

    # state ----------------------------------------------------------------------------------------------------------

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """This rank's part of every parameter, buffers whole."""
        assert self.model is not None
        return {name: _local(value) for name, value in self.model.state_dict().items()}

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """This rank's part of the optimizer's state; ``divided`` names what is a part."""
        whole = (optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer).state_dict()
        divided = {i: [k for k, v in entry.items() if isinstance(v, DTensor)] for i, entry in whole["state"].items()}
        state = {i: {k: _local(v) for k, v in entry.items()} for i, entry in whole["state"].items()}
        return {"state": state, "param_groups": whole["param_groups"], "divided": divided}

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any | None = None) -> None:
        """A folder with one file per rank; collective."""
        assert self.model is not None
        mine = {key: checkpoint.pop(key) for key in ("state_dict", "optimizer_states") if key in checkpoint}
        shapes = {name: list(v.shape) for name, v in self.model.state_dict().items() if isinstance(v, DTensor)}

        def write(folder: Path) -> None:
            torch.save(mine, folder / rank_file(self.global_rank))
            if self.is_global_zero:
                torch.save({**checkpoint, "shapes": shapes}, folder / META)

        write_folder(Path(self.broadcast(filepath)), int(checkpoint["global_step"]), self, write)

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Put this rank's part back; returns the rest of the checkpoint."""
        path = Path(self.broadcast(checkpoint_path))
        refuse_other_ranks(path, self.world_size)
        mine = torch.load(path / rank_file(self.global_rank), map_location="cpu", weights_only=True)
        assert self.model is not None
        assert self.lightning_module is not None
        current = self.model.state_dict()
        state = {name: _like(value, current.get(name)) for name, value in mine["state_dict"].items()}
        self.model.load_state_dict(state, strict=self.lightning_module.strict_loading)
        for optimizer, saved in zip(self.optimizers, mine.get("optimizer_states", ()), strict=False):
            optimizer.load_state_dict(_whole_optimizer(saved, optimizer))
        rest: dict[str, Any] = torch.load(path / META, map_location="cpu", weights_only=True)
        return rest


def _local(value: Any) -> Any:
    """The part of a divided tensor that is here, on its own storage; anything else as it is."""
    return value.to_local().detach().clone() if isinstance(value, DTensor) else value


def _like(part: Any, model: Any) -> Any:
    """A part as a divided tensor like ``model``, if that is one."""
    if not isinstance(model, DTensor):
        return part
    return DTensor.from_local(
        part.to(model.device), model.device_mesh, model.placements, shape=model.shape, stride=model.stride(), run_check=False
    )


def _whole_optimizer(saved: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    parameters: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
    state = {
        i: {k: _like(v, parameters[i]) if k in saved["divided"][i] else v for k, v in entry.items()}
        for i, entry in saved["state"].items()
    }
    return {"state": state, "param_groups": saved["param_groups"]}
