"""Device code of ssd: chunks of Q places as matrix products, states in float32 registers.

Tokens lie in one row (batch · length, or packed). A head whose values are wider than BLOCK_P is
cut into slices, and `i_v` counts slices of heads; a slice is a head of its own but for its gate Δ.
Programs:

- scores: C Bᵀ of one chunk and group, once for all its heads;
- a walk takes one slice through one segment of a sequence, chunk after chunk, with the state in
  registers: forward with outputs, or both directions storing the states that backward needs;
- backward takes one chunk through many heads, in two launches, since the sums over heads of dB and
  dC do not fit in registers beside dx: first what reaches B, C and D through states, then the rest;
- a small program finishes the gradients of B and C of one group.

Long sequences in small batches are cut into segments: a first walk leaves each segment's own state
and decay, and a later walk combines those before it. Dot results are never transposed and fed to
another dot (Triton 3.4 to 3.7 miscompile that on Hopper): transposed operands come from memory.
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
def _delta(dt_ptr, bias_ptr, p, m, i_h, low, high, SOFTPLUS: tl.constexpr, BIAS: tl.constexpr):
    """Δ of Eq. (1) and its slope against dt; both 0 where masked."""
    b_dt = tl.load(dt_ptr + p, mask=m, other=0.0).to(tl.float32)
    if BIAS:
        b_dt += tl.load(bias_ptr + i_h).to(tl.float32)
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
def _scores(S_ptr, i_c, i_group, o_row, o_column, G: tl.constexpr, Q: tl.constexpr):
    """C Bᵀ of chunk i_c: entry (t, s) at row t."""
    p = (i_c.to(tl.int64) * G + i_group) * Q * Q
    return tl.load(S_ptr + p + o_row * Q + o_column)


@triton.jit
def ssd_scores_kernel(
    B_ptr, C_ptr, S_ptr, table_ptr, stride_B, stride_C, L, per,
    G: tl.constexpr, N: tl.constexpr, Q: tl.constexpr, BLOCK_N: tl.constexpr,
    PACKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """C Bᵀ within one chunk, float32. Grid: (chunks, groups)."""
    i_c, i_group = tl.program_id(0), tl.program_id(1)
    o_n, o_q = tl.arange(0, BLOCK_N), tl.arange(0, Q)
    _, start, end, _ = _span(i_c, table_ptr, L, Q, per, PACKED)
    o_t = start + o_q
    m_t = o_t < end
    b_B = _tile(B_ptr + i_group * N, o_t, stride_B, o_n, m_t, N)
    b_C = _tile(C_ptr + i_group * N, o_t, stride_C, o_n, m_t, N)
    p = (i_c.to(tl.int64) * G + i_group) * Q * Q
    b_S = tl.dot(b_C, tl.trans(b_B), input_precision=PRECISION)
    tl.store(S_ptr + p + o_q[:, None] * Q + o_q[None, :], b_S)


@triton.jit
def ssd_walk_kernel(
    x_ptr, dt_ptr, A_ptr, B_ptr, bias_ptr, init_ptr, seg_ptr, decay_ptr, out_ptr, end_ptr,
    table_ptr, first_ptr, stride_x, stride_dt, stride_B, L, size, per, low, high,
    H: tl.constexpr, G: tl.constexpr, P: tl.constexpr, N: tl.constexpr, V: tl.constexpr,
    Q: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, SOFTPLUS: tl.constexpr,
    BIAS: tl.constexpr, INIT: tl.constexpr, PACKED: tl.constexpr, REVERSE: tl.constexpr,
    STORE: tl.constexpr, SEGMENTED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """States of one slice over one segment. Grid: segments · slices of heads.

    Forward, x and B write the state: h ← e^{Σa} h + Σ_s e^{a_end − a_s} Δ_s x_s B_sᵀ. REVERSE, with
    the gradient of y for x and C for B: g ← e^{Σa} g + Σ_t e^{a_t} dy_t C_tᵀ.
    STORE: start from the segments before and store the state that enters each chunk (in `out`, by
    chunk and slice), and the last one in `end`. Otherwise: start from zero and leave the segment's
    own state in `seg` and the logarithm of its decay in `decay`.
    """
    i_v, i_g = tl.program_id(0) % V, tl.program_id(0) // V
    i_h = i_v // (V // H)
    o_p = (i_v % (V // H)) * BLOCK_P + tl.arange(0, BLOCK_P)
    o_n, o_q = tl.arange(0, BLOCK_N), tl.arange(0, Q)
    i_s, start, end, k = _span(i_g, table_ptr, L, size, per, PACKED)
    last = i_g * 0 + per - 1
    chunk = i_s * tl.cdiv(L, Q) + k * (size // Q)
    if PACKED:
        last = tl.load(first_ptr + i_s * 2 + 1).to(tl.int32) - 1
        chunk = tl.load(first_ptr + i_s * 2) + k * (size // Q)
    x_ptr += i_h * P
    B_ptr += (i_h // (H // G)) * N
    b_A = tl.load(A_ptr + i_h).to(tl.float32) * LOG2E
    b_h = tl.zeros([BLOCK_P, BLOCK_N], tl.float32)
    if STORE:
        b_h = _before(
            init_ptr, seg_ptr, decay_ptr, i_g, k.to(tl.int32), last, i_s, i_h, i_v, o_p, o_n,
            H, V, P, N, INIT, REVERSE, SEGMENTED, BLOCK_P, BLOCK_N,
        )  # fmt: skip
    b_sum = b_A * 0
    n_chunks = ((end - start + Q - 1) // Q).to(tl.int32)
    for i in range(0, n_chunks):
        c = n_chunks - 1 - i if REVERSE else i
        o_t = start + c * Q + o_q
        m_t = o_t < end
        b_dt, _ = _delta(
            dt_ptr, bias_ptr, o_t * stride_dt + i_h, m_t, i_h, low, high, SOFTPLUS, BIAS
        )
        b_x = _tile(x_ptr, o_t, stride_x, o_p, m_t, P)
        b_B = _tile(B_ptr, o_t, stride_B, o_n, m_t, N)
        if STORE:
            p = ((chunk + c) * V + i_v).to(tl.int64) * BLOCK_P * N
            o = tl.arange(0, BLOCK_P)
            _put_state(out_ptr + p, o, o_n, BLOCK_P, N, b_h)
        b_a = b_dt * b_A
        b_cum = tl.cumsum(b_a, axis=0)
        b_all = tl.sum(b_a, axis=0)
        b_w = tl.exp2(b_cum) if REVERSE else tl.exp2(b_all - b_cum) * b_dt
        b_xw = (b_x.to(tl.float32) * b_w[:, None]).to(b_x.dtype)
        b_h = b_h * tl.exp2(b_all)
        b_h = tl.dot(tl.trans(b_xw), b_B, acc=b_h, input_precision=PRECISION)
        b_sum += b_all
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
def ssd_fwd_kernel(
    x_ptr, dt_ptr, A_ptr, B_ptr, C_ptr, S_ptr, D_ptr, bias_ptr, init_ptr, seg_ptr, decay_ptr,
    y_ptr, end_ptr, table_ptr, first_ptr, stride_x, stride_dt, stride_B, stride_C,
    L, size, per, low, high,
    H: tl.constexpr, G: tl.constexpr, P: tl.constexpr, N: tl.constexpr, V: tl.constexpr,
    Q: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, SOFTPLUS: tl.constexpr,
    BIAS: tl.constexpr, INIT: tl.constexpr, PACKED: tl.constexpr, SKIP: tl.constexpr,
    SEGMENTED: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """y of one slice over one segment, and the sequence's last state. Grid: segments · slices."""
    i_v, i_g = tl.program_id(0) % V, tl.program_id(0) // V
    i_h = i_v // (V // H)
    o_p = (i_v % (V // H)) * BLOCK_P + tl.arange(0, BLOCK_P)
    o_n, o_q = tl.arange(0, BLOCK_N), tl.arange(0, Q)
    i_s, start, end, k = _span(i_g, table_ptr, L, size, per, PACKED)
    last = i_g * 0 + per - 1
    chunk = i_s * tl.cdiv(L, Q) + k * (size // Q)
    if PACKED:
        last = tl.load(first_ptr + i_s * 2 + 1).to(tl.int32) - 1
        chunk = tl.load(first_ptr + i_s * 2) + k * (size // Q)
    x_ptr += i_h * P
    B_ptr += (i_h // (H // G)) * N
    C_ptr += (i_h // (H // G)) * N
    y_ptr += i_h * P
    b_A = tl.load(A_ptr + i_h).to(tl.float32) * LOG2E
    b_h = _before(
        init_ptr, seg_ptr, decay_ptr, i_g, k.to(tl.int32), last, i_s, i_h, i_v, o_p, o_n,
        H, V, P, N, INIT, False, SEGMENTED, BLOCK_P, BLOCK_N,
    )  # fmt: skip
    if SKIP:
        b_D = tl.load(D_ptr + i_h * P + o_p, mask=o_p < P, other=0.0).to(tl.float32)
    n_chunks = ((end - start + Q - 1) // Q).to(tl.int32)
    for i in tl.range(0, n_chunks, num_stages=STAGES):
        o_t = start + i * Q + o_q
        m_t = o_t < end
        b_x = _tile(x_ptr, o_t, stride_x, o_p, m_t, P)
        b_B = _tile(B_ptr, o_t, stride_B, o_n, m_t, N)
        b_C = _tile(C_ptr, o_t, stride_C, o_n, m_t, N)
        b_dt, _ = _delta(
            dt_ptr, bias_ptr, o_t * stride_dt + i_h, m_t, i_h, low, high, SOFTPLUS, BIAS
        )
        b_a = b_dt * b_A
        b_cum = tl.cumsum(b_a, axis=0)
        b_all = tl.sum(b_a, axis=0)
        b_y = tl.dot(b_C, tl.trans(b_h.to(b_C.dtype)), input_precision=PRECISION)
        b_y = b_y * tl.exp2(b_cum)[:, None]
        b_s = _scores(S_ptr, chunk + i, i_h // (H // G), o_q[:, None], o_q[None, :], G, Q)
        b_L = tl.where(o_q[:, None] >= o_q[None, :], b_cum[:, None] - b_cum[None, :], -float("inf"))
        b_s = b_s * tl.exp2(b_L) * b_dt[None, :]
        b_y = tl.dot(b_s.to(b_x.dtype), b_x, acc=b_y, input_precision=PRECISION)  # (8)
        if SKIP:
            b_y += b_D[None, :] * b_x.to(tl.float32)
        p_y = o_t[:, None] * (H * P) + o_p[None, :]
        m_y = m_t[:, None] & (o_p < P)[None, :]
        tl.store(y_ptr + p_y, b_y.to(y_ptr.dtype.element_ty), mask=m_y)
        b_w = tl.exp2(b_all - b_cum) * b_dt
        b_xw = (b_x.to(tl.float32) * b_w[:, None]).to(b_x.dtype)
        b_h = b_h * tl.exp2(b_all)
        b_h = tl.dot(tl.trans(b_xw), b_B, acc=b_h, input_precision=PRECISION)  # (6), (7)
    if k == last:
        _put_state(end_ptr + (i_s * H + i_h) * P * N, o_p, o_n, P, N, b_h)


@triton.jit
def ssd_bwd_state_kernel(
    x_ptr, dt_ptr, A_ptr, bias_ptr, g_ptr, h_ptr, dh_ptr, keep_ptr, dD_ptr, dB_ptr, dC_ptr,
    table_ptr,
    stride_x, stride_dt, L, per, low, high,
    H: tl.constexpr, P: tl.constexpr, N: tl.constexpr, V: tl.constexpr, Q: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, SLICES: tl.constexpr, SOFTPLUS: tl.constexpr,
    BIAS: tl.constexpr, PACKED: tl.constexpr, SKIP: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dB and dC through states, summed over SLICES slices of one group; dD and `keep`, by slice.

    Grid: (chunks, parts).
    """
    i_c, i_part = tl.program_id(0), tl.program_id(1)
    o_n, o_q = tl.arange(0, BLOCK_N), tl.arange(0, Q)
    _, start, end, _ = _span(i_c, table_ptr, L, Q, per, PACKED)
    o_t = start + o_q
    m_t = o_t < end
    b_dB = tl.zeros([Q, BLOCK_N], tl.float32)
    b_dC = tl.zeros([Q, BLOCK_N], tl.float32)
    for i in range(0, SLICES):
        i_v = i_part * SLICES + i
        i_h = i_v // (V // H)
        o_p = (i_v % (V // H)) * BLOCK_P + tl.arange(0, BLOCK_P)
        p_state = _slice_state(i_c, i_v, N, V, BLOCK_P, BLOCK_N)
        m_state = (o_n < N)[None, :] & (o_p >= 0)[:, None]
        b_x = _tile(x_ptr + i_h * P, o_t, stride_x, o_p, m_t, P)
        b_g = _tile(g_ptr + i_h * P, o_t, H * P, o_p, m_t, P)
        b_h = tl.load(h_ptr + p_state, mask=m_state, other=0.0)
        b_dh = tl.load(dh_ptr + p_state, mask=m_state, other=0.0)
        b_A = tl.load(A_ptr + i_h).to(tl.float32) * LOG2E
        b_dt, _slope = _delta(
            dt_ptr, bias_ptr, o_t * stride_dt + i_h, m_t, i_h, low, high, SOFTPLUS, BIAS
        )
        b_a = b_dt * b_A
        b_cum = tl.cumsum(b_a, axis=0)
        b_w = tl.exp2(tl.sum(b_a, axis=0) - b_cum) * b_dt
        b_xw = (b_x.to(tl.float32) * b_w[:, None]).to(b_x.dtype)
        b_gw = (b_g.to(tl.float32) * tl.exp2(b_cum)[:, None]).to(b_g.dtype)
        b_keep = tl.sum(tl.sum(b_h.to(tl.float32) * b_dh.to(tl.float32), axis=1), axis=0)
        tl.store(keep_ptr + i_c.to(tl.int64) * V + i_v, b_keep)
        if SKIP:
            p_D = dD_ptr + (i_c.to(tl.int64) * H + i_h) * P + o_p
            tl.store(p_D, tl.sum(b_g.to(tl.float32) * b_x.to(tl.float32), axis=0), mask=o_p < P)
        b_dB = tl.dot(b_xw, b_dh, acc=b_dB, input_precision=PRECISION)
        b_dC = tl.dot(b_gw, b_h, acc=b_dC, input_precision=PRECISION)
    p_part = i_part.to(tl.int64) * tl.num_programs(0) * Q + i_c.to(tl.int64) * Q
    p_n = (p_part + o_q)[:, None] * N + o_n[None, :]
    m_n = (o_q >= 0)[:, None] & (o_n < N)[None, :]
    tl.store(dB_ptr + p_n, b_dB, mask=m_n)
    tl.store(dC_ptr + p_n, b_dC, mask=m_n)


@triton.jit
def ssd_bwd_chunk_kernel(
    x_ptr, dt_ptr, A_ptr, B_ptr, C_ptr, S_ptr, D_ptr, bias_ptr, g_ptr, h_ptr, dh_ptr, keep_ptr,
    dx_ptr, ddt_ptr, dA_ptr, dS_ptr, table_ptr,
    stride_x, stride_dt, stride_B, stride_C, L, per, tokens, low, high,
    H: tl.constexpr, G: tl.constexpr, P: tl.constexpr, N: tl.constexpr, V: tl.constexpr,
    Q: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, SLICES: tl.constexpr,
    SOFTPLUS: tl.constexpr, BIAS: tl.constexpr, PACKED: tl.constexpr, SKIP: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of one chunk through SLICES slices of one group. Grid: (chunks, parts).

    Leaves dx and the gradient of dt (by slice) finished; of A, one row a chunk; and by part dS, the
    gradient of (C Bᵀ)ᵀ. `keep` is ⟨state that enters, gradient of the one that leaves⟩.
    """
    i_c, i_part = tl.program_id(0), tl.program_id(1)
    o_n, o_q = tl.arange(0, BLOCK_N), tl.arange(0, Q)
    _, start, end, _ = _span(i_c, table_ptr, L, Q, per, PACKED)
    o_t = start + o_q
    m_t = o_t < end
    i_group = i_part * SLICES // (V // G)
    b_B = _tile(B_ptr + i_group * N, o_t, stride_B, o_n, m_t, N)
    b_C = _tile(C_ptr + i_group * N, o_t, stride_C, o_n, m_t, N)
    b_S = _scores(S_ptr, i_c, i_group, o_q[None, :], o_q[:, None], G, Q)  # s t
    b_dS = tl.zeros([Q, Q], tl.float32)
    for i in range(0, SLICES):
        i_v = i_part * SLICES + i
        i_h = i_v // (V // H)
        o_p = (i_v % (V // H)) * BLOCK_P + tl.arange(0, BLOCK_P)
        p_state = _slice_state(i_c, i_v, N, V, BLOCK_P, BLOCK_N)
        m_state = (o_n < N)[None, :] & (o_p >= 0)[:, None]
        b_x = _tile(x_ptr + i_h * P, o_t, stride_x, o_p, m_t, P)
        b_g = _tile(g_ptr + i_h * P, o_t, H * P, o_p, m_t, P)
        b_h = tl.load(h_ptr + p_state, mask=m_state, other=0.0)
        b_dh = tl.load(dh_ptr + p_state, mask=m_state, other=0.0)
        b_A = tl.load(A_ptr + i_h).to(tl.float32) * LOG2E
        b_dt, b_slope = _delta(
            dt_ptr, bias_ptr, o_t * stride_dt + i_h, m_t, i_h, low, high, SOFTPLUS, BIAS
        )
        b_a = b_dt * b_A
        b_cum = tl.cumsum(b_a, axis=0)
        b_all = tl.sum(b_a, axis=0)
        b_in, b_out = tl.exp2(b_cum), tl.exp2(b_all - b_cum)
        b_keep = tl.load(keep_ptr + i_c.to(tl.int64) * V + i_v)
        # from the state that entered the chunk
        b_read = tl.dot(b_C, tl.trans(b_h), input_precision=PRECISION)  # t p
        b_net = tl.sum(b_read * b_g.to(tl.float32), axis=1) * b_in
        # through the state that leaves it
        b_off = tl.dot(b_B, tl.trans(b_dh), input_precision=PRECISION) * b_out[:, None]  # s p
        b_st = tl.sum(b_off * b_x.to(tl.float32), axis=1) * b_dt
        # within the chunk: M = L ∘ S, and the gradient of S
        b_L = tl.where(o_q[:, None] <= o_q[None, :], b_cum[None, :] - b_cum[:, None], -float("inf"))
        b_L = tl.exp2(b_L)  # s t
        b_M = (b_S * b_L).to(b_g.dtype)
        b_dM = tl.dot(b_x, tl.trans(b_g), input_precision=PRECISION) * b_L * b_dt[:, None]
        b_dS += b_dM
        b_dM *= b_S
        b_net += tl.sum(b_dM, axis=0) - tl.sum(b_dM, axis=1)
        b_du = b_off + tl.dot(b_M, b_g, input_precision=PRECISION)  # s p
        # d a_i: pairs t >= i > s, reads at t >= i, writes at s < i, and the state kept
        b_da = tl.sum(b_net, axis=0) - tl.cumsum(b_net, axis=0) + b_net
        b_da += tl.cumsum(b_st, axis=0) - b_st + b_keep * tl.exp2(b_all)
        b_ddt = tl.sum(b_du * b_x.to(tl.float32), axis=1) + b_da * (b_A / LOG2E)
        tl.store(ddt_ptr + i_v.to(tl.int64) * tokens + o_t, b_ddt * b_slope, mask=m_t)
        tl.store(dA_ptr + i_c.to(tl.int64) * V + i_v, tl.sum(b_da * b_dt, axis=0))
        b_dx = b_du * b_dt[:, None]
        if SKIP:
            b_D = tl.load(D_ptr + i_h * P + o_p, mask=o_p < P, other=0.0).to(tl.float32)
            b_dx += b_D[None, :] * b_g.to(tl.float32)
        p_x = o_t[:, None] * (H * P) + i_h * P + o_p[None, :]
        m_x = m_t[:, None] & (o_p < P)[None, :]
        tl.store(dx_ptr + p_x, b_dx.to(dx_ptr.dtype.element_ty), mask=m_x)
    p_part = i_part.to(tl.int64) * tl.num_programs(0) * Q + i_c.to(tl.int64) * Q
    p_S = (p_part + o_q)[:, None] * Q + o_q[None, :]
    tl.store(dS_ptr + p_S, b_dS)


@triton.jit
def ssd_bwd_group_kernel(
    B_ptr, C_ptr, dS_ptr, partB_ptr, partC_ptr, dB_ptr, dC_ptr, table_ptr,
    stride_B, stride_C, L, per,
    G: tl.constexpr, N: tl.constexpr, PARTS: tl.constexpr, Q: tl.constexpr,
    BLOCK_N: tl.constexpr, PACKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of B and C of one chunk and group, from its parts. Grid: (chunks, groups)."""
    i_c, i_group = tl.program_id(0), tl.program_id(1)
    o_n, o_q = tl.arange(0, BLOCK_N), tl.arange(0, Q)
    _, start, end, _ = _span(i_c, table_ptr, L, Q, per, PACKED)
    o_t = start + o_q
    m_t = o_t < end
    b_B = _tile(B_ptr + i_group * N, o_t, stride_B, o_n, m_t, N)
    b_C = _tile(C_ptr + i_group * N, o_t, stride_C, o_n, m_t, N)
    b_dB = tl.zeros([Q, BLOCK_N], tl.float32)
    b_dC = tl.zeros([Q, BLOCK_N], tl.float32)
    b_dS = tl.zeros([Q, Q], tl.float32)
    b_dST = tl.zeros([Q, Q], tl.float32)
    m_n = (o_q >= 0)[:, None] & (o_n < N)[None, :]
    for i in range(0, PARTS):
        i_part = i_group * PARTS + i
        p_part = i_part.to(tl.int64) * tl.num_programs(0) * Q + i_c.to(tl.int64) * Q
        p_n = (p_part + o_q)[:, None] * N + o_n[None, :]
        b_dB += tl.load(partB_ptr + p_n, mask=m_n, other=0.0)
        b_dC += tl.load(partC_ptr + p_n, mask=m_n, other=0.0)
        b_dS += tl.load(dS_ptr + (p_part + o_q)[:, None] * Q + o_q[None, :])
        b_dST += tl.load(dS_ptr + (p_part + o_q)[None, :] * Q + o_q[:, None])
    b_dB = tl.dot(b_dS.to(b_C.dtype), b_C, acc=b_dB, input_precision=PRECISION)
    b_dC = tl.dot(b_dST.to(b_B.dtype), b_B, acc=b_dC, input_precision=PRECISION)
    p_n = o_t[:, None] * (G * N) + i_group * N + o_n[None, :]
    m_n = m_t[:, None] & (o_n < N)[None, :]
    tl.store(dB_ptr + p_n, b_dB.to(dB_ptr.dtype.element_ty), mask=m_n)
    tl.store(dC_ptr + p_n, b_dC.to(dC_ptr.dtype.element_ty), mask=m_n)
