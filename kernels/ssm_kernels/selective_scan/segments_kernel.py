"""Device code that joins segments. Equation numbers are those of the definition."""

import triton
import triton.language as tl

from ssm_kernels.selective_scan.kernel import (
    LANES,
    exp2,
    four,
    from_lane,
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

# The power of two below which float32 has no normal numbers: FAST gives zero for anything less.
GONE = tl.constexpr(-126.0)


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


@triton.jit
def add_tile(b_h, b_A, distances, vs, p, T: tl.constexpr, S: tl.constexpr, FAST: tl.constexpr):
    """What T tokens add to one state at the segment's edge, each by its decay on the way there."""
    Bs = shared(p, T, S, FAST)
    for t in tl.static_range(T):
        b_h += exp2(distances[t] * b_A, FAST) * (vs[t] * Bs[t])
    return b_h


@triton.jit(do_not_specialize=["L", "SEG"])
def ends_kernel(
    v_ptr, dt_ptr, a_ptr, bc_ptr, z_ptr, bias_ptr, out_ptr, sum_ptr, cu_ptr, L, SEG,
    D: tl.constexpr, G: tl.constexpr, N: tl.constexpr, N0: tl.constexpr, PASS: tl.constexpr,
    ZS: tl.constexpr, T: tl.constexpr, S: tl.constexpr, PACKED: tl.constexpr,
    HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, ADJOINT: tl.constexpr,
    FAST: tl.constexpr,
):  # fmt: skip
    """What each segment alone hands on, and its sum of Δ.

    The last state, Σ_t exp(A Σ_{s>t} Δ_s) Δ_t x_t B_t, or with ADJOINT what flows to the past,
    Σ_t exp(A Σ_{s≤t} Δ_s) ȳ_t C_t, where `v_ptr` is ȳ instead of x. For 32 channels and the states
    N0 to N0 + PASS. Tokens are walked away from the edge that the sum is for, so that a state whose
    decay has come to zero in all 32 channels needs no more of them: a token costs exponentials for
    the states that it still reaches. What is left out is zero but where a NaN or inf is lost with
    it: each number that is read is therefore multiplied by zero as well, and added.
    Grid: (g * block, segment, s), S warps.
    """
    blocks: tl.constexpr = (D // G + LANES - 1) // LANES
    COUNT: tl.constexpr = PASS // S
    OWN: tl.constexpr = T // S
    GATED: tl.constexpr = HAS_Z and ADJOINT
    FOURS: tl.constexpr = PASS * T // 4  # 16-byte pieces of B or C of a tile, shared out to lanes
    i_g, i_d = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    i_c, i_s = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    start, end, first_slot = locate(i_s, cu_ptr, L, T, PACKED)
    segment = i_s * tl.num_programs(1) + i_c
    first, last = i_c * SEG, tl.minimum(i_c * SEG + SEG, tl.cdiv(end - start, T))
    o_t = tl.arange(0, LANES * S)
    o_l = o_t % LANES
    part = o_l // (LANES // S)
    o_p = i_d * LANES + o_t // LANES * (LANES // S) + o_l % (LANES // S)
    m_d = o_p < D // G
    o_d = i_g * (D // G) + o_p
    o_n = N0 + part * COUNT
    zero = tl.zeros([LANES * S], tl.float32)
    b_bias = zero
    if HAS_BIAS:
        b_bias = load(bias_ptr + o_d, m_d, FAST).to(tl.float32)
    As = ()
    limits = ()  # of the distance from the edge, as a sum of Δ
    hs = ()
    for n in tl.static_range(COUNT):
        b_A = load(a_ptr + (o_n + n) * D + o_d, m_d, FAST)
        b_limit = tl.where(b_A < 0.0, GONE / tl.minimum(b_A, -1e-37), float("inf"))
        As = As + (b_A,)
        limits = limits + (tl.where(m_d, b_limit, -1.0),)
        hs = hs + (zero,)
    ahead = 1 if ADJOINT else -1
    tiles = last - first
    tile = first if ADJOINT else last - 1
    # A segment without tiles reads no tokens, and B or C where its sequence has its first slot.
    tile = tl.where(tiles > 0, tile, 0)
    token = start + tile * T
    left = tl.where(m_d & (tiles > 0), (end - token).to(tl.int32) - part * OWN, 0)
    p_v = v_ptr + token * D + part * OWN * D + o_d
    p_dt = dt_ptr + token * D + part * OWN * D + o_d
    if GATED:
        p_z = z_ptr + token * ZS + part * OWN * ZS + o_d
        next_zs = rows(p_z, ZS, left, OWN, FAST)
    next_vs = rows(p_v, D, left, OWN, FAST)
    next_dts = rows(p_dt, D, left, OWN, FAST)
    # One lane asks for 32 bytes, two tiles ahead of their use.
    row = o_t % T
    channel = i_g * (D // G) + tl.minimum(i_d * LANES + o_t // T % 2 * (LANES // 2), D // G - 1)
    # B or C, by 16 bytes a lane: to look for NaN and inf, and to have them in the L1 cache in time.
    p_b = bc_ptr + (((first_slot + tile) * G + i_g) * N + N0) * (2 * T)
    if ADJOINT:
        p_b += T * S
    o_fours = ()
    next_fours = ()
    bad_fours = ()
    for k in tl.static_range(0, FOURS, LANES):
        o = tl.minimum(k + o_l, FOURS - 1)
        o = o // (T // 4 * S) * (2 * T * S) + o % (T // 4 * S) * 4
        o_fours = o_fours + (o,)
        next_fours = next_fours + (four(p_b + o, FAST),)
        bad_fours = bad_fours + (zero,)
    b_bad = zero
    b_sum = zero
    for i in range(0, tiles):
        now_vs = next_vs
        now_dts = next_dts
        now_left = left
        p_now = p_b
        if S > 1:
            p_now = p_b + part * 4
        bad = ()
        for k in tl.static_range(len(bad_fours)):
            b = bad_fours[k]
            for j in tl.static_range(4):
                b += next_fours[k][j] * 0.0
            bad = bad + (b,)
        bad_fours = bad
        step = tl.where(i < tiles - 1, ahead, 0)
        token += step * T
        left -= step * T
        p_v += step * T * D
        p_dt += step * T * D
        p_b += step * (G * N * 2 * T)
        next_vs = rows(p_v, D, left, OWN, FAST)
        next_dts = rows(p_dt, D, left, OWN, FAST)
        if GATED:
            now_zs = next_zs
            p_z += step * T * ZS
            next_zs = rows(p_z, ZS, left, OWN, FAST)
        fours = ()
        for k in tl.static_range(len(bad_fours)):
            fours = fours + (four(p_b + o_fours[k], FAST),)
        next_fours = fours
        later = token + tl.where(i < tiles - 2, ahead * T, 0) + row
        later = tl.where(later < end, later, token)
        prefetch(v_ptr + later * D + channel, FAST)
        prefetch(dt_ptr + later * D + channel, FAST)
        if GATED:
            prefetch(z_ptr + later * ZS + channel, FAST)
        own_dts = ()
        own_vs = ()
        for t in tl.static_range(OWN):
            b_dt = step_size(now_dts[t], b_bias, now_left, t, HAS_BIAS, SOFTPLUS, FAST)
            b_v = now_vs[t].to(tl.float32)
            if GATED:
                b_z = now_zs[t].to(tl.float32)
                b_v *= b_z * sigmoid(b_z, FAST)
            if not ADJOINT:
                b_v *= b_dt
            b_bad += b_v * 0.0
            own_dts = own_dts + (b_dt,)
            own_vs = own_vs + (b_v,)
        bits = tl.zeros([LANES * S], tl.int32)
        for n in tl.static_range(COUNT):
            bits |= tl.where(b_sum > limits[n], 0, 1 << n)  # a NaN reaches everything
        reached = tl.reduce_or(bits, 0)
        dts = spread(own_dts, o_l, T, S, FAST)
        vs = spread(own_vs, o_l, T, S, FAST)
        distances = ()
        for t in tl.static_range(T):
            if ADJOINT:
                b_sum += dts[t]
                distances = distances + (b_sum,)
            else:
                distances = (b_sum,) + distances
                b_sum += dts[T - 1 - t]
        after = ()
        for n in tl.static_range(COUNT):
            b_h = hs[n]
            if reached & (1 << n):
                b_h = add_tile(b_h, As[n], distances, vs, p_now + n * (2 * T * S), T, S, FAST)
            after = after + (b_h,)
        hs = after
    b_bad = total(b_bad, o_l, S, FAST)
    for n in tl.static_range(COUNT):
        b_h = hs[n] + b_bad
        for t in tl.static_range(0, T * S, 4 * S):
            o = n * (T // 4 * S) + t // 4 + part
            b_h += from_lane(bad_fours[(n * (T // 4 * S) + t // 4) // LANES], o % LANES, FAST)
        store(out_ptr + (segment * N + o_n + n) * D + o_d, b_h, m_d, FAST)
    if N0 == 0:
        store(sum_ptr + segment * D + o_d, b_sum, m_d, FAST)
