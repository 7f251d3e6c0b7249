"""Scans: every prefix of an associative product, in turn, in a tree, and by the adjoint rule.

    s_t = e_t ∘ s_{t−1},  s_0 = e_0                       (1)
    h_t = a_t ⊙ h_{t−1} + u_t                             (2)
    (a₁, u₁) then (a₂, u₂):  (a₂ a₁, a₂ u₁ + u₂)          (3)
    g_t = h̄_t + a*_{t+1} ⊙ g_{t+1}                        (4)
    ā_t = g_t ⊙ h*_{t−1},  ū_t = g_t                      (5)

Eq. (1) is the definition of a scan for any combine ∘. If ∘ is associative, the prefixes may be
bracketed as one likes, and that freedom is all that a parallel scan uses. The linear recurrence
(2), `a` acting elementwise, composes by (3); its gradient is the same recurrence run from the
end (4), (5), where a bar marks the gradient of the loss and * the complex conjugate.

Sources: Blelloch, Prefix Sums and Their Applications, CMU-CS-90-190, 1990; Hillis and Steele,
Data Parallel Algorithms, 1986; Martin and Cundy, arXiv 1709.04057.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Inexact
from torch import Tensor

Elements = tuple[Tensor, ...]
Combine = Callable[[Elements, Elements], Elements]


def scan(combine: Combine, elements: Elements, *, dim: int = 0, reverse: bool = False) -> Elements:
    """All prefixes (1) along `dim`, one after another: the definition.

    `combine(first, second)` takes two tuples of slices that keep the axis `dim` and returns their
    product, `first` being earlier in time (later, with `reverse=True`, which gives all suffixes).
    Raises `ValueError` for no elements, lengths that differ, or an empty axis.
    """
    l = check_elements(elements, dim)
    order = range(l - 1, -1, -1) if reverse else range(l)
    prefix: Elements | None = None
    prefixes: list[Elements] = []
    for t in order:
        e_t = tuple(e.narrow(dim, t, 1) for e in elements)
        prefix = e_t if prefix is None else tuple(combine(prefix, e_t))  # (1)
        prefixes.append(prefix)
    if reverse:
        prefixes.reverse()
    return tuple(torch.cat(parts, dim=dim) for parts in zip(*prefixes, strict=True))


def associative_scan(
    combine: Combine, elements: Elements, *, dim: int = 0, reverse: bool = False
) -> Elements:
    """`scan` as Blelloch's tree: join neighbours, scan half as many, fill the gaps.

    At most 2 l combined pairs in 2 log₂ l rounds for any length l. `combine` must be associative
    and work on many slices at once (elementwise, or batched along `dim`). Differentiable by
    autograd if `combine` is.
    """
    check_elements(elements, dim)
    if reverse:
        flipped = tuple(e.flip(dim) for e in elements)
        return tuple(e.flip(dim) for e in _tree(combine, flipped, dim))
    return _tree(combine, elements, dim)


def hillis_steele_scan(
    combine: Combine, elements: Elements, *, dim: int = 0, reverse: bool = False
) -> Elements:
    """`scan` in ⌈log₂ l⌉ rounds that each join every place with the one 2ᵏ before it.

    Half the rounds of `associative_scan`, for l log₂ l combined pairs instead of 2 l.
    """
    l = check_elements(elements, dim)
    if reverse:
        flipped = tuple(e.flip(dim) for e in elements)
        return tuple(e.flip(dim) for e in hillis_steele_scan(combine, flipped, dim=dim))
    reach = 1
    while reach < l:
        earlier = tuple(e.narrow(dim, 0, l - reach) for e in elements)
        later = tuple(e.narrow(dim, reach, l - reach) for e in elements)
        joined = combine(earlier, later)
        elements = tuple(
            torch.cat([e.narrow(dim, 0, reach), j], dim=dim)
            for e, j in zip(elements, joined, strict=True)
        )
        reach *= 2
    return elements


def check_elements(elements: Elements, dim: int) -> int:
    """The common length of `elements` along `dim`; raises `ValueError` if there is none."""
    if not elements:
        raise ValueError("a scan needs at least one tensor of elements; got none")
    for e in elements:
        if not -e.ndim <= dim < e.ndim:
            raise ValueError(f"elements must have an axis {dim}; got shape {tuple(e.shape)}")
    lengths = {e.shape[dim] for e in elements}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            f"elements must share one length ≥ 1 along axis {dim}; got lengths {sorted(lengths)}"
        )
    return lengths.pop()


def _tree(combine: Combine, elements: Elements, dim: int) -> Elements:
    l = elements[0].shape[dim]
    if l == 1:
        return elements
    even = tuple(_every_other(e, dim, 0) for e in elements)
    odd = tuple(_every_other(e, dim, 1) for e in elements)
    pairs = l // 2
    joined = _tree(combine, tuple(combine(_head(even, dim, pairs), odd)), dim)
    first = _head(even, dim, 1)
    if l > 2:
        rest = (l + 1) // 2 - 1
        inner = combine(_head(joined, dim, rest), tuple(e.narrow(dim, 1, rest) for e in even))
        first = tuple(torch.cat(pair, dim=dim) for pair in zip(first, inner, strict=True))
    return tuple(_interleave(f, j, dim) for f, j in zip(first, joined, strict=True))


def _every_other(e: Tensor, dim: int, start: int) -> Tensor:
    index = [slice(None)] * e.ndim
    index[dim] = slice(start, None, 2)
    return e[tuple(index)]


def _head(elements: Elements, dim: int, length: int) -> Elements:
    return tuple(e.narrow(dim, 0, length) for e in elements)


def _interleave(even: Tensor, odd: Tensor, dim: int) -> Tensor:
    dim %= even.ndim
    last = even.narrow(dim, odd.shape[dim], even.shape[dim] - odd.shape[dim])
    both = torch.stack([even.narrow(dim, 0, odd.shape[dim]), odd], dim=dim + 1)
    return torch.cat([both.flatten(dim, dim + 1), last], dim=dim)


def compose_affine(first: Elements, second: Elements) -> Elements:
    """Two steps of Eq. (2) as one: the maps h ↦ a₁h + u₁ and then h ↦ a₂h + u₂.    (3)"""
    a1, u1 = first
    a2, u2 = second
    return a2 * a1, a2 * u1 + u2  # (3)


def linear_recurrence(
    a: Inexact[Tensor, "..."],
    u: Inexact[Tensor, "b l ..."],
    h0: Inexact[Tensor, "b ..."] | None = None,
) -> Inexact[Tensor, "b l ..."]:
    """All states of Eq. (2) along axis 1, token by token, from `h0` (zero if left out).

    `a` broadcasts to the shape of `u`. Raises `ValueError` for operands that do not fit.
    """
    a, u, h = _recurrence_operands(a, u, h0)
    states = []
    for t in range(u.shape[1]):
        h = a[:, t] * h + u[:, t]  # (2)
        states.append(h)
    return torch.stack(states, dim=1)


def linear_scan(
    a: Inexact[Tensor, "..."],
    u: Inexact[Tensor, "b l ..."],
    h0: Inexact[Tensor, "b ..."] | None = None,
) -> Inexact[Tensor, "b l ..."]:
    """`linear_recurrence` with √l chunks walked side by side and the adjoint (4) as its backward.

    About 3√l rounds of wide operations instead of l narrow ones; keeps only `a` and the states
    for the gradients, and can be differentiated twice.
    """
    a, u, h0 = _recurrence_operands(a, u, h0)
    first = u[:, :1] + (a[:, 0] * h0)[:, None]
    return LinearScan.apply(a, torch.cat([first, u[:, 1:]], dim=1))


def _recurrence_operands(a: Tensor, u: Tensor, h0: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The operands in one dtype, `a` in the shape of `u`, the state in the shape of a token."""
    if u.ndim < 2 or u.shape[1] == 0:
        raise ValueError(f"u must have shape (b, l, …) with l ≥ 1; got {tuple(u.shape)}")
    if a.device != u.device or (h0 is not None and h0.device != u.device):
        raise ValueError(f"a and h0 must be on {u.device} like u; got a on {a.device}")
    dtype = torch.promote_types(a.dtype, u.dtype)
    token = (u.shape[0], *u.shape[2:])
    if h0 is not None:
        dtype = torch.promote_types(dtype, h0.dtype)
        if h0.shape != token:
            raise ValueError(f"h0 must have shape {token}; got {tuple(h0.shape)}")
    for name, x in (("a", a), ("u", u)):
        if not (x.is_floating_point() or x.is_complex()):
            raise ValueError(f"{name} must be floating point or complex; got {x.dtype}")
    try:
        a = a.to(dtype).expand(u.shape)
    except RuntimeError as error:
        raise ValueError(
            f"a must broadcast to the shape of u {tuple(u.shape)}; got {tuple(a.shape)}"
        ) from error
    h0 = u.new_zeros(token, dtype=dtype) if h0 is None else h0.to(dtype)
    return a, u.to(dtype), h0


class LinearScan(torch.autograd.Function):
    """Eq. (2) along axis 1 from a zero state, with its adjoint."""

    @staticmethod
    def forward(a: Tensor, u: Tensor) -> Tensor:
        """All states, by chunks."""
        return _chunked_states(a, u)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Keep what the adjoint needs."""
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, grad_h: Tensor) -> tuple[Tensor, Tensor]:
        """The same scan from the end."""
        a, h = ctx.saved_tensors
        after = torch.cat([a[:, 1:], torch.zeros_like(a[:, :1])], dim=1).conj()
        g = LinearScan.apply(after.flip(1), grad_h.flip(1)).flip(1)  # (4)
        before = torch.cat([torch.zeros_like(h[:, :1]), h[:, :-1]], dim=1).conj()
        return g * before, g  # (5)


def _chunked_states(a: Tensor, u: Tensor) -> Tensor:
    """Eq. (2) from a zero state with about √l chunks side by side; no gradients are recorded.

    A first walk finds the end state of every chunk from zero and the product of its `a`; a short
    scan over chunks turns these into true starting states; a second walk writes all states.
    """
    l = u.shape[1]
    c = int(l**0.5)  # isqrt cannot be traced at a symbolic l
    q = l // c
    body = c * q
    h = torch.empty_like(u, memory_format=torch.contiguous_format)
    a_q, u_q, h_q = (x[:, :body].unflatten(1, (c, q)).unbind(2) for x in (a, u, h))  # each b c …
    decay, end = a_q[0].clone(), u_q[0].clone()
    for i in range(1, q):
        decay.mul_(a_q[i])
        torch.addcmul(u_q[i], a_q[i], end, out=end)  # (2)
    state = torch.zeros_like(end)
    for j in range(1, c):
        state[:, j].copy_(end[:, j - 1]).addcmul_(decay[:, j - 1], state[:, j - 1])
    for i in range(q):
        state = h_q[i].copy_(u_q[i]).addcmul_(a_q[i], state)  # (2)
    for t in range(body, l):
        h[:, t].copy_(u[:, t]).addcmul_(a[:, t], h[:, t - 1])
    return h
