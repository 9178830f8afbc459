"""MANTA against the numbers of the authors' implementation; sizes, lengths and seeds come from the file."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from longview.models.manta import Manta
from longview.weights import manta as names
from longview.weights.keymap import WeightsError, convert, revert


def build(dump: dict[str, Any]) -> tuple[Manta, list[Any]]:
    config, state = dump["meta"]["config"], dump["state_dict"]
    inner, d_state = state["ms_tcn.stage1.layers.0.mamba.A_log"].shape
    model = Manta(
        config["num_classes"],
        config["input_dim"],
        width=config["model_dim"],
        blocks=config["num_layers"],
        d_state=d_state,
        d_conv=config["kernel_size"],
        expand=inner // config["model_dim"],
        dropout=config["channel_dropout_prob"],
        sampling_steps=len(dump["meta"]["ddim_seq"]),
    )
    table = names.rules(config["num_classes"], config["input_dim"], config["num_layers"])
    model.load_state_dict(convert(table, state, model.state_dict()), strict=True)
    return model.eval(), table


@pytest.fixture
def case(dump: Any) -> tuple[dict[str, Any], Manta, list[Any]]:
    loaded = dump("manta")
    model, table = build(loaded)
    return loaded, model, table


def test_mixer(case: Any, close: Any) -> None:
    loaded, model, _ = case
    out = model.denoiser.blocks[0].mixer(loaded["inputs"]["block_in"])
    close(out, loaded["outputs"]["block0_mamba"])


def test_denoiser(case: Any, close: Any) -> None:
    loaded, model, _ = case
    i = loaded["inputs"]
    context = model.denoiser.context(i["obs"])
    out = model.denoiser(i["noise"], i["t"], i["self_cond"], context, i["mask_all"])
    close(out, loaded["outputs"]["denoiser"])


@pytest.mark.parametrize("variant", ["no_self_cond", "self_cond"])
def test_loss_and_every_gradient(case: Any, gradients_close: Any, variant: str) -> None:
    loaded, model, table = case
    i, want = loaded["inputs"], loaded["outputs"]["losses"][variant]
    loss = model.diffusion.loss_at(
        lambda x, t, own: model.denoiser(x, t, own, model.denoiser.context(i["obs"]), i["mask_all"]),
        i["x0"],
        i["mask_all"].squeeze(-1),
        i["t"],
        i["noise"],
        variant == "self_cond",
    )
    torch.testing.assert_close(loss, torch.as_tensor(want["loss"]), rtol=1e-5, atol=0)
    loss.backward()
    gradients_close(revert(table, {n: p.grad for n, p in model.named_parameters()}), want["grads"])


def test_ddim_run(case: Any, close: Any) -> None:
    loaded, model, _ = case
    i, initial = loaded["inputs"], loaded["inputs"]["init_noise"]
    assert list(range(0, 1000, 1000 // model.diffusion.sampling_steps)) == loaded["meta"]["ddim_seq"]
    observed = (i["obs"] * i["mask_past"])[:1]
    context = model.denoiser.context(observed)
    ones = torch.ones(len(initial), initial.shape[1], 1)
    out = model.diffusion.sample(lambda x, t, own: model.denoiser(x, t, own, context, ones), initial)
    want = loaded["outputs"]["sample"].squeeze(1).transpose(1, 2)
    close(out, want)


def test_map_names_every_tensor_that_does_not_fit(case: Any) -> None:
    loaded, model, table = case
    state = dict(loaded["state_dict"])
    assert revert(table, convert(table, state, model.state_dict())).keys() == state.keys()
    state["ms_tcn.extra"] = state.pop("ms_tcn.stage1.conv_out.bias")
    with pytest.raises(WeightsError, match=r"missing in the file: ms_tcn.stage1.conv_out.bias[\s\S]*left over.*ms_tcn.extra"):
        convert(table, state, model.state_dict())


@pytest.mark.parametrize(("num_classes", "expected"), [(48, 1_388_272), (202, 1_417_994)])
def test_full_size_parameter_count(num_classes: int, expected: int) -> None:
    model = Manta(num_classes, 2048)
    assert sum(p.numel() for p in model.parameters()) == expected
