"""Device code of state_update: the state is read once and the next one written once."""

import triton
import triton.language as tl


@triton.jit
def _softplus(b_dt):
    b_e = tl.exp(-tl.abs(b_dt))
    b_log = tl.where(b_e < 1e-3, b_e * (1.0 - b_e * (0.5 - b_e / 3.0)), tl.log(1.0 + b_e))
    return tl.where(b_dt > 0, b_dt, 0.0) + b_log


@triton.jit
def state_update_kernel(
    state_ptr, next_ptr, x_ptr, dt_ptr, A_ptr, B_ptr, C_ptr, D_ptr, z_ptr, bias_ptr, index_ptr,
    y_ptr,
    stride_x, stride_dt, stride_B, stride_C, stride_z, low, high,
    H: tl.constexpr, G: tl.constexpr, P: tl.constexpr, N: tl.constexpr, TIED: tl.constexpr,
    SOFTPLUS: tl.constexpr, HAS_D: tl.constexpr, D_BY_HEAD: tl.constexpr, HAS_Z: tl.constexpr,
    HAS_BIAS: tl.constexpr, HAS_INDEX: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """BLOCK_P rows of one head's state and their outputs. Grid: (heads · blocks of p · b).

    The next state may take the place of the given one.

    TIED (Mamba-2): dt, its bias and A are one number a head. Otherwise (Mamba) dt and its bias are
    one number a row and A is a matrix, and each of the H heads is a group of channels. A negative
    index is padding: y is 0 there and no state is touched.
    """
    PER: tl.constexpr = (P + BLOCK_P - 1) // BLOCK_P
    i_p, i_b = tl.program_id(0) % (H * PER), (tl.program_id(0) // (H * PER)).to(tl.int64)
    i_h = i_p // PER
    o_p = (i_p % PER) * BLOCK_P + tl.arange(0, BLOCK_P)
    o_n = tl.arange(0, BLOCK_N)
    m_p, m_n = o_p < P, o_n < N
    o_row = i_h * P + o_p
    i_state, m_live = i_b, m_p
    if HAS_INDEX:
        i_state = tl.load(index_ptr + i_b).to(tl.int64)
        m_live = o_p < tl.where(i_state >= 0, P, 0)
        i_state = tl.where(i_state >= 0, i_state, 0)
    m = m_live[:, None] & m_n[None, :]
    p_state = i_state * (H * P * N) + (o_row[:, None] * N + o_n[None, :])
    b_h = tl.load(state_ptr + p_state, mask=m, other=0.0).to(tl.float32)
    b_x = tl.load(x_ptr + i_b * stride_x + o_row, mask=m_p, other=0.0).to(tl.float32)
    p_n = (i_h // (H // G)) * N + o_n
    b_B = tl.load(B_ptr + i_b * stride_B + p_n, mask=m_n, other=0.0).to(tl.float32)
    b_C = tl.load(C_ptr + i_b * stride_C + p_n, mask=m_n, other=0.0).to(tl.float32)
    if TIED:
        b_dt = tl.load(dt_ptr + i_b * stride_dt + i_h + o_p * 0).to(tl.float32)
        if HAS_BIAS:
            b_dt += tl.load(bias_ptr + i_h).to(tl.float32)
    else:
        b_dt = tl.load(dt_ptr + i_b * stride_dt + o_row, mask=m_p, other=0.0).to(tl.float32)
        if HAS_BIAS:
            b_dt += tl.load(bias_ptr + o_row, mask=m_p, other=0.0).to(tl.float32)
    if SOFTPLUS:
        b_dt = _softplus(b_dt)
    b_dt = tl.where(b_dt < low, low, tl.where(b_dt > high, high, b_dt))
    if TIED:
        b_decay = tl.exp(b_dt * tl.load(A_ptr + i_h).to(tl.float32))[:, None]
    else:
        p_A = A_ptr + o_row[:, None] * N + o_n[None, :]
        b_A = tl.load(p_A, mask=m_p[:, None] & m_n[None, :], other=0.0).to(tl.float32)
        b_decay = tl.exp(b_dt[:, None] * b_A)
    b_h = b_h * b_decay + (b_dt * b_x)[:, None] * b_B[None, :]
    tl.store(next_ptr + p_state, b_h.to(next_ptr.dtype.element_ty), mask=m)
    b_y = tl.sum(b_h * b_C[None, :], axis=1)
    if HAS_D:
        p_D = i_h + o_p * 0 if D_BY_HEAD else o_row
        b_y += tl.load(D_ptr + p_D, mask=m_p, other=0.0).to(tl.float32) * b_x
    if HAS_Z:
        b_z = tl.load(z_ptr + i_b * stride_z + o_row, mask=m_p, other=0.0).to(tl.float32)
        b_y = b_y * b_z * tl.sigmoid(b_z)
    if HAS_INDEX:
        b_y = tl.where(m_live, b_y, 0.0)
    tl.store(y_ptr + i_b * (H * P) + o_row, b_y.to(y_ptr.dtype.element_ty), mask=m_p)


@triton.jit
def decay_rate_kernel(log_ptr, rate_ptr, size, BLOCK: tl.constexpr):
    """-exp of BLOCK numbers, in float32. Grid: (blocks,)."""
    o = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    b = tl.load(log_ptr + o, mask=o < size, other=0.0).to(tl.float32)
    tl.store(rate_ptr + o, -tl.exp(b), mask=o < size)
