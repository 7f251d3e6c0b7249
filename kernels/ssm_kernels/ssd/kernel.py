"""Device code of ssd, forward: decays first, and outputs last. Between them `walk_kernel`.

- The decays of every chunk, once for all that follows.
- A program takes one chunk through several slices, with C Bᵀ in registers: what its tiles read of
  the state that entered, of themselves, and the second of the first.

`chunk_kernel` says how tokens are cut.
"""

import triton
import triton.language as tl

from ssm_kernels.ssd.chunk_kernel import (
    LOG2E,
    apart,
    ask,
    ask_state,
    below,
    diagonal,
    gate,
    joined,
    places,
    put_tile,
    slice_of,
    span,
    tile,
)


@triton.jit
def ssd_decay_kernel(
    dt_ptr, A_ptr, bias_ptr, pair_ptr, cum_ptr, key_ptr, table_ptr, stride_dt, L, per, low, high,
    H: tl.constexpr, Q: tl.constexpr, BLOCK_H: tl.constexpr, SOFTPLUS: tl.constexpr,
    BIAS: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """Of every chunk, (chunks, h, q): log2 of the decay since the chunk began; the same less
    log2 Δ, so that what token s adds reaches t as 2^(cum_t − key_s); and the first joined with Δ.

    Grid: (chunks, blocks of heads).
    """
    i_c = tl.program_id(0)
    o_h, o_q = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H), tl.arange(0, Q)
    _, start, left, _ = span(i_c, table_ptr, L, Q, per, PACKED)
    m_h = o_h < H
    p = (start + o_q)[None, :] * stride_dt + o_h[:, None]
    m = m_h[:, None] & (o_q < left)[None, :]
    b_dt, _slope = gate(dt_ptr, bias_ptr, p, m, o_h, m_h, low, high, SOFTPLUS, BIAS)
    b_A = tl.load(A_ptr + o_h, mask=m_h, other=0.0).to(tl.float32) * LOG2E
    b_cum = tl.cumsum(b_dt * b_A[:, None], axis=1)
    p = (i_c.to(tl.int64) * H + o_h[:, None]) * Q + o_q[None, :]
    m = m_h[:, None] & (o_q >= 0)[None, :]
    tl.store(cum_ptr + p, b_cum, mask=m)
    b_key = b_cum - tl.log2(tl.where(b_dt == 0, 1.0, b_dt))
    tl.store(key_ptr + p, tl.where(b_dt == 0, float("inf"), b_key), mask=m)
    tl.store(pair_ptr + p, joined(b_cum, b_dt), mask=m)


@triton.jit
def _within(b_y, b_S, b_own, b_x, b_D, b_cum, b_key, b_delta, PRECISION: tl.constexpr):
    """b_y, and what a tile reads of itself: (L ∘ S) Δ x below the diagonal, by Eq. (8), and D x.

    What a token reads of its own x is left out of the product, which rounds to the dtype of x, and
    added in float32 together with D x.
    """
    b_M = b_S * tl.exp2(below(b_cum[:, None] - b_key[None, :]))
    b_y = tl.dot(b_M.to(b_x.dtype), b_x, acc=b_y, input_precision=PRECISION)  # (8)
    return b_y + ((b_own * b_delta)[:, None] + b_D) * b_x.to(tl.float32)


@triton.jit
def ssd_fwd_kernel(
    x_ptr, B_ptr, C_ptr, D_ptr, pair_ptr, cum_ptr, key_ptr, h_ptr, y_ptr, table_ptr,
    stride_x: tl.constexpr, stride_B: tl.constexpr, stride_C: tl.constexpr, L, per,
    H: tl.constexpr, G: tl.constexpr, P: tl.constexpr, N: tl.constexpr, V: tl.constexpr,
    T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, SLICES: tl.constexpr,
    PACKED: tl.constexpr, EVEN: tl.constexpr, SKIP: tl.constexpr, PRECISION: tl.constexpr,
    STAGES: tl.constexpr, ASK: tl.constexpr,
):  # fmt: skip
    """y of one chunk in SLICES slices of one group. Grid: (chunks, parts)."""
    i_c, i_part = tl.program_id(0), tl.program_id(1)
    _, start, left, _ = span(i_c, table_ptr, L, 2 * T, per, PACKED)
    o_q = tl.arange(0, T)
    m_1, m_2 = places(T, left, EVEN), places(T, left - T, EVEN)
    m_n, m_rows = tl.arange(0, BLOCK_N) < N, tl.arange(0, BLOCK_P) >= 0
    i_group = i_part * SLICES // (V // G)
    B_ptr += start * stride_B + i_group * N
    C_ptr += start * stride_C + i_group * N
    b_C1 = tile(C_ptr, stride_C, m_1, m_n, T, BLOCK_N)
    b_C2 = tile(C_ptr + T * stride_C, stride_C, m_2, m_n, T, BLOCK_N)
    # C Bᵀ within the first tile, between the tiles, and within the second
    b_B = tile(B_ptr, stride_B, m_1, m_n, T, BLOCK_N)
    b_S1 = tl.dot(b_C1, tl.trans(b_B), input_precision=PRECISION)
    b_S12 = tl.dot(b_C2, tl.trans(b_B), input_precision=PRECISION)
    b_B = tile(B_ptr + T * stride_B, stride_B, m_2, m_n, T, BLOCK_N)
    b_S2 = tl.dot(b_C2, tl.trans(b_B), input_precision=PRECISION)
    b_own1, b_own2 = diagonal(b_S1, T), diagonal(b_S2, T)
    m_S = o_q[:, None] > o_q[None, :]
    b_S1, b_S2 = tl.where(m_S, b_S1, 0.0), tl.where(m_S, b_S2, 0.0)
    x_ptr += start * stride_x
    y_ptr += start * (H * P)
    for i in tl.range(0, SLICES, num_stages=STAGES):
        if ASK:
            i_next = i_part * SLICES + tl.minimum(i + 1, SLICES - 1)
            first = slice_of(i_next, H, P, V, BLOCK_P)[1]
            p_h = (i_c.to(tl.int64) * V + i_next) * BLOCK_P * N
            ask(x_ptr + first, stride_x, left, 2 * T, EVEN)
            ask_state(h_ptr + p_h, BLOCK_P * N, BLOCK_P * BLOCK_N)
        i_v = i_part * SLICES + i
        i_h, first, m_p = slice_of(i_v, H, P, V, BLOCK_P)
        b_x1 = tile(x_ptr + first, stride_x, m_1, m_p, T, BLOCK_P)
        b_x2 = tile(x_ptr + first + T * stride_x, stride_x, m_2, m_p, T, BLOCK_P)
        p_h = (i_c.to(tl.int64) * V + i_v) * BLOCK_P * N
        b_h = tile(h_ptr + p_h, N, m_rows, m_n, BLOCK_P, BLOCK_N)
        p_dt = (i_c.to(tl.int64) * H + i_h) * (2 * T)
        b_mid = tl.load(cum_ptr + p_dt + T - 1)
        p_dt += o_q
        b_D = 0.0
        if SKIP == 1:
            b_D = tl.load(D_ptr + i_h).to(tl.float32)
        if SKIP == 2:
            b_D = tl.load(D_ptr + first + tl.arange(0, BLOCK_P), mask=m_p, other=0.0)
            b_D = b_D.to(tl.float32)[None, :]
        b_key = tl.load(key_ptr + p_dt)
        b_cum, b_delta = apart(tl.load(pair_ptr + p_dt))
        b_w = tl.exp2(b_mid - b_key)
        b_y = tl.dot(b_C1, tl.trans(b_h), input_precision=PRECISION) * tl.exp2(b_cum)[:, None]
        b_y = _within(b_y, b_S1, b_own1, b_x1, b_D, b_cum, b_key, b_delta, PRECISION)
        put_tile(y_ptr + first, H * P, b_y, m_1, m_p, T, BLOCK_P)
        # the second tile: what reaches the border of the tiles, then from there on
        b_key = tl.load(key_ptr + p_dt + T)
        b_cum, b_delta = apart(tl.load(pair_ptr + p_dt + T))
        b_y = tl.dot(b_C2, tl.trans(b_h), input_precision=PRECISION) * tl.exp2(b_mid)
        b_M = (b_S12 * b_w[None, :]).to(b_x1.dtype)
        b_y = tl.dot(b_M, b_x1, acc=b_y, input_precision=PRECISION)
        b_y = b_y * tl.exp2(b_cum - b_mid)[:, None]
        b_y = _within(b_y, b_S2, b_own2, b_x2, b_D, b_cum, b_key, b_delta, PRECISION)
        put_tile(y_ptr + first + T * (H * P), H * P, b_y, m_2, m_p, T, BLOCK_P)
