"""Device code of gated_rms_norm: one pass over the rows, sums in float32.

A group of `WIDTH` channels is held as two blocks, the largest power of two and the rest, so that
5120 = 4096 + 1024 leaves no lane idle. Backward walks rows with a fixed set of programs and keeps
its share of the weight's gradient in registers: no atomics, the same bits on every run. With STAGES
above 1, the next rows are on their way to shared memory meanwhile.
"""

import triton
import triton.language as tl


@triton.jit
def _load(ptr, p, m):
    return tl.load(ptr + p, mask=m, other=0.0).to(tl.float32)


@triton.jit
def _store(ptr, p, m, b):
    tl.store(ptr + p, b.to(ptr.dtype.element_ty), mask=m)


@triton.jit
def _sigmoid(x, FAST: tl.constexpr):
    """1 / (1 + exp(-x)), where FAST by two one-instruction approximations (2**-22 and 2**-23).

    They are without the compiler's care for results below 2**-126.
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
def _gated(b_x, b_z, HAS_Z: tl.constexpr, NORM_FIRST: tl.constexpr, FAST: tl.constexpr):
    """What is normalised (x, or x · SiLU(z)) and what multiplies afterwards."""
    b_u, b_gate = b_x, tl.full(b_x.shape, 1.0, tl.float32)
    if HAS_Z:
        if NORM_FIRST:
            b_gate = b_z * _sigmoid(b_z, FAST)
        else:
            b_u = b_x * (b_z * tl.sigmoid(b_z))
    return b_u, b_gate


@triton.jit
def gated_rms_norm_fwd_kernel(
    x_ptr, w_ptr, z_ptr, y_ptr, rstd_ptr, stride_x, stride_z, eps,
    D: tl.constexpr, WIDTH: tl.constexpr, HAS_Z: tl.constexpr, NORM_FIRST: tl.constexpr,
    FAST: tl.constexpr, BLOCK_1: tl.constexpr, BLOCK_2: tl.constexpr,
):  # fmt: skip
    """y and 1 / rms for one row and one group. Grid: (rows, groups).

    All of the row is asked for before the first sum, which waits for every warp.
    """
    i_row, i_g = tl.program_id(0).to(tl.int64), tl.program_id(1)
    o_1 = tl.arange(0, BLOCK_1)
    m_1 = o_1 < WIDTH
    o_1 += i_g * WIDTH
    b_1 = _load(x_ptr, i_row * stride_x + o_1, m_1)
    b_z1 = b_1
    if BLOCK_2 > 0:
        o_2 = BLOCK_1 + tl.arange(0, BLOCK_2)
        m_2 = o_2 < WIDTH
        o_2 += i_g * WIDTH
        b_2 = _load(x_ptr, i_row * stride_x + o_2, m_2)
        b_z2 = b_2
    if HAS_Z:
        b_z1 = _load(z_ptr, i_row * stride_z + o_1, m_1)
        if BLOCK_2 > 0:
            b_z2 = _load(z_ptr, i_row * stride_z + o_2, m_2)
    b_1, b_g1 = _gated(b_1, b_z1, HAS_Z, NORM_FIRST, FAST)
    total = tl.sum(b_1 * b_1, axis=0)
    if BLOCK_2 > 0:
        b_2, b_g2 = _gated(b_2, b_z2, HAS_Z, NORM_FIRST, FAST)
        total += tl.sum(b_2 * b_2, axis=0)
    rstd = 1.0 / tl.sqrt(total / WIDTH + eps)  # (1)
    tl.store(rstd_ptr + i_row * tl.num_programs(1) + i_g, rstd)
    b_1 = _load(w_ptr, o_1, m_1) * (b_1 * rstd) * b_g1  # (2), (3)
    _store(y_ptr, i_row * D + o_1, m_1, b_1)
    if BLOCK_2 > 0:
        b_2 = _load(w_ptr, o_2, m_2) * (b_2 * rstd) * b_g2
        _store(y_ptr, i_row * D + o_2, m_2, b_2)


@triton.jit
def _slopes(
    x_ptr, w_ptr, z_ptr, g_ptr, p_x, p_z, p_g, o, m, rstd,
    HAS_Z: tl.constexpr, NORM_FIRST: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """Of one block: x, g · w, σ(z), SiLU(z), normalised u, its gradient, and this row's dw."""
    b_x, b_g, b_w = _load(x_ptr, p_x, m), _load(g_ptr, p_g, m), _load(w_ptr, o, m)
    b_gw = b_g * b_w
    b_sig, b_s, b_n, b_dn = b_x, b_x, b_x * rstd, b_gw
    if HAS_Z:
        b_z = _load(z_ptr, p_z, m)
        b_sig = _sigmoid(b_z, FAST)
        b_s = b_z * b_sig
        if NORM_FIRST:
            b_dn = b_gw * b_s
            b_g = b_g * b_s
        else:
            b_n = b_n * b_s
    return b_x, b_gw, b_sig, b_s, b_n, b_dn, b_g * b_n


@triton.jit
def _finish(
    dx_ptr, dz_ptr, p, m, b_x, b_gw, b_sig, b_s, b_n, b_dn, mean, rstd,
    HAS_Z: tl.constexpr, NORM_FIRST: tl.constexpr,
):  # fmt: skip
    """dx and dz; the slope of SiLU is σ + SiLU · (1 − σ)."""
    b_du = b_dn * rstd - b_n * (mean * rstd)
    if HAS_Z:
        b_slope = b_sig + b_s * (1.0 - b_sig)
        if NORM_FIRST:
            _store(dz_ptr, p, m, b_gw * b_n * b_slope)
        else:
            _store(dz_ptr, p, m, b_du * b_x * b_slope)
            b_du = b_du * b_s
    _store(dx_ptr, p, m, b_du)


@triton.jit
def gated_rms_norm_bwd_kernel(
    x_ptr, w_ptr, z_ptr, g_ptr, rstd_ptr, dx_ptr, dz_ptr, part_ptr, stride_x, stride_z, rows,
    D: tl.constexpr, WIDTH: tl.constexpr, HAS_Z: tl.constexpr, NORM_FIRST: tl.constexpr,
    FAST: tl.constexpr, STAGES: tl.constexpr, BLOCK_1: tl.constexpr, BLOCK_2: tl.constexpr,
):  # fmt: skip
    """dx, dz, and a row of partial dw for every program. Grid: (programs, groups)."""
    i_p, i_g = tl.program_id(0), tl.program_id(1)
    o_1 = tl.arange(0, BLOCK_1)
    m_1 = o_1 < WIDTH
    o_1 += i_g * WIDTH
    b_dw1 = tl.zeros([BLOCK_1], tl.float32)
    if BLOCK_2 > 0:
        o_2 = BLOCK_1 + tl.arange(0, BLOCK_2)
        m_2 = o_2 < WIDTH
        o_2 += i_g * WIDTH
        b_dw2 = tl.zeros([BLOCK_2], tl.float32)
    for i_row in tl.range(i_p, rows, tl.num_programs(0), num_stages=STAGES):
        row = i_p.to(tl.int64) * 0 + i_row
        p_x, p_z, p_g = row * stride_x, row * stride_z, row * D
        rstd = tl.load(rstd_ptr + row * tl.num_programs(1) + i_g)
        b_x1, b_gw1, b_sig1, b_s1, b_n1, b_dn1, b_part = _slopes(
            x_ptr, w_ptr, z_ptr, g_ptr, p_x + o_1, p_z + o_1, p_g + o_1, o_1, m_1, rstd,
            HAS_Z, NORM_FIRST, FAST,
        )  # fmt: skip
        b_dw1 += b_part
        total = tl.sum(b_n1 * b_dn1, axis=0)
        if BLOCK_2 > 0:
            b_x2, b_gw2, b_sig2, b_s2, b_n2, b_dn2, b_part = _slopes(
                x_ptr, w_ptr, z_ptr, g_ptr, p_x + o_2, p_z + o_2, p_g + o_2, o_2, m_2, rstd,
                HAS_Z, NORM_FIRST, FAST,
            )  # fmt: skip
            b_dw2 += b_part
            total += tl.sum(b_n2 * b_dn2, axis=0)
        mean = total / WIDTH
        _finish(
            dx_ptr, dz_ptr, p_g + o_1, m_1, b_x1, b_gw1, b_sig1, b_s1, b_n1, b_dn1, mean, rstd,
            HAS_Z, NORM_FIRST,
        )  # fmt: skip
        if BLOCK_2 > 0:
            _finish(
                dx_ptr, dz_ptr, p_g + o_2, m_2, b_x2, b_gw2, b_sig2, b_s2, b_n2, b_dn2, mean, rstd,
                HAS_Z, NORM_FIRST,
            )  # fmt: skip
    tl.store(part_ptr + i_p.to(tl.int64) * D + o_1, b_dw1, mask=m_1)
    if BLOCK_2 > 0:
        tl.store(part_ptr + i_p.to(tl.int64) * D + o_2, b_dw2, mask=m_2)
