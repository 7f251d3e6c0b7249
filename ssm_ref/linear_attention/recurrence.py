"""The recurrence that linear attention, its gated kin, the delta rule and SSD have in common.

Per head, with a state S ∈ R^{n×p} (key × value), a log decay g_t ≤ 0 of one number or of one a
channel, and vectors q, k, a, b ∈ R^n and v ∈ R^p:

    S_t = diag(e^{g_t}) S_{t-1} - b_t (a_tᵀ S_{t-1}) + k_t v_tᵀ    (1)
    o_t = S_tᵀ q_t,  or S_{t-1}ᵀ q_t where the model reads first    (2)

The transition is a diagonal, or a diagonal minus rank one: a asks the state, b says where the
answer is taken away. A model is a `Case`: what it puts in the place of the letters. In a chunk let

    P(x, y)_ij = Σ_n x_in y_jn e^{g_{j+1,n} + … + g_{i,n}},  i ≥ j    (3)

and P⁻ the same up to g_{i-1} and for i > j only: what a read before the step sees. The answers
z_t = S_{t-1}ᵀ a_t solve a unit triangular system (the WY representation), and the rest is products:

    (I + P⁻(a, b)) Z = ã S_0 + P⁻(a, k) V    (4)
    O = q̃ S_0 + P(q, k) V - P(q, b) Z    (5)
    S = e^{g_1 + … + g_q} S_0 + k̄ᵀ V - b̄ᵀ Z    (6)

x̃ has decayed from the start of the chunk to its row and x̄ from its row to the end. No exponent is
ever positive: Eq. (3) is built from halves, where a row decays from the border between them and a
column up to it. Each exponent sums its own terms, so g = -∞ (forget everything) is exact as well.

Sources: Yang et al., arXiv 2312.06635 (chunks), 2406.06484 (WY); Dao and Gu, arXiv 2405.21060.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ssm_ref.expect import expect_float, expect_shape, state_dtype
from ssm_ref.precision import without_autocast


class Case(NamedTuple):
    """The operands of Eqs. (1) and (2): what one model puts in the place of the letters."""

    q: Float[Tensor, "b l h n"]
    k: Float[Tensor, "b l h n"]
    v: Float[Tensor, "b l h p"]
    g: Float[Tensor, "b l h n"] | Float[Tensor, "b l h 1"]
    a: Float[Tensor, "b l h n"] | None = None  # nothing is erased without a and b
    b: Float[Tensor, "b l h n"] | None = None
    read_before: bool = False  # q reads S_{t-1}


def recurrent(
    case: Case, S: Float[Tensor, "b h n p"] | None = None
) -> tuple[Float[Tensor, "b l h p"], Float[Tensor, "b h n p"]]:
    """Eqs. (1) and (2) token by token from S (zero when not given): the definition.

    Sums and the state are float32 at least; o has the dtype of v. Raises `ValueError` for operands
    that do not fit.
    """
    wide, S = _widen(case, S)
    o = []
    with without_autocast(S):
        for t in range(wide.q.shape[1]):
            before, decay = S, wide.g[:, t].exp()[..., None]  # b h n 1
            S = decay * S + wide.k[:, t, :, :, None] * wide.v[:, t, :, None, :]  # (1)
            if wide.a is not None and wide.b is not None:
                answer = torch.einsum("bhnp,bhn->bhp", before, wide.a[:, t])
                S = S - wide.b[:, t, :, :, None] * answer[:, :, None, :]  # (1)
            read = before if case.read_before else S
            o.append(torch.einsum("bhnp,bhn->bhp", read, wide.q[:, t]))  # (2)
    return torch.stack(o, dim=1).to(case.v.dtype), S


def chunked(
    case: Case, S: Float[Tensor, "b h n p"] | None = None, *, chunk_size: int = 64
) -> tuple[Float[Tensor, "b l h p"], Float[Tensor, "b h n p"]]:
    """The same by chunks of a power of two places, Eqs. (3) to (6), in matrix products.

    The size changes cost and rounding, never the answer, and need not divide the length. Raises
    `ValueError` as `recurrent` does, and for a size that is no power of two.
    """
    if chunk_size < 1 or chunk_size & (chunk_size - 1):
        raise ValueError(f"chunk_size must be a power of two; got {chunk_size}")
    wide, S = _widen(case, S)
    with without_autocast(S):
        o, S = _by_chunks(wide, S, min(chunk_size, _power_of_two(wide.q.shape[1])))
    return o.to(case.v.dtype), S


def parallel(
    case: Case, S: Float[Tensor, "b h n p"] | None = None
) -> tuple[Float[Tensor, "b l h p"], Float[Tensor, "b h n p"]]:
    """The same as one chunk, Eqs. (3) to (6): no loop over time, O(l²) in time and memory."""
    return chunked(case, S, chunk_size=_power_of_two(case.q.shape[1]))


def decayed_scores(
    x: Float[Tensor, "*b q n"],
    y: Float[Tensor, "*b q n"],
    g: Float[Tensor, "*b q n"] | Float[Tensor, "*b q 1"],
    *,
    before: bool = False,
) -> Float[Tensor, "*b q q"]:
    """P(x, y) of Eq. (3), or P⁻ where the rows read `before` the step; q is a power of two."""
    diagonal = (x * y).sum(dim=-1)
    P = (torch.zeros_like(diagonal) if before else diagonal)[..., None, None]  # *b q 1 1
    while (half := P.shape[-1]) < x.shape[-2]:
        late_x = x.unflatten(-2, (-1, 2, half))[..., 1, :, :]
        early_y = y.unflatten(-2, (-1, 2, half))[..., 0, :, :]
        early_g, late_g = g.unflatten(-2, (-1, 2, half)).unbind(dim=-3)
        from_border = _before(late_g) if before else late_g.cumsum(dim=-2)
        below = (late_x * from_border.exp()) @ (early_y * _after(early_g).exp()).mT  # (3)
        upper, lower = P.unflatten(-3, (-1, 2)).unbind(dim=-3)
        top = torch.cat([upper, torch.zeros_like(upper)], dim=-1)
        P = torch.cat([top, torch.cat([below, lower], dim=-1)], dim=-2)
    return P.squeeze(-3)


def _by_chunks(case: Case, S: Tensor, size: int) -> tuple[Tensor, Tensor]:
    length = case.q.shape[1]

    def cut(x: Tensor) -> Tensor:  # padding neither decays (g = 0) nor writes, erases or reads
        return F.pad(x, (0, 0, 0, 0, 0, -length % size)).unflatten(1, (-1, size)).transpose(2, 3)

    q, k, v, g = (cut(x) for x in case[:4])  # b c h q n
    to_row, to_end = g.cumsum(dim=-2), _after(g).exp()
    decay = to_row[..., -1, :, None].exp()
    read = q * (_before(g) if case.read_before else to_row).exp()
    scores = decayed_scores(q, k, g, before=case.read_before)
    inside, write = scores @ v, (k * to_end).mT @ v
    if case.a is not None and case.b is not None:
        b = k if case.b is case.k else cut(case.b)  # the delta rule erases where it writes
        U, Z = _answers(cut(case.a), b, k, v, g)
        b_read = scores if b is k else decayed_scores(q, b, g, before=case.read_before)
        read, inside = read - b_read @ U, inside - b_read @ Z
        b_end = (b * to_end).mT
    starts = []
    for i in range(q.shape[1]):
        starts.append(S)
        end = decay[:, i] * S + write[:, i]  # (6)
        S = end if case.a is None else end - b_end[:, i] @ (U[:, i] @ S + Z[:, i])  # (6)
    o = read @ torch.stack(starts, dim=1) + inside  # (5)
    return o.transpose(2, 3).flatten(1, 2)[:, :length], S


def _answers(a: Tensor, b: Tensor, k: Tensor, v: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """U and Z' of every chunk, where the Z of Eq. (4) is U S_0 + Z'."""
    scores = decayed_scores(a, k, g, before=True)
    system = scores if b is k else decayed_scores(a, b, g, before=True)
    known = [a * _before(g).exp(), scores @ v]
    solved = torch.linalg.solve_triangular(
        system, torch.cat(known, dim=-1), upper=False, unitriangular=True
    )  # (4)
    U, Z = solved.split([a.shape[-1], v.shape[-1]], dim=-1)
    return U, Z


def _before(g: Tensor) -> Tensor:
    """Σ of the places before each one."""
    return torch.cat([torch.zeros_like(g[..., :1, :]), g[..., :-1, :].cumsum(dim=-2)], dim=-2)


def _after(g: Tensor) -> Tensor:
    """Σ of the places after each one."""
    return _before(g.flip(-2)).flip(-2)


def _power_of_two(length: int) -> int:
    return 1 << max(0, length - 1).bit_length()


def _widen(case: Case, S: Tensor | None) -> tuple[Case, Tensor]:
    if case.q.ndim != 4 or case.v.ndim != 4 or case.q.shape[1] == 0:
        raise ValueError(
            "q must have shape (b, l, h, n) with l > 0 and v (b, l, h, p); "
            f"got {tuple(case.q.shape)} and {tuple(case.v.shape)}"
        )
    if (case.a is None) != (case.b is None):
        raise ValueError("a and b erase together: give both or neither")
    *rows, n = case.q.shape
    p = case.v.shape[-1]
    expect_shape("v", case.v, (*rows, p))
    expect_shape("g", case.g, (*rows, 1 if case.g.shape[-1:] == (1,) else n))
    for name in "kab":
        if (x := getattr(case, name)) is not None:
            expect_shape(name, x, (*rows, n))
    wide = state_dtype(case.v)
    if S is None:
        S = case.v.new_zeros(rows[0], rows[2], n, p, dtype=wide)
    expect_shape("S", S, (rows[0], rows[2], n, p))
    for name, x in {"q": case.q, "k": case.k, "v": case.v, "g": case.g, "S": S}.items():
        expect_float(name, x)
        if x.device != case.q.device:
            raise ValueError(f"{name} must be on {case.q.device} like q; got {x.device}")
    q, k, v, g = (x.to(wide) for x in case[:4])
    a = None if case.a is None else case.a.to(wide)
    b = None if case.b is None else k if case.b is case.k else case.b.to(wide)
    return Case(q, k, v, g, a, b, case.read_before), S.to(wide)
