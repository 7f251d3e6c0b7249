"""Device code of ssd, forward: decays, states at the edges of chunks, outputs.

- The decays of every chunk, once for all that follows.
- A walk takes one slice through a sequence with the state in float32 registers, and stores the one
  that enters each chunk.
- A program takes one chunk through several slices, with C Bᵀ in registers: what its tiles read of
  the state that entered, of themselves, and the second of the first.

Long sequences in small batches are cut into segments: a first walk leaves each segment's own state
and decay, and a later walk combines those before it. `chunk_kernel` says how tokens are cut.
"""

import triton
import triton.language as tl

from ssm_kernels.ssd.chunk_kernel import (
    LOG2E,
    ask,
    ask_state,
    below,
    diagonal,
    gate,
    places,
    put_tile,
    slice_of,
    span,
    tile,
)


@triton.jit
def ssd_decay_kernel(
    dt_ptr, A_ptr, bias_ptr, delta_ptr, cum_ptr, key_ptr, table_ptr, stride_dt, L, per, low, high,
    H: tl.constexpr, Q: tl.constexpr, BLOCK_H: tl.constexpr, SOFTPLUS: tl.constexpr,
    BIAS: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """Of every chunk, (chunks, h, q): log2 of the decay since the chunk began, and the same less
    log2 Δ, so that what token s adds reaches t as 2^(cum_t − key_s); and Δ itself.

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
    tl.store(delta_ptr + p, b_dt, mask=m)


@triton.jit
def _before(
    init_ptr, seg_ptr, decay_ptr, i_g, k, last, i_s, i_h, i_v, first, m_p, m_n,
    H: tl.constexpr, V: tl.constexpr, P: tl.constexpr, N: tl.constexpr,
    INIT: tl.constexpr, REVERSE: tl.constexpr, SEGMENTED: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """The state with which segment i_g, the k-th of its sequence (of last + 1), is entered."""
    b_h = tl.zeros([BLOCK_P, BLOCK_N], tl.float32)
    if INIT:
        b_h += tile(init_ptr + (i_s * H * P + first) * N, N, m_p, m_n, BLOCK_P, BLOCK_N)
    if SEGMENTED:
        steps = last - k if REVERSE else k
        for i in range(0, steps):
            j = (i_g - k + (last - i if REVERSE else i)).to(tl.int64)
            b_h *= tl.exp2(tl.load(decay_ptr + j * H + i_h))
            p = (j * V + i_v) * BLOCK_P * N
            b_h += tile(seg_ptr + p, N, tl.arange(0, BLOCK_P) >= 0, m_n, BLOCK_P, BLOCK_N)
    return b_h


@triton.jit
def ssd_walk_kernel(
    x_ptr, B_ptr, cum_ptr, key_ptr, init_ptr, seg_ptr, decay_ptr, out_ptr, end_ptr,
    table_ptr, first_ptr, stride_x: tl.constexpr, stride_B: tl.constexpr, L, size, per,
    H: tl.constexpr, G: tl.constexpr, P: tl.constexpr, N: tl.constexpr, V: tl.constexpr,
    T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, INIT: tl.constexpr,
    PACKED: tl.constexpr, EVEN: tl.constexpr, REVERSE: tl.constexpr, STORE: tl.constexpr,
    SEGMENTED: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """States of one slice over one segment. Grid: segments · slices of heads.

    Forward, x and B write the state: h ← e^{Σa} h + Σ_s e^{a_end − a_s} Δ_s x_s B_sᵀ. REVERSE, with
    the gradient of y for x and C for B: g ← e^{Σa} g + Σ_t e^{a_t} dy_t C_tᵀ.
    STORE: start from the segments before and store the state that enters each chunk (in `out`, by
    chunk and slice), and the last one in `end`. Otherwise: start from zero and leave the segment's
    own state in `seg` and the logarithm of its decay in `decay`, where another segment follows.
    """
    Q: tl.constexpr = 2 * T
    i_v, i_g = tl.program_id(0) % V, tl.program_id(0) // V
    i_h, first, m_p = slice_of(i_v, H, P, V, BLOCK_P)
    m_n, m_rows = tl.arange(0, BLOCK_N) < N, tl.arange(0, BLOCK_P) >= 0
    i_s, start, tokens, k = span(i_g, table_ptr, L, size, per, PACKED)
    last = i_g * 0 + per - 1
    chunk = i_s * tl.cdiv(L, Q) + k * (size // Q)
    if PACKED:
        last = tl.load(first_ptr + i_s * 2 + 1).to(tl.int32) - 1
        chunk = tl.load(first_ptr + i_s * 2) + k * (size // Q)
    if not STORE and k == (0 if REVERSE else last):  # no segment follows
        return
    x_ptr += first
    B_ptr += (i_h // (H // G)) * N
    b_h = tl.zeros([BLOCK_P, BLOCK_N], tl.float32)
    if STORE:
        b_h = _before(
            init_ptr, seg_ptr, decay_ptr, i_g, k.to(tl.int32), last, i_s, i_h, i_v, first, m_p,
            m_n, H, V, P, N, INIT, REVERSE, SEGMENTED, BLOCK_P, BLOCK_N,
        )  # fmt: skip
    b_sum = tl.zeros([], tl.float32)
    n_tiles = 2 * tl.cdiv(tokens, Q)
    for i in tl.range(0, n_tiles, num_stages=STAGES):
        i_t = n_tiles - 1 - i if REVERSE else i
        p_chunk = ((chunk + i_t // 2) * H + i_h) * Q
        p_dt = p_chunk + (i_t % 2) * T + tl.arange(0, T)
        b_all = tl.load(cum_ptr + p_chunk + Q - 1)
        if REVERSE:
            # The condition lets through what is no NaN, and b_all hands a NaN on anyway. Without
            # b_all in the weights Triton 3.6 loads x to registers instead of shared memory.
            b_w = tl.exp2(tl.where(b_all == b_all, tl.load(cum_ptr + p_dt), b_all))
        else:
            b_w = tl.exp2(b_all - tl.load(key_ptr + p_dt))
        m_t = places(T, tokens - i_t * T, EVEN)
        b_x = tile(x_ptr + (start + i_t * T) * stride_x, stride_x, m_t, m_p, T, BLOCK_P)
        b_B = tile(B_ptr + (start + i_t * T) * stride_B, stride_B, m_t, m_n, T, BLOCK_N)
        if i % 2 == 0:  # a chunk begins
            if STORE:
                p_h = ((chunk + i_t // 2) * V + i_v) * BLOCK_P * N
                put_tile(out_ptr + p_h, N, b_h, m_rows, m_n, BLOCK_P, BLOCK_N)
            b_sum += b_all
        b_h = b_h * tl.exp2(tl.where(i % 2 == 0, b_all, 0.0))
        b_xw = (b_x.to(tl.float32) * b_w[:, None]).to(b_x.dtype)
        b_h = tl.dot(tl.trans(b_xw), b_B, acc=b_h, input_precision=PRECISION)  # (6), (7)
    if STORE:
        ends = k == 0 if REVERSE else k == last
        if ends:
            put_tile(end_ptr + (i_s * H * P + first) * N, N, b_h, m_p, m_n, BLOCK_P, BLOCK_N)
    else:
        i = i_g.to(tl.int64)
        put_tile(seg_ptr + (i * V + i_v) * BLOCK_P * N, N, b_h, m_rows, m_n, BLOCK_P, BLOCK_N)
        tl.store(decay_ptr + i * H + i_h, b_sum)


@triton.jit
def ssd_fwd_kernel(
    x_ptr, B_ptr, C_ptr, D_ptr, delta_ptr, cum_ptr, key_ptr, h_ptr, y_ptr, table_ptr,
    stride_x: tl.constexpr, stride_B: tl.constexpr, stride_C: tl.constexpr, L, per,
    H: tl.constexpr, G: tl.constexpr, P: tl.constexpr, N: tl.constexpr, V: tl.constexpr,
    T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, SLICES: tl.constexpr,
    PACKED: tl.constexpr, EVEN: tl.constexpr, SKIP: tl.constexpr, PRECISION: tl.constexpr,
    STAGES: tl.constexpr, ASK: tl.constexpr,
):  # fmt: skip
    """y of one chunk in SLICES slices of one group. Grid: (chunks, parts).

    What a token reads of its own x is left out of the products, which round it to the dtype of x,
    and added in float32 together with D x.
    """
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
        b_cum, b_key = tl.load(cum_ptr + p_dt), tl.load(key_ptr + p_dt)
        b_w = tl.exp2(b_mid - b_key)
        b_y = tl.dot(b_C1, tl.trans(b_h), input_precision=PRECISION) * tl.exp2(b_cum)[:, None]
        b_M = b_S1 * tl.exp2(below(b_cum[:, None] - b_key[None, :]))
        b_y = tl.dot(b_M.to(b_x1.dtype), b_x1, acc=b_y, input_precision=PRECISION)  # (8)
        b_y += ((b_own1 * tl.load(delta_ptr + p_dt))[:, None] + b_D) * b_x1.to(tl.float32)
        put_tile(y_ptr + first, H * P, b_y, m_1, m_p, T, BLOCK_P)
        # the second tile: what reaches the border of the tiles, then from there on
        b_cum, b_key = tl.load(cum_ptr + p_dt + T), tl.load(key_ptr + p_dt + T)
        b_y = tl.dot(b_C2, tl.trans(b_h), input_precision=PRECISION) * tl.exp2(b_mid)
        b_M = (b_S12 * b_w[None, :]).to(b_x1.dtype)
        b_y = tl.dot(b_M, b_x1, acc=b_y, input_precision=PRECISION)
        b_y = b_y * tl.exp2(b_cum - b_mid)[:, None]
        b_M = b_S2 * tl.exp2(below(b_cum[:, None] - b_key[None, :]))
        b_y = tl.dot(b_M.to(b_x2.dtype), b_x2, acc=b_y, input_precision=PRECISION)  # (8)
        b_y += ((b_own2 * tl.load(delta_ptr + p_dt + T))[:, None] + b_D) * b_x2.to(tl.float32)
        put_tile(y_ptr + first + T * (H * P), H * P, b_y, m_2, m_p, T, BLOCK_P)
