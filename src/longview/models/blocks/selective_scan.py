"""The selective scan of state-space models: one function, and the fastest backend that fits the tensors.

Mamba (Gu & Dao 2023, arXiv:2312.00752), eq. 2-4 with the simplified (Euler) discretisation of B that the released
implementation uses:

    h_t = exp(dt_t A) h_{t-1} + dt_t B_t u_t,    y_t = C_t . h_t + D u_t,    h_0 = 0
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Literal, TypeAlias, cast, get_args

import torch
from torch import Tensor

from longview.errors import LongviewError
from longview.models.blocks.scan_flops import record_scan
from longview.models.blocks.scan_torch import chunked_scan

__all__ = ["Backend", "ScanBackendError", "selective_scan", "selective_scan_reference"]

Backend: TypeAlias = Literal["auto", "torch", "mamba_ssm", "reference"]
"""``torch`` is the chunked scan of this project, ``reference`` a plain loop under autograd (slow; for checks)."""

_ENV = "LONGVIEW_SCAN"
_MAMBA_MAX_STATE = 256  # the kernel's compiled limit (mamba_ssm, selective_scan.cpp)


class ScanBackendError(LongviewError):
    """The backend asked for is unknown or cannot run here."""


def selective_scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    *,
    backend: Backend | None = None,
) -> Tensor:
    """Run the selective scan, differentiable in all inputs.

    With ``A`` of three dimensions, all arguments carry a leading group axis: G scans of equal shape with their own A and D
    (such as the two directions of a bidirectional block) advance together.

    Args:
        u: Input, [B, L, D] or [G, B, L, D].
        dt: Step sizes after softplus, > 0, shaped as ``u``; 0 holds the state (padding: also set ``u`` to 0).
        A: Decay rates, negative, [D, N] or [G, D, N].
        B: Input projection, [B, L, N] or [G, B, L, N].
        C: Output projection, shaped as ``B``.
        D: Skip connection, [D] or [G, D]; None for none.
        backend: Overrides the environment's ``LONGVIEW_SCAN``, which overrides ``auto``: mamba_ssm's kernel for CUDA tensors
            where it is installed, the chunked PyTorch scan otherwise.

    Returns:
        y, shaped as ``u`` and in its dtype. The scan itself runs in float32 (float64 if an input is float64).

    Raises:
        ValueError: A shape, dtype or device does not fit; the message names the argument.
        ScanBackendError: The backend is unknown, or mamba_ssm is asked for where it cannot run.
    """
    _check(u, dt, A, B, C, D)
    choice = _choose(backend, u, A, dt, B, C, D)
    if u.numel() == 0:
        return u.clone()
    with record_scan(u, A.shape[-1], D is not None):
        return _scan(choice, u, dt, A, B, C, D)


def _scan(choice: Backend, u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None) -> Tensor:
    if choice == "reference":
        return selective_scan_reference(u, dt, A, B, C, D)
    grouped = A.dim() == 3
    if not grouped:
        u, dt, A, B, C = (x.unsqueeze(0) for x in (u, dt, A, B, C))
        D = None if D is None else D.unsqueeze(0)
    if choice == "mamba_ssm":
        y = _scan_mamba_ssm(_mamba_kernel(), u, dt, A, B, C, D)
    else:
        y = chunked_scan(u, dt, A.to(_compute_dtype(u, dt, A, B, C, D)), B, C, D).to(u.dtype)
    return y if grouped else y.squeeze(0)


def selective_scan_reference(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None) -> Tensor:
    """The same scan as the plain loop of eq. 2 under autograd; arguments and result as in :func:`selective_scan`."""
    dtype = _compute_dtype(u, dt, A, B, C, D)
    x, dt, A, B, C = (v.to(dtype) for v in (u, dt, A, B, C))
    with torch.autocast(u.device.type, enabled=False):
        decay = torch.exp(dt.unsqueeze(-1) * A[..., None, None, :, :])  # [..., B, L, D, N]
        drive = (dt * x).unsqueeze(-1) * B.unsqueeze(-2)
        h = torch.zeros_like(drive[..., 0, :, :])
        states = []
        for a_t, x_t in zip(decay.unbind(-3), drive.unbind(-3), strict=True):
            h = a_t * h + x_t
            states.append(h)
        y = (torch.stack(states, -3) @ C.unsqueeze(-1)).squeeze(-1)
        if D is not None:
            y = y + D.to(dtype)[..., None, None, :] * x
    return y.to(u.dtype)


def _compute_dtype(*tensors: Tensor | None) -> torch.dtype:
    return torch.float64 if any(x is not None and x.dtype == torch.float64 for x in tensors) else torch.float32


def _check(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None) -> None:
    """Raise ValueError naming the first argument that does not fit."""
    if A.dim() not in (2, 3):
        raise ValueError(f"selective_scan: A must be [D, N] or [G, D, N], got {list(A.shape)}")
    groups = A.shape[:-2]
    form = "[G, B, L, D]" if groups else "[B, L, D]"
    if u.dim() != 3 + len(groups) or u.shape[: len(groups)] != groups or u.shape[-1] != A.shape[-2]:
        raise ValueError(f"selective_scan: u must be {form} to fit A {list(A.shape)}, got {list(u.shape)}")
    wanted = {"dt": (dt, u.shape), "B": (B, (*u.shape[:-1], A.shape[-1])), "C": (C, (*u.shape[:-1], A.shape[-1]))}
    if D is not None:
        wanted["D"] = (D, A.shape[:-1])
    for name, (x, shape) in wanted.items():
        if x.shape != torch.Size(shape):
            raise ValueError(f"selective_scan: {name} must be {list(shape)} to fit u and A, got {list(x.shape)}")
    for name, x in {"u": u, "A": A, **{k: v for k, (v, _) in wanted.items()}}.items():
        if not x.is_floating_point():
            raise ValueError(f"selective_scan: {name} must be real floating point, got {x.dtype}")
        if x.device != u.device:
            raise ValueError(f"selective_scan: {name} is on {x.device}, but u is on {u.device}")


_Kernel: TypeAlias = Callable[..., Tensor]


@lru_cache(maxsize=1)
def _mamba_kernel() -> _Kernel | None:
    """mamba_ssm's fused CUDA scan, or None where it is not installed; a broken build counts as not installed."""
    try:
        module = import_module("mamba_ssm.ops.selective_scan_interface")
    except (ImportError, OSError, RuntimeError):
        return None
    return cast(_Kernel, module.selective_scan_fn)


def _choose(backend: Backend | None, u: Tensor, A: Tensor, *others: Tensor | None) -> Backend:
    choice = backend or os.environ.get(_ENV) or "auto"
    if choice not in get_args(Backend):
        where = "backend" if backend else f"environment variable {_ENV}"
        raise ScanBackendError(f"{where}: no scan backend {choice!r}; choose one of {', '.join(get_args(Backend))}")
    if choice not in ("auto", "mamba_ssm"):
        return cast(Backend, choice)
    if not u.is_cuda:
        why = f"its kernel needs CUDA tensors, got {u.device}"
    elif _compute_dtype(u, A, *others) == torch.float64:
        why = "its kernel has no float64"
    elif A.shape[-1] > _MAMBA_MAX_STATE:
        why = f"its kernel has at most {_MAMBA_MAX_STATE} states, got {A.shape[-1]}"
    elif _mamba_kernel() is None:
        why = "it cannot be imported; install the 'mamba' extra"
    else:
        return "mamba_ssm"
    if choice == "mamba_ssm":
        raise ScanBackendError(f"scan backend mamba_ssm cannot be used: {why}; 'auto' or 'torch' would run")
    return "torch"


def _scan_mamba_ssm(kernel: _Kernel | None, u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None) -> Tensor:
    """Scan each group of [G, B, L, ...] with mamba_ssm's ``selective_scan_fn``, which wants channels before time."""
    assert kernel is not None
    # The kernel accumulates in float32 whatever it reads, but wants one dtype; a mix is read as float32, not rounded down.
    dtype = u.dtype if all(x.dtype == u.dtype for x in (dt, B, C)) else torch.float32
    ut, dtt, bt, ct = (x.to(dtype).transpose(-1, -2) for x in (u, dt, B, C))
    ys = [
        kernel(ut[g], dtt[g], A[g].float(), bt[g], ct[g], None if D is None else D[g].float(), z=None) for g in range(A.shape[0])
    ]
    return torch.stack(ys).transpose(-1, -2).to(u.dtype)
