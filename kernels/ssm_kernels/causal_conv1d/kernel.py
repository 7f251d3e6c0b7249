"""Device code of causal_conv1d: windows of at most four taps roll through registers.

A program owns BLOCK_D channels of BLOCK_T tokens and walks them four rows at a time, so that each
input is read once (and a few rows twice, where two programs meet); `wide_kernel` serves more. With
STAGES above 1, that many steps' rows are on their way to shared memory at a time.
Tokens lie in one row of b·l; `place` is a token's distance from the first of its sequence, counted
by the loop or, packed, read from memory. Sums are float32. Width and stride of the rows are known
to the compiler, which folds them into the loads: an eighth fewer instructions.
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
def sigmoid(x, FAST: tl.constexpr):
    """1 / (1 + exp(-x)), where FAST by two one-instruction approximations (2**-22 and 2**-23).

    They are without the compiler's care for results below 2**-126: three instructions of sixteen.
    """
    x *= -1.4426950408889634
    if FAST:
        return tl.inline_asm_elementwise(
            "{ ex2.approx.ftz.f32 $0, $1; add.f32 $0, $0, 1.0; rcp.approx.ftz.f32 $0, $0; }",
            "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1,
        )  # fmt: skip
    else:
        return 1.0 / (1.0 + tl.exp2(x))


@triton.jit
def silu_grad(b_g, b_pre, FAST: tl.constexpr):
    """b_g times the slope of SiLU at b_pre."""
    b_s = sigmoid(b_pre, FAST)
    return b_g * (b_s * (1.0 + b_pre * (1.0 - b_s)))


@triton.jit
def tile_of(L, D, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr):
    """Channel block, tile of tokens and row of the batch of this program, and tiles in a row.

    All of them share the first axis of the grid: the others end at 65,535.
    """
    i = tl.program_id(0)
    blocks, tiles = tl.cdiv(D, BLOCK_D), tl.cdiv(L, BLOCK_T)
    return i % blocks, (i // blocks) % tiles, (i // blocks // tiles).to(tl.int64), tiles


@triton.jit
def _weight(w_ptr, o_d, m_d, back: tl.constexpr, K: tl.constexpr):
    """The tap that meets the input `back` rows ago; 0 beyond the filter."""
    b_w = tl.zeros(o_d.shape, tl.float32)
    if back < K:
        b_w += tl.load(w_ptr + o_d * K + (K - 1 - back), mask=m_d, other=0.0).to(tl.float32)
    return b_w


@triton.jit
def _row(ptr, p_t, stride, L, o_d, D, EDGE: tl.constexpr):
    """One row in float32; with EDGE, 0 where it lies past the end."""
    m = o_d < D
    if EDGE:
        m = _on(o_d, D, p_t < L)
    return tl.load(ptr + p_t * stride + o_d, mask=m, other=0.0).to(tl.float32)


@triton.jit
def _before(x_ptr, p_t, stride_t, o_d, D):
    """A row before the program's own, 0 before the first of all."""
    return tl.load(x_ptr + p_t * stride_t + o_d, mask=_on(o_d, D, p_t >= 0), other=0.0).to(
        tl.float32
    )


@triton.jit
def _past(
    b_x1, b_x2, b_x3, init_ptr, place_ptr, seq_ptr, i_b, p, L, o_d, D,
    K: tl.constexpr, HAS_INIT: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """A row's place, and the three rows before it as its own sequence sees them."""
    MASKED: tl.constexpr = PACKED or HAS_INIT
    i_s = i_b
    if PACKED:
        i_s = tl.load(seq_ptr + p, mask=p < L, other=0)
    place = _place(place_ptr, p, L, PACKED)
    p_i = (i_s * (K - 1) + K - 1 + place) * D + o_d
    if K > 1:
        b_x1 = _tap(b_x1, init_ptr, place, p_i - D, 1, o_d, D, HAS_INIT, MASKED)
    if K > 2:
        b_x2 = _tap(b_x2, init_ptr, place, p_i - 2 * D, 2, o_d, D, HAS_INIT, MASKED)
    if K > 3:
        b_x3 = _tap(b_x3, init_ptr, place, p_i - 3 * D, 3, o_d, D, HAS_INIT, MASKED)
    return place, b_x1, b_x2, b_x3


@triton.jit
def _sum(b_bias, b_w0, b_w1, b_w2, b_w3, b_x0, b_x1, b_x2, b_x3, K: tl.constexpr):
    b_y = b_bias + b_w0 * b_x0
    if K > 1:
        b_y += b_w1 * b_x1
    if K > 2:
        b_y += b_w2 * b_x2
    if K > 3:
        b_y += b_w3 * b_x3
    return b_y


@triton.jit
def _walk_forward(
    x_ptr, init_ptr, place_ptr, seq_ptr, y_ptr, b_w0, b_w1, b_w2, b_w3, b_bias,
    i_b, p_t, o_d, stride_t, L, D, K: tl.constexpr, SILU: tl.constexpr, HAS_INIT: tl.constexpr,
    PACKED: tl.constexpr, EDGE: tl.constexpr, FAST: tl.constexpr, STAGES: tl.constexpr,
    BLOCK_T: tl.constexpr,
):  # fmt: skip
    """y of BLOCK_T rows. Without EDGE all of them exist and see nothing but rows of x."""
    b_1 = _before(x_ptr, p_t - 1, stride_t, o_d, D)
    b_2 = _before(x_ptr, p_t - 2, stride_t, o_d, D)
    b_3 = _before(x_ptr, p_t - 3, stride_t, o_d, D)
    for _ in tl.range(0, BLOCK_T, 4, num_stages=STAGES):
        b_4 = _row(x_ptr, p_t, stride_t, L, o_d, D, EDGE)
        b_5 = _row(x_ptr, p_t + 1, stride_t, L, o_d, D, EDGE)
        b_6 = _row(x_ptr, p_t + 2, stride_t, L, o_d, D, EDGE)
        b_7 = _row(x_ptr, p_t + 3, stride_t, L, o_d, D, EDGE)
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
            m = o_d < D
            if EDGE:
                m = _on(o_d, D, p < L)
                _, b_x1, b_x2, b_x3 = _past(
                    b_x1, b_x2, b_x3, init_ptr, place_ptr, seq_ptr, i_b, p, L, o_d, D,
                    K, HAS_INIT, PACKED,
                )  # fmt: skip
            b_y = _sum(b_bias, b_w0, b_w1, b_w2, b_w3, b_x0, b_x1, b_x2, b_x3, K)
            if SILU:
                b_y *= sigmoid(b_y, FAST)
            tl.store(y_ptr + p * D + o_d, b_y.to(y_ptr.dtype.element_ty), mask=m)
        b_1, b_2, b_3 = b_7, b_6, b_5
        p_t += 4


@triton.jit
def causal_conv1d_fwd_kernel(
    x_ptr, w_ptr, bias_ptr, init_ptr, place_ptr, seq_ptr, y_ptr, last_ptr,
    stride_b, L, STRIDE_T: tl.constexpr, D: tl.constexpr,
    K: tl.constexpr, SILU: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_INIT: tl.constexpr,
    PACKED: tl.constexpr, FAST: tl.constexpr, LAST: tl.constexpr, STAGES: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """y for BLOCK_T tokens and BLOCK_D channels, K <= 4. Grid: (d blocks · t blocks · b).

    With LAST, where L >= K - 1, also the last K - 1 inputs, (b, K - 1, d).
    """
    i_d, i_t, i_b, tiles = tile_of(L, D, BLOCK_T, BLOCK_D)
    o_d = i_d * BLOCK_D + tl.arange(0, BLOCK_D)
    m_d = o_d < D
    x_ptr += i_b * stride_b
    y_ptr += i_b * L * D
    b_w0, b_w1 = _weight(w_ptr, o_d, m_d, 0, K), _weight(w_ptr, o_d, m_d, 1, K)
    b_w2, b_w3 = _weight(w_ptr, o_d, m_d, 2, K), _weight(w_ptr, o_d, m_d, 3, K)
    b_bias = tl.zeros([BLOCK_D], tl.float32)
    if HAS_BIAS:
        b_bias += tl.load(bias_ptr + o_d, mask=m_d, other=0.0).to(tl.float32)
    p_t = i_t.to(tl.int64) * BLOCK_T
    inner = (p_t + BLOCK_T <= L) & (i_t >= HAS_INIT)  # the state meets the first rows only
    if PACKED:
        _walk_forward(
            x_ptr, init_ptr, place_ptr, seq_ptr, y_ptr, b_w0, b_w1, b_w2, b_w3, b_bias,
            i_b, p_t, o_d, STRIDE_T, L, D, K, SILU, HAS_INIT, PACKED, True, FAST, STAGES, BLOCK_T,
        )  # fmt: skip
    elif inner:
        _walk_forward(
            x_ptr, init_ptr, place_ptr, seq_ptr, y_ptr, b_w0, b_w1, b_w2, b_w3, b_bias,
            i_b, p_t, o_d, STRIDE_T, L, D, K, SILU, HAS_INIT, PACKED, False, FAST, STAGES, BLOCK_T,
        )  # fmt: skip
    else:
        _walk_forward(
            x_ptr, init_ptr, place_ptr, seq_ptr, y_ptr, b_w0, b_w1, b_w2, b_w3, b_bias,
            i_b, p_t, o_d, STRIDE_T, L, D, K, SILU, HAS_INIT, PACKED, True, FAST, STAGES, BLOCK_T,
        )  # fmt: skip
    if LAST:  # known to the compiler, unlike the next
        if i_t == tiles - 1:
            for back in tl.static_range(1, K):
                b_x = tl.load(x_ptr + (p_t * 0 + L - back) * STRIDE_T + o_d, mask=m_d, other=0.0)
                tl.store(last_ptr + (i_b * (K - 1) + K - 1 - back) * D + o_d, b_x, mask=m_d)


@triton.jit
def _backward_step(
    x_ptr, init_ptr, place_ptr, seq_ptr, g_ptr, dx_ptr, b_w0, b_w1, b_w2, b_w3, b_bias,
    b_1, b_2, b_3, b_d1, b_d2, b_d3, b_dw0, b_dw1, b_dw2, b_dw3, b_db,
    i_b, first, p_t, o_d, stride_t, L, D,
    K: tl.constexpr, SILU: tl.constexpr, HAS_INIT: tl.constexpr, PACKED: tl.constexpr,
    EDGE: tl.constexpr, OWN: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """Four rows of the walk, or past the program's own (not OWN) the three that reach back to it.

    dx of a row is stored when the gradients of the three rows after it have been added.
    """
    MASKED: tl.constexpr = EDGE and (PACKED or HAS_INIT)
    b_4 = _row(x_ptr, p_t, stride_t, L, o_d, D, EDGE)
    b_5 = _row(x_ptr, p_t + 1, stride_t, L, o_d, D, EDGE)
    b_6 = _row(x_ptr, p_t + 2, stride_t, L, o_d, D, EDGE)
    b_7 = _row(x_ptr, p_t + 3, stride_t, L, o_d, D, EDGE)
    b_g4 = _row(g_ptr, p_t, D, L, o_d, D, EDGE)
    b_g5 = _row(g_ptr, p_t + 1, D, L, o_d, D, EDGE)
    b_g6 = _row(g_ptr, p_t + 2, D, L, o_d, D, EDGE)
    b_g7 = _row(g_ptr, p_t + 3, D, L, o_d, D, EDGE)
    for i in tl.static_range(4 if OWN else 3):
        if i == 0:
            b_x0, b_x1, b_x2, b_x3, b_g = b_4, b_1, b_2, b_3, b_g4
        elif i == 1:
            b_x0, b_x1, b_x2, b_x3, b_g = b_5, b_4, b_1, b_2, b_g5
        elif i == 2:
            b_x0, b_x1, b_x2, b_x3, b_g = b_6, b_5, b_4, b_1, b_g6
        else:
            b_x0, b_x1, b_x2, b_x3, b_g = b_7, b_6, b_5, b_4, b_g7
        p = p_t + i
        place = p
        if EDGE:
            place, b_x1, b_x2, b_x3 = _past(
                b_x1, b_x2, b_x3, init_ptr, place_ptr, seq_ptr, i_b, p, L, o_d, D,
                K, HAS_INIT, PACKED,
            )  # fmt: skip
        if SILU:
            b_pre = _sum(b_bias, b_w0, b_w1, b_w2, b_w3, b_x0, b_x1, b_x2, b_x3, K)
            b_g = silu_grad(b_g, b_pre, FAST)
            if EDGE:  # beyond the end, an infinite row before it would make the slope a NaN
                b_g = tl.where(p < L, b_g, 0.0)
        if OWN:
            b_dw0 += b_g * b_x0
            b_db += b_g
        if K > 1:
            if OWN:
                b_dw1 += b_g * b_x1
            b_d1 += b_w1 * (tl.where(place >= 1, b_g, 0.0) if MASKED else b_g)
        if K > 2:
            if OWN:
                b_dw2 += b_g * b_x2
            b_d2 += b_w2 * (tl.where(place >= 2, b_g, 0.0) if MASKED else b_g)
        if K > 3:
            if OWN:
                b_dw3 += b_g * b_x3
            b_d3 += b_w3 * (tl.where(place >= 3, b_g, 0.0) if MASKED else b_g)
        m_s = o_d < D
        if EDGE:
            m_s = _on(o_d, D, (p - 3 >= first) & (p - 3 < L))
        elif i < 3:
            m_s = _on(o_d, D, p_t > first)
        tl.store(dx_ptr + (p - 3) * D + o_d, b_d3.to(dx_ptr.dtype.element_ty), mask=m_s)
        b_d3, b_d2, b_d1 = b_d2, b_d1, b_w0 * b_g
    return b_7, b_6, b_5, b_d1, b_d2, b_d3, b_dw0, b_dw1, b_dw2, b_dw3, b_db


@triton.jit
def _walk_backward(
    x_ptr, init_ptr, place_ptr, seq_ptr, g_ptr, dx_ptr, part_ptr,
    b_w0, b_w1, b_w2, b_w3, b_bias, i_b, first, o_d, stride_t, L, D,
    K: tl.constexpr, SILU: tl.constexpr, HAS_INIT: tl.constexpr, PACKED: tl.constexpr,
    EDGE: tl.constexpr, FAST: tl.constexpr, STAGES: tl.constexpr, BLOCK_T: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # fmt: skip
    """dx of BLOCK_T rows and their share of dw and dbias; EDGE as in `_walk_forward`."""
    m_d = o_d < D
    b_dw0, b_dw1 = tl.zeros([BLOCK_D], tl.float32), tl.zeros([BLOCK_D], tl.float32)
    b_dw2, b_dw3 = tl.zeros([BLOCK_D], tl.float32), tl.zeros([BLOCK_D], tl.float32)
    b_db = tl.zeros([BLOCK_D], tl.float32)
    b_d1, b_d2 = tl.zeros([BLOCK_D], tl.float32), tl.zeros([BLOCK_D], tl.float32)
    b_d3 = tl.zeros([BLOCK_D], tl.float32)
    b_1 = _before(x_ptr, first - 1, stride_t, o_d, D)
    b_2 = _before(x_ptr, first - 2, stride_t, o_d, D)
    b_3 = _before(x_ptr, first - 3, stride_t, o_d, D)
    p_t = first
    for _ in tl.range(0, BLOCK_T, 4, num_stages=STAGES):
        b_1, b_2, b_3, b_d1, b_d2, b_d3, b_dw0, b_dw1, b_dw2, b_dw3, b_db = _backward_step(
            x_ptr, init_ptr, place_ptr, seq_ptr, g_ptr, dx_ptr, b_w0, b_w1, b_w2, b_w3, b_bias,
            b_1, b_2, b_3, b_d1, b_d2, b_d3, b_dw0, b_dw1, b_dw2, b_dw3, b_db,
            i_b, first, p_t, o_d, stride_t, L, D, K, SILU, HAS_INIT, PACKED, EDGE, True, FAST,
        )  # fmt: skip
        p_t += 4
    b_1, b_2, b_3, b_d1, b_d2, b_d3, b_dw0, b_dw1, b_dw2, b_dw3, b_db = _backward_step(
        x_ptr, init_ptr, place_ptr, seq_ptr, g_ptr, dx_ptr, b_w0, b_w1, b_w2, b_w3, b_bias,
        b_1, b_2, b_3, b_d1, b_d2, b_d3, b_dw0, b_dw1, b_dw2, b_dw3, b_db,
        i_b, first, p_t, o_d, stride_t, L, D, K, SILU, HAS_INIT, PACKED, True, False, FAST,
    )  # fmt: skip
    p_part = part_ptr + o_d
    tl.store(p_part, b_dw0, mask=m_d)
    if K > 1:
        tl.store(p_part + D, b_dw1, mask=m_d)
    if K > 2:
        tl.store(p_part + 2 * D, b_dw2, mask=m_d)
    if K > 3:
        tl.store(p_part + 3 * D, b_dw3, mask=m_d)
    tl.store(p_part + K * D, b_db, mask=m_d)


@triton.jit
def causal_conv1d_bwd_kernel(
    x_ptr, w_ptr, bias_ptr, init_ptr, place_ptr, seq_ptr, g_ptr, dx_ptr, part_ptr,
    stride_b, L, STRIDE_T: tl.constexpr, D: tl.constexpr,
    K: tl.constexpr, SILU: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_INIT: tl.constexpr,
    PACKED: tl.constexpr, FAST: tl.constexpr, STAGES: tl.constexpr, BLOCK_T: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # fmt: skip
    """dx for BLOCK_T tokens and this program's share of dw and dbias, K <= 4.

    `part` is (b, t blocks, K + 1, d): taps from the present input backwards, then the bias.
    Grid: (d blocks · t blocks · b).
    """
    i_d, i_t, i_b, tiles = tile_of(L, D, BLOCK_T, BLOCK_D)
    o_d = i_d * BLOCK_D + tl.arange(0, BLOCK_D)
    m_d = o_d < D
    x_ptr += i_b * stride_b
    g_ptr += i_b * L * D
    dx_ptr += i_b * L * D
    part_ptr += (i_b * tiles + i_t) * (K + 1) * D
    b_w0, b_w1 = _weight(w_ptr, o_d, m_d, 0, K), _weight(w_ptr, o_d, m_d, 1, K)
    b_w2, b_w3 = _weight(w_ptr, o_d, m_d, 2, K), _weight(w_ptr, o_d, m_d, 3, K)
    b_bias = tl.zeros([BLOCK_D], tl.float32)
    if HAS_BIAS:
        b_bias += tl.load(bias_ptr + o_d, mask=m_d, other=0.0).to(tl.float32)
    first = i_t.to(tl.int64) * BLOCK_T
    inner = (first + BLOCK_T <= L) & (i_t >= HAS_INIT)  # the state meets the first rows only
    if PACKED:
        _walk_backward(
            x_ptr, init_ptr, place_ptr, seq_ptr, g_ptr, dx_ptr, part_ptr,
            b_w0, b_w1, b_w2, b_w3, b_bias, i_b, first, o_d, STRIDE_T, L, D,
            K, SILU, HAS_INIT, PACKED, True, FAST, STAGES, BLOCK_T, BLOCK_D,
        )  # fmt: skip
    elif inner:
        _walk_backward(
            x_ptr, init_ptr, place_ptr, seq_ptr, g_ptr, dx_ptr, part_ptr,
            b_w0, b_w1, b_w2, b_w3, b_bias, i_b, first, o_d, STRIDE_T, L, D,
            K, SILU, HAS_INIT, PACKED, False, FAST, STAGES, BLOCK_T, BLOCK_D,
        )  # fmt: skip
    else:
        _walk_backward(
            x_ptr, init_ptr, place_ptr, seq_ptr, g_ptr, dx_ptr, part_ptr,
            b_w0, b_w1, b_w2, b_w3, b_bias, i_b, first, o_d, STRIDE_T, L, D,
            K, SILU, HAS_INIT, PACKED, True, FAST, STAGES, BLOCK_T, BLOCK_D,
        )  # fmt: skip


@triton.jit
def sum_parts_kernel(
    part_ptr, dw_ptr, db_ptr, rows, D,
    K: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """dw and, with K + 1 programs, dbias: all shares, added in one order.

    Grid: (d blocks, K or K + 1).
    """
    i_d, i_k = tl.program_id(0), tl.program_id(1)
    o_d, o_r = i_d * BLOCK_D + tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_R).to(tl.int64)
    m_d = o_d < D
    b_sum = tl.zeros([BLOCK_R, BLOCK_D], tl.float32)
    for _ in range(0, rows, BLOCK_R):
        p = (o_r * (K + 1) + i_k)[:, None] * D + o_d[None, :]
        b_sum += tl.load(part_ptr + p, mask=(o_r < rows)[:, None] & m_d[None, :], other=0.0)
        o_r += BLOCK_R
    b_sum = tl.sum(b_sum, axis=0)
    if i_k < K:
        p_w = dw_ptr + o_d * K + (K - 1 - i_k)
        tl.store(p_w, b_sum.to(dw_ptr.dtype.element_ty), mask=m_d)
    else:
        tl.store(db_ptr + o_d, b_sum.to(db_ptr.dtype.element_ty), mask=m_d)


@triton.jit
def state_grad_kernel(
    x_ptr, w_ptr, bias_ptr, init_ptr, cu_ptr, g_ptr, dinit_ptr,
    stride_b, stride_t, L, D,
    K: tl.constexpr, SILU: tl.constexpr, HAS_BIAS: tl.constexpr, PACKED: tl.constexpr,
    FAST: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Gradient of the initial state through the first K - 1 outputs. Grid: (d blocks · s)."""
    i_d, _, i_s, _ = tile_of(1, D, 1, BLOCK_D)
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
                b_g = silu_grad(b_g, b_pre, FAST)
            b_w = tl.load(w_ptr + o_d * K + row - t, mask=m_d, other=0.0).to(tl.float32)
            b_d += b_w * tl.where(m_t, b_g, 0.0)
        p = (i_s * (K - 1) + row) * D + o_d
        tl.store(dinit_ptr + p, b_d.to(dinit_ptr.dtype.element_ty), mask=m_d)


@triton.jit
def causal_conv1d_step_kernel(
    x_ptr, state_ptr, w_ptr, bias_ptr, y_ptr, next_ptr, stride_x, D,
    K: tl.constexpr, SILU: tl.constexpr, HAS_BIAS: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """One output and the state shifted by one row. Grid: (d blocks · b)."""
    i_d, _, i_b, _ = tile_of(1, D, 1, BLOCK_D)
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
