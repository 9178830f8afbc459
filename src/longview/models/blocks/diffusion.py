"""Diffusion over label sequences: cosine schedule, x0 prediction with self-conditioning, DDIM sampling.

Sources: Nichol & Dhariwal, "Improved Denoising Diffusion Probabilistic Models" (2021), eq. 17 (cosine schedule); Song et al.,
"Denoising Diffusion Implicit Models" (2021), eq. 12 with eta = 0; Chen et al., "Analog Bits" (2023) for self-conditioning;
Zatsarynna et al., "GTDA" (ECCV 2024) for their use on frame labels (targets are one-hot in {0, 1}, unscaled and unclamped).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

Denoise = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x_t [N, T, K], t [N], self_condition [N, T, K]) -> x0 predictions of every stage [S, N, T, K]."""


def cosine_alphas_cumprod(steps: int, offset: float = 0.008) -> Tensor:
    """Cumulated signal level alpha-bar [steps], float64, with betas clipped to 0.999."""
    grid = torch.linspace(0, steps, steps + 1, dtype=torch.float64)
    level = torch.cos((grid / steps + offset) / (1 + offset) * math.pi / 2) ** 2
    betas = (1 - level[1:] / level[:-1]).clamp(0, 0.999)
    return torch.cumprod(1 - betas, dim=0)


class LabelDiffusion(nn.Module):
    """Training loss and sampler around any denoiser of label sequences.

    Args:
        steps: Length of the diffusion chain (1000).
        sampling_steps: DDIM steps; visits t = 0, s, 2s, ... with s = steps // sampling_steps.
        self_condition: Probability, per batch, that training feeds the network its own first prediction.
        loss_mean: "padded" divides a sample's squared error by the padded length, as published; "valid" by its own length.
    """

    alphas_cumprod: Tensor
    signal: Tensor
    noise: Tensor
    recip_signal: Tensor
    recip_noise: Tensor

    def __init__(
        self, steps: int = 1000, sampling_steps: int = 50, self_condition: float = 0.5, loss_mean: str = "padded"
    ) -> None:
        super().__init__()
        if not 1 <= sampling_steps <= steps:
            raise ValueError(f"sampling_steps must lie in 1..{steps}, not {sampling_steps}")
        self.steps, self.sampling_steps = steps, sampling_steps
        self.self_condition, self.loss_mean = self_condition, loss_mean
        abar = cosine_alphas_cumprod(steps)  # float64: the tail is 1e-9
        tables = {
            "alphas_cumprod": abar,
            "signal": abar.sqrt(),
            "noise": (1 - abar).sqrt(),
            "recip_signal": (1 / abar).sqrt(),
            "recip_noise": (1 / abar - 1).sqrt(),
        }
        for name, table in tables.items():
            self.register_buffer(name, table.float(), persistent=False)

    def q_sample(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Noisy labels x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise; x0, noise [N, T, K], t [N]."""
        return self.signal[t, None, None] * x0 + self.noise[t, None, None] * noise

    def loss(self, denoise: Denoise, x0: Tensor, valid: Tensor) -> Tensor:
        """Draw t, noise and the self-conditioning coin, then the loss; x0 one-hot [N, T, K], valid [N, T]. Scalar."""
        t = torch.randint(0, self.steps, (x0.shape[0],), device=x0.device)
        noise = torch.randn_like(x0)
        # The coin is tossed on the CPU so that all ranks take the same branch without a device sync.
        use_own = bool(torch.rand(1).item() < self.self_condition)
        return self.loss_at(denoise, x0, valid, t, noise, use_own)

    def loss_at(self, denoise: Denoise, x0: Tensor, valid: Tensor, t: Tensor, noise: Tensor, self_condition: bool) -> Tensor:
        """Squared error of every stage's x0 prediction, mean over time and class, summed over stages and batch."""
        noisy = self.q_sample(x0, t, noise)
        own = torch.zeros_like(noisy)
        if self_condition:
            with torch.no_grad():
                own = denoise(noisy, t, own)[-1]
        predicted = denoise(noisy, t, own)
        weight = valid.to(x0.dtype).unsqueeze(-1)
        error = (weight * (predicted - x0).square()).mean(dim=-1)  # [S, N, T]
        if self.loss_mean == "valid":
            return (error.sum(-1) / weight.sum((1, 2)).clamp_min(1)).sum()
        return error.mean(-1).sum()

    @torch.no_grad()
    def sample(self, denoise: Denoise, initial: Tensor, valid: Tensor | None = None) -> Tensor:
        """Deterministic DDIM from ``initial`` noise [N, T, K]; returns the final x0 prediction [N, T, K]."""
        x, own = initial, torch.zeros_like(initial)
        stride = self.steps // self.sampling_steps
        times = list(range(0, self.steps, stride))[: self.sampling_steps]
        weight = None if valid is None else valid.to(x.dtype).unsqueeze(-1)
        for step in reversed(times):
            t = torch.full((x.shape[0],), step, dtype=torch.long, device=x.device)
            own = denoise(x, t, own)[-1]
            if step == 0:
                break
            eps = (self.recip_signal[step] * x - own) / self.recip_noise[step]
            if weight is not None:
                eps = eps * weight
            before = self.alphas_cumprod[step - stride]
            x = before.sqrt() * own + (1 - before).sqrt() * eps
        return own
