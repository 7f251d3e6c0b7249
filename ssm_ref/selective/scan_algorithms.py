"""Two ways to run the recurrence of a selective scan faster than token by token.

Both take x and dt (b, l, g, p), A (g, p, n), B and C (b, l, g, n) and the first state
(b, g, p, n), for p channels in each of g groups, and return y (b, l, g, p) and the last state.
Equation numbers are those of `ssm_ref.selective.selective_scan`.
"""

from typing import Any

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

# Numbers worked on at once by one step over all chunks: 256 KiB of float32 stay in a cache.
STEP_SIZE = 65_536


def associative_scan_core(
    x: Float[Tensor, "b l g p"],
    dt: Float[Tensor, "b l g p"],
    A: Inexact[Tensor, "g p n"],
    B: Inexact[Tensor, "b l g n"],
    C: Inexact[Tensor, "b l g n"],
    h: Inexact[Tensor, "b g p n"],
) -> tuple[Inexact[Tensor, "b l g p"], Inexact[Tensor, "b g p n"]]:
    """All states at once by a tree of pairs (7)."""
    a = torch.exp(dt[..., None] * A)  # (2)
    u = (dt * x)[..., None] * B[..., None, :]  # (3)
    u = torch.cat([u[:, :1] + a[:, :1] * h[:, None], u[:, 1:]], dim=1)
    hs = LinearRecurrence.apply(a, u)  # (4)
    return torch.einsum("blgpn,blgn->blgp", hs, C), hs[:, -1]  # (5)


class LinearRecurrence(torch.autograd.Function):
    """h_t = a_t h_{t−1} + u_t along axis 1, from zero; its gradients can be differentiated too."""

    @staticmethod
    def forward(a: Tensor, u: Tensor) -> Tensor:
        """All h_t."""
        return tree_scan(a, u)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Keep what the adjoint needs."""
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, grad_h: Tensor) -> tuple[Tensor, Tensor]:
        """Adjoint (8): the same scan, run from the end."""
        a, h = ctx.saved_tensors
        later = torch.cat([a[:, 1:], torch.zeros_like(a[:, :1])], dim=1).conj()
        g = LinearRecurrence.apply(later.flip(1), grad_h.flip(1)).flip(1)  # (8)
        before = torch.cat([torch.zeros_like(h[:, :1]), h[:, :-1]], dim=1)
        return g * before.conj(), g


def tree_scan(a: Tensor, u: Tensor) -> Tensor:
    """h_t = a_t h_{t−1} + u_t along axis 1: join neighbours, scan half as many, fill the gaps."""
    l = a.shape[1]
    if l == 1:
        return u.clone()  # never the operand itself
    even, odd = slice(0, l - l % 2, 2), slice(1, None, 2)
    joined = tree_scan(a[:, odd] * a[:, even], a[:, odd] * u[:, even] + u[:, odd])  # (7)
    h = torch.empty_like(u)
    h[:, odd] = joined
    h[:, 0] = u[:, 0]
    h[:, 2::2] = a[:, 2::2] * joined[:, : (l - 1) // 2] + u[:, 2::2]  # (7)
    return h


def chunked_scan_core(
    x: Float[Tensor, "b l g p"],
    dt: Float[Tensor, "b l g p"],
    A: Inexact[Tensor, "g p n"],
    B: Inexact[Tensor, "b l g n"],
    C: Inexact[Tensor, "b l g n"],
    h: Inexact[Tensor, "b g p n"],
    *,
    chunk_size: int | None = None,
) -> tuple[Inexact[Tensor, "b l g p"], Inexact[Tensor, "b g p n"]]:
    """Chunks side by side: local end states, a short scan over chunks, then the outputs."""
    if chunk_size is None:
        chunk_size = _chunk_size(x.shape[1], h.numel())
    y, h, _ = ChunkedScan.apply(x, dt, A, B, C, h, chunk_size)
    return y, h


def _chunk_size(l: int, state_size: int) -> int:
    """Few steps in all, 2 l / c + c for c chunks, while a step's operands fit a cache."""
    most = max(1, STEP_SIZE // max(1, state_size))
    chunks = min(int((2 * l) ** 0.5) + 1, most)  # isqrt cannot be traced at a symbolic l
    # One chunk walks the sequence once, several walk it twice: two would gain nothing.
    return l if chunks < 4 else -(-l // chunks)


class ChunkedScan(torch.autograd.Function):
    """Eqs. (2) to (5) with a recomputing backward pass (8)."""

    @staticmethod
    def forward(
        x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor, size: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Output, last state, and the state at the start of every chunk."""
        l = x.shape[1]
        x_c, dt_c, B_c, C_c = (_to_chunks(t, size) for t in (x, dt, B, C))
        u_c = x_c * dt_c  # q b c g p
        starts = _starts(u_c, dt_c, A, B_c, h)
        y_c = torch.empty(u_c.shape, dtype=A.dtype, device=A.device)
        state = starts[:, :-1].clone()
        a = torch.empty_like(state)
        for i in range(size):
            _advance(state, a, dt_c[i], A, u_c[i], B_c[i])
            torch.matmul(state, C_c[i, ..., None], out=y_c[i, ..., None])  # (5)
        return _from_chunks(y_c, l), state[:, -1].clone(), starts

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep the operands and the chunks' starts."""
        *operands, ctx.size = inputs
        ctx.mark_non_differentiable(output[2])
        ctx.save_for_backward(*operands, output[2])

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor, grad_h: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of every operand; states are recomputed from the chunks' starts."""
        *operands, starts = ctx.saved_tensors
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            return *_differentiable_gradients(operands, (grad_y, grad_h)), None
        x, dt, A, B, C, _ = operands
        size, l = ctx.size, x.shape[1]
        x_c, dt_c, B_c, C_c, gy_c = (_to_chunks(t, size) for t in (x, dt, B, C, grad_y))
        u_c = x_c * dt_c
        states = _recompute(u_c, dt_c, A, B_c, starts)
        C_c, B_conj, A_conj = C_c.conj(), B_c.conj(), A.conj()
        g = _adjoint_ends(gy_c, dt_c, A_conj, C_c, grad_h)
        dx, ddt, dB, dC = (torch.empty_like(t) for t in (x_c, dt_c, B_c, B_c))
        dA = torch.zeros_like(A)
        a = torch.empty_like(g)
        for i in reversed(range(size)):
            g.addcmul_(gy_c[i, ..., None], C_c[i, ..., None, :])  # (8)
            dC[i] = torch.einsum("bcgp,bcgpn->bcgn", gy_c[i], states[i + 1].conj())
            dB[i] = torch.einsum("bcgp,bcgpn->bcgn", u_c[i].to(g.dtype), g)
            du = torch.matmul(g, B_conj[i, ..., None])[..., 0]
            du = du.real if du.is_complex() else du
            torch.mul(dt_c[i, ..., None], A_conj, out=a).exp_()
            g.mul_(a)  # now the gradient of h_{t-1}, Ā_t g_t
            log_decay = g * states[i].conj()  # gradient of Δ_t A
            ddt_i = torch.einsum("bcgpn,gpn->bcgp", log_decay, A_conj)
            dx[i] = du * dt_c[i]
            ddt[i] = du * x_c[i] + (ddt_i.real if ddt_i.is_complex() else ddt_i)
            dA += torch.einsum("bcgpn,bcgp->gpn", log_decay, dt_c[i].to(g.dtype))
        dx, ddt, dB, dC = (_from_chunks(t, l) for t in (dx, ddt, dB, dC))
        return dx, ddt, dA, dB, dC, g[:, 0].clone(), None


def _differentiable_gradients(
    operands: list[Tensor], grads: tuple[Tensor, Tensor]
) -> list[Tensor | None]:
    """Gradients with a graph of their own, by the tree: `create_graph` will differentiate again."""
    with torch.enable_grad():
        operands = [t.view_as(t) for t in operands]  # told apart, should two be one tensor
        wanted = [t for t in operands if t.requires_grad]
        pairs = zip(associative_scan_core(*operands), grads, strict=True)
        reached = [pair for pair in pairs if pair[0].requires_grad]  # from C alone, y alone
        outputs, bars = zip(*reached, strict=True)
        found = iter(torch.autograd.grad(outputs, wanted, bars, create_graph=True))
    return [next(found) if t.requires_grad else None for t in operands]


def _to_chunks(t: Tensor, size: int) -> Tensor:
    """(b, l, …) to (q, b, c, …): place in chunk first, the last chunk filled up with zeros.

    A filled place has Δ = 0, hence Ā = 1 and no input: it passes the state on unchanged.
    """
    b, l = t.shape[:2]
    chunks = -(-l // size)
    if chunks * size != l:
        t = torch.cat([t, t.new_zeros(b, chunks * size - l, *t.shape[2:])], dim=1)
    return t.unflatten(1, (chunks, size)).movedim(2, 0).contiguous()


def _from_chunks(t: Tensor, l: int) -> Tensor:
    return t.movedim(0, 2).flatten(1, 2)[:, :l].contiguous()


def _advance(h: Tensor, a: Tensor, dt: Tensor, A: Tensor, u: Tensor, B: Tensor) -> None:
    """Eqs. (2) to (4) for one place of every chunk, in place; `a` is room for Ā."""
    torch.mul(dt[..., None], A, out=a).exp_()  # (2)
    h.mul_(a).addcmul_(u[..., None], B[..., None, :])  # (3), (4)


def _starts(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, h: Tensor) -> Tensor:
    """State at the start of every chunk and after the last one, (b, c + 1, g, p, n)."""
    size, b, chunks = u.shape[:3]
    starts = h.new_empty(b, chunks + 1, *h.shape[1:])
    starts[:, 0] = h
    if chunks == 1:
        return starts
    local = h.new_zeros(b, chunks, *h.shape[1:])
    a = torch.empty_like(local)
    for i in range(size):
        _advance(local, a, dt[i], A, u[i], B[i])
    decay = torch.exp(dt.sum(dim=0)[..., None] * A)
    for c in range(chunks):
        starts[:, c + 1] = torch.addcmul(local[:, c], decay[:, c], starts[:, c])  # (7)
    return starts


def _recompute(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, starts: Tensor) -> Tensor:
    """The state before every place of every chunk, then after the last: (q + 1, b, c, g, p, n)."""
    first = starts[:, :-1]
    states = first.new_empty(u.shape[0] + 1, *first.shape)
    states[0] = first
    a = torch.empty_like(states[0])
    for i in range(u.shape[0]):
        torch.mul(dt[i, ..., None], A, out=a).exp_()  # (2)
        torch.mul(states[i], a, out=states[i + 1])
        states[i + 1].addcmul_(u[i, ..., None], B[i, ..., None, :])  # (3), (4)
    return states


def _adjoint_ends(gy: Tensor, dt: Tensor, A: Tensor, C: Tensor, grad_h: Tensor) -> Tensor:
    """What flows into the end of every chunk from the future, (b, c, g, p, n)."""
    size, b, chunks = gy.shape[:3]
    ends = grad_h.new_empty(b, chunks, *grad_h.shape[1:])
    ends[:, -1] = grad_h
    if chunks == 1:
        return ends
    local = torch.zeros_like(ends)
    a = torch.empty_like(local)
    for i in reversed(range(size)):
        local.addcmul_(gy[i, ..., None], C[i, ..., None, :])  # (8)
        local.mul_(torch.mul(dt[i, ..., None], A, out=a).exp_())
    decay = torch.exp(dt.sum(dim=0)[..., None] * A)
    for c in reversed(range(1, chunks)):
        ends[:, c - 1] = torch.addcmul(local[:, c], decay[:, c], ends[:, c])  # (7)
    return ends
