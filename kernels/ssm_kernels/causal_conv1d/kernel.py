"""Device code of causal_conv1d: windows of at most four taps roll through registers.

A program owns BLOCK_D channels of BLOCK_T tokens and walks them four rows at a time, so that each
input is read once (and a few rows twice, where two programs meet). More than four taps read
shifted tiles instead. Tokens lie in one row of b·l; `place` is a token's distance from the first
of its sequence, counted by the loop or, packed, read from memory. Sums are float32.
"""

import triton
import triton.language as tl


@triton.jit
def _place(place_ptr, p_t, end, PACKED: tl.constexpr):
    """A token's distance from the start of its sequence, -1 past the end."""
    if PACKED:
        return tl.load(place_ptr + p_t, mask=(p_t >= 0) & (p_t < end), other=-1)
    return tl.where(p_t < end, p_t, -1)


@triton.jit
def _on(o_d, D, condition):
    """The channels' mask where a scalar condition holds (the interpreter cannot `&` the two)."""
    return o_d < tl.where(condition, D, 0)


@triton.jit
def _tap(b_x, init_ptr, place, p_init, back, o_d, D, HAS_INIT: tl.constexpr, MASKED: tl.constexpr):
    """The rolling row `back` places ago, replaced where the sequence is younger than that."""
    if MASKED:
        b_x = tl.where(place >= back, b_x, 0.0)
        if HAS_INIT:
            m_i = _on(o_d, D, (place >= 0) & (place < back))
            b_x += tl.load(init_ptr + p_init, mask=m_i, other=0.0).to(tl.float32)
    return b_x


@triton.jit
def _silu_grad(b_g, b_pre):
    b_s = tl.sigmoid(b_pre)
    return b_g * b_s * (1.0 + b_pre * (1.0 - b_s))


@triton.jit
def _weight(w_ptr, o_d, m_d, back: tl.constexpr, K: tl.constexpr):
    """The tap that meets the input `back` rows ago; 0 beyond the filter."""
    b_w = tl.zeros(o_d.shape, tl.float32)
    if back < K:
        b_w += tl.load(w_ptr + o_d * K + (K - 1 - back), mask=m_d, other=0.0).to(tl.float32)
    return b_w


@triton.jit
def causal_conv1d_fwd_kernel(
    x_ptr, w_ptr, bias_ptr, init_ptr, place_ptr, seq_ptr, y_ptr,
    stride_b, stride_t, L, D,
    K: tl.constexpr, SILU: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_INIT: tl.constexpr,
    PACKED: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """y for BLOCK_T tokens and BLOCK_D channels, K <= 4. Grid: (d blocks, t blocks, b)."""
    i_d, i_t, i_b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    o_d = i_d * BLOCK_D + tl.arange(0, BLOCK_D)
    m_d = o_d < D
    MASKED: tl.constexpr = PACKED or HAS_INIT
    x_ptr += i_b * stride_b
    y_ptr += i_b * L * D
    b_w0, b_w1 = _weight(w_ptr, o_d, m_d, 0, K), _weight(w_ptr, o_d, m_d, 1, K)
    b_w2, b_w3 = _weight(w_ptr, o_d, m_d, 2, K), _weight(w_ptr, o_d, m_d, 3, K)
    b_bias = tl.zeros([BLOCK_D], tl.float32)
    if HAS_BIAS:
        b_bias += tl.load(bias_ptr + o_d, mask=m_d, other=0.0).to(tl.float32)
    p_t = i_t.to(tl.int64) * BLOCK_T
    b_1 = tl.load(x_ptr + (p_t - 1) * stride_t + o_d, mask=_on(o_d, D, p_t >= 1), other=0.0)
    b_2 = tl.load(x_ptr + (p_t - 2) * stride_t + o_d, mask=_on(o_d, D, p_t >= 2), other=0.0)
    b_3 = tl.load(x_ptr + (p_t - 3) * stride_t + o_d, mask=_on(o_d, D, p_t >= 3), other=0.0)
    for _ in range(0, BLOCK_T, 4):
        p_x = p_t * stride_t + o_d
        b_4 = tl.load(x_ptr + p_x, mask=_on(o_d, D, p_t < L), other=0.0)
        b_5 = tl.load(x_ptr + p_x + stride_t, mask=_on(o_d, D, p_t + 1 < L), other=0.0)
        b_6 = tl.load(x_ptr + p_x + 2 * stride_t, mask=_on(o_d, D, p_t + 2 < L), other=0.0)
        b_7 = tl.load(x_ptr + p_x + 3 * stride_t, mask=_on(o_d, D, p_t + 3 < L), other=0.0)
        for i in tl.static_range(4):
            if i == 0:
                b_x0, b_x1, b_x2, b_x3 = b_4, b_1, b_2, b_3
            elif i == 1:
                b_x0, b_x1, b_x2, b_x3 = b_5, b_4, b_1, b_2
            elif i == 2:
                b_x0, b_x1, b_x2, b_x3 = b_6, b_5, b_4, b_1
            else:
                b_x0, b_x1, b_x2, b_x3 = b_7, b_6, b_5, b_4
            p = p_t + i
            b_y = b_bias + b_w0 * b_x0.to(tl.float32)
            i_s = i_b
            if PACKED:
                i_s = tl.load(seq_ptr + p, mask=p < L, other=0)
            place = _place(place_ptr, p, L, PACKED)
            p_i = (i_s * (K - 1) + K - 1 + place) * D + o_d
            if K > 1:
                b_x1 = b_x1.to(tl.float32)
                b_y += b_w1 * _tap(b_x1, init_ptr, place, p_i - D, 1, o_d, D, HAS_INIT, MASKED)
            if K > 2:
                b_x2 = b_x2.to(tl.float32)
                b_y += b_w2 * _tap(b_x2, init_ptr, place, p_i - 2 * D, 2, o_d, D, HAS_INIT, MASKED)
            if K > 3:
                b_x3 = b_x3.to(tl.float32)
                b_y += b_w3 * _tap(b_x3, init_ptr, place, p_i - 3 * D, 3, o_d, D, HAS_INIT, MASKED)
            if SILU:
                b_y = b_y * tl.sigmoid(b_y)
            tl.store(y_ptr + p * D + o_d, b_y.to(y_ptr.dtype.element_ty), mask=_on(o_d, D, p < L))
        b_1, b_2, b_3 = b_7, b_6, b_5
        p_t += 4


@triton.jit
def causal_conv1d_bwd_kernel(
    x_ptr, w_ptr, bias_ptr, init_ptr, place_ptr, seq_ptr, g_ptr, dx_ptr, part_ptr,
    stride_b, stride_t, L, D,
    K: tl.constexpr, SILU: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_INIT: tl.constexpr,
    PACKED: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """dx for BLOCK_T tokens and this program's share of dw and dbias, K <= 4.

    The walk goes one step past its own tokens, whose gradients still reach back to them.
    `part` is (b, t blocks, 5, d): four taps from the present input backwards, then the bias.
    """
    i_d, i_t, i_b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    o_d = i_d * BLOCK_D + tl.arange(0, BLOCK_D)
    m_d = o_d < D
    MASKED: tl.constexpr = PACKED or HAS_INIT
    x_ptr += i_b * stride_b
    g_ptr += i_b * L * D
    dx_ptr += i_b * L * D
    b_w0, b_w1 = _weight(w_ptr, o_d, m_d, 0, K), _weight(w_ptr, o_d, m_d, 1, K)
    b_w2, b_w3 = _weight(w_ptr, o_d, m_d, 2, K), _weight(w_ptr, o_d, m_d, 3, K)
    b_bias = tl.zeros([BLOCK_D], tl.float32)
    if HAS_BIAS:
        b_bias += tl.load(bias_ptr + o_d, mask=m_d, other=0.0).to(tl.float32)
    b_dw0, b_dw1 = tl.zeros([BLOCK_D], tl.float32), tl.zeros([BLOCK_D], tl.float32)
    b_dw2, b_dw3 = tl.zeros([BLOCK_D], tl.float32), tl.zeros([BLOCK_D], tl.float32)
    b_db = tl.zeros([BLOCK_D], tl.float32)
    # dx of the three rows before the step, still waiting for gradients of later rows
    b_d1, b_d2 = tl.zeros([BLOCK_D], tl.float32), tl.zeros([BLOCK_D], tl.float32)
    b_d3 = tl.zeros([BLOCK_D], tl.float32)
    first = i_t.to(tl.int64) * BLOCK_T
    last = tl.minimum(first + BLOCK_T, L)
    p_t = first
    b_1 = tl.load(x_ptr + (p_t - 1) * stride_t + o_d, mask=_on(o_d, D, p_t >= 1), other=0.0)
    b_2 = tl.load(x_ptr + (p_t - 2) * stride_t + o_d, mask=_on(o_d, D, p_t >= 2), other=0.0)
    b_3 = tl.load(x_ptr + (p_t - 3) * stride_t + o_d, mask=_on(o_d, D, p_t >= 3), other=0.0)
    for _ in range(0, BLOCK_T + 4, 4):
        p_x, p_g = p_t * stride_t + o_d, p_t * D + o_d
        b_4 = tl.load(x_ptr + p_x, mask=_on(o_d, D, p_t < L), other=0.0)
        b_5 = tl.load(x_ptr + p_x + stride_t, mask=_on(o_d, D, p_t + 1 < L), other=0.0)
        b_6 = tl.load(x_ptr + p_x + 2 * stride_t, mask=_on(o_d, D, p_t + 2 < L), other=0.0)
        b_7 = tl.load(x_ptr + p_x + 3 * stride_t, mask=_on(o_d, D, p_t + 3 < L), other=0.0)
        b_g4 = tl.load(g_ptr + p_g, mask=_on(o_d, D, p_t < L), other=0.0)
        b_g5 = tl.load(g_ptr + p_g + D, mask=_on(o_d, D, p_t + 1 < L), other=0.0)
        b_g6 = tl.load(g_ptr + p_g + 2 * D, mask=_on(o_d, D, p_t + 2 < L), other=0.0)
        b_g7 = tl.load(g_ptr + p_g + 3 * D, mask=_on(o_d, D, p_t + 3 < L), other=0.0)
        for i in tl.static_range(4):
            if i == 0:
                b_x0, b_x1, b_x2, b_x3, b_g = b_4, b_1, b_2, b_3, b_g4
            elif i == 1:
                b_x0, b_x1, b_x2, b_x3, b_g = b_5, b_4, b_1, b_2, b_g5
            elif i == 2:
                b_x0, b_x1, b_x2, b_x3, b_g = b_6, b_5, b_4, b_1, b_g6
            else:
                b_x0, b_x1, b_x2, b_x3, b_g = b_7, b_6, b_5, b_4, b_g7
            p = p_t + i
            i_s = i_b
            if PACKED:
                i_s = tl.load(seq_ptr + p, mask=p < L, other=0)
            place = _place(place_ptr, p, L, PACKED)
            p_i = (i_s * (K - 1) + K - 1 + place) * D + o_d
            b_x0, b_g = b_x0.to(tl.float32), b_g.to(tl.float32)
            b_x1 = b_x1.to(tl.float32)
            b_x2 = b_x2.to(tl.float32)
            b_x3 = b_x3.to(tl.float32)
            if K > 1:
                b_x1 = _tap(b_x1, init_ptr, place, p_i - D, 1, o_d, D, HAS_INIT, MASKED)
            if K > 2:
                b_x2 = _tap(b_x2, init_ptr, place, p_i - 2 * D, 2, o_d, D, HAS_INIT, MASKED)
            if K > 3:
                b_x3 = _tap(b_x3, init_ptr, place, p_i - 3 * D, 3, o_d, D, HAS_INIT, MASKED)
            if SILU:
                b_pre = b_bias + b_w0 * b_x0
                if K > 1:
                    b_pre += b_w1 * b_x1
                if K > 2:
                    b_pre += b_w2 * b_x2
                if K > 3:
                    b_pre += b_w3 * b_x3
                b_g = _silu_grad(b_g, b_pre)
            b_g = tl.where(p < L, b_g, 0.0)  # padding rows of x may make the slope a NaN
            b_own = tl.where(p < last, b_g, 0.0)
            b_dw0 += b_own * b_x0
            b_db += b_own
            if K > 1:
                b_dw1 += b_own * b_x1
                b_d1 += b_w1 * (tl.where(place >= 1, b_g, 0.0) if MASKED else b_g)
            if K > 2:
                b_dw2 += b_own * b_x2
                b_d2 += b_w2 * (tl.where(place >= 2, b_g, 0.0) if MASKED else b_g)
            if K > 3:
                b_dw3 += b_own * b_x3
                b_d3 += b_w3 * (tl.where(place >= 3, b_g, 0.0) if MASKED else b_g)
            m_s = _on(o_d, D, (p - 3 >= first) & (p - 3 < last))
            tl.store(dx_ptr + (p - 3) * D + o_d, b_d3.to(dx_ptr.dtype.element_ty), mask=m_s)
            b_d3, b_d2, b_d1 = b_d2, b_d1, b_w0 * b_g
        b_1, b_2, b_3 = b_7, b_6, b_5
        p_t += 4
    p_part = part_ptr + ((i_b * tl.num_programs(1) + i_t) * 5) * D + o_d
    tl.store(p_part, b_dw0, mask=m_d)
    tl.store(p_part + D, b_dw1, mask=m_d)
    tl.store(p_part + 2 * D, b_dw2, mask=m_d)
    tl.store(p_part + 3 * D, b_dw3, mask=m_d)
    tl.store(p_part + 4 * D, b_db, mask=m_d)


@triton.jit
def _load_taps(
    x_ptr, init_ptr, p_t, place, p_init, back, stride_t, o_d, m_d, D, HAS_INIT: tl.constexpr
):
    """x `back` rows before each token, from the initial state where that is earlier."""
    m_x = (place >= back)[:, None] & m_d[None, :]
    p_x = (p_t - back)[:, None] * stride_t + o_d[None, :]
    b_x = tl.load(x_ptr + p_x, mask=m_x, other=0.0).to(tl.float32)
    if HAS_INIT:
        m_i = ((place >= 0) & (place < back))[:, None] & m_d[None, :]
        p_i = (p_init + place - back)[:, None] * D + o_d[None, :]
        b_x += tl.load(init_ptr + p_i, mask=m_i, other=0.0).to(tl.float32)
    return b_x


@triton.jit
def wide_conv1d_kernel(
    x_ptr, w_ptr, bias_ptr, init_ptr, place_ptr, seq_ptr, g_ptr, y_ptr,
    stride_b, stride_t, L, D,
    K: tl.constexpr, SILU: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_INIT: tl.constexpr,
    PACKED: tl.constexpr, BACKWARD: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """y for one tile, or with BACKWARD the gradient of the sum before SiLU, for any K.

    Grid: (d blocks, t blocks, b).
    """
    i_d, i_t, i_b = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    o_d = i_d * BLOCK_D + tl.arange(0, BLOCK_D)
    m_d = o_d < D
    p_t = i_t * BLOCK_T + tl.arange(0, BLOCK_T)
    place = tl.where(p_t < L, p_t, -1)
    i_s = i_b + tl.zeros([BLOCK_T], tl.int64)
    if PACKED:
        place = tl.load(place_ptr + p_t, mask=p_t < L, other=-1)
        i_s = tl.load(seq_ptr + p_t, mask=p_t < L, other=0)
    p_init = i_s * (K - 1) + K - 1
    x_ptr += i_b * stride_b
    b_y = tl.zeros([BLOCK_T, BLOCK_D], tl.float32)
    if HAS_BIAS:
        b_y += tl.load(bias_ptr + o_d, mask=m_d, other=0.0).to(tl.float32)[None, :]
    for back in range(K):
        b_w = tl.load(w_ptr + o_d * K + (K - 1 - back), mask=m_d, other=0.0).to(tl.float32)
        b_y += b_w[None, :] * _load_taps(
            x_ptr, init_ptr, p_t, place, p_init, back, stride_t, o_d, m_d, D, HAS_INIT
        )
    p_y = (i_b * L + p_t)[:, None] * D + o_d[None, :]
    m_y = (p_t < L)[:, None] & m_d[None, :]
    if BACKWARD:
        b_g = tl.load(g_ptr + p_y, mask=m_y, other=0.0).to(tl.float32)
        if SILU:
            b_g = _silu_grad(b_g, b_y)
        b_y = b_g
    elif SILU:
        b_y = b_y * tl.sigmoid(b_y)
    tl.store(y_ptr + p_y, b_y.to(y_ptr.dtype.element_ty), mask=m_y)


@triton.jit
def wide_conv1d_bwd_kernel(
    x_ptr, w_ptr, init_ptr, place_ptr, seq_ptr, g_ptr, dx_ptr, part_ptr,
    stride_b, stride_t, L, D,
    K: tl.constexpr, HAS_INIT: tl.constexpr, PACKED: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """dx and this tile's share of dw and dbias from g, the gradient before SiLU, for any K.

    `part` is (b, t blocks, K + 1, d): taps from the present input backwards, then the bias.
    """
    i_d, i_t, i_b = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    o_d = i_d * BLOCK_D + tl.arange(0, BLOCK_D)
    m_d = o_d < D
    p_t = i_t * BLOCK_T + tl.arange(0, BLOCK_T)
    place = tl.where(p_t < L, p_t, -1)
    i_s = i_b + tl.zeros([BLOCK_T], tl.int64)
    if PACKED:
        place = tl.load(place_ptr + p_t, mask=p_t < L, other=-1)
        i_s = tl.load(seq_ptr + p_t, mask=p_t < L, other=0)
    p_init = i_s * (K - 1) + K - 1
    x_ptr += i_b * stride_b
    p_y = (i_b * L + p_t)[:, None] * D + o_d[None, :]
    b_g = tl.load(g_ptr + p_y, mask=(p_t < L)[:, None] & m_d[None, :], other=0.0)
    b_dx = tl.zeros([BLOCK_T, BLOCK_D], tl.float32)
    p_part = part_ptr + ((i_b * tl.num_programs(1) + i_t) * (K + 1)) * D + o_d
    tl.store(p_part + K * D, tl.sum(b_g, axis=0), mask=m_d)
    for back in range(K):
        b_x = _load_taps(x_ptr, init_ptr, p_t, place, p_init, back, stride_t, o_d, m_d, D, HAS_INIT)
        tl.store(p_part + back * D, tl.sum(b_g * b_x, axis=0), mask=m_d)
        later = p_t + back
        place_later = tl.where(later < L, later, -1)
        if PACKED:
            place_later = tl.load(place_ptr + later, mask=later < L, other=-1)
        m_g = (place_later >= back)[:, None] & m_d[None, :]
        b_w = tl.load(w_ptr + o_d * K + (K - 1 - back), mask=m_d, other=0.0).to(tl.float32)
        b_dx += b_w[None, :] * tl.load(g_ptr + p_y + back * D, mask=m_g, other=0.0)
    m_y = (p_t < L)[:, None] & m_d[None, :]
    tl.store(dx_ptr + p_y, b_dx.to(dx_ptr.dtype.element_ty), mask=m_y)


@triton.jit
def state_grad_kernel(
    x_ptr, w_ptr, bias_ptr, init_ptr, cu_ptr, g_ptr, dinit_ptr,
    stride_b, stride_t, L, D,
    K: tl.constexpr, SILU: tl.constexpr, HAS_BIAS: tl.constexpr, PACKED: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Gradient of the initial state through the first K - 1 outputs. Grid: (d blocks, s)."""
    i_d, i_s = tl.program_id(0), tl.program_id(1).to(tl.int64)
    o_d = i_d * BLOCK_D + tl.arange(0, BLOCK_D)
    m_d = o_d < D
    start, length = i_s * L, i_s * 0 + L
    x_ptr += i_s * stride_b
    if PACKED:
        x_ptr -= i_s * stride_b
        start = tl.load(cu_ptr + i_s).to(tl.int64)
        length = tl.load(cu_ptr + i_s + 1).to(tl.int64) - start
        x_ptr += start * stride_t
    init_ptr += i_s * (K - 1) * D
    for row in range(K - 1):
        b_d = tl.zeros([BLOCK_D], tl.float32)
        for t in range(row + 1):
            m_t = _on(o_d, D, length > t)
            b_g = tl.load(g_ptr + (start + t) * D + o_d, mask=m_t, other=0.0).to(tl.float32)
            if SILU:
                b_pre = tl.zeros([BLOCK_D], tl.float32)
                if HAS_BIAS:
                    b_pre += tl.load(bias_ptr + o_d, mask=m_d, other=0.0).to(tl.float32)
                for k in range(K):
                    b_w = tl.load(w_ptr + o_d * K + k, mask=m_d, other=0.0).to(tl.float32)
                    past = length * 0 + t + k - (K - 1)
                    m_x = _on(o_d, D, (length > t) & (past >= 0))
                    m_i = _on(o_d, D, (length > t) & (past < 0))
                    b_x = tl.load(x_ptr + past * stride_t + o_d, mask=m_x, other=0.0)
                    b_i = tl.load(init_ptr + (past + K - 1) * D + o_d, mask=m_i, other=0.0)
                    b_pre += b_w * (b_x.to(tl.float32) + b_i.to(tl.float32))
                b_g = _silu_grad(b_g, b_pre)
            b_w = tl.load(w_ptr + o_d * K + row - t, mask=m_d, other=0.0).to(tl.float32)
            b_d += b_w * tl.where(m_t, b_g, 0.0)
        p = (i_s * (K - 1) + row) * D + o_d
        tl.store(dinit_ptr + p, b_d.to(dinit_ptr.dtype.element_ty), mask=m_d)


@triton.jit
def causal_conv1d_step_kernel(
    x_ptr, state_ptr, w_ptr, bias_ptr, y_ptr, next_ptr, stride_x, D,
    K: tl.constexpr, SILU: tl.constexpr, HAS_BIAS: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """One output and the state shifted by one row. Grid: (d blocks, b)."""
    i_d, i_b = tl.program_id(0), tl.program_id(1).to(tl.int64)
    o_d = i_d * BLOCK_D + tl.arange(0, BLOCK_D)
    m_d = o_d < D
    p_s = i_b * (K - 1) * D + o_d
    b_x = tl.load(x_ptr + i_b * stride_x + o_d, mask=m_d, other=0.0)
    b_w = tl.load(w_ptr + o_d * K + K - 1, mask=m_d, other=0.0).to(tl.float32)
    b_y = b_w * b_x.to(tl.float32)
    if HAS_BIAS:
        b_y += tl.load(bias_ptr + o_d, mask=m_d, other=0.0).to(tl.float32)
    for k in tl.static_range(K - 1):
        b_s = tl.load(state_ptr + p_s + k * D, mask=m_d, other=0.0)
        b_w = tl.load(w_ptr + o_d * K + k, mask=m_d, other=0.0).to(tl.float32)
        b_y += b_w * b_s.to(tl.float32)
        if k > 0:
            tl.store(next_ptr + p_s + (k - 1) * D, b_s, mask=m_d)
    if K > 1:
        tl.store(next_ptr + p_s + (K - 2) * D, b_x, mask=m_d)
    if SILU:
        b_y = b_y * tl.sigmoid(b_y)
    tl.store(y_ptr + i_b * D + o_d, b_y.to(y_ptr.dtype.element_ty), mask=m_d)
