"""Device code of causal_conv1d for more than four taps: shifted tiles, one a tap."""

import triton
import triton.language as tl

from ssm_kernels.causal_conv1d.kernel import sigmoid, silu_grad, tile_of


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
    PACKED: tl.constexpr, FAST: tl.constexpr, BACKWARD: tl.constexpr, BLOCK_T: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # fmt: skip
    """y for one tile, or with BACKWARD the gradient of the sum before SiLU, for any K.

    Grid: (d blocks · t blocks · b).
    """
    i_d, i_t, i_b, _ = tile_of(L, D, BLOCK_T, BLOCK_D)
    i_t = i_t.to(tl.int64)
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
            b_g = silu_grad(b_g, b_y, FAST)
        b_y = b_g
    elif SILU:
        b_y *= sigmoid(b_y, FAST)
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
    i_d, i_t, i_b, tiles = tile_of(L, D, BLOCK_T, BLOCK_D)
    i_t = i_t.to(tl.int64)
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
    p_part = part_ptr + ((i_b * tiles + i_t) * (K + 1)) * D + o_d
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
