"""Device code of the forward pass. Equation numbers are those of the definition."""

import triton
import triton.language as tl

from ssm_kernels.selective_scan.kernel import (
    LANES,
    collect,
    exp2,
    load,
    load_again,
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


@triton.jit(do_not_specialize=["L", "SEG"])
def scan_fwd_kernel(
    x_ptr, dt_ptr, a_ptr, bc_ptr, d_ptr, z_ptr, bias_ptr, y_ptr, acc_ptr,
    start_ptr, state_ptr, end_ptr, sum_ptr, cu_ptr, L, SEG,
    D: tl.constexpr, G: tl.constexpr, N: tl.constexpr, N0: tl.constexpr, PASS: tl.constexpr,
    ZS: tl.constexpr, TILE: tl.constexpr, T: tl.constexpr, S: tl.constexpr,
    PACKED: tl.constexpr, HAS_D: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr,
    SOFTPLUS: tl.constexpr, HAS_START: tl.constexpr, SAVE: tl.constexpr, ENDS_ONLY: tl.constexpr,
    FAST: tl.constexpr,
):  # fmt: skip
    """One segment of one sequence for 32 channels and the states N0 to N0 + PASS.

    Writes y (the pass of the last states) or the sum so far, the last state and, if SAVE, the
    state before every tile. ENDS_ONLY: only the last state and the sum of Δ. T tokens are in
    registers at a time, of which a lane reads and writes T / S, and what the next T need is loaded
    before they are computed. Sizes are constants, so that addresses fold into the loads.
    Grid: (g * block, segment, s), S warps.
    """
    blocks: tl.constexpr = (D // G + LANES - 1) // LANES
    COUNT: tl.constexpr = PASS // S
    OWN: tl.constexpr = T // S
    STEPS: tl.constexpr = TILE // T
    FIRST: tl.constexpr = N0 == 0
    LAST: tl.constexpr = N0 + PASS == N
    WITH_Z: tl.constexpr = HAS_Z and LAST and not ENDS_ONLY
    SIZE: tl.constexpr = x_ptr.dtype.element_ty.primitive_bitwidth // 8
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
    if HAS_D:
        b_D = load(d_ptr + o_d, m_d, FAST).to(tl.float32)
    b_sum = tl.zeros([LANES * S], tl.float32)
    As = ()
    hs = ()
    for n in tl.static_range(COUNT):
        As = As + (load(a_ptr + (o_n + n) * D + o_d, m_d, FAST),)
        b_h = tl.zeros([LANES * S], tl.float32)
        if HAS_START:
            p = start_ptr + (segment * N + o_n + n) * D + o_d
            b_h = load(p, m_d, FAST).to(tl.float32)
        hs = hs + (b_h,)
    token = start + first * TILE
    left = tl.where(m_d, (end - token).to(tl.int32) - part * OWN, 0)
    o_own = token * D + part * OWN * D + o_d
    p_x = x_ptr + o_own
    p_dt = dt_ptr + o_own
    p_y = y_ptr + o_own
    p_acc = p_y
    if not (FIRST and LAST):
        p_acc = acc_ptr + o_own
    p_h = p_acc
    if SAVE:
        p_h = state_ptr + ((first_slot + first) * N + o_n) * D + o_d
    # One lane asks for 32 bytes of x, Δ or z, a tile ahead of their use.
    row = o_t % T
    channel = i_g * (D // G) + tl.minimum(i_d * LANES + o_t // T % 2 * (LANES // 2), D // G - 1)
    q = (token + TILE + row) * D + channel
    p_ahead = (x_ptr + q).to(tl.int64)
    p_ahead = tl.where(o_t // (2 * T) % 4 == 1, (dt_ptr + q).to(tl.int64), p_ahead)
    stride_ahead = tl.zeros([LANES * S], tl.int64) + T * D * SIZE
    p_z = p_x
    if WITH_Z:
        p_z = z_ptr + token * ZS + part * OWN * ZS + o_d
        is_z = o_t // (2 * T) % 4 == 2
        q = (token + TILE + row) * ZS + channel
        p_ahead = tl.where(is_z, (z_ptr + q).to(tl.int64), p_ahead)
        stride_ahead = tl.where(is_z, T * ZS * SIZE, stride_ahead)
    m_ahead = tl.where(m_d, (end - token).to(tl.int32), 0) - row
    p_bc = bc_ptr + (((first_slot + first) * G + i_g) * N + N0) * (2 * TILE)
    if S > 1:
        p_bc += part * 4
    next_xs = rows(p_x, D, left, OWN, FAST)
    next_dts = rows(p_dt, D, left, OWN, FAST)
    if WITH_Z:
        next_zs = rows(p_z, ZS, left, OWN, FAST)
    for i in range(0, (last - first) * STEPS):
        if SAVE:
            if i % STEPS == 0:
                for n in tl.static_range(COUNT):
                    store(p_h + n * D, hs[n], m_d, FAST)
                p_h += N * D
        prefetch(tl.where(m_ahead > TILE, p_ahead, p_x.to(tl.int64)), FAST)
        p_ahead += stride_ahead
        m_ahead -= T
        own_steps = ()
        own_us = ()
        own_ys = ()
        for t in tl.static_range(OWN):
            b_x = next_xs[t].to(tl.float32)
            b_dt = step_size(next_dts[t], b_bias, left, t, HAS_BIAS, SOFTPLUS, FAST)
            own_steps = own_steps + (b_dt,)
            own_us = own_us + (b_dt * b_x,)
            b_y = tl.zeros([LANES * S], tl.float32)
            if ENDS_ONLY:
                b_sum += b_dt
            elif not FIRST:
                b_y = load_again(p_acc + t * D, left > t, FAST)
            elif HAS_D:
                b_y = b_x * b_D
            own_ys = own_ys + (b_y,)
        p_x += T * D
        p_dt += T * D
        next_xs = rows(p_x, D, left - T, OWN, FAST)
        next_dts = rows(p_dt, D, left - T, OWN, FAST)
        if WITH_Z:
            zs = next_zs
            p_z += T * ZS
            next_zs = rows(p_z, ZS, left - T, OWN, FAST)
        steps = spread(own_steps, o_l, T, S, FAST)
        us = spread(own_us, o_l, T, S, FAST)
        ys = own_ys
        if S > 1:
            ys = ()
            for _t in tl.static_range(T):
                ys = ys + (tl.zeros([LANES * S], tl.float32),)
        after = ()
        for n in tl.static_range(COUNT):
            b_h = hs[n]
            Bs = shared(p_bc + n * (2 * TILE * S), T, S, FAST)
            if not ENDS_ONLY:
                Cs = shared(p_bc + (n * 2 + 1) * (TILE * S), T, S, FAST)
            sums = ()
            for t in tl.static_range(T):
                b_a = exp2(steps[t] * As[n], FAST)  # (2)
                b_h = b_a * b_h + us[t] * Bs[t]  # (3), (4)
                if not ENDS_ONLY:
                    sums = sums + (ys[t] + b_h * Cs[t],)  # (5)
            if not ENDS_ONLY:
                ys = sums
            after = after + (b_h,)
        hs = after
        if not ENDS_ONLY:
            ys = collect(ys, o_l, T, S, FAST)
            for t in tl.static_range(OWN):
                b_y = ys[t]
                if S > 1:
                    b_y += own_ys[t]
                if WITH_Z:
                    b_z = zs[t].to(tl.float32)
                    b_y *= b_z * sigmoid(b_z, FAST)  # (6)
                if LAST:
                    store(p_y + t * D, b_y, left > t, FAST)
                else:
                    store(p_acc + t * D, b_y, left > t, FAST)
            p_y += T * D
            p_acc += T * D
        last_step = i % STEPS == STEPS - 1
        p_bc += tl.where(last_step, G * N * (2 * TILE) - (TILE - T) * S, T * S)
        left -= T
    for n in tl.static_range(COUNT):
        store(end_ptr + (segment * N + o_n + n) * D + o_d, hs[n], m_d, FAST)
    if ENDS_ONLY and FIRST:
        store(sum_ptr + segment * D + o_d, total(b_sum, o_l, S, FAST), m_d, FAST)
