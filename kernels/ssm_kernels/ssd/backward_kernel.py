"""Device code of ssd, backward: what programs of one tile or chunk do, slice after slice.

`walk_kernel` has walked both ways before, for states and their gradients. Then three kernels:

- the gradients of B and C through states;
- dx;
- the gradient of C Bᵀ, summed over heads.

From each of them a few numbers of every token and slice go to `sums`, (chunks, slices, SUMS, q):
what a token gives and what others take of it, of which `reduction_kernel` makes the gradients of dt
and A. With u = Δ x, and g for the gradient of y:

| row | in it |
| --- | --- |
| BY_TILE | ⟨x, du⟩ by the tile itself |
| BY_STATE | ⟨x, du⟩ through the state that leaves the chunk |
| ACROSS | first tile: ⟨x, du⟩ through the second; second tile: ⟨g, y⟩ by the first |
| TAKEN | ⟨g, y⟩ by the tile itself |
| GIVEN | the same products added up for the token that gave: Δ ⟨x, du⟩ |
| SKIPPED | ⟨g, x⟩, where D is one number a head |
| READ | ⟨g, y⟩ by the state that entered the chunk |

TAKEN and GIVEN come from one product: large sums are subtracted, and they must be rounded alike.
"""

import triton
import triton.language as tl

from ssm_kernels.ssd.chunk_kernel import (
    apart,
    ask,
    ask_state,
    below,
    diagonal,
    places,
    put_tile,
    slice_of,
    span,
    tile,
)

BY_TILE, BY_STATE, ACROSS = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
TAKEN, GIVEN, SKIPPED = tl.constexpr(3), tl.constexpr(4), tl.constexpr(5)
READ, SUMS = tl.constexpr(6), tl.constexpr(7)


@triton.jit
def ssd_bwd_state_kernel(
    x_ptr, C_ptr, cum_ptr, key_ptr, h_ptr, other_ptr, dC_ptr, sums_ptr, keep_ptr, table_ptr,
    stride_x: tl.constexpr, stride_C: tl.constexpr, L, per,
    H: tl.constexpr, G: tl.constexpr, P: tl.constexpr, N: tl.constexpr, V: tl.constexpr,
    T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, SLICES: tl.constexpr,
    REVERSE: tl.constexpr, PACKED: tl.constexpr, EVEN: tl.constexpr, PRECISION: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """Gradient of C through states, of one chunk, summed over SLICES slices of one group; and READ.

    REVERSE: the gradient of B, with x for the gradient of y and the gradients of the states that
    leave for the states; and each one's product with the state that enters, `other`, in `keep`.
    Grid: (chunks, parts).
    """
    Q: tl.constexpr = 2 * T
    i_c, i_part = tl.program_id(0), tl.program_id(1)
    o_q = tl.arange(0, Q)
    _, start, left, _ = span(i_c, table_ptr, L, Q, per, PACKED)
    m_t = places(Q, left, EVEN)
    m_n, m_rows = tl.arange(0, BLOCK_N) < N, tl.arange(0, BLOCK_P) >= 0
    x_ptr += start * stride_x
    if not REVERSE:
        i_group = i_part * SLICES // (V // G)
        b_C = tile(C_ptr + start * stride_C + i_group * N, stride_C, m_t, m_n, Q, BLOCK_N)
    b_dC = tl.zeros([Q, BLOCK_N], tl.float32)
    for i in tl.range(0, SLICES, num_stages=STAGES):
        i_v = i_part * SLICES + i
        i_h, first, m_p = slice_of(i_v, H, P, V, BLOCK_P)
        b_x = tile(x_ptr + first, stride_x, m_t, m_p, Q, BLOCK_P)
        p_v = i_c.to(tl.int64) * V + i_v
        p_h = p_v * BLOCK_P * N
        b_h = tile(h_ptr + p_h, N, m_rows, m_n, BLOCK_P, BLOCK_N)
        p_dt = (i_c.to(tl.int64) * H + i_h) * Q
        if REVERSE:
            b_other = tile(other_ptr + p_h, N, m_rows, m_n, BLOCK_P, BLOCK_N).to(tl.float32)
            b_keep = tl.sum(tl.sum(b_other * b_h.to(tl.float32), axis=1), axis=0)
            tl.store(keep_ptr + p_v, b_keep)
            b_all = tl.load(cum_ptr + p_dt + Q - 1)
            b_w = tl.exp2(b_all - tl.load(key_ptr + p_dt + o_q))
        else:
            b_w = tl.exp2(tl.load(cum_ptr + p_dt + o_q))
            b_read = tl.dot(b_C, tl.trans(b_h), input_precision=PRECISION)  # t p
            b_read = tl.sum(b_read * b_x.to(tl.float32), axis=1) * b_w
            tl.store(sums_ptr + (p_v * SUMS + READ) * Q + o_q, b_read)
        b_xw = (b_x.to(tl.float32) * b_w[:, None]).to(b_x.dtype)
        b_dC = tl.dot(b_xw, b_h, acc=b_dC, input_precision=PRECISION)
    p = (i_part.to(tl.int64) * tl.num_programs(0) + i_c) * Q * N
    put_tile(dC_ptr + p, N, b_dC, o_q >= 0, m_n, Q, BLOCK_N)


@triton.jit
def _dx_slices(
    x_ptr, D_ptr, g_ptr, dh_ptr, pair_ptr, cum_ptr, dx_ptr, gx_ptr, sums_ptr,
    stride_x: tl.constexpr, i_c, i_part, left, b_B, b_own, b_S, b_off,
    H: tl.constexpr, P: tl.constexpr, N: tl.constexpr, V: tl.constexpr, T: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, SLICES: tl.constexpr, FIRST: tl.constexpr,
    EVEN: tl.constexpr, SKIP: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
    ASK: tl.constexpr,
):  # fmt: skip
    """dx of one tile, slice after slice; FIRST: of a chunk's first tile, seen by the second."""
    o_q = tl.arange(0, T)
    m_t, m_after = places(T, left, EVEN), places(T, left - T, EVEN)
    m_n, m_rows = tl.arange(0, BLOCK_N) < N, tl.arange(0, BLOCK_P) >= 0
    for i in tl.range(0, SLICES, num_stages=STAGES):
        if ASK:
            i_next = i_part * SLICES + tl.minimum(i + 1, SLICES - 1)
            first = slice_of(i_next, H, P, V, BLOCK_P)[1]
            p_h = (i_c.to(tl.int64) * V + i_next) * BLOCK_P * N
            ask(g_ptr + first, H * P, left, T, EVEN)
            ask(x_ptr + first, stride_x, left, T, EVEN)
            ask_state(dh_ptr + p_h, BLOCK_P * N, BLOCK_P * BLOCK_N)
        i_v = i_part * SLICES + i
        i_h, first, m_p = slice_of(i_v, H, P, V, BLOCK_P)
        b_g = tile(g_ptr + first, H * P, m_t, m_p, T, BLOCK_P)
        b_x = tile(x_ptr + first, stride_x, m_t, m_p, T, BLOCK_P)
        p_v = i_c.to(tl.int64) * V + i_v
        b_dh = tile(dh_ptr + p_v * BLOCK_P * N, N, m_rows, m_n, BLOCK_P, BLOCK_N)
        p_dt = (i_c.to(tl.int64) * H + i_h) * (2 * T)
        p_own = p_dt + (0 if FIRST else T) + o_q
        b_all = tl.load(cum_ptr + p_dt + 2 * T - 1)
        b_cum, b_delta = apart(tl.load(pair_ptr + p_own))
        p_sums = sums_ptr + p_v * (SUMS * 2 * T) + (0 if FIRST else T) + o_q
        # through the state that leaves the chunk
        b_du = tl.dot(b_B, tl.trans(b_dh), input_precision=PRECISION)  # s p
        if FIRST:  # and through the second tile
            b_mid = tl.load(cum_ptr + p_dt + T - 1)
            b_out = tl.exp2(b_mid - b_cum)
            b_du *= tl.exp2(b_all - b_mid)
            b_before = tl.sum(b_du * b_x.to(tl.float32), axis=1)
            tl.store(p_sums + BY_STATE * 2 * T, b_before * b_out)
            b_after = tile(g_ptr + T * (H * P) + first, H * P, m_after, m_p, T, BLOCK_P)
            b_in = tl.exp2(tl.load(cum_ptr + p_dt + T + o_q) - b_mid)
            b_M = (b_off * b_in[None, :]).to(b_after.dtype)
            b_du = tl.dot(b_M, b_after, acc=b_du, input_precision=PRECISION)
            b_both = tl.sum(b_du * b_x.to(tl.float32), axis=1)
            tl.store(p_sums + ACROSS * 2 * T, (b_both - b_before) * b_out)
            b_du *= b_out[:, None]
            b_before = b_both * b_out
        else:
            b_du *= tl.exp2(b_all - b_cum)[:, None]
            b_before = tl.sum(b_du * b_x.to(tl.float32), axis=1)
            tl.store(p_sums + BY_STATE * 2 * T, b_before)
        # within the tile: L ∘ S, whose diagonal is that of S and is not rounded for a product
        b_reach = tl.load(cum_ptr + p_own)[None, :] - b_cum[:, None]
        b_M = b_S * tl.exp2(below(b_reach))
        b_du = tl.dot(b_M.to(b_g.dtype), b_g, acc=b_du, input_precision=PRECISION)
        b_du += b_own[:, None] * b_g.to(tl.float32)
        tl.store(p_sums + BY_TILE * 2 * T, tl.sum(b_du * b_x.to(tl.float32), axis=1) - b_before)
        b_dx = b_du * b_delta[:, None]
        if SKIP == 1:
            b_dx += tl.load(D_ptr + i_h).to(tl.float32) * b_g.to(tl.float32)
        if SKIP == 2:
            o_D = first + tl.arange(0, BLOCK_P)
            b_D = tl.load(D_ptr + o_D, mask=m_p, other=0.0).to(tl.float32)
            b_dx += b_D[None, :] * b_g.to(tl.float32)
            b_gx = tl.sum(b_g.to(tl.float32) * b_x.to(tl.float32), axis=0)
            tl.store(gx_ptr + tl.program_id(0).to(tl.int64) * (H * P) + o_D, b_gx, mask=m_p)
        put_tile(dx_ptr + first, H * P, b_dx, m_t, m_p, T, BLOCK_P)


@triton.jit
def ssd_bwd_dx_kernel(
    x_ptr, B_ptr, C_ptr, D_ptr, g_ptr, dh_ptr, pair_ptr, cum_ptr, dx_ptr, gx_ptr, sums_ptr,
    table_ptr, stride_x: tl.constexpr, stride_B: tl.constexpr, stride_C: tl.constexpr, L, per,
    H: tl.constexpr, G: tl.constexpr, P: tl.constexpr, N: tl.constexpr, V: tl.constexpr,
    T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, SLICES: tl.constexpr,
    PACKED: tl.constexpr, EVEN: tl.constexpr, SKIP: tl.constexpr, PRECISION: tl.constexpr,
    STAGES: tl.constexpr, ASK: tl.constexpr,
):  # fmt: skip
    """dx of one tile in SLICES slices of one group; and BY_TILE, BY_STATE and, in the first tile,
    ACROSS. Grid: (2 · chunks, parts).
    """
    i_c, half, i_part = tl.program_id(0) // 2, tl.program_id(0) % 2, tl.program_id(1)
    _, start, left, _ = span(i_c, table_ptr, L, 2 * T, per, PACKED)
    o_q, m_n = tl.arange(0, T), tl.arange(0, BLOCK_N) < N
    start += half * T
    left -= half * T
    m_t = places(T, left, EVEN)
    i_group = i_part * SLICES // (V // G)
    B_ptr += start * stride_B + i_group * N
    C_ptr += start * stride_C + i_group * N
    x_ptr += start * stride_x
    g_ptr += start * (H * P)
    dx_ptr += start * (H * P)
    b_B = tile(B_ptr, stride_B, m_t, m_n, T, BLOCK_N)
    b_C = tile(C_ptr, stride_C, m_t, m_n, T, BLOCK_N)
    b_S = tl.dot(b_B, tl.trans(b_C), input_precision=PRECISION)  # s t
    b_own = diagonal(b_S, T)
    b_S = tl.where(o_q[:, None] < o_q[None, :], b_S, 0.0)
    if half == 1:
        _dx_slices(
            x_ptr, D_ptr, g_ptr, dh_ptr, pair_ptr, cum_ptr, dx_ptr, gx_ptr, sums_ptr,
            stride_x, i_c, i_part, left, b_B, b_own, b_S, b_S,
            H, P, N, V, T, BLOCK_P, BLOCK_N, SLICES, False, EVEN, SKIP, PRECISION, STAGES, ASK,
        )  # fmt: skip
    else:
        m_after = places(T, left - T, EVEN)
        b_C = tile(C_ptr + T * stride_C, stride_C, m_after, m_n, T, BLOCK_N)
        b_off = tl.dot(b_B, tl.trans(b_C), input_precision=PRECISION)
        _dx_slices(
            x_ptr, D_ptr, g_ptr, dh_ptr, pair_ptr, cum_ptr, dx_ptr, gx_ptr, sums_ptr,
            stride_x, i_c, i_part, left, b_B, b_own, b_S, b_off,
            H, P, N, V, T, BLOCK_P, BLOCK_N, SLICES, True, EVEN, SKIP, PRECISION, STAGES, ASK,
        )  # fmt: skip


@triton.jit
def _within_scores(
    x_ptr, g_ptr, cum_ptr, key_ptr, sums_ptr, stride_x: tl.constexpr, i_c, i_part, i_tile, m_t,
    m_s, b_S, H: tl.constexpr, P: tl.constexpr, V: tl.constexpr, T: tl.constexpr,
    BLOCK_P: tl.constexpr, SLICES: tl.constexpr, SKIP: tl.constexpr, PRECISION: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """Gradient of C Bᵀ within one tile of a chunk; and TAKEN, GIVEN, SKIPPED."""
    o_q = tl.arange(0, T)
    b_dS = tl.zeros([T, T], tl.float32)
    for i in tl.range(0, SLICES, num_stages=STAGES):
        i_v = i_part * SLICES + i
        i_h, first, m_p = slice_of(i_v, H, P, V, BLOCK_P)
        b_g = tile(g_ptr + first, H * P, m_t, m_p, T, BLOCK_P)
        b_x = tile(x_ptr + first, stride_x, m_s, m_p, T, BLOCK_P)
        p_dt = (i_c * H + i_h) * (2 * T) + i_tile * T + o_q
        b_cum, b_key = tl.load(cum_ptr + p_dt), tl.load(key_ptr + p_dt)
        b_dM = tl.dot(b_g, tl.trans(b_x), input_precision=PRECISION)  # t s
        p_sums = sums_ptr + (i_c * V + i_v) * (SUMS * 2 * T) + i_tile * T + o_q
        if SKIP == 1:
            tl.store(p_sums + SKIPPED * 2 * T, diagonal(b_dM, T))
        b_dM *= tl.exp2(below(b_cum[:, None] - b_key[None, :]))
        b_dM = tl.where(o_q[:, None] >= o_q[None, :], b_dM, 0.0)
        b_dS += b_dM
        b_dM *= b_S
        tl.store(p_sums + TAKEN * 2 * T, tl.sum(b_dM, axis=1))
        tl.store(p_sums + GIVEN * 2 * T, tl.sum(b_dM, axis=0))
    return b_dS


@triton.jit
def _between_scores(
    x_ptr, g_ptr, cum_ptr, key_ptr, sums_ptr, stride_x: tl.constexpr, i_c, i_part, m_t, m_s, b_S,
    H: tl.constexpr, P: tl.constexpr, V: tl.constexpr, T: tl.constexpr, BLOCK_P: tl.constexpr,
    SLICES: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Gradient of C Bᵀ from the first tile of a chunk to the second; and the second's ACROSS."""
    o_q = tl.arange(0, T)
    b_dS = tl.zeros([T, T], tl.float32)
    for i in tl.range(0, SLICES, num_stages=STAGES):
        i_v = i_part * SLICES + i
        i_h, first, m_p = slice_of(i_v, H, P, V, BLOCK_P)
        b_g = tile(g_ptr + first, H * P, m_t, m_p, T, BLOCK_P)
        b_x = tile(x_ptr + first, stride_x, m_s, m_p, T, BLOCK_P)
        p_dt = (i_c * H + i_h) * (2 * T)
        b_mid = tl.load(cum_ptr + p_dt + T - 1)
        p_dt += o_q
        b_gw = b_g.to(tl.float32) * tl.exp2(tl.load(cum_ptr + p_dt + T) - b_mid)[:, None]
        b_xw = b_x.to(tl.float32) * tl.exp2(b_mid - tl.load(key_ptr + p_dt))[:, None]
        b_gw, b_xw = b_gw.to(b_g.dtype), b_xw.to(b_x.dtype)
        b_dM = tl.dot(b_gw, tl.trans(b_xw), input_precision=PRECISION)
        b_dS += b_dM
        p_sums = sums_ptr + ((i_c * V + i_v) * SUMS + ACROSS) * (2 * T) + T + o_q
        tl.store(p_sums, tl.sum(b_dM * b_S, axis=1))
    return b_dS


@triton.jit
def ssd_bwd_scores_kernel(
    x_ptr, B_ptr, C_ptr, g_ptr, cum_ptr, key_ptr, dS_ptr, sums_ptr, table_ptr,
    stride_x: tl.constexpr, stride_B: tl.constexpr, stride_C: tl.constexpr, L, per,
    H: tl.constexpr, G: tl.constexpr, P: tl.constexpr, N: tl.constexpr, V: tl.constexpr,
    T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, SLICES: tl.constexpr,
    PACKED: tl.constexpr, EVEN: tl.constexpr, SKIP: tl.constexpr, PRECISION: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """Gradient of C Bᵀ by part: within the first tile of a chunk, within the second, and between.

    And TAKEN, GIVEN, SKIPPED and, in the second tile, ACROSS. Grid: (3 · chunks, parts).
    """
    i_c, block, i_part = tl.program_id(0) // 3, tl.program_id(0) % 3, tl.program_id(1)
    _, start, left, _ = span(i_c, table_ptr, L, 2 * T, per, PACKED)
    o_q, m_n = tl.arange(0, T), tl.arange(0, BLOCK_N) < N
    from_s, from_t = tl.where(block == 1, T, 0), tl.where(block == 0, 0, T)
    m_s, m_t = places(T, left - from_s, EVEN), places(T, left - from_t, EVEN)
    i_group = i_part * SLICES // (V // G)
    b_B = tile(B_ptr + (start + from_s) * stride_B + i_group * N, stride_B, m_s, m_n, T, BLOCK_N)
    b_C = tile(C_ptr + (start + from_t) * stride_C + i_group * N, stride_C, m_t, m_n, T, BLOCK_N)
    b_S = tl.dot(b_C, tl.trans(b_B), input_precision=PRECISION)  # t s
    x_ptr += (start + from_s) * stride_x
    g_ptr += (start + from_t) * (H * P)
    i_c = i_c.to(tl.int64)
    if block < 2:
        b_dS = _within_scores(
            x_ptr, g_ptr, cum_ptr, key_ptr, sums_ptr, stride_x, i_c, i_part, block, m_t, m_s, b_S,
            H, P, V, T, BLOCK_P, SLICES, SKIP, PRECISION, STAGES,
        )  # fmt: skip
    else:
        b_dS = _between_scores(
            x_ptr, g_ptr, cum_ptr, key_ptr, sums_ptr, stride_x, i_c, i_part, m_t, m_s, b_S,
            H, P, V, T, BLOCK_P, SLICES, PRECISION, STAGES,
        )  # fmt: skip
    p_S = ((i_part.to(tl.int64) * (tl.num_programs(0) // 3) + i_c) * 3 + block) * T * T
    put_tile(dS_ptr + p_S, T, b_dS, o_q >= 0, o_q >= 0, T, T)
