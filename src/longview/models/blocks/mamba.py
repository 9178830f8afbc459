"""Bidirectional Mamba mixer, shared by every state-space model of longview.

Sources: Gu & Dao, "Mamba" (2023), section 3 (selective state space, initialisation); Zhu et al., "Vision Mamba" (ICML 2024) and
Li et al., "VideoMamba" (ECCV 2024) for the two directions that share the input and output projections; Zatsarynna et al.,
"MANTA" (CVPR 2025), section 3 for their sum. Written from these descriptions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from longview.models.blocks.selective_scan import selective_scan


class BidirectionalMamba(nn.Module):
    """Selective state space run forwards and backwards in time; the two directions are summed before the output projection.

    The parameters of the directions are stacked on a leading axis (0 forward, 1 backward), so that one call of the scan
    advances both. Each direction is ``scan(SiLU(causal depthwise conv(x))) * SiLU(z)`` with its own convolution, dt, B, C, A, D.

    Padding: positions outside ``valid`` feed nothing into the state (the scan input is zeroed after the convolution), so a
    sequence gives the same output whatever its padding. The published MANTA code uses an unreleased mask; this rule is ours.

    Args:
        dim: Model width.
        d_state: State size N per channel.
        d_conv: Kernel of the causal depthwise convolution.
        expand: Inner width as a multiple of ``dim``.
        dt_rank: Rank of the step-size projection; ``ceil(dim / 16)`` by default.
        merge: "sum" (MANTA, VideoMamba) or "mean" (Vim's ``if_divide_out``).
    """

    def __init__(
        self,
        dim: int,
        *,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        dt_rank: int | None = None,
        merge: str = "sum",
    ) -> None:
        super().__init__()
        if merge not in ("sum", "mean"):
            raise ValueError(f"merge must be 'sum' or 'mean', not {merge!r}")
        inner, rank = expand * dim, dt_rank or math.ceil(dim / 16)
        self.inner, self.d_state, self.d_conv, self.rank, self.merge = inner, d_state, d_conv, rank, merge
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        self.out_proj = nn.Linear(inner, dim, bias=False)
        self.conv_weight = nn.Parameter(torch.empty(2, inner, d_conv))
        self.conv_bias = nn.Parameter(torch.empty(2, inner))
        self.x_proj = nn.Parameter(torch.empty(2, rank + 2 * d_state, inner))
        self.dt_weight = nn.Parameter(torch.empty(2, inner, rank))
        self.dt_bias = nn.Parameter(torch.empty(2, inner))
        self.A_log = nn.Parameter(torch.empty(2, inner, d_state))
        self.D = nn.Parameter(torch.empty(2, inner))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, dt_min: float = 1e-3, dt_max: float = 0.1, dt_floor: float = 1e-4) -> None:
        """Mamba's initialisation: A = -(1..N), D = 1, dt log-uniform in [dt_min, dt_max] through the inverse softplus."""
        bound = 1 / math.sqrt(self.d_conv)
        self.conv_weight.uniform_(-bound, bound)
        self.conv_bias.uniform_(-bound, bound)
        self.x_proj.uniform_(-1 / math.sqrt(self.inner), 1 / math.sqrt(self.inner))
        self.dt_weight.uniform_(-(self.rank**-0.5), self.rank**-0.5)
        span = math.log(dt_max) - math.log(dt_min)
        dt = torch.exp(torch.rand_like(self.dt_bias) * span + math.log(dt_min)).clamp_min(dt_floor)
        self.dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))
        self.A_log.copy_(torch.log(torch.arange(1, self.d_state + 1, dtype=torch.float32)).expand_as(self.A_log))
        self.D.fill_(1.0)

    def forward(self, hidden: Tensor, valid: Tensor | None = None) -> Tensor:
        """Mix ``hidden`` [B, T, C] along time; ``valid`` [B, T] (bool or 0/1) marks real positions. Returns [B, T, C]."""
        x, z = self.in_proj(hidden).chunk(2, dim=-1)
        if valid is not None:
            # Zero inputs are what a causal convolution sees before its first frame: padding then looks like the border.
            x = x * valid.unsqueeze(-1).to(x.dtype)
        u = F.silu(self._conv(torch.stack((x, x.flip(1)))))
        if valid is not None:
            u = u * torch.stack((valid, valid.flip(1))).unsqueeze(-1).to(u.dtype)
        projected = torch.einsum("gblc,grc->gblr", u, self.x_proj)
        dt_low, b, c = torch.split(projected, [self.rank, self.d_state, self.d_state], dim=-1)
        dt = F.softplus(torch.einsum("gblr,gcr->gblc", dt_low, self.dt_weight) + self.dt_bias[:, None, None])
        y = selective_scan(u, dt, -torch.exp(self.A_log.float()), b, c, self.D)
        merged = (y[0] + y[1].flip(1)) * F.silu(z)
        if self.merge == "mean":
            merged = merged / 2
        out: Tensor = self.out_proj(merged)
        return out

    def _conv(self, x: Tensor) -> Tensor:
        """Causal depthwise convolution of both directions, [2, B, T, C] -> [2, B, T, C]."""
        # A sum of shifted products: for kernels of 3 or 4 this is faster on a CPU than conv1d with its two transposes.
        length = x.shape[2]
        padded = F.pad(x, (0, 0, self.d_conv - 1, 0))
        out = self.conv_bias[:, None, None].expand_as(x)
        for k in range(self.d_conv):
            out = torch.addcmul(out, padded[:, :, k : k + length], self.conv_weight[:, None, None, :, k])
        return out
