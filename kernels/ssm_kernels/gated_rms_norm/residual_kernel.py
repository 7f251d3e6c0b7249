"""Device code of add_rms_norm: a branch's output added to the residual, and the sum normalised.

Rows lie one after another. A row is one block of BLOCK channels, the next power of two: models are
at most a few thousand channels wide. Backward walks rows with a fixed set of programs and keeps its
share of the weight's gradient in registers, as the gated norm does.
"""

import triton
import triton.language as tl


@triton.jit
def add_rms_norm_fwd_kernel(
    x_ptr, y_ptr, w_ptr, sum_ptr, out_ptr, rstd_ptr, eps,
    D: tl.constexpr, HAS_Y: tl.constexpr, SAVE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """x + y, w · (x + y) / rms(x + y), and with SAVE 1 / rms, for one row. Grid: (rows,)."""
    i_row = tl.program_id(0).to(tl.int64)
    o_d = tl.arange(0, BLOCK)
    m_d = o_d < D
    p = i_row * D + o_d
    b_x = tl.load(x_ptr + p, mask=m_d, other=0.0).to(tl.float32)
    if HAS_Y:
        b_x += tl.load(y_ptr + p, mask=m_d, other=0.0).to(tl.float32)
        b_s = b_x.to(sum_ptr.dtype.element_ty)
        tl.store(sum_ptr + p, b_s, mask=m_d)
        b_x = b_s.to(tl.float32)
    b_w = tl.load(w_ptr + o_d, mask=m_d, other=0.0).to(tl.float32)
    rstd = 1.0 / tl.sqrt(tl.sum(b_x * b_x, axis=0) / D + eps)  # (1)
    if SAVE:
        tl.store(rstd_ptr + i_row, rstd)
    b_x = b_x * b_w * rstd  # (1)
    tl.store(out_ptr + p, b_x.to(out_ptr.dtype.element_ty), mask=m_d)


@triton.jit
def add_rms_norm_bwd_kernel(
    sum_ptr, w_ptr, rstd_ptr, gs_ptr, go_ptr, dx_ptr, dy_ptr, part_ptr, rows,
    D: tl.constexpr, HAS_GS: tl.constexpr, HAS_Y: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradient of the sum, as dx and, rounded to the dtype of y, as dy; a row of partial dw for
    every program. Grid: (programs,)."""
    i_p = tl.program_id(0)
    o_d = tl.arange(0, BLOCK)
    m_d = o_d < D
    b_w = tl.load(w_ptr + o_d, mask=m_d, other=0.0).to(tl.float32)
    b_dw = tl.zeros([BLOCK], tl.float32)
    for i_row in range(i_p, rows, tl.num_programs(0)):
        row = i_p.to(tl.int64) * 0 + i_row
        p = row * D + o_d
        rstd = tl.load(rstd_ptr + row)
        b_n = tl.load(sum_ptr + p, mask=m_d, other=0.0).to(tl.float32) * rstd
        b_g = tl.load(go_ptr + p, mask=m_d, other=0.0).to(tl.float32)
        b_dw += b_g * b_n
        b_g = b_g * b_w
        b_dx = (b_g - b_n * (tl.sum(b_g * b_n, axis=0) / D)) * rstd  # (2)
        if HAS_GS:
            b_dx += tl.load(gs_ptr + p, mask=m_d, other=0.0).to(tl.float32)
        tl.store(dx_ptr + p, b_dx.to(dx_ptr.dtype.element_ty), mask=m_d)
        if HAS_Y:
            tl.store(dy_ptr + p, b_dx.to(dy_ptr.dtype.element_ty), mask=m_d)
    tl.store(part_ptr + i_p.to(tl.int64) * D + o_d, b_dw, mask=m_d)
