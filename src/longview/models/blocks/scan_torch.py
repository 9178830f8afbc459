"""Selective scan in plain PyTorch: sequential in time, chunked, with a hand-derived backward pass.

Why it is built this way (Mamba, Gu & Dao 2023, arXiv:2312.00752, eq. 2-4; hardware-aware recomputation as in section 3.3.2):

* A *block* (a few sequences, or a part of the channels of one) is advanced chunk by chunk in time; a chunk's buffers
  stay in cache, so each of the dozen passes over them runs at cache speed, and one call does a chunk's worth of work.
* Forward keeps the state at chunk borders only; backward recomputes a chunk and then walks it in reverse. Extra memory
  is therefore O(L / chunk) states, where an autograd loop or a parallel scan over [B, L, D, N] keeps several times O(L).
* Decays are multiplied one step at a time. Nothing is divided by a cumulated product, so no step size can overflow.
* ``exp(x)`` is taken as ``exp2(x * log2 e)``, the factor folded into A: PyTorch's ``exp2`` is vectorised on every CPU,
  whereas its ``exp`` goes through a library that is up to four times slower on some of them.
* CPU threads take whole blocks, not a share of each small operation (see threads.py); a single
  sequence stays on one thread, whose speed then does not hang on the other cores being free.
* Chunk buffers are kept between calls: touching fresh pages costs as much as the arithmetic done in them.

Layout inside a block: time-major, channels innermost, ``[T, S, N, D]`` with S sequences; gradients of
h_t = a_t h_{t-1} + x_t, a_t = exp(dt_t A), x_t = dt_t u_t B_t, y_t = C_t . h_t + D u_t are, with q_t = dLoss/dh_t:

    q_t   = C_t gy_t + a_{t+1} q_{t+1}          s_t = q_t a_t h_{t-1}
    dC_t  = sum_d gy_t h_t                      dB_t = sum_d q_t dt_t u_t       dA = sum_t s_t dt_t
    du_t  = dt_t sum_n q_t B_t + D gy_t         ddt_t = sum_n s_t A + u_t sum_n q_t B_t         dD = sum_t gy_t u_t
"""

from __future__ import annotations

import math
import threading
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from longview.models.blocks.threads import run_parallel

__all__ = ["chunked_scan"]

_LOG2_E = math.log2(math.e)
# In floats, measured on two cores. One time step of a block: shorter ones pay for the call, longer ones leave too few blocks
# for the threads. One chunk buffer (there are three): longer with several threads, which queue for Python at every operation.
_ROW = 16_384
_CHUNK, _CHUNK_THREADED, _CHUNK_ACCELERATOR, _MAX_STEPS = 1 << 19, 1 << 20, 1 << 24, 1024
_SMALL = 1 << 16  # decays in all, below which handing over to another thread costs more than it gains


class _Plan(NamedTuple):
    """How rows x channels are cut into blocks, and L into chunks: by the shape and the number of threads alone."""

    blocks: list[tuple[slice, slice]]
    steps: int
    workers: int  # 0: run in the calling thread


def _cuts(size: int, most: int, multiple: int = 1) -> list[slice]:
    """``size`` in as few and as equal slices of at most ``most`` as possible."""
    part = math.ceil(size / math.ceil(size / max(1, most)))
    part = math.ceil(part / multiple) * multiple
    return [slice(i, min(i + part, size)) for i in range(0, size, part)]


def _plan(length: int, rows: int, dim: int, state: int, device: torch.device) -> _Plan:
    if device.type != "cpu":  # an accelerator wants few, large launches
        steps = min(length, _MAX_STEPS, max(1, _CHUNK_ACCELERATOR // (rows * dim * state)))
        return _Plan([(slice(0, rows), slice(0, dim))], steps, 0)
    threads = torch.get_num_threads()
    row_cuts = _cuts(rows, min(_ROW // (dim * state), math.ceil(rows / threads)))
    dim_cuts = _cuts(dim, _ROW // state, 16)  # 16: whole vector registers
    blocks = [(r, c) for r in row_cuts for c in dim_cuts]
    workers = 0 if threads == 1 or length * rows * dim * state < _SMALL else min(threads, len(blocks))
    row = row_cuts[0].stop * dim_cuts[0].stop * state
    steps = min(length, _MAX_STEPS, max(1, (_CHUNK if workers <= 1 else _CHUNK_THREADED) // row))
    return _Plan(blocks, steps, workers)


_foreach_is_sequential: bool | None = None


def _check_foreach() -> bool:
    """Whether the CPU's foreach walks its lists in order, which makes one call a whole recurrence (checked once)."""
    global _foreach_is_sequential
    if _foreach_is_sequential is None:
        h = torch.zeros(9, 40)
        h[0] = 1.0
        steps = list(h.unbind(0))
        try:
            torch._foreach_addcmul_(steps[1:], steps[:-1], [torch.full((40,), 2.0)] * 8)
            _foreach_is_sequential = bool((h[-1] == 256.0).all())
        except (AttributeError, RuntimeError):
            _foreach_is_sequential = False
    return _foreach_is_sequential


def _recur(out: list[Tensor], decay: list[Tensor], before: list[Tensor]) -> None:
    """``out[i] += decay[i] * before[i]`` in list order, where ``before[i + 1]`` is ``out[i]``."""
    if out and out[0].device.type == "cpu" and _check_foreach():
        torch._foreach_addcmul_(out, decay, before)
        return
    for o, a, b in zip(out, decay, before, strict=True):
        o.addcmul_(a, b)


class _Inputs(NamedTuple):
    """All inputs, time-major, in the compute dtype; rows are groups x batch."""

    u: Tensor  # [L, M, D]
    dt: Tensor  # [L, M, D]
    a2: Tensor  # [M, N, D], A times log2 e
    b: Tensor  # [L, M, N]
    c: Tensor  # [L, M, N]
    skip: Tensor  # [M, D]


class _Gradients(NamedTuple):
    """Where the blocks write; None where no gradient is asked for."""

    u: Tensor | None  # [L, M, D]
    dt: Tensor | None  # [L, M, D]
    a: Tensor | None  # [M, N, D], to be summed over the batch
    b: Tensor | None  # [shards of D, L, M, N], to be summed over the shards
    c: Tensor | None  # as b


_kept = threading.local()


def _carve(like: Tensor, *shapes: tuple[int, ...]) -> list[Tensor]:
    """Uninitialised tensors of these shapes out of one buffer per CPU thread, valid until that thread's next call."""
    sizes = [math.ceil(math.prod(s) / 16) * 16 for s in shapes]  # whole cache lines
    flat: Tensor | None = getattr(_kept, "flat", None) if like.device.type == "cpu" else None
    if flat is None or flat.dtype != like.dtype or flat.numel() < sum(sizes):
        flat = like.new_empty(sum(sizes))
        if like.device.type == "cpu" and flat.numel() <= 8 * _CHUNK:
            _kept.flat = flat
    return [x[: math.prod(s)].view(s) for x, s in zip(torch.split(flat[: sum(sizes)], sizes), shapes, strict=True)]


class _Chunk(NamedTuple):
    """Views of the scratch for a chunk of T steps; ``_m`` marks the view as T * S matrices."""

    a: Tensor  # decays [T, S, N, D]
    h: Tensor  # states
    before: Tensor  # states one step earlier
    h_m: Tensor
    dtu: Tensor  # [T, S, D]
    y: Tensor  # [T, S, D]


class _Block:
    """One block: its inputs cut into chunks, its scratch, and the recurrence over a chunk."""

    def __init__(self, args: _Inputs, steps: int, r: slice, c: slice, *extra: tuple[int, ...]) -> None:
        u, dt = args.u[:, r, c], args.dt[:, r, c]
        self.a2, self.skip = args.a2[r, :, c], args.skip[r, c]  # [S, N, D], [S, D]
        self.s, self.n, self.d = s, n, d = self.a2.shape
        self.u, self.dt, self.b, self.c = (torch.split(x, steps) for x in (u, dt, args.b[:, r], args.c[:, r]))
        a, h, dtu, y, *self.extra = _carve(args.a2, (steps, s, n, d), (steps + 1, s, n, d), (steps, s, d), (steps, s, d), *extra)
        self.a_t, self.h_t = list(a.unbind(0)), list(h.unbind(0))
        self.views = {
            t: _Chunk(a[:t], h[1 : t + 1], h[:t], h[1 : t + 1].view(t * s, n, d), dtu[:t], y[:t])
            for t in {len(x) for x in self.u}
        }

    def rows(self, x: Tensor) -> Tensor:
        """[T, S, X] as one row vector per step and sequence, [T * S, 1, X]."""
        return x.reshape(-1, 1, x.shape[-1])

    def states(self, k: int) -> _Chunk:
        """Decays and states of chunk k, which starts from the state in ``self.h_t[0]``."""
        t = len(self.u[k])
        w = self.views[t]
        torch.mul(self.dt[k], self.u[k], out=w.dtu)
        torch.mul(self.dt[k].unsqueeze(2), self.a2, out=w.a)
        w.a.exp2_()
        torch.mul(w.dtu.unsqueeze(2), self.b[k].unsqueeze(3), out=w.h)
        _recur(self.h_t[1 : t + 1], self.a_t[:t], self.h_t[:t])
        return w


def _forward_block(args: _Inputs, y: Tensor, borders: Tensor | None, steps: int, r: slice, c: slice) -> None:
    blk = _Block(args, steps, r, c)
    blk.h_t[0].zero_()
    for k, y_k in enumerate(torch.split(y[:, r, c], steps)):
        if borders is not None:
            borders[k, r, :, c].copy_(blk.h_t[0])
        w = blk.states(k)
        torch.bmm(blk.rows(blk.c[k]), w.h_m, out=blk.rows(w.y))
        torch.addcmul(w.y, blk.u[k], blk.skip, out=y_k)
        blk.h_t[0].copy_(w.h[-1])


def _backward_block(
    args: _Inputs, borders: Tensor, grads: _Gradients, gy: Tensor, steps: int, r: slice, c: slice, shard: int
) -> None:
    s, n, d = args.a2[r, :, c].shape
    blk = _Block(args, steps, r, c, (steps, s, n, d), (steps, s, d), (s, n, d), (s, n, d), (s, n, d), (s, n, d))
    q_all, gdtu_all, a_e, carry, g_a, g_a_k = blk.extra
    torch.div(blk.a2, _LOG2_E, out=a_e)
    carry.zero_()
    g_a.zero_()
    q_rev, a_rev = list(q_all.unbind(0))[::-1], blk.a_t[::-1]
    gy_k, keep = torch.split(gy[:, r, c], steps), borders[:, r, :, c].unbind(0)
    g_u, g_dt = (None if g is None else torch.split(g[:, r, c], steps) for g in (grads.u, grads.dt))
    g_b, g_c = (None if g is None else torch.split(g[shard, :, r], steps) for g in (grads.b, grads.c))
    for k in reversed(range(len(keep))):
        blk.h_t[0].copy_(keep[k])
        w = blk.states(k)
        t = len(w.a)
        gy_rows = blk.rows(gy_k[k])
        if g_c is not None:
            g_c[k].copy_(torch.bmm(gy_rows, w.h_m.mT).view(t, s, n))
        q, skip = q_all[:t], steps - t
        torch.mul(gy_k[k].unsqueeze(2), blk.c[k].unsqueeze(3), out=q)
        q_rev[skip].add_(carry)
        _recur(q_rev[skip + 1 :], a_rev[skip:-1], q_rev[skip:-1])
        q_m = q.view(t * s, n, d)
        if g_b is not None:
            g_b[k].copy_(torch.bmm(blk.rows(w.dtu), q_m.mT).view(t, s, n))
        g_dtu = gdtu_all[:t]
        torch.bmm(blk.rows(blk.b[k]), q_m, out=blk.rows(g_dtu))
        if g_u is not None:
            torch.addcmul(torch.mul(g_dtu, blk.dt[k], out=w.y), gy_k[k], blk.skip, out=g_u[k])
        w.a.mul_(q)
        carry.copy_(w.a[0])
        if g_dt is None and grads.a is None:
            continue
        w.a.mul_(w.before)  # now s_t = q_t a_t h_{t-1}; q has done its work and serves as scratch
        if g_dt is not None:
            torch.sum(torch.mul(w.a, a_e, out=q), 2, out=w.y)
            torch.addcmul(w.y, g_dtu, blk.u[k], out=g_dt[k])
        if grads.a is not None:
            torch.sum(torch.mul(w.a, blk.dt[k].unsqueeze(2), out=q), 0, out=g_a_k)
            g_a.add_(g_a_k)
    if grads.a is not None:
        grads.a[r, :, c].copy_(g_a)


def _time_major(x: Tensor, dtype: torch.dtype) -> Tensor:
    """[G, B, L, X] -> [L, G * B, X] in the compute dtype; a view wherever possible."""
    return x.to(dtype).flatten(0, 1).transpose(0, 1)


def _prepare(u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor | None) -> _Inputs:
    dtype, batch = a.dtype, u.shape[1]
    skip = a.new_zeros(a.shape[:2]) if d is None else d.to(dtype)
    u, dt, b, c = (_time_major(x, dtype) for x in (u, dt, b, c))
    a2 = (a * _LOG2_E).mT
    return _Inputs(u, dt, a2.repeat_interleave(batch, 0), b, c, skip.repeat_interleave(batch, 0))


class _ChunkedScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, keep: bool, u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor | None) -> Tensor:
        groups, batch, length, dim = u.shape
        rows, n = groups * batch, a.shape[2]
        plan = _plan(length, rows, dim, n, u.device)
        args = _prepare(u, dt, a, b, c, d)
        y = a.new_empty(groups, batch, length, dim)
        borders = a.new_empty(-(-length // plan.steps), rows, n, dim) if keep else None
        y_t = y.flatten(0, 1).transpose(0, 1)
        jobs = [partial(_forward_block, args, y_t, borders, plan.steps, r, k) for r, k in plan.blocks]
        run_parallel(jobs, plan.workers)
        if keep:
            ctx.save_for_backward(u, dt, a, b, c, d, borders)
            ctx.plan = plan
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        u, dt, a, b, c, d, borders = ctx.saved_tensors
        plan: _Plan = ctx.plan
        groups, batch, length, dim = u.shape
        n = a.shape[2]
        shard = {start: i for i, start in enumerate(sorted({cols.start for _, cols in plan.blocks}))}

        def room(need: bool, *shape: int) -> Tensor | None:
            return a.new_empty(shape) if need else None

        need = ctx.needs_input_grad[1:]
        g_u, g_dt = (room(x, groups, batch, length, dim) for x in need[:2])
        g_a = room(need[2], groups * batch, n, dim)
        g_b, g_c = (room(x, len(shard), groups * batch, length, n) for x in need[3:5])
        v_u, v_dt = (None if g is None else g.flatten(0, 1).transpose(0, 1) for g in (g_u, g_dt))
        v_b, v_c = (None if g is None else g.transpose(1, 2) for g in (g_b, g_c))
        outs = _Gradients(v_u, v_dt, g_a, v_b, v_c)
        args, gy = _prepare(u, dt, a, b, c, d), _time_major(grad, a.dtype)
        work = partial(_backward_block, args, borders, outs, gy, plan.steps)
        with torch.autocast(u.device.type, enabled=False):  # backward may be called inside the caller's autocast
            run_parallel([partial(work, r, k, shard[k.start]) for r, k in plan.blocks], plan.workers)
        g_d = (grad.to(a.dtype) * u).sum((1, 2)) if d is not None and need[5] else None
        g_a = None if g_a is None else g_a.view(groups, batch, n, dim).sum(1).mT
        g_b, g_c = (None if g is None else g.sum(0).view(groups, batch, length, n) for g in (g_b, g_c))
        pairs = zip((g_u, g_dt, g_a, g_b, g_c, g_d), (u, dt, a, b, c, d), strict=True)
        return (None, *(g if g is None or x is None else g.to(x.dtype) for g, x in pairs))


def chunked_scan(u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor | None) -> Tensor:
    """Scan u, dt [G, B, L, D], a [G, D, N], b, c [G, B, L, N], d [G, D] or None; y [G, B, L, D] in the dtype of ``a``."""
    keep = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (u, dt, a, b, c, d))
    with torch.autocast(u.device.type, enabled=False):
        y: Tensor = _ChunkedScan.apply(keep, u, dt, a, b, c, d)  # type: ignore[no-untyped-call]
    return y
