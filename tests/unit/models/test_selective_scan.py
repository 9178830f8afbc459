"""The selective scan: equal to the plain recurrence, stable, independent of how it is cut and dispatched."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from longview.models.blocks import scan_torch
from longview.models.blocks import selective_scan as module
from longview.models.blocks.selective_scan import ScanBackendError, selective_scan, selective_scan_reference
from longview.models.blocks.threads import run_parallel

NAMES = ("u", "dt", "A", "B", "C", "D")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 7 steps for blocks of 5 channels x 3 states, so that short inputs cross many borders."""
    monkeypatch.setattr(scan_torch, "_CHUNK", 105)
    monkeypatch.setattr(scan_torch, "_CHUNK_THREADED", 105)
    monkeypatch.setattr(scan_torch, "_ROW", 15)


def make(
    batch: int,
    length: int,
    dim: int,
    state: int,
    *,
    groups: int | None = None,
    dtype: torch.dtype = torch.float64,
    dt: float | None = None,
    grad: bool = True,
    seed: int = 0,
    device: str = "cpu",
) -> list[Tensor]:
    gen = torch.Generator().manual_seed(seed)
    g = () if groups is None else (groups,)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*g, *shape, generator=gen, dtype=torch.float64)

    step = torch.rand(*g, batch, length, dim, generator=gen, dtype=torch.float64) * 0.2 + 1e-3
    if dt is not None:
        step = torch.full_like(step, dt)
    decay = -torch.rand(*g, dim, state, generator=gen, dtype=torch.float64) * state - 0.1
    tensors = [normal(batch, length, dim), step, decay, normal(batch, length, state), normal(batch, length, state), normal(dim)]
    return [x.to(device=device, dtype=dtype).requires_grad_(grad) for x in tensors]


def value_and_grads(scan, args: list[Tensor | None], **options: object) -> tuple[Tensor, list[Tensor]]:
    y = scan(*args, **options)
    weight = torch.linspace(-1, 2, y.numel(), dtype=torch.float64).reshape(y.shape).to(y)
    wanted = [x for x in args if x is not None and x.requires_grad]
    return y.detach(), list(torch.autograd.grad((y * weight).sum(), wanted))


def assert_same(args: list[Tensor | None], rtol: float, atol: float) -> None:
    y, grads = value_and_grads(selective_scan, args, backend="torch")
    y_ref, grads_ref = value_and_grads(selective_scan_reference, args)
    torch.testing.assert_close(y, y_ref, rtol=rtol, atol=atol)
    names = [n for n, x in zip(NAMES, args, strict=True) if x is not None and x.requires_grad]
    assert len(grads) == len(grads_ref) == len(names)
    for name, got, want in zip(names, grads, grads_ref, strict=True):
        scale = max(1.0, want.abs().max().item())  # sums over time and batch: compare on the gradient's own scale
        torch.testing.assert_close(got / scale, want / scale, rtol=rtol, atol=atol, msg=lambda m, n=name: f"grad {n}: {m}")


def test_one_step_and_two_steps_by_hand() -> None:
    u, dt, b, c = (
        torch.tensor(v, dtype=torch.float64).reshape(1, 2, 1) for v in ([2.0, 3.0], [0.5, 1.0], [1.0, -1.0], [4.0, 5.0])
    )
    a, d = torch.tensor([[-0.7]], dtype=torch.float64), torch.tensor([10.0], dtype=torch.float64)
    h1 = 0.5 * 1.0 * 2.0
    h2 = torch.exp(torch.tensor(-0.7, dtype=torch.float64)) * h1 + 1.0 * -1.0 * 3.0
    want = torch.stack([torch.tensor(4.0 * h1 + 20.0, dtype=torch.float64), 5.0 * h2 + 30.0]).reshape(1, 2, 1)
    torch.testing.assert_close(selective_scan(u, dt, a, b, c, d), want, rtol=1e-14, atol=0)


@pytest.mark.parametrize("length", [1, 2, 6, 7, 8, 13, 14, 50])
@pytest.mark.parametrize("groups", [None, 1, 2])
@pytest.mark.usefixtures("small_chunks")
def test_equals_the_reference_in_double_precision(length: int, groups: int | None) -> None:
    assert_same(make(2, length, 5, 3, groups=groups), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("batch", "length", "dim", "state"), [(1, 700, 96, 16), (3, 130, 64, 16), (2, 75, 7, 1), (4, 33, 1, 4)])
def test_equals_the_reference_at_real_chunk_sizes(batch: int, length: int, dim: int, state: int) -> None:
    assert_same(make(batch, length, dim, state), rtol=1e-9, atol=1e-11)


def test_equals_the_reference_in_single_precision() -> None:
    assert_same(make(2, 160, 48, 16, groups=2, dtype=torch.float32), rtol=1e-5, atol=1e-5)


def test_wide_models_are_cut_along_the_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_torch, "_ROW", 64)
    plan = scan_torch._plan(20, 2, 40, 4, torch.device("cpu"))
    assert len({c.start for _, c in plan.blocks}) == 3
    assert_same(make(2, 20, 40, 4), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("groups", [None, 2])
@pytest.mark.usefixtures("small_chunks")
def test_gradcheck(groups: int | None) -> None:
    args = make(2, 9, 3, 2, groups=groups)
    assert torch.autograd.gradcheck(lambda *x: selective_scan(*x, backend="torch"), args)


@pytest.mark.usefixtures("small_chunks")
def test_gradcheck_without_skip() -> None:
    args = make(1, 8, 2, 2)[:5]
    assert torch.autograd.gradcheck(lambda *x: selective_scan(*x, backend="torch"), args)


def test_without_skip_is_a_zero_skip() -> None:
    args = make(2, 20, 8, 4)
    zero = [*args[:5], torch.zeros(8, dtype=torch.float64)]
    assert torch.equal(selective_scan(*args[:5]), selective_scan(*zero))
    assert_same([*args[:5], None], rtol=1e-10, atol=1e-12)


def test_groups_are_scans_of_their_own() -> None:
    args = make(3, 21, 8, 4, groups=2)
    both = selective_scan(*args)
    for g in range(2):
        torch.testing.assert_close(both[g], selective_scan(*(x[g] for x in args)), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dt", [0.0, 1e-8, 1e-6, 1.0, 1e4, 1e6])
def test_extreme_steps_stay_finite_and_right(dt: float, dtype: torch.dtype) -> None:
    args = make(2, 300, 8, 16, dtype=dtype, dt=dt)
    y, grads = value_and_grads(selective_scan, args)
    assert all(torch.isfinite(x).all() for x in (y, *grads))
    assert_same(args, rtol=1e-4 if dtype == torch.float32 else 1e-9, atol=1e-5 if dtype == torch.float32 else 1e-9)


def test_steps_that_alternate_between_extremes() -> None:
    args = make(1, 400, 8, 16, dtype=torch.float32)
    with torch.no_grad():
        args[1][:, ::3], args[1][:, 1::3] = 1e4, 1e-8
    assert_same(args, rtol=1e-4, atol=1e-5)
    y, grads = value_and_grads(selective_scan, args)
    assert all(torch.isfinite(x).all() for x in (y, *grads))


def test_zero_step_and_input_hold_the_state() -> None:
    u, dt, a, b, c, _ = make(1, 12, 4, 3, grad=False)
    u[:, 5:9], dt[:, 5:9] = 0, 0
    keep = [i for i in range(12) if not 5 <= i < 9]
    whole, short = selective_scan(u, dt, a, b, c), selective_scan(u[:, keep], dt[:, keep], a, b[:, keep], c[:, keep])
    torch.testing.assert_close(whole[:, keep], short, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.bfloat16, 2**-7), (torch.float16, 2**-10)])
def test_half_precision_is_scanned_in_single(dtype: torch.dtype, rtol: float) -> None:
    args = make(2, 500, 16, 16, dtype=dtype)
    args[2] = args[2].detach().float().requires_grad_()  # A stays a float32 parameter
    y, grads = value_and_grads(selective_scan, args)
    assert y.dtype == dtype
    assert [g.dtype for g in grads] == [x.dtype for x in args]
    exact = selective_scan(*(x.detach().float() for x in args))
    torch.testing.assert_close(y.float(), exact, rtol=rtol, atol=1e-6)  # one rounding, at the very end


def test_autocast_does_not_lower_the_scan() -> None:
    args = make(1, 40, 16, 8, dtype=torch.float32)
    y, grads = value_and_grads(selective_scan, args)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y_in, grads_in = value_and_grads(selective_scan, args)  # backward inside, too
        y_ref = selective_scan_reference(*args)
    assert torch.equal(y_in, y)
    assert all(torch.equal(a, b) for a, b in zip(grads_in, grads, strict=True))
    torch.testing.assert_close(y_ref, y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 5])
def test_no_grad_equals_grad_bit_for_bit_and_keeps_nothing(batch: int) -> None:
    args = make(batch, 333, 64, 16, dtype=torch.float32)
    with_grad = selective_scan(*args)
    with torch.no_grad():
        without = selective_scan(*args)
    assert with_grad.grad_fn is not None
    assert without.grad_fn is None
    assert torch.equal(with_grad, without)
    with torch.inference_mode():
        assert torch.equal(with_grad, selective_scan(*args))


@pytest.mark.parametrize("subset", [("u",), ("dt",), ("A",), ("B",), ("C",), ("D",), ("A", "D"), ("u", "B")])
@pytest.mark.usefixtures("small_chunks")
def test_gradients_of_a_subset(subset: tuple[str, ...]) -> None:
    args = make(2, 17, 5, 3)
    _, full = value_and_grads(selective_scan, args)
    part = [x.detach().requires_grad_(n in subset) for n, x in zip(NAMES, args, strict=True)]
    _, grads = value_and_grads(selective_scan, part)
    wanted = [g for n, g in zip(NAMES, full, strict=True) if n in subset]
    for got, want in zip(grads, wanted, strict=True):
        assert torch.equal(got, want)


def test_inputs_of_any_layout() -> None:
    args = make(2, 30, 6, 4)
    strange = [
        args[0].detach().mT.contiguous().mT,
        args[1].detach().repeat_interleave(2, 1)[:, ::2],
        args[2].detach().T.contiguous().T,
        torch.cat([args[3].detach(), args[4].detach()], -1)[..., :4],
        torch.cat([args[3].detach(), args[4].detach()], -1)[..., 4:],
        args[5].detach(),
    ]
    assert not any(x.is_contiguous() for x in strange[:5])
    y, grads = value_and_grads(selective_scan, [x.requires_grad_() for x in strange])
    y_ref, grads_ref = value_and_grads(selective_scan, args)
    torch.testing.assert_close(y, y_ref, rtol=1e-13, atol=1e-14)
    for got, want in zip(grads, grads_ref, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-13)


def test_expanded_upstream_gradient() -> None:
    args = make(2, 30, 6, 4, groups=2)
    selective_scan(*args).sum().backward()
    got = [x.grad.clone() for x in args]
    want = torch.autograd.grad(selective_scan_reference(*args).sum(), args)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("groups", [None, 2])
def test_a_sample_does_not_see_its_batch(groups: int | None) -> None:
    args = make(6, 90, 32, 16, groups=groups, dtype=torch.float32, grad=False)
    whole = selective_scan(*args)
    axis = 0 if groups is None else 1
    for i in (0, 3, 5):
        alone = selective_scan(*(x if n in "AD" else x.narrow(axis, i, 1) for n, x in zip(NAMES, args, strict=True)))
        torch.testing.assert_close(whole.narrow(axis, i, 1), alone, rtol=1e-6, atol=1e-6)
    args[0].select(axis, 0).fill_(float("nan"))  # not even a broken neighbour
    assert torch.isfinite(selective_scan(*args).narrow(axis, 1, 5)).all()


def test_the_future_does_not_reach_back() -> None:
    args = make(1, 64, 16, 4, dtype=torch.float32, grad=False)
    before = selective_scan(*args)
    for x in (args[0], args[1], args[3], args[4]):
        x[:, 40:] = 7.0
    after = selective_scan(*args)
    assert torch.equal(before[:, :40], after[:, :40])
    assert not torch.equal(before[:, 40:], after[:, 40:])


def test_inputs_used_twice_and_left_as_they_were() -> None:
    x, dt, a, b, _, d = make(2, 25, 4, 4)
    copies = [v.detach().clone() for v in (x, dt, a, b, d)]

    def twice(scan) -> list[Tensor]:
        y = scan(x, dt, a, b, b, d)  # B and C are the same tensor
        z = scan(y, dt, a, b, b, d)  # a second layer shares the parameters
        return list(torch.autograd.grad(z.square().sum(), [x, dt, a, b, d]))

    for got, want in zip(twice(selective_scan), twice(selective_scan_reference), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)
    for v, copy in zip((x, dt, a, b, d), copies, strict=True):
        assert torch.equal(v.detach(), copy)


def test_backward_twice_over_a_kept_graph() -> None:
    args = make(2, 25, 4, 4)
    y = selective_scan(*args)
    first = torch.autograd.grad(y.sum(), args, retain_graph=True)
    second = torch.autograd.grad(y.sum(), args)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_other_work_between_forward_and_backward_does_not_disturb() -> None:
    args = make(2, 40, 16, 8)
    _, want = value_and_grads(selective_scan, args)
    y = selective_scan(*args)
    selective_scan(*make(3, 77, 16, 8, seed=1, grad=False))  # uses the same scratch
    weight = torch.linspace(-1, 2, y.numel(), dtype=torch.float64).reshape(y.shape)
    got = torch.autograd.grad((y * weight).sum(), args)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_empty_batch() -> None:
    args = make(0, 10, 4, 3, grad=False)
    assert selective_scan(*args).shape == (0, 10, 4)


@pytest.mark.parametrize("groups", [None, 2])
def test_threads_change_nothing_but_the_time(monkeypatch: pytest.MonkeyPatch, groups: int | None) -> None:
    monkeypatch.setattr(scan_torch, "_SMALL", 0)
    args = make(3, 200, 48, 16, groups=groups)
    y, grads = value_and_grads(selective_scan, args)
    torch.set_num_threads(2)
    assert scan_torch._plan(200, 3, 48, 16, torch.device("cpu")).workers == 2
    y2, grads2 = value_and_grads(selective_scan, args)
    assert torch.get_num_threads() == 2
    torch.testing.assert_close(y, y2, rtol=1e-12, atol=1e-13)
    for a, b in zip(grads, grads2, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert seen == [2]  # threads started later still get the user's number, not the pool's


def test_pool_threads_do_not_start_threads_of_their_own() -> None:
    torch.set_num_threads(2)
    seen: list[int] = []
    run_parallel([lambda: seen.append(torch.get_num_threads())] * 4, workers=2)
    assert seen == [1, 1, 1, 1]


def test_an_error_in_a_pool_thread_reaches_the_caller() -> None:
    def fail() -> None:
        raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        run_parallel([fail, lambda: None], workers=2)


def test_concurrent_callers_do_not_share_scratch() -> None:
    inputs = [make(2, 300, 32, 16, seed=s, grad=False) for s in range(4)]
    want = [selective_scan(*x) for x in inputs]
    got: dict[int, list[Tensor]] = {i: [] for i in range(4)}

    def call(i: int) -> None:
        for _ in range(5):
            got[i].append(selective_scan(*inputs[i]))

    threads = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for i in range(4):
        assert len(got[i]) == 5
        for y in got[i]:
            torch.testing.assert_close(y, want[i], rtol=1e-12, atol=1e-13)


_FORK = """
import os, torch
from longview.models.blocks import scan_torch
from longview.models.blocks.selective_scan import selective_scan
scan_torch._SMALL = 0
torch.set_num_threads(2)
x = [torch.rand(2, 64, 256), torch.rand(2, 64, 256), -torch.rand(256, 16), torch.rand(2, 64, 16), torch.rand(2, 64, 16)]
want = selective_scan(*x)
assert scan_torch._plan(64, 2, 256, 16, torch.device("cpu")).workers == 2
pid = os.fork()
if pid == 0:
    same = torch.equal(selective_scan(*x), want)
    os._exit(0 if same else 3)
assert os.waitpid(pid, 0)[1] == 0
print("child ran")
"""


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
def test_a_forked_child_does_not_wait_for_its_parents_threads() -> None:
    done = subprocess.run([sys.executable, "-c", _FORK], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip().endswith("child ran"), done.stderr


@pytest.mark.parametrize("fast", [True, False])
def test_the_step_loop_without_foreach(monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    args = make(2, 40, 8, 4)
    _, want = value_and_grads(selective_scan_reference, args)
    monkeypatch.setattr(scan_torch, "_foreach_is_sequential", fast)
    _, got = value_and_grads(selective_scan, args)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


def test_saved_state_grows_linearly_and_stays_small() -> None:
    def saved(length: int) -> int:
        kept: list[int] = []
        args = make(1, length, 64, 16, dtype=torch.float32)
        own = {x.data_ptr() for x in args}

        def pack(x: Tensor) -> Tensor:
            if x.data_ptr() not in own:
                kept.append(x.numel())
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            selective_scan(*args)
        return sum(kept)

    short, long = saved(8_192), saved(32_768)
    assert 0 < short <= 8_192 * 64 * 16 / 100  # states at chunk borders only
    assert short <= long <= 4.1 * short


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("u", (2, 9, 5)),
        ("u", (2, 9)),
        ("dt", (2, 9, 1)),
        ("A", (4,)),
        ("A", (5, 3)),
        ("B", (2, 9, 4)),
        ("B", (2, 8, 3)),
        ("C", (1, 9, 3)),
        ("D", (3,)),
    ],
)
def test_a_wrong_shape_is_named(name: str, shape: tuple[int, ...]) -> None:
    args = dict(zip(NAMES, make(2, 9, 4, 3, grad=False), strict=True))
    args[name] = torch.rand(shape, dtype=torch.float64)
    culprit = "u" if shape == (5, 3) else name  # A sets the width that u must have
    with pytest.raises(ValueError, match=rf"selective_scan: {culprit} must be"):
        selective_scan(**args)


def test_groups_that_do_not_match_are_named() -> None:
    args = make(2, 9, 4, 3, groups=2, grad=False)
    args[2] = args[2][:1]
    with pytest.raises(ValueError, match="u must be"):
        selective_scan(*args)


def test_integers_are_refused() -> None:
    args = make(1, 3, 2, 2, grad=False)
    args[1] = args[1].long()
    with pytest.raises(ValueError, match="dt must be real floating point"):
        selective_scan(*args)


def test_an_unknown_backend_is_refused_with_the_valid_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    args = make(1, 3, 2, 2, grad=False)
    monkeypatch.setenv("LONGVIEW_SCAN", "cuda")
    with pytest.raises(ScanBackendError, match=r"LONGVIEW_SCAN.*'cuda'.*auto, torch, mamba_ssm, reference"):
        selective_scan(*args)
    assert selective_scan(*args, backend="torch").shape == (1, 3, 2)  # the argument wins


def test_mamba_ssm_is_refused_for_cpu_tensors() -> None:
    with pytest.raises(ScanBackendError, match="needs CUDA tensors"):
        selective_scan(*make(1, 3, 2, 2, grad=False, dtype=torch.float32), backend="mamba_ssm")


def test_the_environment_chooses_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    args = make(1, 30, 4, 4, dtype=torch.float32, grad=False)

    def refuse(*_: object) -> Tensor:
        raise AssertionError("the chunked scan ran")

    monkeypatch.setattr(module, "chunked_scan", refuse)
    monkeypatch.setenv("LONGVIEW_SCAN", "reference")
    assert torch.equal(selective_scan(*args), selective_scan_reference(*args))
    monkeypatch.delenv("LONGVIEW_SCAN")
    with pytest.raises(AssertionError, match="chunked scan ran"):
        selective_scan(*args)


@pytest.mark.parametrize("skip", [True, False])
def test_mamba_ssm_is_given_its_own_layout(skip: bool) -> None:
    """A stand-in with the published signature (channels before time, float32 A and D) checks what the kernel would get."""
    args = make(2, 11, 5, 3, groups=2, dtype=torch.float32)
    if not skip:
        args[5] = None

    def kernel(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False):
        assert u.shape == delta.shape == (2, 5, 11)
        assert B.shape == C.shape == (2, 3, 11)
        assert A.dtype == torch.float32
        assert z is None
        return selective_scan_reference(u.mT, delta.mT, A, B.mT, C.mT, D).mT

    y, grads = value_and_grads(lambda *x: module._scan_mamba_ssm(kernel, *x), args)
    y_ref, grads_ref = value_and_grads(selective_scan_reference, args)
    torch.testing.assert_close(y, y_ref)
    for a, b in zip(grads, grads_ref, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("backend", ["torch", "mamba_ssm"])
def test_on_a_gpu(backend: str) -> None:
    if backend == "mamba_ssm":
        pytest.importorskip("mamba_ssm", reason="mamba_ssm is not installed")
    args = make(2, 200, 64, 16, groups=2, dtype=torch.float32)
    y_ref, grads_ref = value_and_grads(selective_scan_reference, args)
    there = [x.detach().cuda().requires_grad_() for x in args]
    y, grads = value_and_grads(selective_scan, there, backend=backend)
    torch.testing.assert_close(y.cpu(), y_ref, rtol=1e-4, atol=1e-4)
    for a, b in zip(grads, grads_ref, strict=True):
        scale = b.abs().max()
        torch.testing.assert_close(a.cpu() / scale, b / scale, rtol=1e-4, atol=1e-4)
