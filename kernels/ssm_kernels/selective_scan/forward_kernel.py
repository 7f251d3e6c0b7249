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
)  # fmt: skip


@triton.jit(do_not_specialize=["L", "SEG"])
def scan_fwd_kernel(
    x_ptr, dt_ptr, a_ptr, bc_ptr, d_ptr, z_ptr, bias_ptr, y_ptr, acc_ptr,
    start_ptr, state_ptr, end_ptr, cu_ptr, L, SEG,
    D: tl.constexpr, G: tl.constexpr, N: tl.constexpr, N0: tl.constexpr, PASS: tl.constexpr,
    ZS: tl.constexpr, TILE: tl.constexpr, T: tl.constexpr, S: tl.constexpr, K: tl.constexpr,
    PACKED: tl.constexpr, HAS_D: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr,
    SOFTPLUS: tl.constexpr, HAS_START: tl.constexpr, SAVE: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """One segment of one sequence for 32 channels and the states N0 to N0 + PASS.

    A lane holds K neighbouring channels, so that what it loads of B and C serves K of them.
    Writes y (the pass of the last states) or the sum so far, the last state and, if SAVE, the
    state before every tile. T tokens are in registers at a time, of which a lane reads and writes
    T / S, and what the next T need is loaded before they are computed. Sizes are constants, so that
    addresses fold into the loads.
    Grid: (g * block, segment, s), S / K warps.
    """
    blocks: tl.constexpr = (D // G + LANES - 1) // LANES
    COUNT: tl.constexpr = PASS // S
    OWN: tl.constexpr = T // S
    STEPS: tl.constexpr = TILE // T
    WIDTH: tl.constexpr = LANES * S // K  # threads
    FIRST: tl.constexpr = N0 == 0
    LAST: tl.constexpr = N0 + PASS == N
    WITH_Z: tl.constexpr = HAS_Z and LAST
    SIZE: tl.constexpr = x_ptr.dtype.element_ty.primitive_bitwidth // 8
    ROUNDS: tl.constexpr = (2 * T * (2 + WITH_Z) + WIDTH - 1) // WIDTH
    i_g, i_d = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    i_c, i_s = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    start, end, first_slot = locate(i_s, cu_ptr, L, TILE, PACKED)
    segment = i_s * tl.num_programs(1) + i_c
    first, last = i_c * SEG, tl.minimum(i_c * SEG + SEG, tl.cdiv(end - start, TILE))
    o_t = tl.arange(0, WIDTH)
    o_l = o_t % LANES
    part = o_l // (LANES // S)
    o_p = i_d * LANES + o_t // LANES * (LANES // S * K) + o_l % (LANES // S) * K
    o_d = i_g * (D // G) + o_p
    o_n = N0 + part * COUNT
    zero = tl.zeros([WIDTH], tl.float32)
    token = start + first * TILE
    left = (end - token).to(tl.int32) - part * OWN
    m_ds = ()
    lefts = ()
    biases = ()
    b_Ds = ()
    As = ()
    hs = ()
    for c in tl.static_range(K):
        m_d = o_p + c < D // G
        m_ds = m_ds + (m_d,)
        lefts = lefts + (tl.where(m_d, left, 0),)
        if HAS_BIAS:
            biases = biases + (load(bias_ptr + o_d + c, m_d, FAST).to(tl.float32),)
        else:
            biases = biases + (zero,)
        if HAS_D:
            b_Ds = b_Ds + (load(d_ptr + o_d + c, m_d, FAST).to(tl.float32),)
    for n in tl.static_range(COUNT):
        for c in tl.static_range(K):
            As = As + (load(a_ptr + (o_n + n) * D + o_d + c, m_ds[c], FAST),)
            b_h = zero
            if HAS_START:
                p = start_ptr + (segment * N + o_n + n) * D + o_d + c
                b_h = load(p, m_ds[c], FAST).to(tl.float32)
            hs = hs + (b_h,)
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
    p_z = p_x
    if WITH_Z:
        p_z = z_ptr + token * ZS + part * OWN * ZS + o_d
    # One lane asks for 32 bytes of x, Δ or z, a tile ahead of their use.
    row = o_t % T
    p_aheads = ()
    strides_ahead = ()
    for r in tl.static_range(ROUNDS):
        o_i = o_t + r * WIDTH
        channel = i_g * (D // G) + tl.minimum(i_d * LANES + o_i // T % 2 * (LANES // 2), D // G - 1)
        q = (token + TILE + row) * D + channel
        p_ahead = (x_ptr + q).to(tl.int64)
        p_ahead = tl.where(o_i // (2 * T) == 1, (dt_ptr + q).to(tl.int64), p_ahead)
        stride_ahead = tl.zeros([WIDTH], tl.int64) + T * D * SIZE
        if WITH_Z:
            is_z = o_i // (2 * T) == 2
            q = (token + TILE + row) * ZS + channel
            p_ahead = tl.where(is_z, (z_ptr + q).to(tl.int64), p_ahead)
            stride_ahead = tl.where(is_z, T * ZS * SIZE, stride_ahead)
        p_aheads = p_aheads + (p_ahead,)
        strides_ahead = strides_ahead + (stride_ahead,)
    m_ahead = tl.where(m_ds[0], (end - token).to(tl.int32), 0) - row
    p_bc = bc_ptr + (((first_slot + first) * G + i_g) * N + N0) * (2 * TILE)
    if S > 1:
        p_bc += part * 4
    next_xs = ()
    next_dts = ()
    next_zs = ()
    for c in tl.static_range(K):
        next_xs = next_xs + rows(p_x + c, D, lefts[c], OWN, FAST)
        next_dts = next_dts + rows(p_dt + c, D, lefts[c], OWN, FAST)
        if WITH_Z:
            next_zs = next_zs + rows(p_z + c, ZS, lefts[c], OWN, FAST)
    for i in range(0, (last - first) * STEPS):
        if SAVE:
            if i % STEPS == 0:
                for n in tl.static_range(COUNT):
                    for c in tl.static_range(K):
                        store(p_h + n * D + c, hs[n * K + c], m_ds[c], FAST)
                p_h += N * D
        moved = ()
        for r in tl.static_range(ROUNDS):
            prefetch(tl.where(m_ahead > TILE, p_aheads[r], p_x.to(tl.int64)), FAST)
            moved = moved + (p_aheads[r] + strides_ahead[r],)
        p_aheads = moved
        m_ahead -= T
        steps = ()
        us = ()
        own_ys = ()
        for c in tl.static_range(K):
            own_steps = ()
            own_us = ()
            for t in tl.static_range(OWN):
                b_x = next_xs[c * OWN + t].to(tl.float32)
                b_dt = step_size(
                    next_dts[c * OWN + t], biases[c], lefts[c], t, HAS_BIAS, SOFTPLUS, FAST
                )
                own_steps = own_steps + (b_dt,)
                own_us = own_us + (b_dt * b_x,)
                b_y = zero
                if not FIRST:
                    b_y = load_again(p_acc + t * D + c, lefts[c] > t, FAST)
                elif HAS_D:
                    b_y = b_x * b_Ds[c]
                own_ys = own_ys + (b_y,)
            steps = steps + spread(own_steps, o_l, T, S, FAST)
            us = us + spread(own_us, o_l, T, S, FAST)
        p_x += T * D
        p_dt += T * D
        if WITH_Z:
            zs = next_zs
            p_z += T * ZS
        xs = ()
        dts = ()
        new_zs = ()
        for c in tl.static_range(K):
            xs = xs + rows(p_x + c, D, lefts[c] - T, OWN, FAST)
            dts = dts + rows(p_dt + c, D, lefts[c] - T, OWN, FAST)
            if WITH_Z:
                new_zs = new_zs + rows(p_z + c, ZS, lefts[c] - T, OWN, FAST)
        next_xs = xs
        next_dts = dts
        next_zs = new_zs
        ys = own_ys
        if S > 1:
            ys = ()
            for _t in tl.static_range(K * T):
                ys = ys + (zero,)
        after = ()
        for n in tl.static_range(COUNT):
            Bs = shared(p_bc + n * (2 * TILE * S), T, S, FAST)
            Cs = shared(p_bc + (n * 2 + 1) * (TILE * S), T, S, FAST)
            sums = ()
            for c in tl.static_range(K):
                b_h = hs[n * K + c]
                for t in tl.static_range(T):
                    b_a = exp2(steps[c * T + t] * As[n * K + c], FAST)  # (2)
                    b_h = b_a * b_h + us[c * T + t] * Bs[t]  # (3), (4)
                    sums = sums + (ys[c * T + t] + b_h * Cs[t],)  # (5)
                after = after + (b_h,)
            ys = sums
        hs = after
        for c in tl.static_range(K):
            mine = ()
            for t in tl.static_range(T):
                mine = mine + (ys[c * T + t],)
            mine = collect(mine, o_l, T, S, FAST)
            for t in tl.static_range(OWN):
                b_y = mine[t]
                if S > 1:
                    b_y += own_ys[c * OWN + t]
                if WITH_Z:
                    b_z = zs[c * OWN + t].to(tl.float32)
                    b_y *= b_z * sigmoid(b_z, FAST)  # (6)
                if LAST:
                    store(p_y + t * D + c, b_y, lefts[c] > t, FAST)
                else:
                    store(p_acc + t * D + c, b_y, lefts[c] > t, FAST)
        p_y += T * D
        p_acc += T * D
        last_step = i % STEPS == STEPS - 1
        p_bc += tl.where(last_step, G * N * (2 * TILE) - (TILE - T) * S, T * S)
        fewer = ()
        for c in tl.static_range(K):
            fewer = fewer + (lefts[c] - T,)
        lefts = fewer
    for n in tl.static_range(COUNT):
        for c in tl.static_range(K):
            p = end_ptr + (segment * N + o_n + n) * D + o_d + c
            store(p, hs[n * K + c], m_ds[c], FAST)
