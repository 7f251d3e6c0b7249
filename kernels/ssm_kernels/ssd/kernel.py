"""Device code of ssd: chunks as matrix products, states in float32 registers.

Tokens lie in one row (batch · length, or packed). A head whose values are wider than BLOCK_P is
cut into slices, and `i_v` counts slices of heads; a slice is a head of its own but for its gate Δ.
A chunk is two tiles of T places. Decays are sums of log2 since the chunk began.

Forward:
- the decays of every chunk, once for all that follows;
- a walk takes one slice through a sequence with the state in registers, and stores the one that
  enters each chunk;
- a program takes one tile through several slices, with C Bᵀ in registers: what it reads of the
  state that entered, of the first tile (second tile), and of itself.

Backward: the walk again, and one from the end with the gradient of the state. Then programs of one
tile or chunk: the gradients of B and C through states; that of C Bᵀ, summed over heads; dx. Small
ones finish B and C from their parts, and dt and A from what every token adds and takes.

From one tile of a chunk to the other the decay is split at their border, so that C Bᵀ between them
is a matrix that all heads share, and its gradient a product. Long sequences in small batches are
cut into segments: a first walk leaves each segment's own state and decay, and a later walk combines
those before it. Dot results are never transposed and fed to another dot (Triton 3.4 to 3.7
miscompile that on Hopper): transposed operands come from memory.
"""

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def _span(i, table_ptr, L, size, per, PACKED: tl.constexpr):
    """Segment or chunk i: its sequence, first token, end, and number within the sequence."""
    if PACKED:
        p = table_ptr + i.to(tl.int64) * 4
        i_s, start, end, k = tl.load(p), tl.load(p + 1), tl.load(p + 2), tl.load(p + 3)
    else:
        i_s, k = i.to(tl.int64) // per, i.to(tl.int64) % per
        start = i_s * L + k * size
        end = tl.minimum(start + size, (i_s + 1) * L)
    return i_s, start, end, k


@triton.jit
def _delta(dt_ptr, bias_ptr, p, m, o_h, m_h, low, high, SOFTPLUS: tl.constexpr, BIAS: tl.constexpr):
    """Δ of Eq. (1) and its slope against dt, heads × times; both 0 where masked."""
    b_dt = tl.load(dt_ptr + p, mask=m, other=0.0).to(tl.float32)
    if BIAS:
        b_bias = tl.load(bias_ptr + o_h, mask=m_h, other=0.0).to(tl.float32)
        b_dt += b_bias[:, None]
    b_slope = tl.full(b_dt.shape, 1.0, tl.float32)
    if SOFTPLUS:
        b_e = tl.exp(-tl.abs(b_dt))
        b_slope = tl.where(b_dt >= 0, 1.0, b_e) / (1.0 + b_e)
        # log1p by its series where 1 + e would round e away
        b_log = tl.where(b_e < 1e-3, b_e * (1.0 - b_e * (0.5 - b_e / 3.0)), tl.log(1.0 + b_e))
        b_dt = tl.where(b_dt > 0, b_dt, 0.0) + b_log
    b_slope = tl.where((b_dt >= low) & (b_dt <= high), b_slope, 0.0)
    b_dt = tl.where(b_dt < low, low, tl.where(b_dt > high, high, b_dt))
    return tl.where(m, b_dt, 0.0), tl.where(m, b_slope, 0.0)


@triton.jit
def _tile(ptr, o_t, stride, o_c, m_t, C):
    """Rows o_t and columns o_c of a matrix of C columns."""
    m = m_t[:, None] & (o_c < C)[None, :]
    return tl.load(ptr + o_t[:, None] * stride + o_c[None, :], mask=m, other=0.0)


@triton.jit
def _state(ptr, o_p, o_n, P, N):
    m = (o_p < P)[:, None] & (o_n < N)[None, :]
    p = o_p.to(tl.int64)[:, None] * N + o_n[None, :]
    return tl.load(ptr + p, mask=m, other=0.0).to(tl.float32)


@triton.jit
def _slice_state(
    i_c, i_v, N: tl.constexpr, V: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr
):
    """Where the state of slice i_v at the edge of chunk i_c lies."""
    p = (i_c.to(tl.int64) * V + i_v) * BLOCK_P * N
    return p + tl.arange(0, BLOCK_P)[:, None] * N + tl.arange(0, BLOCK_N)[None, :]


@triton.jit
def _put_state(ptr, o_p, o_n, P, N, b_h):
    m = (o_p < P)[:, None] & (o_n < N)[None, :]
    p = o_p.to(tl.int64)[:, None] * N + o_n[None, :]
    tl.store(ptr + p, b_h.to(ptr.dtype.element_ty), mask=m)


@triton.jit
def _before(
    init_ptr, seg_ptr, decay_ptr, i_g, k, last, i_s, i_h, i_v, o_p, o_n,
    H, V, P, N, INIT: tl.constexpr, REVERSE: tl.constexpr, SEGMENTED: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """The state with which segment i_g, the k-th of its sequence (of last + 1), is entered."""
    b_h = tl.zeros([BLOCK_P, BLOCK_N], tl.float32)
    if INIT:
        b_h += _state(init_ptr + (i_s * H + i_h) * P * N, o_p, o_n, P, N)
    if SEGMENTED:
        steps = last - k if REVERSE else k
        for i in range(0, steps):
            j = i_g - k + (last - i if REVERSE else i)
            b_a = tl.load(decay_ptr + j.to(tl.int64) * H + i_h)
            p = (j.to(tl.int64) * V + i_v) * BLOCK_P
            o = tl.arange(0, BLOCK_P)
            b_h = b_h * tl.exp2(b_a) + _state(seg_ptr + p * N, o, o_n, BLOCK_P, N)
    return b_h


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
    _, start, end, _ = _span(i_c, table_ptr, L, Q, per, PACKED)
    o_t = start + o_q
    m_h = o_h < H
    p = o_t[None, :] * stride_dt + o_h[:, None]
    m = m_h[:, None] & (o_t < end)[None, :]
    b_dt, _slope = _delta(dt_ptr, bias_ptr, p, m, o_h, m_h, low, high, SOFTPLUS, BIAS)
    b_A = tl.load(A_ptr + o_h, mask=m_h, other=0.0).to(tl.float32) * LOG2E
    b_cum = tl.cumsum(b_dt * b_A[:, None], axis=1)
    p = (i_c.to(tl.int64) * H + o_h[:, None]) * Q + o_q[None, :]
    m = m_h[:, None] & (o_q >= 0)[None, :]
    tl.store(cum_ptr + p, b_cum, mask=m)
    b_key = b_cum - tl.log2(tl.where(b_dt == 0, 1.0, b_dt))
    tl.store(key_ptr + p, tl.where(b_dt == 0, float("inf"), b_key), mask=m)
    tl.store(delta_ptr + p, b_dt, mask=m)


@triton.jit
def ssd_walk_kernel(
    x_ptr, B_ptr, cum_ptr, key_ptr, init_ptr, seg_ptr, decay_ptr, out_ptr, end_ptr,
    table_ptr, first_ptr,
    stride_x: tl.constexpr, stride_B: tl.constexpr, L, size, per,
    H: tl.constexpr, G: tl.constexpr, P: tl.constexpr, N: tl.constexpr, V: tl.constexpr,
    T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
    INIT: tl.constexpr, PACKED: tl.constexpr, REVERSE: tl.constexpr, STORE: tl.constexpr,
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
    i_h = i_v // (V // H)
    o_p = (i_v % (V // H)) * BLOCK_P + tl.arange(0, BLOCK_P)
    o_n, o_q = tl.arange(0, BLOCK_N), tl.arange(0, T)
    i_s, start, end, k = _span(i_g, table_ptr, L, size, per, PACKED)
    last = i_g * 0 + per - 1
    chunk = i_s * tl.cdiv(L, Q) + k * (size // Q)
    if PACKED:
        last = tl.load(first_ptr + i_s * 2 + 1).to(tl.int32) - 1
        chunk = tl.load(first_ptr + i_s * 2) + k * (size // Q)
    if not STORE and k == (0 if REVERSE else last):  # no segment follows
        return
    x_ptr += i_h * P
    B_ptr += (i_h // (H // G)) * N
    b_h = tl.zeros([BLOCK_P, BLOCK_N], tl.float32)
    if STORE:
        b_h = _before(
            init_ptr, seg_ptr, decay_ptr, i_g, k.to(tl.int32), last, i_s, i_h, i_v, o_p, o_n,
            H, V, P, N, INIT, REVERSE, SEGMENTED, BLOCK_P, BLOCK_N,
        )  # fmt: skip
    b_sum = tl.zeros([], tl.float32)
    n_tiles = ((end - start + Q - 1) // Q).to(tl.int32) * 2
    m_state = (o_p >= 0)[:, None] & (o_n < N)[None, :]
    for i in tl.range(0, n_tiles, num_stages=STAGES):
        tile = n_tiles - 1 - i if REVERSE else i
        c = tile // 2
        o_t = start + tile * T + o_q
        m_t = o_t < end
        p_all = ((chunk + c).to(tl.int64) * H + i_h) * Q
        p_dt = p_all + (tile % 2) * T + o_q
        b_all = tl.load(cum_ptr + p_all + Q - 1)
        if REVERSE:
            b_w = tl.exp2(tl.load(cum_ptr + p_dt))
        else:
            b_w = tl.exp2(b_all - tl.load(key_ptr + p_dt))
        b_x = _tile(x_ptr, o_t, stride_x, o_p, m_t, P)
        b_B = _tile(B_ptr, o_t, stride_B, o_n, m_t, N)
        if i % 2 == 0:  # a chunk begins
            if STORE:
                p_state = _slice_state(chunk + c, i_v, N, V, BLOCK_P, BLOCK_N)
                b_out = b_h.to(out_ptr.dtype.element_ty)
                tl.store(out_ptr + p_state, b_out, mask=m_state)
            b_sum += b_all
        b_h = b_h * tl.exp2(tl.where(i % 2 == 0, b_all, 0.0))
        b_xw = (b_x.to(tl.float32) * b_w[:, None]).to(b_x.dtype)
        b_h = tl.dot(tl.trans(b_xw), b_B, acc=b_h, input_precision=PRECISION)  # (6), (7)
    if STORE:
        ends = k == 0 if REVERSE else k == last
        if ends:
            _put_state(end_ptr + (i_s * H + i_h) * P * N, o_p, o_n, P, N, b_h)
    else:
        p = (i_g.to(tl.int64) * V + i_v) * BLOCK_P * N
        o = tl.arange(0, BLOCK_P)
        _put_state(seg_ptr + p, o, o_n, BLOCK_P, N, b_h)
        tl.store(decay_ptr + i_g.to(tl.int64) * H + i_h, b_sum)


@triton.jit
def _scan_heads(
    x_ptr, D_ptr, cum_ptr, key_ptr, h_ptr, y_ptr, stride_x: tl.constexpr, i_c, i_part,
    b_C, b_S, b_off, o_t, m_t, o_before, m_before,
    H: tl.constexpr, P: tl.constexpr, N: tl.constexpr, V: tl.constexpr, T: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, SLICES: tl.constexpr, SECOND: tl.constexpr,
    SKIP: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """y of one tile, slice after slice; SECOND: of a chunk's second tile, which sees the first."""
    o_n, o_q = tl.arange(0, BLOCK_N), tl.arange(0, T)
    m_state = (o_n < N)[None, :] & (tl.arange(0, BLOCK_P) >= 0)[:, None]
    for i in tl.range(0, SLICES, num_stages=STAGES):
        i_v = i_part * SLICES + i
        i_h = i_v // (V // H)
        o_p = (i_v % (V // H)) * BLOCK_P + tl.arange(0, BLOCK_P)
        b_x = _tile(x_ptr + i_h * P, o_t, stride_x, o_p, m_t, P)
        p_state = _slice_state(i_c, i_v, N, V, BLOCK_P, BLOCK_N)
        b_h = tl.load(h_ptr + p_state, mask=m_state, other=0.0)
        p_dt = (i_c.to(tl.int64) * H + i_h) * (2 * T)
        p_own = p_dt + (T if SECOND else 0) + o_q
        b_cum, b_key = tl.load(cum_ptr + p_own), tl.load(key_ptr + p_own)
        b_y = tl.dot(b_C, tl.trans(b_h), input_precision=PRECISION)
        if SECOND:
            b_mid = tl.load(cum_ptr + p_dt + T - 1)
            b_w = tl.exp2(b_mid - tl.load(key_ptr + p_dt + o_q))
            b_xw = _tile(x_ptr + i_h * P, o_before, stride_x, o_p, m_before, P)
            b_xw = (b_xw.to(tl.float32) * b_w[:, None]).to(b_xw.dtype)
            b_y = b_y * tl.exp2(b_mid)
            b_y = tl.dot(b_off, b_xw, acc=b_y, input_precision=PRECISION)
            b_y = b_y * tl.exp2(b_cum - b_mid)[:, None]
        else:
            b_y = b_y * tl.exp2(b_cum)[:, None]
        b_M = b_S * tl.exp2(_below(b_cum[:, None] - b_key[None, :]))
        b_y = tl.dot(b_M.to(b_x.dtype), b_x, acc=b_y, input_precision=PRECISION)  # (8)
        if SKIP == 1:
            b_y += tl.load(D_ptr + i_h).to(tl.float32) * b_x.to(tl.float32)
        if SKIP == 2:
            b_D = tl.load(D_ptr + i_h * P + o_p, mask=o_p < P, other=0.0).to(tl.float32)
            b_y += b_D[None, :] * b_x.to(tl.float32)
        p_y = o_t[:, None] * (H * P) + i_h * P + o_p[None, :]
        m_y = m_t[:, None] & (o_p < P)[None, :]
        tl.store(y_ptr + p_y, b_y.to(y_ptr.dtype.element_ty), mask=m_y)


@triton.jit
def _below(b):
    """b, bounded so that 2^b stays finite, and NaN where it is."""
    return tl.minimum(b, 126.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def ssd_fwd_kernel(
    x_ptr, B_ptr, C_ptr, D_ptr, cum_ptr, key_ptr, h_ptr, y_ptr, table_ptr,
    stride_x: tl.constexpr, stride_B: tl.constexpr, stride_C: tl.constexpr, L, per,
    H: tl.constexpr, G: tl.constexpr, P: tl.constexpr, N: tl.constexpr, V: tl.constexpr,
    T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, SLICES: tl.constexpr,
    PACKED: tl.constexpr, SKIP: tl.constexpr, PRECISION: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """y of one tile, half of a chunk, in SLICES slices of one group. Grid: (2 · chunks, parts)."""
    i_c, half, i_part = tl.program_id(0) // 2, tl.program_id(0) % 2, tl.program_id(1)
    _, start, end, _ = _span(i_c, table_ptr, L, 2 * T, per, PACKED)
    o_n, o_q = tl.arange(0, BLOCK_N), tl.arange(0, T)
    o_t, o_before = start + half * T + o_q, start + o_q
    m_t, m_before = o_t < end, o_before < end
    i_group = i_part * SLICES // (V // G)
    b_C = _tile(C_ptr + i_group * N, o_t, stride_C, o_n, m_t, N)
    b_B = _tile(B_ptr + i_group * N, o_t, stride_B, o_n, m_t, N)
    b_S = tl.dot(b_C, tl.trans(b_B), input_precision=PRECISION)
    b_S = tl.where(o_q[:, None] >= o_q[None, :], b_S, 0.0)
    if half == 0:
        _scan_heads(
            x_ptr, D_ptr, cum_ptr, key_ptr, h_ptr, y_ptr, stride_x, i_c, i_part,
            b_C, b_S, b_S, o_t, m_t, o_before, m_before,
            H, P, N, V, T, BLOCK_P, BLOCK_N, SLICES, False, SKIP, PRECISION, STAGES,
        )  # fmt: skip
    elif start + T < end:
        b_B = _tile(B_ptr + i_group * N, o_before, stride_B, o_n, m_before, N)
        b_off = tl.dot(b_C, tl.trans(b_B), input_precision=PRECISION).to(b_C.dtype)
        _scan_heads(
            x_ptr, D_ptr, cum_ptr, key_ptr, h_ptr, y_ptr, stride_x, i_c, i_part,
            b_C, b_S, b_off, o_t, m_t, o_before, m_before,
            H, P, N, V, T, BLOCK_P, BLOCK_N, SLICES, True, SKIP, PRECISION, STAGES,
        )  # fmt: skip


@triton.jit
def ssd_bwd_state_kernel(
    x_ptr, C_ptr, cum_ptr, key_ptr, h_ptr, other_ptr, dC_ptr, numbers_ptr, table_ptr,
    stride_x: tl.constexpr, stride_C: tl.constexpr, L, per,
    H: tl.constexpr, G: tl.constexpr, P: tl.constexpr, N: tl.constexpr, V: tl.constexpr,
    T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, SLICES: tl.constexpr,
    REVERSE: tl.constexpr, PACKED: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Gradient of C through states, of one chunk, summed over SLICES slices of one group; and in
    `numbers` what the gradient of y meets of the state at each place. REVERSE: the gradient of B,
    with x and the gradients of the states that leave; and each one's product with the state that
    enters, `other`. Grid: (chunks, parts).
    """
    Q: tl.constexpr = 2 * T
    i_c, i_part = tl.program_id(0), tl.program_id(1)
    o_n, o_q = tl.arange(0, BLOCK_N), tl.arange(0, Q)
    _, start, end, _ = _span(i_c, table_ptr, L, Q, per, PACKED)
    o_t = start + o_q
    m_t = o_t < end
    m_state = (o_n < N)[None, :] & (tl.arange(0, BLOCK_P) >= 0)[:, None]
    if not REVERSE:
        i_group = i_part * SLICES // (V // G)
        b_C = _tile(C_ptr + i_group * N, o_t, stride_C, o_n, m_t, N)
    b_dC = tl.zeros([Q, BLOCK_N], tl.float32)
    for i in tl.range(0, SLICES, num_stages=STAGES):
        i_v = i_part * SLICES + i
        i_h = i_v // (V // H)
        o_p = (i_v % (V // H)) * BLOCK_P + tl.arange(0, BLOCK_P)
        b_x = _tile(x_ptr + i_h * P, o_t, stride_x, o_p, m_t, P)
        p_state = _slice_state(i_c, i_v, N, V, BLOCK_P, BLOCK_N)
        b_h = tl.load(h_ptr + p_state, mask=m_state, other=0.0)
        p_dt = (i_c.to(tl.int64) * H + i_h) * Q
        if REVERSE:
            b_other = tl.load(other_ptr + p_state, mask=m_state, other=0.0).to(tl.float32)
            b_keep = tl.sum(tl.sum(b_other * b_h.to(tl.float32), axis=1), axis=0)
            tl.store(numbers_ptr + i_c.to(tl.int64) * V + i_v, b_keep)
            b_all = tl.load(cum_ptr + p_dt + Q - 1)
            b_w = tl.exp2(b_all - tl.load(key_ptr + p_dt + o_q))
        else:
            b_w = tl.exp2(tl.load(cum_ptr + p_dt + o_q))
            b_read = tl.dot(b_C, tl.trans(b_h), input_precision=PRECISION)  # t p
            b_read = tl.sum(b_read * b_x.to(tl.float32), axis=1) * b_w
            tl.store(numbers_ptr + (i_c.to(tl.int64) * V + i_v) * Q + o_q, b_read)
        b_xw = (b_x.to(tl.float32) * b_w[:, None]).to(b_x.dtype)
        b_dC = tl.dot(b_xw, b_h, acc=b_dC, input_precision=PRECISION)
    p_t = (i_part.to(tl.int64) * tl.num_programs(0) + i_c) * Q + o_q
    m_n = (o_q >= 0)[:, None] & (o_n < N)[None, :]
    tl.store(dC_ptr + p_t[:, None] * N + o_n[None, :], b_dC, mask=m_n)


@triton.jit
def _dx_heads(
    x_ptr, D_ptr, g_ptr, dh_ptr, delta_ptr, cum_ptr, dx_ptr, gx_ptr, sums_ptr, size,
    stride_x: tl.constexpr, i_c, i_part, b_B, b_S, b_off, o_t, m_t, o_after, m_after,
    H: tl.constexpr, P: tl.constexpr, N: tl.constexpr, V: tl.constexpr, T: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, SLICES: tl.constexpr, FIRST: tl.constexpr,
    SKIP: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """dx of one tile, slice after slice; FIRST: of a chunk's first tile, seen by the second."""
    o_n, o_q = tl.arange(0, BLOCK_N), tl.arange(0, T)
    m_state = (o_n < N)[None, :] & (tl.arange(0, BLOCK_P) >= 0)[:, None]
    for i in tl.range(0, SLICES, num_stages=STAGES):
        i_v = i_part * SLICES + i
        i_h = i_v // (V // H)
        o_p = (i_v % (V // H)) * BLOCK_P + tl.arange(0, BLOCK_P)
        b_g = _tile(g_ptr + i_h * P, o_t, H * P, o_p, m_t, P)
        b_x = _tile(x_ptr + i_h * P, o_t, stride_x, o_p, m_t, P)
        p_state = _slice_state(i_c, i_v, N, V, BLOCK_P, BLOCK_N)
        b_dh = tl.load(dh_ptr + p_state, mask=m_state, other=0.0)
        p_dt = (i_c.to(tl.int64) * H + i_h) * (2 * T)
        p_own = p_dt + (0 if FIRST else T) + o_q
        b_all, b_cum = tl.load(cum_ptr + p_dt + 2 * T - 1), tl.load(cum_ptr + p_own)
        p_sums = sums_ptr + (i_c.to(tl.int64) * V + i_v) * (2 * T) + o_q
        p_sums_own = p_sums + (0 if FIRST else T)
        # through the state that leaves the chunk
        b_du = tl.dot(b_B, tl.trans(b_dh), input_precision=PRECISION)  # s p
        if FIRST:  # and through the second tile
            b_mid = tl.load(cum_ptr + p_dt + T - 1)
            b_out = tl.exp2(b_mid - b_cum)
            b_du *= tl.exp2(b_all - b_mid)
            b_before = tl.sum(b_du * b_x.to(tl.float32), axis=1)
            tl.store(p_sums_own + size, b_before * b_out)
            b_gw = _tile(g_ptr + i_h * P, o_after, H * P, o_p, m_after, P)
            b_in = tl.exp2(tl.load(cum_ptr + p_dt + T + o_q) - b_mid)
            b_gw = (b_gw.to(tl.float32) * b_in[:, None]).to(b_gw.dtype)
            b_du = tl.dot(b_off, b_gw, acc=b_du, input_precision=PRECISION)
            b_both = tl.sum(b_du * b_x.to(tl.float32), axis=1)
            tl.store(p_sums_own + 2 * size, (b_both - b_before) * b_out)
            b_du *= b_out[:, None]
            b_before = b_both * b_out
        else:
            b_du *= tl.exp2(b_all - b_cum)[:, None]
            b_before = tl.sum(b_du * b_x.to(tl.float32), axis=1)
            tl.store(p_sums_own + size, b_before)
        # within the tile: L ∘ S
        b_M = b_S * tl.exp2(_below(b_cum[None, :] - b_cum[:, None]))
        b_du = tl.dot(b_M.to(b_g.dtype), b_g, acc=b_du, input_precision=PRECISION)
        tl.store(p_sums_own, tl.sum(b_du * b_x.to(tl.float32), axis=1) - b_before)
        b_dx = b_du * tl.load(delta_ptr + p_own)[:, None]
        if SKIP == 1:
            b_dx += tl.load(D_ptr + i_h).to(tl.float32) * b_g.to(tl.float32)
        if SKIP == 2:
            b_D = tl.load(D_ptr + i_h * P + o_p, mask=o_p < P, other=0.0).to(tl.float32)
            b_dx += b_D[None, :] * b_g.to(tl.float32)
            b_gx = tl.sum(b_g.to(tl.float32) * b_x.to(tl.float32), axis=0)
            p_D = (tl.program_id(0).to(tl.int64) * H + i_h) * P + o_p
            tl.store(gx_ptr + p_D, b_gx, mask=o_p < P)
        p_x = o_t[:, None] * (H * P) + i_h * P + o_p[None, :]
        m_x = m_t[:, None] & (o_p < P)[None, :]
        tl.store(dx_ptr + p_x, b_dx.to(dx_ptr.dtype.element_ty), mask=m_x)


@triton.jit
def ssd_bwd_dx_kernel(
    x_ptr, B_ptr, C_ptr, D_ptr, g_ptr, dh_ptr, delta_ptr, cum_ptr, dx_ptr, gx_ptr, sums_ptr,
    table_ptr, stride_x: tl.constexpr, stride_B: tl.constexpr, stride_C: tl.constexpr,
    L, per, size,
    H: tl.constexpr, G: tl.constexpr, P: tl.constexpr, N: tl.constexpr, V: tl.constexpr,
    T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, SLICES: tl.constexpr,
    PACKED: tl.constexpr, SKIP: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """dx of one tile in SLICES slices of one group. Grid: (2 · chunks, parts).

    And of every slice and token, in `sums` of `size` numbers each: ⟨x, du⟩ by the tile itself (0),
    through the state that leaves the chunk (1) and, in the first tile, through the second (2).
    """
    i_c, half, i_part = tl.program_id(0) // 2, tl.program_id(0) % 2, tl.program_id(1)
    _, start, end, _ = _span(i_c, table_ptr, L, 2 * T, per, PACKED)
    o_n, o_q = tl.arange(0, BLOCK_N), tl.arange(0, T)
    size = size.to(tl.int64)
    o_t, o_after = start + half * T + o_q, start + T + o_q
    m_t, m_after = o_t < end, o_after < end
    i_group = i_part * SLICES // (V // G)
    b_B = _tile(B_ptr + i_group * N, o_t, stride_B, o_n, m_t, N)
    b_C = _tile(C_ptr + i_group * N, o_t, stride_C, o_n, m_t, N)
    b_S = tl.dot(b_B, tl.trans(b_C), input_precision=PRECISION)  # s t
    b_S = tl.where(o_q[:, None] <= o_q[None, :], b_S, 0.0)
    if half == 1:
        _dx_heads(
            x_ptr, D_ptr, g_ptr, dh_ptr, delta_ptr, cum_ptr, dx_ptr, gx_ptr, sums_ptr, size,
            stride_x, i_c, i_part, b_B, b_S, b_S, o_t, m_t, o_after, m_after,
            H, P, N, V, T, BLOCK_P, BLOCK_N, SLICES, False, SKIP, PRECISION, STAGES,
        )  # fmt: skip
    else:
        b_C = _tile(C_ptr + i_group * N, o_after, stride_C, o_n, m_after, N)
        b_off = tl.dot(b_B, tl.trans(b_C), input_precision=PRECISION).to(b_B.dtype)
        _dx_heads(
            x_ptr, D_ptr, g_ptr, dh_ptr, delta_ptr, cum_ptr, dx_ptr, gx_ptr, sums_ptr, size,
            stride_x, i_c, i_part, b_B, b_S, b_off, o_t, m_t, o_after, m_after,
            H, P, N, V, T, BLOCK_P, BLOCK_N, SLICES, True, SKIP, PRECISION, STAGES,
        )  # fmt: skip


@triton.jit
def ssd_bwd_scores_kernel(
    x_ptr, B_ptr, C_ptr, g_ptr, cum_ptr, key_ptr, dS_ptr, sums_ptr, table_ptr,
    stride_x: tl.constexpr, stride_B: tl.constexpr, stride_C: tl.constexpr, L, per, size,
    H: tl.constexpr, G: tl.constexpr, P: tl.constexpr, N: tl.constexpr, V: tl.constexpr,
    T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, SLICES: tl.constexpr,
    PACKED: tl.constexpr, SKIP: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Gradient of C Bᵀ by part: within the first tile of a chunk, within the second, and between.

    And in `sums`, of every token, ⟨g, y⟩ by its own tile (3), the same as its own tile's tokens
    see it from the other side, Δ ⟨x, du⟩ (5), ⟨g, y⟩ by the first tile (second tile: 2) and, where
    D is one number a head, ⟨g, x⟩ (4).
    Grid: (3 · chunks, parts).
    """
    i_c, block, i_part = tl.program_id(0) // 3, tl.program_id(0) % 3, tl.program_id(1)
    _, start, end, _ = _span(i_c, table_ptr, L, 2 * T, per, PACKED)
    o_n, o_q = tl.arange(0, BLOCK_N), tl.arange(0, T)
    o_s = start + tl.where(block == 1, T, 0) + o_q
    o_t = start + tl.where(block == 0, 0, T) + o_q
    m_s, m_t = o_s < end, o_t < end
    i_group = i_part * SLICES // (V // G)
    b_B = _tile(B_ptr + i_group * N, o_s, stride_B, o_n, m_s, N)
    b_C = _tile(C_ptr + i_group * N, o_t, stride_C, o_n, m_t, N)
    b_S = tl.dot(b_C, tl.trans(b_B), input_precision=PRECISION)  # t s
    b_dS = tl.zeros([T, T], tl.float32)
    size = size.to(tl.int64)
    p_heads = i_c.to(tl.int64) * H * (2 * T)
    p_sums = sums_ptr + (i_c.to(tl.int64) * V) * (2 * T) + o_q
    if block < 2:
        for i in tl.range(0, SLICES, num_stages=STAGES):
            i_v = i_part * SLICES + i
            i_h = i_v // (V // H)
            o_p = (i_v % (V // H)) * BLOCK_P + tl.arange(0, BLOCK_P)
            b_g = _tile(g_ptr + i_h * P, o_t, H * P, o_p, m_t, P)
            b_x = _tile(x_ptr + i_h * P, o_s, stride_x, o_p, m_s, P)
            p_dt = p_heads + i_h * (2 * T) + block * T + o_q
            b_cum, b_key = tl.load(cum_ptr + p_dt), tl.load(key_ptr + p_dt)
            b_dM = tl.dot(b_g, tl.trans(b_x), input_precision=PRECISION)  # t s
            p_own = p_sums + i_v * (2 * T) + block * T
            if SKIP == 1:
                b_gx = tl.where(o_q[:, None] == o_q[None, :], b_dM, 0.0)
                tl.store(p_own + 4 * size, tl.sum(b_gx, axis=1))
            b_dM *= tl.exp2(_below(b_cum[:, None] - b_key[None, :]))
            b_dM = tl.where(o_q[:, None] >= o_q[None, :], b_dM, 0.0)
            b_dS += b_dM
            b_dM *= b_S
            tl.store(p_own + 3 * size, tl.sum(b_dM, axis=1))
            tl.store(p_own + 5 * size, tl.sum(b_dM, axis=0))
    else:
        for i in tl.range(0, SLICES, num_stages=STAGES):
            i_v = i_part * SLICES + i
            i_h = i_v // (V // H)
            o_p = (i_v % (V // H)) * BLOCK_P + tl.arange(0, BLOCK_P)
            b_g = _tile(g_ptr + i_h * P, o_t, H * P, o_p, m_t, P)
            b_x = _tile(x_ptr + i_h * P, o_s, stride_x, o_p, m_s, P)
            p_dt = p_heads + i_h * (2 * T) + o_q
            b_mid = tl.load(cum_ptr + p_heads + i_h * (2 * T) + T - 1)
            b_gw = b_g.to(tl.float32) * tl.exp2(tl.load(cum_ptr + p_dt + T) - b_mid)[:, None]
            b_xw = b_x.to(tl.float32) * tl.exp2(b_mid - tl.load(key_ptr + p_dt))[:, None]
            b_dM = tl.dot(
                b_gw.to(b_g.dtype), tl.trans(b_xw.to(b_x.dtype)), input_precision=PRECISION
            )
            b_dS += b_dM
            tl.store(p_sums + i_v * (2 * T) + T + 2 * size, tl.sum(b_dM * b_S, axis=1))
    p_S = ((i_part.to(tl.int64) * (tl.num_programs(0) // 3) + i_c) * 3 + block) * T * T
    tl.store(dS_ptr + p_S + o_q[:, None] * T + o_q[None, :], b_dS)


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
    o_n, o_q = tl.arange(0, BLOCK_N), tl.arange(0, T)
    _, start, end, _ = _span(i_c, table_ptr, L, 2 * T, per, PACKED)
    o_t, o_other = start + half * T + o_q, start + (1 - half) * T + o_q
    none = half if TURNED else 1 - half
    m_t, m_other = o_t < end, (o_other < end) & (o_q >= none * T)
    o_S = o_q[None, :] * T + o_q[:, None] if TURNED else o_q[:, None] * T + o_q[None, :]
    b_dC = tl.zeros([T, BLOCK_N], tl.float32)
    m_n = (o_q >= 0)[:, None] & (o_n < N)[None, :]
    for i in range(0, STATE_PARTS):
        p = (i_group * STATE_PARTS + i).to(tl.int64) * tl.num_programs(0) + i_c * 2 + half
        p = p * T * N + o_q[:, None] * N + o_n[None, :]
        b_dC += tl.load(part_ptr + p, mask=m_n, other=0.0)
    b_dS = tl.zeros([T, T], tl.float32)
    b_off = tl.zeros([T, T], tl.float32)
    m_off = (o_q >= none * T)[:, None] & (o_q >= 0)[None, :]
    for i in range(0, PARTS):
        p = ((i_group * PARTS + i).to(tl.int64) * (tl.num_programs(0) // 2) + i_c) * 3 * T * T
        b_dS += tl.load(dS_ptr + p + half * T * T + o_S)
        b_off += tl.load(dS_ptr + p + 2 * T * T + o_S, mask=m_off, other=0.0)
    b_B = _tile(B_ptr + i_group * N, o_t, stride_B, o_n, m_t, N)
    b_dC = tl.dot(b_dS.to(b_B.dtype), b_B, acc=b_dC, input_precision=PRECISION)
    b_B = _tile(B_ptr + i_group * N, o_other, stride_B, o_n, m_other, N)
    b_dC = tl.dot(b_off.to(b_B.dtype), b_B, acc=b_dC, input_precision=PRECISION)
    p_n = o_t[:, None] * (G * N) + i_group * N + o_n[None, :]
    m_n = m_t[:, None] & (o_n < N)[None, :]
    tl.store(dC_ptr + p_n, b_dC.to(dC_ptr.dtype.element_ty), mask=m_n)


@triton.jit
def _sum_of_slices(ptr, i_c, o_h, m_h, o_q, Q: tl.constexpr, V: tl.constexpr, H: tl.constexpr):
    """Numbers of every token, added over the slices of a head: heads × places."""
    p = (i_c.to(tl.int64) * V + o_h * (V // H))[:, None] * Q + o_q[None, :]
    m = m_h[:, None] & (o_q >= 0)[None, :]
    b = tl.load(ptr + p, mask=m, other=0.0)
    for i in range(1, V // H):
        b += tl.load(ptr + p + i * Q, mask=m, other=0.0)
    return b


@triton.jit
def _from(b):
    """Sums of b from each place to the end."""
    return tl.sum(b, axis=1)[:, None] - tl.cumsum(b, axis=1) + b


@triton.jit
def ssd_bwd_decay_kernel(
    dt_ptr, A_ptr, bias_ptr, read_ptr, sums_ptr, keep_ptr, ddt_ptr, dA_ptr, dbias_ptr,
    dD_ptr, table_ptr, stride_dt, L, per, size, low, high,
    H: tl.constexpr, V: tl.constexpr, T: tl.constexpr, BLOCK_H: tl.constexpr,
    SOFTPLUS: tl.constexpr, BIAS: tl.constexpr, PACKED: tl.constexpr, SKIP: tl.constexpr,
):  # fmt: skip
    """Gradient of dt; and by chunk and head those of A, of the bias and of one D a head.

    From what tokens add and take, in `read`, `keep` and `sums` (see `ssd_bwd_dx_kernel` and
    `ssd_bwd_scores_kernel`). The decay at place i stands between every s < i that adds and every
    t ≥ i that takes. Grid: (chunks, blocks of heads).
    """
    Q: tl.constexpr = 2 * T
    i_c = tl.program_id(0)
    size = size.to(tl.int64)
    o_h, o_q = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H), tl.arange(0, Q)
    _, start, end, _ = _span(i_c, table_ptr, L, Q, per, PACKED)
    o_t = start + o_q
    m_h = o_h < H
    m = m_h[:, None] & (o_t < end)[None, :]
    p = o_t[None, :] * stride_dt + o_h[:, None]
    b_dt, b_slope = _delta(dt_ptr, bias_ptr, p, m, o_h, m_h, low, high, SOFTPLUS, BIAS)
    b_A = tl.load(A_ptr + o_h, mask=m_h, other=0.0).to(tl.float32)
    b_adds = tl.where(m, _sum_of_slices(sums_ptr, i_c, o_h, m_h, o_q, Q, V, H), 0.0)
    b_leaves = tl.where(m, _sum_of_slices(sums_ptr + size, i_c, o_h, m_h, o_q, Q, V, H), 0.0)
    b_across = tl.where(m, _sum_of_slices(sums_ptr + 2 * size, i_c, o_h, m_h, o_q, Q, V, H), 0.0)
    b_takes = tl.where(m, _sum_of_slices(sums_ptr + 3 * size, i_c, o_h, m_h, o_q, Q, V, H), 0.0)
    b_read = tl.where(m, _sum_of_slices(read_ptr, i_c, o_h, m_h, o_q, Q, V, H), 0.0)
    b_given = tl.where(m, _sum_of_slices(sums_ptr + 5 * size, i_c, o_h, m_h, o_q, Q, V, H), 0.0)
    first = (o_q < T)[None, :]
    b_over = tl.where(first, b_across, 0.0)
    b_ddt = b_adds + b_leaves + b_over
    b_da = _from(b_read + (b_takes - b_given))
    b_da += tl.cumsum(b_dt * b_leaves, axis=1) - b_dt * b_leaves
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
    tl.store(ddt_ptr + o_t[None, :] * H + o_h[:, None], b_ddt.to(ddt_ptr.dtype.element_ty), mask=m)
    p_c = i_c.to(tl.int64) * H + o_h
    tl.store(dA_ptr + p_c, tl.sum(b_da * b_dt, axis=1), mask=m_h)
    if BIAS:
        tl.store(dbias_ptr + p_c, tl.sum(b_ddt, axis=1), mask=m_h)
    if SKIP == 1:
        b_gx = tl.where(m, _sum_of_slices(sums_ptr + 4 * size, i_c, o_h, m_h, o_q, Q, V, H), 0.0)
        tl.store(dD_ptr + p_c, tl.sum(b_gx, axis=1), mask=m_h)
