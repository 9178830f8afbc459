"""State of a training process that Lightning 2.6 leaves out of a checkpoint: random generators and running epoch means.

Everything captured is made of tensors and plain values, so a checkpoint still loads with ``weights_only=True``.
"""

from __future__ import annotations

import random
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.trainer.connectors.logger_connector.result import _Metadata, _ResultMetric, _Sync
from torch import Tensor
from torchmetrics import Metric

__all__ = ["epoch_results", "metric_states", "restore_epoch_results", "restore_metric_states", "restore_rng", "rng_state"]

_META = (
    "fx",
    "name",
    "prog_bar",
    "logger",
    "on_step",
    "on_epoch",
    "enable_graph",
    "add_dataloader_idx",
    "dataloader_idx",
    "metric_attribute",
)


def rng_state() -> dict[str, Any]:
    """State of the global generators of Python, NumPy, torch and every visible CUDA device."""
    name, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    return {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_rng(state: dict[str, Any]) -> None:
    """Puts the global generators back; CUDA only if as many devices are visible as there were."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])


def epoch_results(trainer: pl.Trainer) -> dict[str, dict[str, Any]]:
    """Running values of everything logged by ``self.log`` in this training epoch, such as the epoch mean of the loss."""
    saved = {}
    for key, metric in trainer.fit_loop.epoch_loop._results.items():
        if not metric.is_tensor or metric.has_reset:
            continue
        meta = metric.meta
        saved[key] = {
            "meta": {name: getattr(meta, name) for name in _META},
            "reduce_fx": meta.reduce_fx.__name__,
            "sync": {"should": meta.sync.should, "op": meta.sync.op, "rank_zero_only": meta.sync.rank_zero_only},
            "value": metric.value.detach().cpu().clone(),
            "weight": metric.cumulated_batch_size.cpu().clone() if meta.is_mean_reduction else None,
            "last": metric._forward_cache.cpu().clone() if isinstance(metric._forward_cache, Tensor) else None,
        }
    return saved


def restore_epoch_results(trainer: pl.Trainer, saved: dict[str, dict[str, Any]]) -> None:
    """Goes on with saved running values as if the epoch had not been interrupted."""
    results = trainer.fit_loop.epoch_loop._results
    for key, entry in saved.items():
        sync = entry["sync"]
        meta = _Metadata(**entry["meta"], reduce_fx=entry["reduce_fx"])
        meta.sync = _Sync(
            fn=trainer.strategy.reduce, _should=sync["should"], rank_zero_only=sync["rank_zero_only"], _op=sync["op"]
        )
        metric = _ResultMetric(meta, is_tensor=True)
        metric.value = entry["value"].clone()
        if entry["weight"] is not None:
            metric.cumulated_batch_size = entry["weight"].clone()
        metric._forward_cache = entry["last"]
        metric._update_count = 1  # else compute() warns that nothing was added
        results[key] = metric.to(trainer.strategy.root_device)


def metric_counts(module: torch.nn.Module) -> dict[str, int]:
    """How often each metric inside a module has been updated since its reset."""
    return {name: m._update_count for name, m in module.named_modules() if isinstance(m, Metric)}


def metric_states(module: torch.nn.Module, counts: dict[str, int] | None = None) -> dict[str, dict[str, Any]]:
    """Accumulated states of the torchmetrics inside a module; with ``counts`` only of those not updated since then."""
    saved: dict[str, dict[str, Any]] = {}
    for name, metric in module.named_modules():
        if not isinstance(metric, Metric) or not metric._update_count:
            continue
        if counts is not None and counts.get(name) != metric._update_count:
            continue
        states = {key: getattr(metric, key) for key in metric._defaults}
        saved[name] = {
            "count": metric._update_count,
            "states": {k: _copy(v) for k, v in states.items()},
        }
    return saved


def _copy(value: Any, device: torch.device | None = None) -> Any:
    if isinstance(value, list):
        return [_copy(v, device) for v in value]
    return value.detach().to(device or "cpu", copy=True) if isinstance(value, Tensor) else value


def restore_metric_states(module: torch.nn.Module, saved: dict[str, dict[str, Any]]) -> None:
    """Puts accumulated states back; metrics that no longer exist are left out."""
    for name, metric in module.named_modules():
        if isinstance(metric, Metric) and name in saved:
            for key, value in saved[name]["states"].items():
                setattr(metric, key, _copy(value, metric.device))
            metric._update_count, metric._computed = saved[name]["count"], None
