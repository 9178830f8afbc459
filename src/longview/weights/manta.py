"""Name map of published MANTA checkpoints (``ms_tcn.stage1...``, public Mamba layout) to ``longview.models.manta.Manta``."""

from __future__ import annotations

import torch
from torch import Tensor

from longview.weights.keymap import Rule, conv1x1, same, stacked


def rules(num_classes: int, input_dim: int, blocks: int) -> list[Rule]:
    """The table for a model of K classes, D input features and so many blocks."""
    stage, ours = "ms_tcn.stage1", "denoiser"
    sizes = [num_classes, input_dim, num_classes]

    def split(tensors: list[Tensor]) -> list[Tensor]:
        return list(torch.split(tensors[0].squeeze(-1), sizes, dim=1))

    def join(tensors: list[Tensor]) -> list[Tensor]:
        return [torch.cat(tensors, dim=1).unsqueeze(-1)]

    inputs = (f"{ours}.in_labels", f"{ours}.in_observed", f"{ours}.in_own")
    table = [
        Rule((f"{stage}.conv_1x1.weight",), inputs, split, join),
        same(f"{stage}.conv_1x1.bias", f"{ours}.in_bias"),
        conv1x1(f"{stage}.conv_out.weight", f"{ours}.head.weight"),
        same(f"{stage}.conv_out.bias", f"{ours}.head.bias"),
    ]
    for theirs_index, ours_index in ((1, 0), (3, 2)):
        for kind in ("weight", "bias"):
            table.append(same(f"{stage}.time_mlp.{theirs_index}.{kind}", f"{ours}.time.mlp.{ours_index}.{kind}"))
    for i in range(blocks):
        table += _block(f"{stage}.layers.{i}", f"{ours}.blocks.{i}")
    return table


def _block(theirs: str, ours: str) -> list[Rule]:
    table = [
        Rule(
            (f"{theirs}.drop_path.scale",),
            (f"{ours}.scale",),
            lambda t: [t[0].flatten()],
            lambda t: [t[0].reshape(1, -1, 1)],
        ),
        conv1x1(f"{theirs}.conv_1x1.weight", f"{ours}.proj.weight"),
        same(f"{theirs}.conv_1x1.bias", f"{ours}.proj.bias"),
    ]
    for kind in ("weight", "bias"):
        table.append(same(f"{theirs}.norm.{kind}", f"{ours}.norm.{kind}"))
        table.append(same(f"{theirs}.time_mlp.1.{kind}", f"{ours}.film.{kind}"))
    return table + mixer(f"{theirs}.mamba", f"{ours}.mixer")


def mixer(theirs: str, ours: str) -> list[Rule]:
    """The bidirectional mixer in the public VideoMamba/Vim layout (``A_log``/``A_b_log``, ``conv1d``/``conv1d_b``, ...)."""

    def both(ours_name: str, forward: str, backward: str) -> Rule:
        return stacked((f"{theirs}.{forward}", f"{theirs}.{backward}"), f"{ours}.{ours_name}")

    def conv(tensors: list[Tensor]) -> list[Tensor]:
        return [torch.stack([t.squeeze(1) for t in tensors])]

    def unconv(tensors: list[Tensor]) -> list[Tensor]:
        return [t.unsqueeze(1) for t in tensors[0].unbind(0)]

    return [
        same(f"{theirs}.in_proj.weight", f"{ours}.in_proj.weight"),
        same(f"{theirs}.out_proj.weight", f"{ours}.out_proj.weight"),
        Rule(
            (f"{theirs}.conv1d.weight", f"{theirs}.conv1d_b.weight"),
            (f"{ours}.conv_weight",),
            conv,
            unconv,
        ),
        both("conv_bias", "conv1d.bias", "conv1d_b.bias"),
        both("x_proj", "x_proj.weight", "x_proj_b.weight"),
        both("dt_weight", "dt_proj.weight", "dt_proj_b.weight"),
        both("dt_bias", "dt_proj.bias", "dt_proj_b.bias"),
        both("A_log", "A_log", "A_b_log"),
        both("D", "D", "D_b"),
    ]
