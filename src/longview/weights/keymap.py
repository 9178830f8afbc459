"""Name maps between published checkpoints and longview's parameters: every tensor accounted for, or a list of what is not.

A map is a list of ``Rule``s. A rule turns one published tensor group into one of ours (``load``) and back (``save``), so import,
export and gradient comparison share one table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from longview.errors import LongviewError


@dataclass(frozen=True)
class Rule:
    """Published tensors ``theirs`` <-> our tensors ``ours``; ``load`` and ``save`` convert lists of tensors."""

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    load: Callable[[list[Tensor]], list[Tensor]]
    save: Callable[[list[Tensor]], list[Tensor]]


def same(theirs: str, ours: str) -> Rule:
    """The tensor under another name."""
    return Rule((theirs,), (ours,), list, list)


def conv1x1(theirs: str, ours: str) -> Rule:
    """A 1x1 convolution weight [out, in, 1] as a linear weight [out, in]."""
    return Rule((theirs,), (ours,), lambda t: [t[0].squeeze(-1)], lambda t: [t[0].unsqueeze(-1)])


def stacked(theirs: Iterable[str], ours: str) -> Rule:
    """Several published tensors stacked on a new leading axis of ours."""
    return Rule(tuple(theirs), (ours,), lambda t: [torch.stack(t)], lambda t: list(t[0].unbind(0)))


class WeightsError(LongviewError):
    """A checkpoint that does not fit; lists every tensor that is missing, left over or of another shape."""


def convert(rules: Iterable[Rule], state: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published ``state`` in our names, checked against the shapes of ``like`` (our state dict).

    Raises:
        WeightsError: With the whole list of tensors that are missing, left over or of another shape.
    """
    out: dict[str, Tensor] = {}
    used: set[str] = set()
    wrong: list[str] = []
    for rule in rules:
        absent = [name for name in rule.theirs if name not in state]
        used.update(rule.theirs)
        if absent:
            wrong += [f"missing in the file: {name}" for name in absent]
            continue
        for name, tensor in zip(rule.ours, rule.load([state[n] for n in rule.theirs]), strict=True):
            if name not in like:
                wrong.append(f"not in the model: {name} (from {', '.join(rule.theirs)})")
            elif like[name].shape != tensor.shape:
                wrong.append(f"{name}: shape {tuple(tensor.shape)} in the file, {tuple(like[name].shape)} in the model")
            else:
                out[name] = tensor
    wrong += [f"left over in the file: {name}" for name in state if name not in used]
    wrong += [f"not filled: {name}" for name in like if name not in out and not any(name in w for w in wrong)]
    if wrong:
        raise WeightsError("the checkpoint does not fit the model:\n  " + "\n  ".join(wrong))
    return out


def revert(rules: Iterable[Rule], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our ``state`` (weights, or gradients by parameter name) in the published names."""
    out: dict[str, Tensor] = {}
    for rule in rules:
        out.update(zip(rule.theirs, rule.save([state[name] for name in rule.ours]), strict=True))
    return out
