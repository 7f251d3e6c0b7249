"""Device code of ssd, both directions: states at the edges of chunks, and their gradients.

A walk takes one slice through a sequence with the state in float32 registers, and stores the one
that enters each chunk; from the end, the gradient of the one that leaves it.

Long sequences in small batches are cut into segments: a first walk leaves each segment's own state
and decay, and a later walk combines those before it. `chunk_kernel` says how tokens are cut.
"""

import triton
import triton.language as tl

from ssm_kernels.ssd.chunk_kernel import places, put_tile, slice_of, span, tile


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
def _walk(
    x_ptr, B_ptr, cum_ptr, key_ptr, init_ptr, seg_ptr, decay_ptr, out_ptr, end_ptr,
    table_ptr, first_ptr, stride_x: tl.constexpr, stride_B: tl.constexpr, L, size, per, i_v, i_g,
    H: tl.constexpr, G: tl.constexpr, P: tl.constexpr, N: tl.constexpr, V: tl.constexpr,
    T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, INIT: tl.constexpr,
    PACKED: tl.constexpr, EVEN: tl.constexpr, REVERSE: tl.constexpr, STORE: tl.constexpr,
    SEGMENTED: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """States of slice i_v over segment i_g.

    Forward, x and B write the state: h ← e^{Σa} h + Σ_s e^{a_end − a_s} Δ_s x_s B_sᵀ. REVERSE, with
    the gradient of y for x and C for B: g ← e^{Σa} g + Σ_t e^{a_t} dy_t C_tᵀ.
    STORE: start from the segments before and store the state that enters each chunk (in `out`, by
    chunk and slice), and the last one in `end`, if there is one. Otherwise: start from zero and
    leave the segment's own state in `seg` and the logarithm of its decay in `decay`; zeros where no
    segment follows, as nothing reads them.
    """
    Q: tl.constexpr = 2 * T
    i_h, first, m_p = slice_of(i_v, H, P, V, BLOCK_P)
    m_n, m_rows = tl.arange(0, BLOCK_N) < N, tl.arange(0, BLOCK_P) >= 0
    i_s, start, tokens, k = span(i_g, table_ptr, L, size, per, PACKED)
    last = i_g * 0 + per - 1
    chunk = i_s * tl.cdiv(L, Q) + k * (size // Q)
    if PACKED:
        last = tl.load(first_ptr + i_s * 2 + 1).to(tl.int32) - 1
        chunk = tl.load(first_ptr + i_s * 2) + k * (size // Q)
    if not STORE:
        tokens = tl.where(k == (0 if REVERSE else last), 0, tokens)
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
        if end_ptr is not None:
            ends = k == 0 if REVERSE else k == last
            if ends:
                put_tile(end_ptr + (i_s * H * P + first) * N, N, b_h, m_p, m_n, BLOCK_P, BLOCK_N)
    else:
        i = i_g.to(tl.int64)
        put_tile(seg_ptr + (i * V + i_v) * BLOCK_P * N, N, b_h, m_rows, m_n, BLOCK_P, BLOCK_N)
        tl.store(decay_ptr + i * H + i_h, b_sum)


@triton.jit
def ssd_walk_kernel(
    x_ptr, B_ptr, cum_ptr, key_ptr, init_ptr, seg_ptr, decay_ptr, out_ptr, end_ptr,
    table_ptr, first_ptr, stride_x: tl.constexpr, stride_B: tl.constexpr, L, size, per,
    H: tl.constexpr, G: tl.constexpr, P: tl.constexpr, N: tl.constexpr, V: tl.constexpr,
    T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, INIT: tl.constexpr,
    PACKED: tl.constexpr, EVEN: tl.constexpr, REVERSE: tl.constexpr, STORE: tl.constexpr,
    SEGMENTED: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """States, or their gradients, of one slice over one segment. Grid: segments · slices."""
    _walk(
        x_ptr, B_ptr, cum_ptr, key_ptr, init_ptr, seg_ptr, decay_ptr, out_ptr, end_ptr, table_ptr,
        first_ptr, stride_x, stride_B, L, size, per, tl.program_id(0) % V, tl.program_id(0) // V,
        H, G, P, N, V, T, BLOCK_P, BLOCK_N, INIT, PACKED, EVEN, REVERSE, STORE, SEGMENTED,
        PRECISION, STAGES,
    )  # fmt: skip


@triton.jit
def ssd_bwd_walk_kernel(
    x_ptr, B_ptr, init_ptr, seg_ptr, decay_ptr, out_ptr,
    g_ptr, C_ptr, dend_ptr, dseg_ptr, ddecay_ptr, dh_ptr, dinit_ptr,
    cum_ptr, key_ptr, table_ptr, first_ptr,
    stride_x: tl.constexpr, stride_B: tl.constexpr, stride_C: tl.constexpr, L, size, per,
    H: tl.constexpr, G: tl.constexpr, P: tl.constexpr, N: tl.constexpr, V: tl.constexpr,
    T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, INIT: tl.constexpr,
    DEND: tl.constexpr, PACKED: tl.constexpr, EVEN: tl.constexpr, SEGMENTED: tl.constexpr,
    PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Both walks of the backward pass: the states again, and their gradients from the end.

    Neither waits for the other, and their programs fill the chip better together.
    Grid: 2 · segments · slices.
    """
    i = tl.program_id(0) // 2
    i_v, i_g = i % V, i // V
    if tl.program_id(0) % 2 == 0:
        _walk(
            g_ptr, C_ptr, cum_ptr, key_ptr, dend_ptr, dseg_ptr, ddecay_ptr, dh_ptr, dinit_ptr,
            table_ptr, first_ptr, H * P, stride_C, L, size, per, i_v, i_g, H, G, P, N, V, T,
            BLOCK_P, BLOCK_N, DEND, PACKED, EVEN, True, True, SEGMENTED, PRECISION, STAGES,
        )  # fmt: skip
    else:
        _walk(
            x_ptr, B_ptr, cum_ptr, key_ptr, init_ptr, seg_ptr, decay_ptr, out_ptr, None,
            table_ptr, first_ptr, stride_x, stride_B, L, size, per, i_v, i_g, H, G, P, N, V, T,
            BLOCK_P, BLOCK_N, INIT, PACKED, EVEN, False, True, SEGMENTED, PRECISION, STAGES,
        )  # fmt: skip
