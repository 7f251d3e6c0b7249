"""Device code that joins segments. Equation numbers are those of the definition."""

import triton
import triton.language as tl

from ssm_kernels.selective_scan.kernel import (
    LANES,
    exp2,
    load,
    locate,
    prefetch,
    rows,
    shared,
    sigmoid,
    spread,
    step_size,
    store,
    total,
)  # fmt: skip


@triton.jit(do_not_specialize=["C"])
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


@triton.jit(do_not_specialize=["L", "SEG"])
def adjoint_ends_kernel(
    dt_ptr, a_ptr, bc_ptr, z_ptr, bias_ptr, dy_ptr, r_ptr, sum_ptr, cu_ptr, L, SEG,
    D: tl.constexpr, G: tl.constexpr, N: tl.constexpr, N0: tl.constexpr, PASS: tl.constexpr,
    ZS: tl.constexpr, TILE: tl.constexpr, T: tl.constexpr, S: tl.constexpr,
    PACKED: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr,
    FAST: tl.constexpr,
):  # fmt: skip
    """What each segment alone sends to the past, Eq. (8) from zero, and its sum of Δ.

    For 32 channels and the states N0 to N0 + PASS, as `scan_fwd_kernel` does it, but from the last
    token to the first. Grid: (g * block, segment, s), S warps.
    """
    blocks: tl.constexpr = (D // G + LANES - 1) // LANES
    COUNT: tl.constexpr = PASS // S
    OWN: tl.constexpr = T // S
    STEPS: tl.constexpr = TILE // T
    SIZE: tl.constexpr = dt_ptr.dtype.element_ty.primitive_bitwidth // 8
    i_g, i_d = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    i_c, i_s = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    start, end, first_slot = locate(i_s, cu_ptr, L, TILE, PACKED)
    segment = i_s * tl.num_programs(1) + i_c
    first, last = i_c * SEG, tl.minimum(i_c * SEG + SEG, tl.cdiv(end - start, TILE))
    o_t = tl.arange(0, LANES * S)
    o_l = o_t % LANES
    part = o_l // (LANES // S)
    o_p = i_d * LANES + o_t // LANES * (LANES // S) + o_l % (LANES // S)
    m_d = o_p < D // G
    o_d = i_g * (D // G) + o_p
    o_n = N0 + part * COUNT
    b_bias = tl.zeros([LANES * S], tl.float32)
    if HAS_BIAS:
        b_bias = load(bias_ptr + o_d, m_d, FAST).to(tl.float32)
    b_sum = tl.zeros([LANES * S], tl.float32)
    As = ()
    rs = ()
    for n in tl.static_range(COUNT):
        As = As + (load(a_ptr + (o_n + n) * D + o_d, m_d, FAST),)
        rs = rs + (tl.zeros([LANES * S], tl.float32),)
    # The last T tokens; a segment without any starts where nothing is read.
    tiles = last - first
    token = tl.where(tiles > 0, start + last * TILE - T, start)
    tile = tl.where(tiles > 0, last - 1, 0)
    # Rises towards the first token: what is not there must stay below zero.
    left = tl.where(m_d & (tiles > 0), (end - token).to(tl.int32) - part * OWN, -(2**30))
    o_own = token * D + part * OWN * D + o_d
    p_dt = dt_ptr + o_own
    p_dy = dy_ptr + o_own
    # One lane asks for 32 bytes of Δ, dy or z, a tile ahead of their use.
    row = o_t % T
    channel = i_g * (D // G) + tl.minimum(i_d * LANES + o_t // T % 2 * (LANES // 2), D // G - 1)
    q = (token - TILE + row) * D + channel
    p_ahead = (dt_ptr + q).to(tl.int64)
    p_ahead = tl.where(o_t // (2 * T) % 4 == 1, (dy_ptr + q).to(tl.int64), p_ahead)
    stride_ahead = tl.zeros([LANES * S], tl.int64) + T * D * SIZE
    if HAS_Z:
        p_z = z_ptr + token * ZS + part * OWN * ZS + o_d
        is_z = o_t // (2 * T) % 4 == 2
        q = (token - TILE + row) * ZS + channel
        p_ahead = tl.where(is_z, (z_ptr + q).to(tl.int64), p_ahead)
        stride_ahead = tl.where(is_z, T * ZS * SIZE, stride_ahead)
    p_c = bc_ptr + (((first_slot + tile) * G + i_g) * N + N0) * (2 * TILE) + (2 * TILE - T) * S
    if S > 1:
        p_c += part * 4
    next_dts = rows(p_dt, D, left, OWN, FAST)
    next_dys = rows(p_dy, D, left, OWN, FAST)
    if HAS_Z:
        next_zs = rows(p_z, ZS, left, OWN, FAST)
    for i in range(0, tiles * STEPS):
        # Nothing before the segment is asked for.
        m_ahead = i < (tiles - 1) * STEPS
        prefetch(tl.where(m_ahead, p_ahead, p_dt.to(tl.int64)), FAST)
        p_ahead -= stride_ahead
        own_steps = ()
        own_gys = ()
        for t in tl.static_range(OWN):
            b_dt = step_size(next_dts[t], b_bias, left, t, HAS_BIAS, SOFTPLUS, FAST)
            b_sum += b_dt
            b_gy = next_dys[t].to(tl.float32)
            if HAS_Z:
                b_z = next_zs[t].to(tl.float32)
                b_gy *= b_z * sigmoid(b_z, FAST)
            own_steps = own_steps + (b_dt,)
            own_gys = own_gys + (b_gy,)
        back = tl.where(i < tiles * STEPS - 1, T, 0)
        p_dt -= back * D
        p_dy -= back * D
        left += back
        next_dts = rows(p_dt, D, left, OWN, FAST)
        next_dys = rows(p_dy, D, left, OWN, FAST)
        if HAS_Z:
            p_z -= back * ZS
            next_zs = rows(p_z, ZS, left, OWN, FAST)
        steps = spread(own_steps, o_l, T, S, FAST)
        gys = spread(own_gys, o_l, T, S, FAST)
        after = ()
        for n in tl.static_range(COUNT):
            b_r = rs[n]
            Cs = shared(p_c + n * (2 * TILE * S), T, S, FAST)
            for t in tl.static_range(T):
                b_a = exp2(steps[T - 1 - t] * As[n], FAST)  # (2)
                b_r = b_a * (gys[T - 1 - t] * Cs[T - 1 - t] + b_r)  # (8)
            after = after + (b_r,)
        rs = after
        last_step = i % STEPS == STEPS - 1
        p_c -= tl.where(last_step, G * N * (2 * TILE) - (TILE - T) * S, T * S)
    for n in tl.static_range(COUNT):
        store(r_ptr + (segment * N + o_n + n) * D + o_d, rs[n], m_d, FAST)
    if N0 == 0:
        store(sum_ptr + segment * D + o_d, total(b_sum, o_l, S, FAST), m_d, FAST)
