"""Device code of ssd, backward, the end: small kernels that finish gradients from their parts."""

import triton
import triton.language as tl

from ssm_kernels.ssd.backward_kernel import (
    ACROSS,
    BY_STATE,
    BY_TILE,
    GIVEN,
    READ,
    SKIPPED,
    SUMS,
    TAKEN,
)
from ssm_kernels.ssd.chunk_kernel import LOG2E, gate, places, put_tile, span, tile


@triton.jit
def ssd_bwd_group_kernel(
    B_ptr, C_ptr, dS_ptr, partB_ptr, partC_ptr, dB_ptr, dC_ptr, table_ptr,
    stride_B: tl.constexpr, stride_C: tl.constexpr, L, per,
    G: tl.constexpr, N: tl.constexpr, PARTS: tl.constexpr, STATE_PARTS: tl.constexpr,
    T: tl.constexpr, BLOCK_N: tl.constexpr, PACKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of B and of C of one tile and group, from their parts.

    Grid: (2 · chunks, groups, 2), the last for C and B.
    """
    i_c, half, i_group = tl.program_id(0) // 2, tl.program_id(0) % 2, tl.program_id(1)
    if tl.program_id(2) == 0:
        _group_gradient(
            B_ptr, dS_ptr, partC_ptr, dC_ptr, table_ptr, stride_B, L, per, i_c, half,
            i_group, G, N, PARTS, STATE_PARTS, T, BLOCK_N, False, PACKED, PRECISION,
        )  # fmt: skip
    else:
        _group_gradient(
            C_ptr, dS_ptr, partB_ptr, dB_ptr, table_ptr, stride_C, L, per, i_c, half,
            i_group, G, N, PARTS, STATE_PARTS, T, BLOCK_N, True, PACKED, PRECISION,
        )  # fmt: skip


@triton.jit
def _group_gradient(
    B_ptr, dS_ptr, part_ptr, dC_ptr, table_ptr, stride_B: tl.constexpr, L, per, i_c, half,
    i_group, G: tl.constexpr, N: tl.constexpr, PARTS: tl.constexpr, STATE_PARTS: tl.constexpr,
    T: tl.constexpr, BLOCK_N: tl.constexpr, TURNED: tl.constexpr, PACKED: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """dC of a tile: its parts through states, and dS B of its own tile and (second tile) the first.

    TURNED: dB from dSᵀ C, of its own tile and (first tile) the second.
    """
    m_n, o_q = tl.arange(0, BLOCK_N) < N, tl.arange(0, T)
    _, start, left, _ = span(i_c, table_ptr, L, 2 * T, per, PACKED)
    none = half if TURNED else 1 - half
    m_t = places(T, left - half * T, False)
    m_other = places(T, left - (1 - half) * T, False) & (o_q >= none * T)
    o_S = o_q[None, :] * T + o_q[:, None] if TURNED else o_q[:, None] * T + o_q[None, :]
    b_dC = tl.zeros([T, BLOCK_N], tl.float32)
    for i in range(0, STATE_PARTS):
        p = (i_group * STATE_PARTS + i).to(tl.int64) * tl.num_programs(0) + i_c * 2 + half
        b_dC += tile(part_ptr + p * T * N, N, o_q >= 0, m_n, T, BLOCK_N)
    b_dS = tl.zeros([T, T], tl.float32)
    b_off = tl.zeros([T, T], tl.float32)
    m_off = (o_q >= none * T)[:, None] & (o_q >= 0)[None, :]
    for i in range(0, PARTS):
        p = ((i_group * PARTS + i).to(tl.int64) * (tl.num_programs(0) // 2) + i_c) * 3 * T * T
        b_dS += tl.load(dS_ptr + p + half * T * T + o_S)
        b_off += tl.load(dS_ptr + p + 2 * T * T + o_S, mask=m_off, other=0.0)
    B_ptr += start * stride_B + i_group * N
    b_B = tile(B_ptr + half * T * stride_B, stride_B, m_t, m_n, T, BLOCK_N)
    b_dC = tl.dot(b_dS.to(b_B.dtype), b_B, acc=b_dC, input_precision=PRECISION)
    b_B = tile(B_ptr + (1 - half) * T * stride_B, stride_B, m_other, m_n, T, BLOCK_N)
    b_dC = tl.dot(b_off.to(b_B.dtype), b_B, acc=b_dC, input_precision=PRECISION)
    p = (start + half * T) * (G * N) + i_group * N
    put_tile(dC_ptr + p, G * N, b_dC, m_t, m_n, T, BLOCK_N)


@triton.jit
def _of_heads(
    ptr, i_c, o_h, m, ROW: tl.constexpr, Q: tl.constexpr, V: tl.constexpr, H: tl.constexpr
):
    """A row of `sums`, added over the slices of a head: heads × places; 0 where masked."""
    p = ((i_c.to(tl.int64) * V + o_h * (V // H)) * SUMS + ROW)[:, None] * Q + tl.arange(0, Q)[
        None, :
    ]
    b = tl.load(ptr + p, mask=m, other=0.0)
    for i in range(1, V // H):
        b += tl.load(ptr + p + i * SUMS * Q, mask=m, other=0.0)
    return b


@triton.jit
def _from(b):
    """Sums of b from each place to the end."""
    return tl.sum(b, axis=1)[:, None] - tl.cumsum(b, axis=1) + b


@triton.jit
def _put_sums(p, b, m_h, Q: tl.constexpr):
    """Store the sum of b over places, one of each head, at `p`.

    As the last of the sums up to a place, which one thread holds. What tl.sum returns is held by
    every thread of a row, and on the way to the layout of a store all of them would write it to one
    address of shared memory.
    """
    o_q = tl.arange(0, Q)[None, :]
    m = m_h[:, None] & (o_q == Q - 1)
    tl.store(p[:, None] + o_q * 0, tl.cumsum(b, axis=1), mask=m)


@triton.jit
def ssd_bwd_decay_kernel(
    dt_ptr, A_ptr, bias_ptr, sums_ptr, keep_ptr, ddt_ptr, dA_ptr, dbias_ptr, dD_ptr, table_ptr,
    stride_dt, L, per, low, high,
    H: tl.constexpr, V: tl.constexpr, T: tl.constexpr, BLOCK_H: tl.constexpr,
    SOFTPLUS: tl.constexpr, BIAS: tl.constexpr, PACKED: tl.constexpr, SKIP: tl.constexpr,
):  # fmt: skip
    """Gradient of dt; and by chunk and head those of A, of the bias and of one D a head.

    The decay at place i stands between every s < i that gives and every t ≥ i that takes; `sums`
    and `keep` hold what they give and take. Grid: (chunks, blocks of heads).
    """
    Q: tl.constexpr = 2 * T
    i_c = tl.program_id(0)
    o_h, o_q = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H), tl.arange(0, Q)
    _, start, left, _ = span(i_c, table_ptr, L, Q, per, PACKED)
    m_h = o_h < H
    m = m_h[:, None] & (o_q < left)[None, :]
    p = (start + o_q)[None, :] * stride_dt + o_h[:, None]
    b_dt, b_slope = gate(dt_ptr, bias_ptr, p, m, o_h, m_h, low, high, SOFTPLUS, BIAS)
    b_A = tl.load(A_ptr + o_h, mask=m_h, other=0.0).to(tl.float32)
    b_by_state = _of_heads(sums_ptr, i_c, o_h, m, BY_STATE, Q, V, H)
    b_across = _of_heads(sums_ptr, i_c, o_h, m, ACROSS, Q, V, H)
    first = (o_q < T)[None, :]
    b_over = tl.where(first, b_across, 0.0)
    b_ddt = _of_heads(sums_ptr, i_c, o_h, m, BY_TILE, Q, V, H) + b_by_state + b_over
    b_own = _of_heads(sums_ptr, i_c, o_h, m, TAKEN, Q, V, H)
    b_own -= _of_heads(sums_ptr, i_c, o_h, m, GIVEN, Q, V, H)
    b_da = _from(_of_heads(sums_ptr, i_c, o_h, m, READ, Q, V, H) + b_own)
    b_da += tl.cumsum(b_dt * b_by_state, axis=1) - b_dt * b_by_state
    b_over *= b_dt
    b_da += tl.where(
        first, tl.cumsum(b_over, axis=1) - b_over, _from(tl.where(first, 0.0, b_across))
    )
    p_c = i_c.to(tl.int64) * V + o_h * (V // H)
    b_keep = tl.load(keep_ptr + p_c, mask=m_h, other=0.0)
    for i in range(1, V // H):
        b_keep += tl.load(keep_ptr + p_c + i, mask=m_h, other=0.0)
    b_da += (b_keep * tl.exp2(tl.sum(b_dt, axis=1) * b_A * LOG2E))[:, None]
    b_da = tl.where(m, b_da, 0.0)
    b_ddt = (b_ddt + b_da * b_A[:, None]) * b_slope
    p = (start + o_q)[None, :] * H + o_h[:, None]
    tl.store(ddt_ptr + p, b_ddt.to(ddt_ptr.dtype.element_ty), mask=m)
    p_c = i_c.to(tl.int64) * H + o_h
    _put_sums(dA_ptr + p_c, b_da * b_dt, m_h, Q)
    if BIAS:
        _put_sums(dbias_ptr + p_c, b_ddt, m_h, Q)
    if SKIP == 1:
        b_gx = _of_heads(sums_ptr, i_c, o_h, m, SKIPPED, Q, V, H)
        _put_sums(dD_ptr + p_c, b_gx, m_h, Q)
