"""Device code of the selective scan. Equation numbers are those of the definition.

A program is one warp, and a lane owns one channel: 32 channels side by side in memory. Whatever
belongs to several tokens or states is a tuple of vectors over the channels, one vector a token or
state, so that loops over them unroll into straight code in registers. Eq. (4) is then one
multiply-add a token and state, without shuffles or shared memory. B and C are the same for all
lanes: `pack_bc_kernel` turns them so that four tokens of one state are one 16-byte load.

Forward, a lane keeps the states of up to STATES n in registers from the first token to the last;
a wider state takes several passes, which add to `acc_ptr`. Backward, the tokens of a tile are in
registers and a loop walks the states, each with all it needs loaded one state ahead; the states
before every tile were stored by the forward pass.

Geometry. Sequence s owns tokens [start, end) of the flat time axis and the tile slots from
`first_slot` on; with `cu_ptr` packed lengths make both irregular. A sequence is cut into segments
of SEG tiles; segment states are joined by `carry_kernel`, so that one long sequence still fills
the device. Scratch arrays have channels innermost: states are (slot or segment, n, d).

`left` counts the tokens from a tile's first to the end of its sequence, and is zero in a lane
whose channel does not exist: `left > t` is the one mask of token t.
"""

import math

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)
LANES = tl.constexpr(32)
# Registers hold the states of so many n forward.
STATES = tl.constexpr(16)
# What is lost of a number cut to 10 bits of mantissa, on average over evenly spread logarithms.
DROPPED = tl.constexpr(2**-11 / (2 * math.log(2)))


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
def log2(x, FAST: tl.constexpr):
    """Logarithm to base 2, by the one-instruction approximation where FAST."""
    if FAST:
        return tl.inline_asm_elementwise(
            "lg2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        return tl.log2(x)


@triton.jit
def sigmoid(x, FAST: tl.constexpr):
    """1 / (1 + e**-x)."""
    return reciprocal(1.0 + exp2(x * -LOG2E, FAST), FAST)


@triton.jit
def softplus(x, FAST: tl.constexpr):
    """log(1 + e**x), by a series where 1 + e**x would lose e**x."""
    e = exp2(tl.minimum(x, 30.0) * LOG2E, FAST)
    series = e * (1.0 - e * (0.5 - e * (1.0 / 3.0 - e * (0.25 - e * 0.2))))
    soft = tl.where(e < 0.0625, series, log2(1.0 + e, FAST) * LN2)
    return tl.where(x < 20.0, soft, x)  # NaN, which minimum() may drop, takes the second branch


@triton.jit
def softplus_slope(soft, FAST: tl.constexpr):
    """Derivative of softplus from its value: 1 - e**-soft."""
    series = soft * (1.0 - soft * (0.5 - soft * (1.0 / 6.0 - soft * (1.0 / 24.0))))
    return tl.where(soft < 0.0625, series, 1.0 - exp2(soft * -LOG2E, FAST))


@triton.jit
def four(p, FAST: tl.constexpr):
    """Four neighbouring float32 that all lanes share; one load where FAST."""
    if FAST:
        return tl.inline_asm_elementwise(
            "ld.global.nc.v4.f32 {$0, $1, $2, $3}, [$4];", "=f,=f,=f,=f,l", [p.to(tl.int64)],
            dtype=(tl.float32, tl.float32, tl.float32, tl.float32), is_pure=True, pack=1,
        )  # fmt: skip
    else:
        return tl.load(p), tl.load(p + 1), tl.load(p + 2), tl.load(p + 3)


@triton.jit
def shared(p, T: tl.constexpr, FAST: tl.constexpr):
    """B or C of one state at T tokens, the same for all lanes."""
    out = ()
    for i in tl.static_range(T // 4):
        out = out + four(p + 4 * i, FAST)
    return out


@triton.jit
def rows(p, stride: tl.constexpr, left, T: tl.constexpr):
    """The channels at T tokens, as they lie in memory; zero past the end."""
    out = ()
    for t in tl.static_range(T):
        out = out + (tl.load(p + t * stride, mask=left > t, other=0.0),)
    return out


@triton.jit
def prefetch(p, FAST: tl.constexpr):
    """Ask for one address a lane to be brought to the L2 cache."""
    if FAST:
        tl.inline_asm_elementwise(
            "prefetch.global.L2 [$1]; mov.b32 $0, 0;", "=r,l", [p.to(tl.int64)],
            dtype=tl.int32, is_pure=False, pack=1,
        )  # fmt: skip


@triton.jit
def bring(x, p, FAST: tl.constexpr):
    """x, unchanged, after a load of one address a lane for the sake of the L1 cache alone.

    The instruction takes all four bytes of x, but the compiler does not know that it drops the
    load.
    """
    if FAST:
        loaded = tl.load(p).to(tl.int32, bitcast=True)
        return tl.inline_asm_elementwise(
            "prmt.b32 $0, $1, $2, 0x3210;", "=r,r,r", [x, loaded],
            dtype=tl.int32, is_pure=True, pack=1,
        )  # fmt: skip
    else:
        return x


@triton.jit
def step_size(raw, b_bias, left, t: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr,
              FAST: tl.constexpr):  # fmt: skip
    """Δ of token t    (1); zero past the end, where then Ā = 1 and nothing is written."""
    b_dt = raw.to(tl.float32)
    if HAS_BIAS:
        b_dt += b_bias
    if SOFTPLUS:
        b_dt = softplus(b_dt, FAST)  # (1)
    return tl.where(left > t, b_dt, 0.0)


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
    T: tl.constexpr, COLUMNS: tl.constexpr, SHARES: tl.constexpr, PACKED: tl.constexpr,
    SPLIT: tl.constexpr,
):  # fmt: skip
    """dB and dC of one tile: its shares summed over channel blocks. Grid: (tile, g, s).

    A share is N rows of dB and dC at T tokens; SHARES of them are in flight at a time. Without
    SPLIT, `sum_lanes` dropped the last bits of every summand, on average DROPPED of it: given back.
    """
    i_t, i_g = tl.program_id(0).to(tl.int64), tl.program_id(1)
    i_s = tl.program_id(2).to(tl.int64)
    start, end, first_slot = locate(i_s, cu_ptr, L, T, PACKED)
    if start + i_t * T < end:
        share = N * 2 * T
        p = dbc_ptr + ((first_slot + i_t) * G + i_g) * BLOCKS * share
        for column in range(0, share, COLUMNS):
            o = column + tl.arange(0, COLUMNS)
            b_sum = tl.zeros([COLUMNS], tl.float32)
            for block in range(0, BLOCKS, SHARES):
                o_b = block + tl.arange(0, SHARES)
                m = (o_b < BLOCKS)[:, None] & (o < share)[None, :]
                b_sum += tl.sum(tl.load(p + o_b[:, None] * share + o[None, :], m, other=0.0), 0)
            if not SPLIT:
                b_sum *= 1.0 + DROPPED
            token = start + i_t * T + o % T
            q = token * (G * N) + i_g * N + o // (2 * T)
            m = (token < end) & (o < share)
            is_dB = o // T % 2 == 0
            tl.store(db_ptr + q, b_sum.to(db_ptr.dtype.element_ty), mask=m & is_dB)
            tl.store(dc_ptr + q, b_sum.to(dc_ptr.dtype.element_ty), mask=m & (is_dB == 0))


@triton.jit
def scan_fwd_kernel(
    x_ptr, dt_ptr, a_ptr, bc_ptr, d_ptr, z_ptr, bias_ptr, y_ptr, acc_ptr,
    start_ptr, state_ptr, end_ptr, sum_ptr, cu_ptr, L, SEG,
    D: tl.constexpr, G: tl.constexpr, N: tl.constexpr, N0: tl.constexpr, ZS: tl.constexpr,
    TILE: tl.constexpr, T: tl.constexpr, PACKED: tl.constexpr, HAS_D: tl.constexpr,
    HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, HAS_START: tl.constexpr,
    SAVE: tl.constexpr, ENDS_ONLY: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """One segment of one sequence for 32 channels and the states N0 to N0 + STATES.

    Writes y (the pass of the last states) or the sum so far, the last state and, if SAVE, the
    state before every tile. ENDS_ONLY: only the last state and the sum of Δ. T tokens are in
    registers at a time. Sizes are constants, so that addresses fold into the loads.
    Grid: (g * block, segment, s).
    """
    blocks: tl.constexpr = (D // G + LANES - 1) // LANES
    COUNT: tl.constexpr = N - N0 if N - N0 < STATES else STATES
    FIRST: tl.constexpr = N0 == 0
    LAST: tl.constexpr = N0 + COUNT == N
    i_g, i_d = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    i_c, i_s = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    start, end, first_slot = locate(i_s, cu_ptr, L, TILE, PACKED)
    segment = i_s * tl.num_programs(1) + i_c
    first, last = i_c * SEG, tl.minimum(i_c * SEG + SEG, tl.cdiv(end - start, TILE))
    o_l = tl.arange(0, LANES)
    o_p = i_d * LANES + o_l
    m_d = o_p < D // G
    o_d = i_g * (D // G) + o_p
    b_bias = tl.zeros([LANES], tl.float32)
    if HAS_BIAS:
        b_bias = tl.load(bias_ptr + o_d, mask=m_d, other=0.0).to(tl.float32)
    if HAS_D:
        b_D = tl.load(d_ptr + o_d, mask=m_d, other=0.0).to(tl.float32)
    b_sum = tl.zeros([LANES], tl.float32)
    As = ()
    hs = ()
    for n in tl.static_range(COUNT):
        As = As + (tl.load(a_ptr + (N0 + n) * D + o_d, mask=m_d, other=0.0),)
        b_h = tl.zeros([LANES], tl.float32)
        if HAS_START:
            p = start_ptr + (segment * N + N0 + n) * D + o_d
            b_h = tl.load(p, mask=m_d, other=0.0).to(tl.float32)
        hs = hs + (b_h,)
    left = tl.where(m_d, (end - start - first * TILE).to(tl.int32), 0)
    token = start + first * TILE
    p_x = x_ptr + token * D + o_d
    p_dt = dt_ptr + token * D + o_d
    p_y = y_ptr + token * D + o_d
    p_acc = p_y
    if not (FIRST and LAST):
        p_acc = acc_ptr + token * D + o_d
    p_z = p_x
    WITH_Z: tl.constexpr = HAS_Z and LAST and not ENDS_ONLY
    if WITH_Z:
        p_z = z_ptr + token * ZS + o_d
    p_bc = bc_ptr + (((first_slot + first) * G + i_g) * N + N0) * (2 * TILE)
    p_h = p_acc
    if SAVE:
        p_h = state_ptr + ((first_slot + first) * N + N0) * D + o_d
    # One lane asks for 32 bytes of x, Δ or z, a tile ahead of their use.
    row = o_l % T
    channel = i_g * (D // G) + tl.minimum(i_d * LANES + o_l // T % 2 * (LANES // 2), D // G - 1)
    p_ahead = (x_ptr + (token + TILE + row) * D + channel).to(tl.int64)
    is_dt = o_l // (2 * T) % 4 == 1
    p_ahead = tl.where(is_dt, (dt_ptr + (token + TILE + row) * D + channel).to(tl.int64), p_ahead)
    stride_ahead = tl.zeros([LANES], tl.int64) + T * D * (
        x_ptr.dtype.element_ty.primitive_bitwidth // 8
    )
    if WITH_Z:
        is_z = o_l // (2 * T) % 4 == 2
        p_ahead = tl.where(
            is_z, (z_ptr + (token + TILE + row) * ZS + channel).to(tl.int64), p_ahead
        )
        stride_ahead = tl.where(
            is_z, T * ZS * (x_ptr.dtype.element_ty.primitive_bitwidth // 8), stride_ahead
        )
    xs = rows(p_x, D, left, T)
    dts = rows(p_dt, D, left, T)
    if WITH_Z:
        zs = rows(p_z, ZS, left, T)
    for i in range(0, (last - first) * (TILE // T)):
        if SAVE:
            if i % (TILE // T) == 0:
                for n in tl.static_range(COUNT):
                    tl.store(p_h + n * D, hs[n], mask=m_d)
                p_h += N * D
        prefetch(tl.where(left > TILE + row, p_ahead, p_x.to(tl.int64)), FAST)
        p_ahead += stride_ahead
        steps = ()
        us = ()
        ys = ()
        for t in tl.static_range(T):
            b_x = xs[t].to(tl.float32)
            b_dt = step_size(dts[t], b_bias, left, t, HAS_BIAS, SOFTPLUS, FAST)
            steps = steps + (b_dt,)
            us = us + (b_dt * b_x,)
            b_y = tl.zeros([LANES], tl.float32)
            if ENDS_ONLY:
                b_sum += b_dt
            elif not FIRST:
                b_y = tl.load(p_acc + t * D, mask=left > t, other=0.0)
            elif HAS_D:
                b_y = b_x * b_D
            ys = ys + (b_y,)
        if WITH_Z:
            gates = zs
        # What the next T tokens need is loaded before these are computed.
        p_x += T * D
        p_dt += T * D
        xs = rows(p_x, D, left - T, T)
        dts = rows(p_dt, D, left - T, T)
        if WITH_Z:
            p_z += T * ZS
            zs = rows(p_z, ZS, left - T, T)
        after = ()
        for n in tl.static_range(COUNT):
            b_h = hs[n]
            Bs = shared(p_bc + n * (2 * TILE), T, FAST)
            if not ENDS_ONLY:
                Cs = shared(p_bc + n * (2 * TILE) + TILE, T, FAST)
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
            for t in tl.static_range(T):
                b_y = ys[t]
                if WITH_Z:
                    b_z = gates[t].to(tl.float32)
                    b_y *= b_z * sigmoid(b_z, FAST)  # (6)
                if LAST:
                    tl.store(p_y + t * D, b_y.to(y_ptr.dtype.element_ty), mask=left > t)
                else:
                    tl.store(p_acc + t * D, b_y, mask=left > t)
            p_y += T * D
            p_acc += T * D
        p_bc += tl.where(i % (TILE // T) == TILE // T - 1, G * N * (2 * TILE) - TILE + T, T)
        left -= T
    for n in tl.static_range(COUNT):
        tl.store(end_ptr + (segment * N + N0 + n) * D + o_d, hs[n], mask=m_d)
    if ENDS_ONLY and FIRST:
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
    dt_ptr, a_ptr, bc_ptr, z_ptr, bias_ptr, dy_ptr, r_ptr, sum_ptr, cu_ptr, L, SEG,
    D: tl.constexpr, G: tl.constexpr, N: tl.constexpr, ZS: tl.constexpr, T: tl.constexpr,
    PACKED: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr,
    FAST: tl.constexpr,
):  # fmt: skip
    """What each segment alone sends to the past: Eq. (8) from zero. Grid as `scan_fwd_kernel`."""
    blocks: tl.constexpr = (D // G + LANES - 1) // LANES
    i_g, i_d = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    i_c, i_s = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    start, end, first_slot = locate(i_s, cu_ptr, L, T, PACKED)
    segment = i_s * tl.num_programs(1) + i_c
    first, last = i_c * SEG, tl.minimum(i_c * SEG + SEG, tl.cdiv(end - start, T))
    o_p = i_d * LANES + tl.arange(0, LANES)
    m_d = o_p < D // G
    o_d = i_g * (D // G) + o_p
    b_bias = tl.zeros([LANES], tl.float32)
    if HAS_BIAS:
        b_bias = tl.load(bias_ptr + o_d, mask=m_d, other=0.0).to(tl.float32)
    b_sum = tl.zeros([LANES], tl.float32)
    p_r = r_ptr + segment * N * D + o_d
    for n in range(N):
        tl.store(p_r + n * D, tl.zeros([LANES], tl.float32), mask=m_d)
    for i in range(first, last):
        tile = last - 1 - (i - first)
        left = tl.where(m_d, (end - start - tile * T).to(tl.int32), 0)
        token = start + tile * T
        dts = rows(dt_ptr + token * D + o_d, D, left, T)
        dys = rows(dy_ptr + token * D + o_d, D, left, T)
        if HAS_Z:
            zs = rows(z_ptr + token * ZS + o_d, ZS, left, T)
        steps = ()
        gys = ()
        for t in tl.static_range(T):
            b_dt = step_size(dts[t], b_bias, left, t, HAS_BIAS, SOFTPLUS, FAST)
            b_sum += b_dt
            b_gy = dys[t].to(tl.float32)
            if HAS_Z:
                b_z = zs[t].to(tl.float32)
                b_gy *= b_z * sigmoid(b_z, FAST)
            steps = steps + (b_dt,)
            gys = gys + (b_gy,)
        q_a = a_ptr + o_d
        q_r = p_r
        q_c = bc_ptr + ((first_slot + tile) * G + i_g) * N * (2 * T) + T
        b_A1 = tl.load(q_a, mask=m_d, other=0.0)
        b_r1 = tl.load(q_r, mask=m_d, other=0.0)
        Cs1 = shared(q_c, T, FAST)
        for n in range(N):
            b_A, b_r, Cs = b_A1, b_r1, Cs1
            step = tl.where(n < N - 1, 1, 0)
            q_a += step * D
            q_c += step * (2 * T)
            b_A1 = tl.load(q_a, mask=m_d, other=0.0)
            b_r1 = tl.load(q_r + step * D, mask=m_d, other=0.0)
            Cs1 = shared(q_c, T, FAST)
            for t in tl.static_range(T):
                b_a = exp2(steps[T - 1 - t] * b_A, FAST)
                b_r = b_a * (gys[T - 1 - t] * Cs[T - 1 - t] + b_r)  # (8)
            tl.store(q_r, b_r, mask=m_d)
            q_r += D
    tl.store(sum_ptr + segment * D + o_d, b_sum, mask=m_d)


def _sum_of_lanes(split: bool) -> str:
    """PTX that adds up 16 registers over the 32 lanes of a warp.

    A tensor-core product of a (16, 4) block with ones adds the four lanes of a quad, without
    moving a register: row q is quad q for one number, row q + 8 for another. What remains is added
    over the 8 quads by exchanging halves. The product reads 10 bits of a mantissa and drops the
    rest; with `split` a second product adds what was dropped, to 20 bits.
    """
    mma = "mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32"
    code = [
        "{ .reg .pred p; .reg .b32 one, lane, bit, u, v; .reg .f32 zero, lo, hi, a, b;",
        ".reg .f32 c<16>, w<8>, x<4>;",
        "mov.b32 one, 0x3f800000; mov.f32 zero, 0f00000000; mov.u32 lane, %laneid;",
    ]
    for i in range(0, 16, 2):
        first, second, into = f"${1 + i}", f"${2 + i}", f"{{c{i}, a, c{i + 1}, b}}"
        code += [f"mov.b32 u, {first}; mov.b32 v, {second};"]
        if split:
            code += ["and.b32 u, u, 0xffffe000; and.b32 v, v, 0xffffe000;"]
        code += [f"{mma} {into}, {{u, v}}, {{one}}, {{zero, zero, zero, zero}};"]
        if split:
            code += [f"mov.b32 lo, u; sub.f32 lo, {first}, lo; mov.b32 u, lo;"]
            code += [f"mov.b32 hi, v; sub.f32 hi, {second}, hi; mov.b32 v, hi;"]
            code += [f"{mma} {into}, {{u, v}}, {{one}}, {into};"]

    def bit(mask: int) -> str:
        return f"and.b32 bit, lane, {mask}; setp.ne.b32 p, bit, 0;"

    # All four lanes of a quad hold all 16 sums: each keeps four.
    code += [bit(1), *(f"selp.f32 w{i}, c{2 * i + 1}, c{2 * i}, p;" for i in range(8))]
    code += [bit(2), *(f"selp.f32 x{i}, w{2 * i + 1}, w{2 * i}, p;" for i in range(4))]
    for mask, sources, into in ((16, "x0 x1 x2 x3", "w0 w1"), (8, "w0 w1", "x0")):
        names = sources.split()
        code += [bit(mask)]
        for i, name in enumerate(into.split()):
            even, odd = names[2 * i], names[2 * i + 1]
            code += [f"selp.f32 a, {even}, {odd}, p; selp.f32 b, {odd}, {even}, p;"]
            code += [f"shfl.sync.bfly.b32 a, a, {mask}, 31, -1; add.f32 {name}, a, b;"]
    code += ["shfl.sync.bfly.b32 a, x0, 4, 31, -1; add.f32 $0, a, x0; }"]
    return " ".join(code)


SUM_OF_LANES = tl.constexpr(_sum_of_lanes(split=False))
SUM_OF_LANES_SPLIT = tl.constexpr(_sum_of_lanes(split=True))
SIXTEEN = tl.constexpr("=f" + ",f" * 16)


@triton.jit
def place_of_sum(o_l):
    """Which of the 16 sums of `sum_lanes` a lane gets; two lanes get the same."""
    return (o_l & 8) + (o_l & 16) // 4 + (o_l & 3)


@triton.jit
def sum_lanes(v, SPLIT: tl.constexpr, FAST: tl.constexpr):
    """Sums of 16 vectors over their lanes, one a lane: see `place_of_sum`."""
    if FAST:
        code: tl.constexpr = SUM_OF_LANES_SPLIT if SPLIT else SUM_OF_LANES
        return tl.inline_asm_elementwise(
            code, SIXTEEN,
            [v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7],
             v[8], v[9], v[10], v[11], v[12], v[13], v[14], v[15]],
            dtype=tl.float32, is_pure=True, pack=1,
        )  # fmt: skip
    else:
        place = place_of_sum(tl.arange(0, LANES))
        out = tl.zeros([LANES], tl.float32)
        for j in tl.static_range(16):
            out = tl.where(place == j, tl.sum(v[j], axis=0), out)
        return out


@triton.jit
def scan_bwd_kernel(
    x_ptr, dt_ptr, a_ptr, bc_ptr, d_ptr, z_ptr, bias_ptr, dy_ptr, state_ptr,
    dx_ptr, ddt_ptr, dz_ptr, dbc_ptr, r_ptr, da_ptr, dd_ptr, dbias_ptr, cu_ptr, L, SEG,
    D: tl.constexpr, G: tl.constexpr, N: tl.constexpr, ZS: tl.constexpr, T: tl.constexpr,
    PACKED: tl.constexpr, HAS_D: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr,
    SOFTPLUS: tl.constexpr, SPLIT: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """All gradients of one segment for 32 channels, tiles last to first.

    `r_ptr` holds what flows in from the future, and in the end what flows to the past; `dbc_ptr`
    gets this block's share of dB and dC as (slot, g, block, n, 2, T), `da_ptr`, `dd_ptr` and
    `dbias_ptr` this segment's share of dA, dD and the bias. No share has two
    writers, so sums come out the same every time. Grid as `scan_fwd_kernel`.
    """
    blocks: tl.constexpr = (D // G + LANES - 1) // LANES
    i_g, i_d = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    i_c, i_s = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    start, end, first_slot = locate(i_s, cu_ptr, L, T, PACKED)
    segment = i_s * tl.num_programs(1) + i_c
    first, last = i_c * SEG, tl.minimum(i_c * SEG + SEG, tl.cdiv(end - start, T))
    o_l = tl.arange(0, LANES)
    o_p = i_d * LANES + o_l
    m_d = o_p < D // G
    o_d = i_g * (D // G) + o_p
    place, m_place = place_of_sum(o_l), (o_l & 4) == 0
    b_bias = tl.zeros([LANES], tl.float32)
    if HAS_BIAS:
        b_bias = tl.load(bias_ptr + o_d, mask=m_d, other=0.0).to(tl.float32)
    if HAS_D:
        b_D = tl.load(d_ptr + o_d, mask=m_d, other=0.0).to(tl.float32)
    b_dD = tl.zeros([LANES], tl.float32)
    b_dbias = tl.zeros([LANES], tl.float32)
    zero = tl.zeros([LANES], tl.float32)
    p_r = r_ptr + segment * N * D + o_d
    p_da = da_ptr + segment * N * D + o_d
    for n in range(N):
        tl.store(p_da + n * D, zero, mask=m_d)
    # One lane asks for 32 bytes of the tile to come.
    row = o_l % T
    channel = i_g * (D // G) + tl.minimum(i_d * LANES + o_l // T * (LANES * T // 32), D // G - 1)
    eighth = i_g * (D // G) + tl.minimum(i_d * LANES + o_l % 4 * 8, D // G - 1)
    for i in range(first, last):
        tile = last - 1 - (i - first)
        left = tl.where(m_d, (end - start - tile * T).to(tl.int32), 0)
        token = start + tile * T
        p_x = x_ptr + token * D + o_d
        p_dy = dy_ptr + token * D + o_d
        p_z = p_x
        if HAS_Z:
            p_z = z_ptr + token * ZS + o_d
        p_h = state_ptr + (first_slot + tile) * N * D + o_d
        xs = rows(p_x, D, left, T)
        dts = rows(dt_ptr + token * D + o_d, D, left, T)
        dys = rows(p_dy, D, left, T)
        if HAS_Z:
            zs = rows(p_z, ZS, left, T)
        back = tl.where(i < last - 1, T, 0)
        q = (token - back + row) * D + channel
        q = tl.where(row < end - token + back, q, token * D + channel)
        prefetch(x_ptr + q, FAST)
        prefetch(dt_ptr + q, FAST)
        prefetch(dy_ptr + q, FAST)
        if HAS_Z:
            q = (token - back + row) * ZS + channel
            prefetch(z_ptr + tl.where(row < end - token + back, q, token * ZS + channel), FAST)
        # The loop over n waits for every load from L2: what it reads is brought to L1 before.
        in_l1 = left
        for n in tl.static_range(0, N, 8):
            o_n = tl.minimum(n + o_l // 4, N - 1) * D + eighth
            prefetch(state_ptr + (first_slot + tile - back // T) * N * D + o_n, FAST)
            in_l1 = bring(in_l1, state_ptr + (first_slot + tile) * N * D + o_n, FAST)
            in_l1 = bring(in_l1, r_ptr + segment * N * D + o_n, FAST)
            in_l1 = bring(in_l1, da_ptr + segment * N * D + o_n, FAST)
        p_bc = bc_ptr + ((first_slot + tile) * G + i_g) * N * (2 * T)
        for column in tl.static_range(0, N * 2 * T, 8 * LANES):
            in_l1 = bring(in_l1, p_bc + tl.minimum(column + o_l * 8, N * 2 * T - 1), FAST)
        steps = ()
        us = ()
        gys = ()
        ys = ()
        dus = ()
        ddts = ()
        for t in tl.static_range(T):
            b_dt = step_size(dts[t], b_bias, left, t, HAS_BIAS, SOFTPLUS, FAST)
            b_gy = dys[t].to(tl.float32)
            if HAS_Z:
                b_z = zs[t].to(tl.float32)
                b_gy *= b_z * sigmoid(b_z, FAST)
            steps = steps + (b_dt,)
            us = us + (b_dt * xs[t].to(tl.float32),)
            gys = gys + (b_gy,)
            ys = ys + (zero,)
            dus = dus + (zero,)
            ddts = ddts + (zero,)
        q_a = a_ptr + o_d
        q_h = p_h
        q_r = p_r
        q_da = p_da
        q_bc = p_bc
        q_dbc = dbc_ptr + (((first_slot + tile) * G + i_g) * blocks + i_d) * N * (2 * T) + place
        b_A1 = tl.load(q_a, mask=m_d, other=0.0)
        b_h1 = tl.load(q_h, mask=m_d, other=0.0)
        b_r1 = tl.load(q_r, mask=m_d, other=0.0)
        b_dA1 = tl.load(q_da, mask=m_d, other=0.0)
        Bs1 = shared(q_bc, T, FAST)
        Cs1 = shared(q_bc + T, T, FAST)
        for n in range(N):
            b_A, b_h, b_r, b_dA, Bs, Cs = b_A1, b_h1, b_r1, b_dA1, Bs1, Cs1
            # What the next n needs is loaded before this n is computed; the last n loads its own.
            step = tl.where(n < N - 1, 1, 0)
            q_a += step * D
            q_h += step * D
            q_bc += step * (2 * T)
            b_A1 = tl.load(q_a, mask=m_d, other=0.0)
            b_r1 = tl.load(q_r + step * D, mask=m_d, other=0.0)
            b_dA1 = tl.load(q_da + step * D, mask=m_d, other=0.0)
            Bs1 = shared(q_bc, T, FAST)
            Cs1 = shared(q_bc + T, T, FAST)
            b_h1 = tl.load(q_h, mask=m_d, other=0.0)
            before = ()
            decays = ()
            dC = ()
            sums = ()
            for t in tl.static_range(T):
                b_a = exp2(steps[t] * b_A, FAST)  # (2)
                before = before + (b_h,)
                decays = decays + (b_a,)
                b_h = b_a * b_h + us[t] * Bs[t]  # (3), (4)
                dC = dC + (gys[t] * b_h,)
                sums = sums + (ys[t] + b_h * Cs[t],)  # (5)
            if HAS_Z:
                ys = sums
            dB = ()
            new_du = ()
            new_ddt = ()
            for back_t in tl.static_range(T):
                b_g = gys[T - 1 - back_t] * Cs[T - 1 - back_t] + b_r  # (8)
                b_r = decays[T - 1 - back_t] * b_g
                b_dlog = b_r * before[T - 1 - back_t]  # gradient of Δ_t A
                new_du = (dus[T - 1 - back_t] + b_g * Bs[T - 1 - back_t],) + new_du
                new_ddt = (ddts[T - 1 - back_t] + b_dlog * b_A,) + new_ddt
                b_dA += b_dlog * steps[T - 1 - back_t]
                dB = (b_g * us[T - 1 - back_t],) + dB
            dus = new_du
            ddts = new_ddt
            tl.store(q_r, b_r, mask=m_d)
            tl.store(q_da, b_dA, mask=m_d)
            if T == 8:
                tl.store(q_dbc, sum_lanes(dB + dC, SPLIT, FAST), mask=m_place)
            else:
                tl.store(q_dbc, sum_lanes(dB, SPLIT, FAST), mask=m_place)
                tl.store(q_dbc + T, sum_lanes(dC, SPLIT, FAST), mask=m_place)
            q_r += D
            q_da += D
            q_dbc += 2 * T
        # Loaded again rather than kept, since registers are what limits the loop over n; and all
        # before the first store, which may alias as far as the compiler knows.
        xs = rows(p_x, D, in_l1, T)
        if HAS_Z:
            zs = rows(p_z, ZS, in_l1, T)
            dys = rows(p_dy, D, in_l1, T)
        for t in tl.static_range(T):
            b_x = xs[t].to(tl.float32)
            b_dx = dus[t] * steps[t]
            b_ddt = dus[t] * b_x + ddts[t] * LN2
            if HAS_D:
                b_dx += gys[t] * b_D
                b_dD += gys[t] * b_x
            if SOFTPLUS:
                b_ddt *= softplus_slope(steps[t], FAST)
            b_dbias += b_ddt
            p = token * D + o_d + t * D
            tl.store(dx_ptr + p, b_dx.to(dx_ptr.dtype.element_ty), mask=in_l1 > t)
            tl.store(ddt_ptr + p, b_ddt.to(ddt_ptr.dtype.element_ty), mask=in_l1 > t)
            if HAS_Z:
                b_y = ys[t]
                if HAS_D:
                    b_y += b_x * b_D
                b_z = zs[t].to(tl.float32)
                b_sig = sigmoid(b_z, FAST)
                b_dz = dys[t].to(tl.float32) * b_y * b_sig * (1.0 + b_z * (1.0 - b_sig))
                tl.store(dz_ptr + p, b_dz.to(dz_ptr.dtype.element_ty), mask=in_l1 > t)
    if HAS_D:
        tl.store(dd_ptr + segment * D + o_d, b_dD, mask=m_d)
    if HAS_BIAS:
        tl.store(dbias_ptr + segment * D + o_d, b_dbias, mask=m_d)
