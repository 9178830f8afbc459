"""What a configuration of MANTA must fulfil beyond the type of each value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from longview.errors import Problem


def problems(experiment: Any) -> Iterator[Problem]:
    """A chain cannot be sampled in more steps than it has; the sinusoid needs an even width; ranks that share the weights of a
    layer have to take the same path through it."""
    model, strategy = experiment.model.params, experiment.strategy
    yield from _width(model)
    if 0 < model.self_condition < 1 and (strategy.name == "fsdp" or (strategy.name == "deepspeed" and strategy.stage == 3)):
        text = f"{model.self_condition:g}: every rank tosses its own coin, and strategies that divide the weights need all ranks"
        yield Problem("model.self_condition", f"{text} on the same path; give 0 or 1, or strategy=ddp or strategy=deepspeed_2")
    if model.sampling_steps > model.diffusion_steps:
        text = f"{model.sampling_steps} is more than model.diffusion_steps ({model.diffusion_steps}); give at most that"
        yield Problem("model.sampling_steps", text)


def _width(model: Any) -> Iterator[Problem]:
    if model.width < 4 or model.width % 2:
        yield Problem("model.width", f"{model.width} is impossible; must be even and at least 4, for example 64")
