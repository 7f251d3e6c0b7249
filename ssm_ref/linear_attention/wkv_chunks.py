"""The sums of RWKV-4 in chunks walked side by side, with the adjoint for their gradients.

Equation numbers are those of `ssm_ref.linear_attention.rwkv4`. Every chunk is first walked from
nothing by Eq. (5); one short pass over chunks joins their ends into states,

    o = max(o₁ - n w, o₂);  p = e^{o₁-nw-o} p₁ + e^{o₂-o} p₂;  q alike    (7)

where n is the length of the second part; a second walk from these reads every place by Eq. (4).
With κ_t = e^{o-w-o'} and ω_t = e^{k_t-o'} of Eq. (5), ν_t = e^{u+k_t-o} and δ_t = ȳ_t / (q_{t-1} +
ν_t), where a bar marks the gradient of the loss, the gradients flow back by the same decay:

    (p̄_{t-1}, q̄_{t-1}) = κ_t (p̄_t, q̄_t) + δ_t (1, -y_t)    (8)
    v̄_t = ν_t δ_t + ω_t p̄_t;  k̄_t = ν_t δ_t (v_t - y_t) + ω_t (v_t p̄_t + q̄_t)    (9)

Any o gives the same quotient, so it counts for a constant. Everything is elementwise in b and d.
"""

from typing import Any

import torch
from torch import Tensor

from ssm_ref.foundations.scan import LinearScan

SMALLEST_EXPONENT = -1e38  # e^this is 0: nothing has been seen
LARGEST_EXPONENT = 60.0  # e^60 against sums of up to e^20: all that came before is rounded away
# Numbers of one place in all chunks: some ten such arrays of 128 KiB stay in a cache.
STEP_SIZE = 32_768

Sums = tuple[Tensor, Tensor, Tensor]


class WKVChunks(torch.autograd.Function):
    """y of Eq. (4) and the state (p, q, o) after the last token, from k, v, w, u and a state."""

    @staticmethod
    def forward(*operands: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The walk."""
        return _walk(*operands)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        """Keep the operands alone for the gradients."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor, *grad_sums: Tensor) -> tuple[Tensor | None, ...]:
        """Eqs. (8) and (9) on states that a second walk writes down."""
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            return _differentiable_gradients(ctx.saved_tensors, (grad_y, *grad_sums))
        k, v, w, u, *first = ctx.saved_tensors
        p, q, o = (torch.empty_like(k) for _ in range(3))
        y, _, _, last_o = _walk(k, v, w, u, *first, states=(p, q, o))
        o_next = torch.cat([o[:, 1:], last_o[:, None]], dim=1)
        keep, write = (o - w).sub_(o_next).exp_(), (k - o_next).exp_()
        new = (k + u).sub_(o).clamp_(max=LARGEST_EXPONENT).exp_()
        delta = grad_y / (q + new)
        flows = [delta.flip(1), (delta * y).neg_().flip(1)]
        into = torch.cat([torch.stack(grad_sums[:2], dim=1)[:, None], torch.stack(flows, dim=2)], 1)
        # From the end; the first place, the gradient of the last state, stands for itself.
        decay = torch.cat([keep[:, :1], keep.flip(1)], dim=1)[:, :, None].expand(into.shape)
        grad_sums = LinearScan.apply(decay, into).flip(1).unbind(dim=2)  # (8)
        grad_p, grad_q = (x[:, 1:] for x in grad_sums)
        bonus = new * delta
        grad_v = bonus + write * grad_p  # (9)
        bonus = bonus.mul_(v - y)
        grad_k = bonus + write * torch.addcmul(grad_q, v, grad_p)  # (9)
        grad_w = -(p.mul_(grad_p).addcmul_(q, grad_q)).mul_(keep).sum(dim=(0, 1))
        first_p, first_q = (x[:, 0] for x in grad_sums)
        # The sums themselves are p e^o and q e^o: whoever gave o may have made it from keys.
        first_o = first_p * first[0] + first_q * first[1]
        return grad_k, grad_v, grad_w, bonus.sum(dim=(0, 1)), first_p, first_q, first_o


def _differentiable_gradients(
    operands: tuple[Tensor, ...], grads: tuple[Tensor, ...]
) -> tuple[Tensor | None, ...]:
    """Gradients with a graph of their own, token by token, for `create_graph`."""
    with torch.enable_grad():
        operands = tuple(t.view_as(t) for t in operands)  # told apart, should two be one tensor
        wanted = [t for t in operands if t.requires_grad]
        pairs = zip(_token_by_token(*operands), grads, strict=True)
        reached = [pair for pair in pairs if pair[0].requires_grad]  # from u, say, y alone
        outputs, bars = zip(*reached, strict=True)
        found = iter(torch.autograd.grad(outputs, wanted, bars, create_graph=True))
    return tuple(next(found) if t.requires_grad else None for t in operands)


def _token_by_token(
    k: Tensor, v: Tensor, w: Tensor, u: Tensor, p: Tensor, q: Tensor, o: Tensor
) -> tuple[Tensor, ...]:
    """The walk of `WKVChunks` by Eqs. (4) and (5) out of place."""
    ys = []
    for k_t, v_t in zip(k.unbind(dim=1), v.unbind(dim=1), strict=True):
        new = (k_t + u - o).clamp(max=LARGEST_EXPONENT).exp()
        ys.append((p + new * v_t) / (q + new))  # (4) with its e^{m - o} divided out
        o_next = torch.maximum(o - w, k_t)  # (5)
        keep, write = (o - w - o_next).exp(), (k_t - o_next).exp()
        p, q, o = keep * p + write * v_t, keep * q + write, o_next  # (5)
    return torch.stack(ys, dim=1), p, q, o


def _walk(
    k: Tensor, v: Tensor, w: Tensor, u: Tensor, *first: Tensor, states: Sums | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y and the last state by two walks over chunks; `states` takes the state before each token."""
    n, c = _chunks(k)
    last = k.shape[1] - (c - 1) * n  # places of the last chunk; the others have n
    y = torch.empty_like(k)
    p, q, o = _starts(k, v, w, first, n, c)
    e, room = torch.empty_like(p), torch.empty_like(p)
    ends: Sums | None = None
    for i in range(n):
        if i == last:
            ends = (p[:, -1].clone(), q[:, -1].clone(), o[:, -1].clone())
            p, q, o = (x[:, :-1] for x in (p, q, o))
            e, room = torch.empty_like(p), torch.empty_like(p)
        k_i, v_i = k[:, i::n], v[:, i::n]  # b c d
        if states is not None:
            for x, kept in zip((p, q, o), states, strict=True):
                kept[:, i::n] = x
        torch.sub(k_i, o, out=e).add_(u).clamp_(max=LARGEST_EXPONENT).exp_()
        torch.addcmul(p, e, v_i, out=room)
        y[:, i::n] = room.div_(e.add_(q))  # (4) with its e^{m - o} divided out
        _advance(p, q, o, k_i, v_i, w, e, room)
    return y, *(ends or (p[:, -1].clone(), q[:, -1].clone(), o[:, -1].clone()))


def _chunks(k: Tensor) -> tuple[int, int]:
    """Places in a chunk and the number of chunks: about 2 n + c steps, so c = √(2 l) is best.

    On a CPU fewer, if those of one place would not fit a cache; elsewhere launches cost more.
    """
    b, l, d = k.shape
    c = int((2 * l) ** 0.5) + 1  # isqrt cannot be traced at a symbolic l
    if k.device.type == "cpu":
        c = min(c, STEP_SIZE // max(1, b * d))
    # One chunk walks the sequence once, several walk it twice: two would gain nothing.
    n = l if c < 3 else -(-l // c)
    return n, -(-l // n)


def _starts(k: Tensor, v: Tensor, w: Tensor, first: tuple[Tensor, ...], n: int, c: int) -> Sums:
    """The state at the start of every chunk, (b, c, d) each."""
    p, q, o = (x[:, None].repeat(1, c, 1) for x in first)
    if c == 1:
        return p, q, o
    p_end, q_end = torch.zeros_like(p[:, 1:]), torch.zeros_like(q[:, 1:])
    o_end = torch.full_like(o[:, 1:], SMALLEST_EXPONENT)
    e, room = torch.empty_like(p_end), torch.empty_like(p_end)
    whole = (c - 1) * n
    for i in range(n):
        _advance(p_end, q_end, o_end, k[:, i:whole:n], v[:, i:whole:n], w, e, room)
    for j in range(1, c):
        aged, end = o[:, j - 1] - n * w, o_end[:, j - 1]
        o[:, j] = torch.maximum(aged, end)  # (7)
        keep, write = (aged - o[:, j]).exp_(), (end - o[:, j]).exp_()
        p[:, j] = keep * p[:, j - 1] + write * p_end[:, j - 1]  # (7)
        q[:, j] = keep * q[:, j - 1] + write * q_end[:, j - 1]  # (7)
    return p, q, o


def _advance(
    p: Tensor, q: Tensor, o: Tensor, k: Tensor, v: Tensor, w: Tensor, e: Tensor, room: Tensor
) -> None:
    """Eq. (5) for one place of every chunk, in place; `e` and `room` are scratch."""
    torch.maximum(o.sub_(w), k, out=e)
    torch.sub(o, e, out=room).exp_()
    o.copy_(e)
    torch.sub(k, e, out=e).exp_()
    p.mul_(room).addcmul_(e, v)  # (5)
    q.mul_(room).add_(e)  # (5)
