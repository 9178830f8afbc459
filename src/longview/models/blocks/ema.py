"""Exponential moving average of a model's parameters, with the warm-up of the GTDA/MANTA recipe (ECCV 2024, CVPR 2025)."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class ExponentialMovingAverage(nn.Module):
    """Keeps an averaged copy of ``model``; call ``update`` once per optimizer step.

    Acts on every ``every``-th call only: a plain copy up to call ``warmup``; afterwards decay = min(1 - (1+n)^(-2/3), ``decay``)
    with n = calls - ``warmup``. The first averaging call copies once more. Buffers are copied, never averaged. The counters
    are saved and restored with the weights.
    """

    def __init__(self, model: nn.Module, *, every: int = 10, warmup: int = 100, decay: float = 0.995) -> None:
        super().__init__()
        self.every, self.warmup, self.max_decay = every, warmup, decay
        self.averaged = copy.deepcopy(model).requires_grad_(False).eval()
        self.calls = 0
        self.started = False

    def train(self, mode: bool = True) -> ExponentialMovingAverage:
        """The averaged model is always in evaluation mode."""
        del mode
        super().train(False)
        return self

    def get_extra_state(self) -> dict[str, Any]:
        """Counters that decide the next decay."""
        return {"calls": self.calls, "started": self.started}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the counters."""
        self.calls, self.started = int(state["calls"]), bool(state["started"])

    def decay_at(self, call: int) -> float:
        """Decay that call number ``call`` (from 0) uses; 0 is a plain copy."""
        n = call - self.warmup
        return 0.0 if n <= 0 else min(1 - (1 + n) ** (-2 / 3), self.max_decay)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take the model's current parameters in."""
        call, self.calls = self.calls, self.calls + 1
        if call % self.every:
            return
        decay = self.decay_at(call)
        if decay > 0 and not self.started:
            self.started, decay = True, 0.0
        target = [p.detach() for p in self.averaged.parameters()]
        source = [p.detach() for p in model.parameters()]
        if decay == 0.0:
            torch._foreach_copy_(target, source)
        else:
            torch._foreach_lerp_(target, source, 1 - decay)
        for mine, theirs in zip(self.averaged.buffers(), model.buffers(), strict=True):
            mine.copy_(theirs)
