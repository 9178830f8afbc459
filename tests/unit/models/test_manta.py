"""MANTA's behaviour that a user relies on: padding, batch mates and seeds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from longview.data.anticipation import IGNORE, AnticipationBatch
from longview.models.blocks.diffusion import LabelDiffusion, cosine_alphas_cumprod
from longview.models.manta import Manta

K, D = 5, 6


def small(**changes: object) -> Manta:
    torch.manual_seed(0)
    model = Manta(K, D, width=16, blocks=2, sampling_steps=5, **changes)  # type: ignore[arg-type]
    for p in model.parameters():  # so that zero- or near-zero-initialised parameters cannot hide a leak
        torch.nn.init.normal_(p, std=0.3) if p.ndim > 1 else torch.nn.init.normal_(p, mean=0.5, std=0.3)
    return model.eval().double()  # float64: what is left is a leak, not the rounding of another summation order


def video(name: str, length: int, seed: int) -> tuple[str, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return name, torch.randn(length, D, generator=g, dtype=torch.float64), torch.randint(0, K, (length,), generator=g)


def batch_of(*videos: tuple[str, Tensor, Tensor], pad_to: int = 0) -> AnticipationBatch:
    size, steps = len(videos), max(pad_to, *(len(v[2]) for v in videos))
    observed, target = torch.zeros(size, steps, D, dtype=torch.float64), torch.full((size, steps), IGNORE)
    valid, past = torch.zeros(size, steps, dtype=torch.bool), torch.zeros(size, steps, dtype=torch.bool)
    for i, (_, features, labels) in enumerate(videos):
        seen = len(labels) // 3
        observed[i, :seen], past[i, :seen] = features[:seen], True
        target[i, : len(labels)], valid[i, : len(labels)] = labels, True
    return AnticipationBatch(
        observed=observed,
        target=target,
        valid=valid,
        past=past,
        videos=[v[0] for v in videos],
        observation=torch.full((size,), 0.2),
        labels=None,
        lengths=torch.tensor([len(v[2]) for v in videos]),
        stride=1,
    )


A, B = video("a", 23, 1), video("b", 40, 2)


@pytest.mark.parametrize("mates", [batch_of(A, pad_to=57), batch_of(A, B), batch_of(B, A)])
def test_output_of_a_video_depends_neither_on_padding_nor_on_its_batch(mates: AnticipationBatch) -> None:
    model = small()
    t_of = {"a": 137, "b": 880}

    def denoise(batch: AnticipationBatch) -> Tensor:
        noise = model.starting_noise(batch, 1, 0)[:, 0]
        t = torch.tensor([t_of[v] for v in batch.videos])
        weight = batch.valid.unsqueeze(-1).double()
        return model.denoiser(noise, t, noise.flip(-1), model.denoiser.context(batch.observed), weight)[0]

    alone = denoise(batch_of(A))[0]
    among = denoise(mates)[mates.videos.index("a")]
    torch.testing.assert_close(among[:23], alone, rtol=1e-9, atol=1e-11)
    assert among[23:].abs().max() == 0


def test_sampled_futures_depend_neither_on_padding_nor_on_the_batch() -> None:
    model = small()
    alone = model.anticipate(batch_of(A), 4, seed=3)[0]
    together = batch_of(B, A, pad_to=50)
    assert torch.equal(model.anticipate(together, 4, seed=3)[1, :, :23], alone)
    assert not torch.equal(model.anticipate(batch_of(A), 4, seed=4)[0], alone)
    assert torch.equal(model.anticipate(batch_of(A), 2, seed=3)[0], alone[:2])  # fewer samples are the first of many


def test_gradient_of_the_loss_does_not_depend_on_padding_when_divided_by_valid_frames() -> None:
    model = small(loss_mean="valid")

    def gradient(pad_to: int) -> Tensor:
        batch = batch_of(A, pad_to=pad_to)
        model.zero_grad()
        noise = model.starting_noise(batch, 1, 0)[:, 0]
        weight = batch.valid.unsqueeze(-1).double()
        x0 = torch.nn.functional.one_hot(batch.target.clamp_min(0), K).double() * weight
        context = model.denoiser.context(batch.observed)
        loss = model.diffusion.loss_at(
            lambda x, t, own: model.denoiser(x, t, own, context, weight),
            x0,
            batch.valid,
            torch.tensor([400]),
            noise,
            True,
        )
        loss.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    torch.testing.assert_close(gradient(60), gradient(0), rtol=1e-8, atol=1e-10)


def test_context_holds_no_future_features() -> None:
    model = small()
    batch = batch_of(B)
    changed = batch_of((B[0], torch.cat((B[1][:13], torch.full((27, D), 9.0, dtype=torch.float64))), B[2]))
    assert torch.equal(model.anticipate(batch, 2), model.anticipate(changed, 2))


def test_cosine_schedule_is_the_published_one() -> None:
    abar = cosine_alphas_cumprod(1000)
    for t, value in ((0, 0.999959), (20, 0.998114), (500, 0.492285), (980, 8.765e-4), (999, 2.43e-9)):
        assert float(abar[t]) == pytest.approx(value, rel=2e-3)


@pytest.mark.parametrize("sampling_steps", [1, 3, 50, 1000])
def test_sampler_visits_multiples_of_the_stride_down_to_zero(sampling_steps: int) -> None:
    visited: list[int] = []

    def denoise(x: Tensor, t: Tensor, own: Tensor) -> Tensor:
        visited.append(int(t[0]))
        return torch.ones_like(x).unsqueeze(0)

    out = LabelDiffusion(1000, sampling_steps).sample(denoise, torch.randn(2, 3, 4))
    stride = 1000 // sampling_steps
    assert visited == [stride * i for i in reversed(range(sampling_steps))]
    assert torch.equal(out, torch.ones(2, 3, 4))


def test_a_perfect_denoiser_recovers_the_labels_from_noise() -> None:
    x0 = torch.nn.functional.one_hot(torch.randint(0, 4, (2, 9)), 4).float()
    diffusion = LabelDiffusion(1000, 50)
    assert torch.equal(diffusion.sample(lambda x, t, own: x0.unsqueeze(0), torch.randn_like(x0)), x0)
    x_t = diffusion.q_sample(x0, torch.tensor([0, 999]), torch.zeros_like(x0))
    torch.testing.assert_close(x_t[0], x0[0], rtol=1e-3, atol=1e-3)
    assert x_t[1].abs().max() < 1e-3


def test_impossible_sampling_steps_are_refused() -> None:
    with pytest.raises(ValueError, match=r"1\.\.10"):
        LabelDiffusion(10, 11)
