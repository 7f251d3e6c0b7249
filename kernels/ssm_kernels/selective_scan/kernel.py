"""Device code of the selective scan. Equation numbers are those of the definition.

Tokens are taken in tiles of T, channels in blocks of BLOCK_D, one state n after another. Inside a
tile a thread owns whole columns: all T tokens of a channel. Eq. (4) is then a chain of T
multiply-adds in registers, with neither shuffles nor shared memory; `split_rows` and `stack_rows`
only rename registers. The state of n waits in memory while other n are served, which for T = 16 is
one load and one store in sixteen steps, and doubles as the checkpoint that the backward pass
recomputes from.

Geometry. Sequence s owns tokens [start, end) of the flat time axis and the tile slots from
`first_slot` on; with `cu_ptr` packed lengths make both irregular. A sequence is cut into segments
of SEG tiles; segment states are joined by `carry_kernel`, so that one long sequence still fills
the device. Scratch arrays have channels innermost: states are (slot or segment, n, d).

Parameters keep their alignment unspecialised so that no load is vectorised along channels: a
vectorised load would hand every thread 8 neighbouring channels and scatter the tokens.
"""

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def exp2(x, FAST: tl.constexpr):
    """2**x, by the one-instruction approximation (relative error 2**-22) where FAST."""
    if FAST:
        return tl.inline_asm_elementwise(
            "ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        return tl.exp2(x)


@triton.jit
def reciprocal(x, FAST: tl.constexpr):
    """1 / x, approximate (2**-23) where FAST."""
    if FAST:
        return tl.inline_asm_elementwise(
            "rcp.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        return 1.0 / x


@triton.jit
def sigmoid(x, FAST: tl.constexpr):
    """1 / (1 + e**-x)."""
    return reciprocal(1.0 + exp2(x * -LOG2E, FAST), FAST)


@triton.jit
def softplus(x, FAST: tl.constexpr):
    """log(1 + e**x), by a series where 1 + e**x would lose e**x."""
    e = exp2(tl.minimum(x, 30.0) * LOG2E, FAST)
    series = e * (1.0 - e * (0.5 - e * (1.0 / 3.0 - e * (0.25 - e * 0.2))))
    soft = tl.where(e < 0.0625, series, tl.log2(1.0 + e) * LN2)
    return tl.where(x < 20.0, soft, x)  # NaN, which minimum() may drop, takes the second branch


@triton.jit
def softplus_slope(soft, FAST: tl.constexpr):
    """Derivative of softplus from its value: 1 - e**-soft."""
    series = soft * (1.0 - soft * (0.5 - soft * (1.0 / 6.0 - soft * (1.0 / 24.0))))
    return tl.where(soft < 0.0625, series, 1.0 - exp2(soft * -LOG2E, FAST))


@triton.jit
def split_rows(x, T: tl.constexpr, BLOCK_D: tl.constexpr):
    """First and second half of the rows of a (T, BLOCK_D) block."""
    return tl.split(tl.permute(tl.reshape(x, (2, T // 2, BLOCK_D)), (1, 2, 0)))


@triton.jit
def stack_rows(x, y, T: tl.constexpr, BLOCK_D: tl.constexpr):
    """The (T, BLOCK_D) block of two halves."""
    return tl.reshape(tl.permute(tl.join(x, y), (2, 0, 1)), (T, BLOCK_D))


@triton.jit
def scan_rows(a, u, h, T: tl.constexpr, BLOCK_D: tl.constexpr):
    """States before and after every row, and the last state.    (4)"""
    if T == 1:
        before = h
        h = a * h + u  # (4)
        after = h
    else:
        a0, a1 = split_rows(a, T, BLOCK_D)
        u0, u1 = split_rows(u, T, BLOCK_D)
        before0, after0, h = scan_rows(a0, u0, h, T // 2, BLOCK_D)
        before1, after1, h = scan_rows(a1, u1, h, T // 2, BLOCK_D)
        before = stack_rows(before0, before1, T, BLOCK_D)
        after = stack_rows(after0, after1, T, BLOCK_D)
    return before, after, h


@triton.jit
def scan_rows_back(a, c, r, T: tl.constexpr, BLOCK_D: tl.constexpr):
    """Adjoints g_t = c_t + r_{t+1}, r_t = a_t g_t of every row, and the first r.    (8)"""
    if T == 1:
        g = c + r  # (8)
        r = a * g
        rs = r
    else:
        a0, a1 = split_rows(a, T, BLOCK_D)
        c0, c1 = split_rows(c, T, BLOCK_D)
        g1, rs1, r = scan_rows_back(a1, c1, r, T // 2, BLOCK_D)
        g0, rs0, r = scan_rows_back(a0, c0, r, T // 2, BLOCK_D)
        g = stack_rows(g0, g1, T, BLOCK_D)
        rs = stack_rows(rs0, rs1, T, BLOCK_D)
    return g, rs, r


@triton.jit
def locate(i_s, cu_ptr, L, T: tl.constexpr, PACKED: tl.constexpr):
    """First token, end and first slot of sequence i_s."""
    if PACKED:
        start = tl.load(cu_ptr + i_s).to(tl.int64)
        end = tl.load(cu_ptr + i_s + 1).to(tl.int64)
        first_slot = start // T + i_s
    else:
        start = i_s * L
        end = start + L
        first_slot = i_s * tl.cdiv(L, T)
    return start, end, first_slot


@triton.jit
def pack_bc_kernel(
    b_ptr, c_ptr, bc_ptr, cu_ptr, L, G, N,
    T: tl.constexpr, BLOCK_N: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """B and C of one tile as (slot, g, n, 2, T) in float32, zero past the end. Grid: (tile, s)."""
    i_t, i_s = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    start, end, first_slot = locate(i_s, cu_ptr, L, T, PACKED)
    p_t = start + i_t * T + tl.arange(0, T)
    if start + i_t * T < end:
        for row in range(0, G * N, BLOCK_N):
            o_n = row + tl.arange(0, BLOCK_N)
            m = (p_t < end)[:, None] & (o_n < G * N)[None, :]
            p = p_t[:, None] * (G * N) + o_n[None, :]
            b_B = tl.load(b_ptr + p, mask=m, other=0.0).to(tl.float32)
            b_C = tl.load(c_ptr + p, mask=m, other=0.0).to(tl.float32)
            q = ((first_slot + i_t) * (G * N) + o_n)[None, :] * (2 * T) + tl.arange(0, T)[:, None]
            m = (o_n < G * N)[None, :] & (tl.arange(0, T) < T)[:, None]
            tl.store(bc_ptr + q, b_B, mask=m)
            tl.store(bc_ptr + q + T, b_C, mask=m)


@triton.jit
def unpack_dbc_kernel(
    dbc_ptr, db_ptr, dc_ptr, cu_ptr, L, G, N, BLOCKS,
    T: tl.constexpr, BLOCK_N: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """dB and dC of one tile: its shares summed over channel blocks. Grid: (tile, s)."""
    i_t, i_s = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    start, end, first_slot = locate(i_s, cu_ptr, L, T, PACKED)
    o_t = tl.arange(0, T)
    p_t = start + i_t * T + o_t
    if start + i_t * T < end:
        for row in range(0, G * N, BLOCK_N):
            o_n = row + tl.arange(0, BLOCK_N)
            m_n = o_n < G * N
            q = ((first_slot + i_t) * G + o_n // N) * BLOCKS * N + o_n % N
            q = q[:, None] * (2 * T) + o_t[None, :]
            m_q = m_n[:, None] & (o_t < T)[None, :]
            b_dB = tl.zeros([BLOCK_N, T], tl.float32)
            b_dC = tl.zeros([BLOCK_N, T], tl.float32)
            for _ in range(BLOCKS):
                b_dB += tl.load(dbc_ptr + q, mask=m_q, other=0.0)
                b_dC += tl.load(dbc_ptr + q + T, mask=m_q, other=0.0)
                q += N * (2 * T)
            p = p_t[None, :] * (G * N) + o_n[:, None]
            m = m_n[:, None] & (p_t < end)[None, :]
            tl.store(db_ptr + p, b_dB.to(db_ptr.dtype.element_ty), mask=m)
            tl.store(dc_ptr + p, b_dC.to(dc_ptr.dtype.element_ty), mask=m)


@triton.jit
def scan_fwd_kernel(
    x_ptr, dt_ptr, a_ptr, bc_ptr, d_ptr, z_ptr, bias_ptr, y_ptr,
    start_ptr, state_ptr, end_ptr, sum_ptr, cu_ptr, L, D, G, N, SEG, ZS,
    T: tl.constexpr, BLOCK_D: tl.constexpr, PACKED: tl.constexpr, HAS_D: tl.constexpr,
    HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, HAS_START: tl.constexpr,
    SAVE: tl.constexpr, ENDS_ONLY: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """One segment of one sequence for one block of channels. Grid: (g * block, segment, s).

    Writes y, the last state and, if SAVE, the state before every tile. ENDS_ONLY: writes only the
    last state and the sum of Δ.
    """
    blocks = tl.cdiv(D // G, BLOCK_D)
    i_g, i_d = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    i_c, i_s = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    start, end, first_slot = locate(i_s, cu_ptr, L, T, PACKED)
    segment = i_s * tl.num_programs(1) + i_c
    first, last = i_c * SEG, tl.minimum(i_c * SEG + SEG, tl.cdiv(end - start, T))
    o_p = i_d * BLOCK_D + tl.arange(0, BLOCK_D)
    m_d = o_p < D // G
    o_d = i_g * (D // G) + o_p
    o_t = tl.arange(0, T)
    o = o_t[:, None] * D + o_d[None, :]
    o_z = o_t[:, None] * ZS + o_d[None, :]
    if HAS_BIAS:
        b_bias = tl.load(bias_ptr + o_d, mask=m_d, other=0.0).to(tl.float32)
    if HAS_D:
        b_D = tl.load(d_ptr + o_d, mask=m_d, other=0.0).to(tl.float32)
    b_sum = tl.zeros([BLOCK_D], tl.float32)
    # The state of every n lies in memory between tiles: in the slot of the coming tile if SAVE,
    # else, and after the last tile, in `end_ptr`.
    p_end = end_ptr + segment * N * D + o_d
    p_h = p_end
    if SAVE and first < last:
        p_h = state_ptr + (first_slot + first) * N * D + o_d
    for n in range(N):
        b_h = tl.zeros([BLOCK_D], tl.float32)
        if HAS_START:
            b_h = tl.load(start_ptr + (segment * N + n) * D + o_d, mask=m_d, other=0.0)
        tl.store(p_h + n * D, b_h, mask=m_d)
    tl.debug_barrier()
    for i_t in range(first, last):
        p = (start + i_t * T) * D
        m = (o_t < end - start - i_t * T)[:, None] & m_d[None, :]
        b_x = tl.load(x_ptr + p + o, mask=m, other=0.0).to(tl.float32)
        b_dt = tl.load(dt_ptr + p + o, mask=m, other=0.0).to(tl.float32)
        if HAS_BIAS:
            b_dt += b_bias[None, :]
        if SOFTPLUS:
            b_dt = softplus(b_dt, FAST)  # (1)
        b_dt = tl.where(m, b_dt, 0.0)  # past the end Ā = 1 and nothing is written
        b_u = b_dt * b_x
        b_y = tl.zeros([T, BLOCK_D], tl.float32)
        if HAS_D:
            b_y += b_x * b_D[None, :]
        if ENDS_ONLY:
            b_sum += tl.sum(b_dt, axis=0)
        p_next = p_h
        if SAVE:
            p_next = p_end
            if i_t + 1 < last:
                p_next = p_h + N * D
        p_n = p_h
        p_a = a_ptr + o_d
        p_bc = bc_ptr + ((first_slot + i_t) * G + i_g) * N * (2 * T)
        # What the next n needs is loaded before this n is computed: stores, which may alias as far
        # as the compiler knows, keep it from doing so itself.
        b_A1 = tl.load(p_a, mask=m_d, other=0.0)
        b_h1 = tl.load(p_n, mask=m_d, other=0.0)
        b_B1 = tl.load(p_bc + o_t)
        b_C1 = tl.load(p_bc + T + o_t)
        for n in range(N):
            b_A, b_h, b_B, b_C = b_A1, b_h1, b_B1, b_C1
            step = tl.where(n + 1 < N, 1, 0)
            p_a += step * D
            p_n += step * D
            p_bc += step * 2 * T
            b_A1 = tl.load(p_a, mask=m_d, other=0.0)
            b_h1 = tl.load(p_n, mask=m_d, other=0.0)
            b_B1 = tl.load(p_bc + o_t)
            b_C1 = tl.load(p_bc + T + o_t)
            b_a = exp2(b_dt * b_A[None, :], FAST)  # (2)
            b_b = b_u * b_B[:, None]  # (3)
            _, b_hs, b_h = scan_rows(b_a, b_b, b_h[None, :], T, BLOCK_D)  # (4)
            if not ENDS_ONLY:
                b_y += b_hs * b_C[:, None]  # (5)
            tl.store(p_next, tl.reshape(b_h, (BLOCK_D,)), mask=m_d)
            p_next += D
        if not ENDS_ONLY:
            if HAS_Z:
                b_z = tl.load(z_ptr + (start + i_t * T) * ZS + o_z, mask=m, other=0.0).to(
                    tl.float32
                )
                b_y *= b_z * sigmoid(b_z, FAST)  # (6)
            tl.store(y_ptr + p + o, b_y.to(y_ptr.dtype.element_ty), mask=m)
        if SAVE:
            p_h += N * D
        tl.debug_barrier()
    if ENDS_ONLY:
        tl.store(sum_ptr + segment * D + o_d, b_sum, mask=m_d)


@triton.jit
def carry_kernel(
    a_ptr, sum_ptr, local_ptr, edge_ptr, out_ptr, last_ptr, D, N, C,
    BLOCK_D: tl.constexpr, REVERSE: tl.constexpr, HAS_EDGE: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """Join segments: what enters each of them, and what leaves the last.    (7)

    Forward, `edge_ptr` is the first state and `last_ptr` the last one; REVERSE runs from the end
    on adjoints. Grid: (block, n, s).
    """
    o_d = tl.program_id(0) * BLOCK_D + tl.arange(0, BLOCK_D)
    i_n, i_s = tl.program_id(1), tl.program_id(2).to(tl.int64)
    m_d = o_d < D
    b_A = tl.load(a_ptr + i_n * D + o_d, mask=m_d, other=0.0)
    b_h = tl.zeros([BLOCK_D], tl.float32)
    if HAS_EDGE:
        b_h = tl.load(edge_ptr + (i_s * N + i_n) * D + o_d, mask=m_d, other=0.0)
    for i in range(C):
        segment = i_s * C + i
        if REVERSE:
            segment = i_s * C + C - 1 - i
        p = (segment * N + i_n) * D + o_d
        tl.store(out_ptr + p, b_h, mask=m_d)
        b_sum = tl.load(sum_ptr + segment * D + o_d, mask=m_d, other=0.0)
        b_local = tl.load(local_ptr + p, mask=m_d, other=0.0)
        b_h = exp2(b_sum * b_A, FAST) * b_h + b_local  # (7)
    tl.store(last_ptr + (i_s * N + i_n) * D + o_d, b_h, mask=m_d)


@triton.jit
def adjoint_ends_kernel(
    dt_ptr, a_ptr, bc_ptr, z_ptr, bias_ptr, dy_ptr, r_ptr, sum_ptr, cu_ptr, L, D, G, N, SEG, ZS,
    T: tl.constexpr, BLOCK_D: tl.constexpr, PACKED: tl.constexpr, HAS_Z: tl.constexpr,
    HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """What each segment alone sends to the past: Eq. (8) from zero. Grid as `scan_fwd_kernel`."""
    blocks = tl.cdiv(D // G, BLOCK_D)
    i_g, i_d = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    i_c, i_s = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    start, end, first_slot = locate(i_s, cu_ptr, L, T, PACKED)
    segment = i_s * tl.num_programs(1) + i_c
    first, last = i_c * SEG, tl.minimum(i_c * SEG + SEG, tl.cdiv(end - start, T))
    o_p = i_d * BLOCK_D + tl.arange(0, BLOCK_D)
    m_d = o_p < D // G
    o_d = i_g * (D // G) + o_p
    o_t = tl.arange(0, T)
    o = o_t[:, None] * D + o_d[None, :]
    o_z = o_t[:, None] * ZS + o_d[None, :]
    if HAS_BIAS:
        b_bias = tl.load(bias_ptr + o_d, mask=m_d, other=0.0).to(tl.float32)
    b_sum = tl.zeros([BLOCK_D], tl.float32)
    p_r = r_ptr + segment * N * D + o_d
    for n in range(N):
        tl.store(p_r + n * D, tl.zeros([BLOCK_D], tl.float32), mask=m_d)
    tl.debug_barrier()
    for i in range(first, last):
        i_t = last - 1 - (i - first)
        p = (start + i_t * T) * D
        m = (o_t < end - start - i_t * T)[:, None] & m_d[None, :]
        b_dt = tl.load(dt_ptr + p + o, mask=m, other=0.0).to(tl.float32)
        if HAS_BIAS:
            b_dt += b_bias[None, :]
        if SOFTPLUS:
            b_dt = softplus(b_dt, FAST)  # (1)
        b_dt = tl.where(m, b_dt, 0.0)
        b_sum += tl.sum(b_dt, axis=0)
        b_gy = tl.load(dy_ptr + p + o, mask=m, other=0.0).to(tl.float32)
        if HAS_Z:
            b_z = tl.load(z_ptr + (start + i_t * T) * ZS + o_z, mask=m, other=0.0).to(tl.float32)
            b_gy *= b_z * sigmoid(b_z, FAST)
        p_bc = bc_ptr + ((first_slot + i_t) * G + i_g) * N * (2 * T) + T
        p_n = p_r
        p_a = a_ptr + o_d
        for _ in range(N):
            b_A = tl.load(p_a, mask=m_d, other=0.0)
            b_r = tl.load(p_n, mask=m_d, other=0.0)
            b_C = tl.load(p_bc + o_t)
            b_a = exp2(b_dt * b_A[None, :], FAST)
            _, _, b_r = scan_rows_back(b_a, b_gy * b_C[:, None], b_r[None, :], T, BLOCK_D)  # (8)
            tl.store(p_n, tl.reshape(b_r, (BLOCK_D,)), mask=m_d)
            p_a += D
            p_n += D
            p_bc += 2 * T
        tl.debug_barrier()
    tl.store(sum_ptr + segment * D + o_d, b_sum, mask=m_d)


@triton.jit
def sum_channels(x, T: tl.constexpr, BLOCK_D: tl.constexpr, BY_DOT: tl.constexpr):
    """Row sums of (T, BLOCK_D), in every row of (16, T).

    BY_DOT uses the tensor cores: x is split into two bf16 terms, so 16 bits of it are kept.
    """
    if BY_DOT:
        ones = tl.full([16, BLOCK_D], 1.0, tl.bfloat16)
        high = x.to(tl.bfloat16)
        low = (x - high.to(tl.float32)).to(tl.bfloat16)
        return tl.dot(ones, tl.trans(low), tl.dot(ones, tl.trans(high)))
    else:
        return tl.sum(x, axis=1)[None, :] + tl.zeros([16, T], tl.float32)


@triton.jit
def scan_bwd_kernel(
    x_ptr, dt_ptr, a_ptr, bc_ptr, d_ptr, z_ptr, bias_ptr, dy_ptr, state_ptr,
    dx_ptr, ddt_ptr, dz_ptr, dbc_ptr, r_ptr, da_ptr, dd_ptr, dbias_ptr, cu_ptr, L, D, G, N, SEG, ZS,
    T: tl.constexpr, BLOCK_D: tl.constexpr, PACKED: tl.constexpr, HAS_D: tl.constexpr,
    HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, BY_DOT: tl.constexpr,
    FAST: tl.constexpr,
):  # fmt: skip
    """All gradients of one segment for one block of channels, tiles last to first.

    `r_ptr` holds what flows in from the future, and in the end what flows to the past; `dbc_ptr`
    gets this block's share of dB and dC as (slot, g, block, n, 2, T), `da_ptr`, `dd_ptr` and
    `dbias_ptr` this segment's share of dA, dD and the bias. No share has two
    writers, so sums come out the same every time. Grid as `scan_fwd_kernel`.
    """
    blocks = tl.cdiv(D // G, BLOCK_D)
    i_g, i_d = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    i_c, i_s = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    start, end, first_slot = locate(i_s, cu_ptr, L, T, PACKED)
    segment = i_s * tl.num_programs(1) + i_c
    first, last = i_c * SEG, tl.minimum(i_c * SEG + SEG, tl.cdiv(end - start, T))
    o_p = i_d * BLOCK_D + tl.arange(0, BLOCK_D)
    m_d = o_p < D // G
    o_d = i_g * (D // G) + o_p
    o_t, o_16 = tl.arange(0, T), tl.arange(0, 16)
    o = o_t[:, None] * D + o_d[None, :]
    o_z = o_t[:, None] * ZS + o_d[None, :]
    m_16 = (o_16 == 0)[:, None] & (tl.arange(0, 2 * T) < 2 * T)[None, :]
    if HAS_BIAS:
        b_bias = tl.load(bias_ptr + o_d, mask=m_d, other=0.0).to(tl.float32)
    if HAS_D:
        b_D = tl.load(d_ptr + o_d, mask=m_d, other=0.0).to(tl.float32)
    b_dD = tl.zeros([BLOCK_D], tl.float32)
    b_dbias = tl.zeros([BLOCK_D], tl.float32)
    for n in range(N):
        tl.store(da_ptr + (segment * N + n) * D + o_d, tl.zeros([BLOCK_D], tl.float32), mask=m_d)
    tl.debug_barrier()
    for i in range(first, last):
        i_t = last - 1 - (i - first)
        p = (start + i_t * T) * D
        m = (o_t < end - start - i_t * T)[:, None] & m_d[None, :]
        b_x = tl.load(x_ptr + p + o, mask=m, other=0.0).to(tl.float32)
        b_dt = tl.load(dt_ptr + p + o, mask=m, other=0.0).to(tl.float32)
        if HAS_BIAS:
            b_dt += b_bias[None, :]
        if SOFTPLUS:
            b_dt = softplus(b_dt, FAST)  # (1)
        b_dt = tl.where(m, b_dt, 0.0)
        b_u = b_dt * b_x
        b_gy = tl.load(dy_ptr + p + o, mask=m, other=0.0).to(tl.float32)
        b_y = tl.zeros([T, BLOCK_D], tl.float32)
        if HAS_Z:
            b_z = tl.load(z_ptr + (start + i_t * T) * ZS + o_z, mask=m, other=0.0).to(tl.float32)
            b_gy *= b_z * sigmoid(b_z, FAST)
        b_du = tl.zeros([T, BLOCK_D], tl.float32)
        b_ddt = tl.zeros([T, BLOCK_D], tl.float32)
        p_a = a_ptr + o_d
        p_h = state_ptr + (first_slot + i_t) * N * D + o_d
        p_r = r_ptr + segment * N * D + o_d
        p_da = da_ptr + segment * N * D + o_d
        p_bc = bc_ptr + ((first_slot + i_t) * G + i_g) * N * (2 * T)
        p_dbc = dbc_ptr + (((first_slot + i_t) * G + i_g) * blocks + i_d) * N * (2 * T)
        for _ in range(N):
            b_A = tl.load(p_a, mask=m_d, other=0.0)
            b_h = tl.load(p_h, mask=m_d, other=0.0)
            b_r = tl.load(p_r, mask=m_d, other=0.0)
            b_dA = tl.load(p_da, mask=m_d, other=0.0)
            b_B = tl.load(p_bc + o_t)
            b_C = tl.load(p_bc + T + o_t)
            b_a = exp2(b_dt * b_A[None, :], FAST)  # (2)
            b_before, b_hs, _ = scan_rows(b_a, b_u * b_B[:, None], b_h[None, :], T, BLOCK_D)  # (4)
            b_g, b_rs, b_r = scan_rows_back(
                b_a, b_gy * b_C[:, None], b_r[None, :], T, BLOCK_D
            )  # (8)
            b_dlog = b_rs * b_before  # gradient of Δ_t A
            b_du += b_g * b_B[:, None]
            b_ddt += b_dlog * b_A[None, :]
            if HAS_Z:
                b_y += b_hs * b_C[:, None]  # (5)
            tl.store(p_r, tl.reshape(b_r, (BLOCK_D,)), mask=m_d)
            tl.store(p_da, b_dA + tl.sum(b_dlog * b_dt, axis=0), mask=m_d)
            b_dBC = stack_rows(b_g * b_u, b_gy * b_hs, 2 * T, BLOCK_D)
            b_dBC = sum_channels(b_dBC, 2 * T, BLOCK_D, BY_DOT)
            tl.store(p_dbc + 0 * o_16[:, None] + tl.arange(0, 2 * T)[None, :], b_dBC, mask=m_16)
            p_a += D
            p_h += D
            p_r += D
            p_da += D
            p_bc += 2 * T
            p_dbc += 2 * T
        # Loaded again rather than kept: registers are what limits this loop.
        b_x = tl.load(x_ptr + p + o, mask=m, other=0.0).to(tl.float32)
        b_dx = b_du * b_dt
        if HAS_D:
            b_dx += b_gy * b_D[None, :]
            b_dD += tl.sum(b_gy * b_x, axis=0)
        b_ddt = b_du * b_x + b_ddt * LN2
        if SOFTPLUS:
            b_ddt *= softplus_slope(b_dt, FAST)
        b_dbias += tl.sum(b_ddt, axis=0)
        tl.store(dx_ptr + p + o, b_dx.to(dx_ptr.dtype.element_ty), mask=m)
        tl.store(ddt_ptr + p + o, b_ddt.to(ddt_ptr.dtype.element_ty), mask=m)
        if HAS_Z:
            if HAS_D:
                b_y += b_x * b_D[None, :]
            b_z = tl.load(z_ptr + (start + i_t * T) * ZS + o_z, mask=m, other=0.0).to(tl.float32)
            b_sig = sigmoid(b_z, FAST)
            b_dz = tl.load(dy_ptr + p + o, mask=m, other=0.0).to(tl.float32)
            b_dz *= b_y * b_sig * (1.0 + b_z * (1.0 - b_sig))
            tl.store(dz_ptr + p + o, b_dz.to(dz_ptr.dtype.element_ty), mask=m)
        tl.debug_barrier()
    if HAS_D:
        tl.store(dd_ptr + segment * D + o_d, b_dD, mask=m_d)
    if HAS_BIAS:
        tl.store(dbias_ptr + segment * D + o_d, b_dbias, mask=m_d)
