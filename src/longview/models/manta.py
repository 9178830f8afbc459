"""MANTA: diffusion for stochastic long-term anticipation with a bidirectional Mamba denoiser.

Source: Zatsarynna, Bahrami, Abu Farha, Francesca, Gall, "MANTA: Diffusion Mamba for Efficient and Effective Stochastic
Long-Term Dense Action Anticipation" (CVPR 2025), with the diffusion of GTDA (ECCV 2024). Clean-room implementation from the
method description; the authors' code (CC BY-NC) was not used. Where the paper's own Mamba variant is unpublished (dropout
inside the mixer, mask), longview uses no dropout there and the padding rule of ``BidirectionalMamba``.
"""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from longview.models.blocks.diffusion import LabelDiffusion
from longview.models.blocks.mamba import BidirectionalMamba
from longview.types import InputDim, NumClasses, PositiveInt, Probability, Ratio

if TYPE_CHECKING:
    from longview.data.anticipation import AnticipationBatch


class TimeEmbedding(nn.Module):
    """Diffusion time [N] -> [N, 4 * width]: sinusoid (sin, then cos) and a two-layer GELU MLP."""

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        rates = torch.exp(torch.arange(half) * (-math.log(10_000) / (half - 1)))
        self.register_buffer("frequencies", rates, persistent=False)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, 4 * width))

    def forward(self, t: Tensor) -> Tensor:
        angles = t[:, None].to(self.frequencies.dtype) * self.frequencies
        out: Tensor = self.mlp(torch.cat((angles.sin(), angles.cos()), dim=-1))
        return out


class MantaBlock(nn.Module):
    """Norm, bidirectional Mamba with layer scale and stochastic depth, 1x1 projection, FiLM by diffusion time, residual."""

    def __init__(self, width: int, *, d_state: int, d_conv: int, expand: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mixer = BidirectionalMamba(width, d_state=d_state, d_conv=d_conv, expand=expand)
        self.scale = nn.Parameter(torch.full((width,), 1e-4))
        self.proj = nn.Linear(width, width)
        self.film = nn.Linear(4 * width, 2 * width)
        self.dropout = dropout

    def forward(self, h: Tensor, emb: Tensor, valid: Tensor) -> Tensor:
        """h [N, T, C], emb [N, 4C] (SiLU already applied), valid [N, T, 1] float -> [N, T, C]."""
        y = self.mixer(self.norm(h) * valid, valid.squeeze(-1))
        y = self.scale * y
        if self.training and self.dropout > 0:
            keep = (torch.rand(y.shape[0], 1, 1, device=y.device) >= self.dropout).to(y.dtype)
            y = y * keep / (1 - self.dropout)
        y = F.dropout(self.proj(y * valid), self.dropout, self.training)
        gain, shift = self.film(emb).unsqueeze(1).chunk(2, dim=-1)
        out: Tensor = (h + y * (gain + 1) + shift) * valid
        return out


class MantaDenoiser(nn.Module):
    """Predicts clean labels from noisy ones, the observed features and its own previous prediction (one stage).

    The observed features are the same for every diffusion step and every sample of a video: ``context`` projects them once,
    ``forward`` then works on labels alone.
    """

    def __init__(
        self,
        num_classes: int,
        input_dim: int,
        *,
        width: int,
        blocks: int,
        d_state: int,
        d_conv: int,
        expand: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        # One linear map of the concatenation (x_t, observed, self-condition), kept as its three column blocks.
        whole = nn.Linear(input_dim + 2 * num_classes, width)
        x_part, seen_part, own_part = torch.split(whole.weight.detach(), [num_classes, input_dim, num_classes], dim=1)
        self.in_labels = nn.Parameter(x_part.clone())
        self.in_observed = nn.Parameter(seen_part.clone())
        self.in_own = nn.Parameter(own_part.clone())
        self.in_bias = nn.Parameter(whole.bias.detach().clone())
        self.time = TimeEmbedding(width)
        self.blocks = nn.ModuleList(
            MantaBlock(width, d_state=d_state, d_conv=d_conv, expand=expand, dropout=dropout) for _ in range(blocks)
        )
        self.head = nn.Linear(width, num_classes)

    def context(self, observed: Tensor) -> Tensor:
        """Observed features [B, T, D] -> their part of the stage input [B, T, C]."""
        return F.linear(observed, self.in_observed, self.in_bias)

    def forward(self, x: Tensor, t: Tensor, own: Tensor, context: Tensor, valid: Tensor) -> Tensor:
        """x, own [N, T, K], t [N], context [N, T, C] (or broadcastable), valid [N, T, 1] float -> x0 [1, N, T, K]."""
        x = F.dropout1d(x.transpose(1, 2), self.dropout, self.training).transpose(1, 2)  # label channels, not frames
        h = (context + F.linear(x, self.in_labels) + F.linear(own, self.in_own)) * valid
        emb = F.silu(self.time(t))
        for block in self.blocks:
            h = block(h, emb, valid)
        out: Tensor = self.head(h) * valid
        return out.unsqueeze(0)


class Manta(nn.Module):
    """MANTA for dense anticipation (task=anticipation): 15 blocks of width 64, 1.4 M parameters on 2048-d features.

    Args:
        num_classes: K. input_dim: D of an observed frame. width: model width.
        blocks: MANTA blocks. d_state, d_conv, expand: Mamba sizes.
        dropout: Probability of label-channel dropout, stochastic depth and block dropout alike (0.4 Breakfast, 0.5 Assembly101).
        diffusion_steps, sampling_steps: Chain length and DDIM steps.
        self_condition: Probability of a self-conditioned training step.
        loss_mean: Divide a sample's error by the "padded" length (as published) or its own "valid" length.
    """

    tasks: ClassVar[tuple[str, ...]] = ("anticipation",)
    trainable: ClassVar[bool] = True

    def __init__(
        self,
        num_classes: NumClasses,
        input_dim: InputDim,
        *,
        width: PositiveInt = 64,
        blocks: PositiveInt = 15,
        d_state: PositiveInt = 16,
        d_conv: PositiveInt = 3,
        expand: PositiveInt = 2,
        dropout: Probability = 0.4,
        diffusion_steps: PositiveInt = 1000,
        sampling_steps: PositiveInt = 50,
        self_condition: Ratio = 0.5,
        loss_mean: Literal["padded", "valid"] = "padded",
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.denoiser = MantaDenoiser(
            num_classes,
            input_dim,
            width=width,
            blocks=blocks,
            d_state=d_state,
            d_conv=d_conv,
            expand=expand,
            dropout=dropout,
        )
        self.diffusion = LabelDiffusion(diffusion_steps, sampling_steps, self_condition, loss_mean)

    def training_loss(self, batch: AnticipationBatch) -> Tensor:
        """Diffusion loss of a batch, past and future frames alike; a sum over the batch (its scale grows with the batch size)."""
        weight = batch.valid.unsqueeze(-1).to(batch.observed.dtype)
        x0 = F.one_hot(batch.target.clamp_min(0), self.num_classes).to(batch.observed.dtype) * weight
        context = self.denoiser.context(batch.observed)
        return self.diffusion.loss(lambda x, t, own: self.denoiser(x, t, own, context, weight), x0, batch.valid)

    def forward(self, batch: AnticipationBatch) -> Tensor:
        """One denoising pass from zero labels at t = 0: x0 prediction [1, B, T, K]."""
        weight = batch.valid.unsqueeze(-1).to(batch.observed.dtype)
        x = batch.observed.new_zeros(*batch.valid.shape, self.num_classes)
        t = torch.zeros(len(batch), dtype=torch.long, device=x.device)
        out: Tensor = self.denoiser(x, t, x, self.denoiser.context(batch.observed), weight)
        return out

    @torch.no_grad()
    def anticipate(self, batch: AnticipationBatch, num_samples: int, seed: int = 0) -> Tensor:
        """Draw ``num_samples`` futures per video in one batched pass; class ids int64 [B, S, T].

        The starting noise of a video follows from (seed, its name, its observed fraction) alone, so its samples do not depend
        on what else is in the batch.
        """
        observed, valid = batch.observed, batch.valid
        noise = self.starting_noise(batch, num_samples, seed)
        weight = valid.unsqueeze(-1).to(observed.dtype).repeat_interleave(num_samples, dim=0)
        context = self.denoiser.context(observed).repeat_interleave(num_samples, dim=0)
        x0 = self.diffusion.sample(
            lambda x, t, own: self.denoiser(x, t, own, context, weight), noise.flatten(0, 1), weight.squeeze(-1)
        )
        return x0.argmax(-1).view(len(batch), num_samples, -1)

    def starting_noise(self, batch: AnticipationBatch, num_samples: int, seed: int) -> Tensor:
        """Standard normal noise [B, S, T, K], zero in the padding, one reproducible stream per video."""
        size, length = batch.valid.shape
        noise = torch.zeros(size, num_samples, length, self.num_classes)
        for i, (video, fraction) in enumerate(zip(batch.videos, batch.observation.tolist(), strict=True)):
            generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{video}/{fraction:.4f}".encode()))
            own = int(batch.valid[i].sum())
            noise[i, :, :own] = torch.randn(num_samples, own, self.num_classes, generator=generator)
        return noise.to(batch.observed)
