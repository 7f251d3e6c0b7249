"""Device code of the backward pass. Equation numbers are those of the definition."""

import triton
import triton.language as tl

from ssm_kernels.selective_scan.kernel import (
    DROPPED,
    LANES,
    LN2,
    bring,
    collect,
    exchange,
    exp2,
    from_lane,
    load,
    load_again,
    locate,
    prefetch,
    rows,
    shared,
    sigmoid,
    softplus_slope,
    spread,
    step_size,
    store,
    total,
)  # fmt: skip


def _sum_of_quads(split: bool) -> str:
    """PTX that adds up 16 registers over every four neighbouring lanes.

    Of the sums, lane l keeps those of the registers l % 4, 4 + l % 4, 8 + l % 4 and 12 + l % 4. A
    tensor-core product of a (16, 4) block with ones adds the four lanes of a quad, without moving a
    register: row q is quad q for one number, row q + 8 for another, so that no NaN or inf reaches
    another number's sum. The product reads 10 bits of a mantissa and drops the rest; with `split`
    a second product adds what was dropped, to 20 bits.
    """
    mma = "mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32"
    code = [
        "{ .reg .pred p; .reg .b32 one, lane, bit, u, v; .reg .f32 zero, lo, hi, a, b;",
        ".reg .f32 c<16>, w<8>;",
        "mov.b32 one, 0x3f800000; mov.f32 zero, 0f00000000; mov.u32 lane, %laneid;",
    ]
    for i in range(0, 16, 2):
        first, second, into = f"${4 + i}", f"${5 + i}", f"{{c{i}, a, c{i + 1}, b}}"
        code += [f"mov.b32 u, {first}; mov.b32 v, {second};"]
        if split:
            code += ["and.b32 u, u, 0xffffe000; and.b32 v, v, 0xffffe000;"]
        code += [f"{mma} {into}, {{u, v}}, {{one}}, {{zero, zero, zero, zero}};"]
        if split:
            code += [f"mov.b32 lo, u; sub.f32 lo, {first}, lo; mov.b32 u, lo;"]
            code += [f"mov.b32 hi, v; sub.f32 hi, {second}, hi; mov.b32 v, hi;"]
            code += [f"{mma} {into}, {{u, v}}, {{one}}, {into};"]
    # All four lanes of a quad hold all 16 sums: each keeps four.
    code += ["and.b32 bit, lane, 1; setp.ne.b32 p, bit, 0;"]
    code += [f"selp.f32 w{i}, c{2 * i + 1}, c{2 * i}, p;" for i in range(8)]
    code += ["and.b32 bit, lane, 2; setp.ne.b32 p, bit, 0;"]
    code += [f"selp.f32 ${i}, w{2 * i + 1}, w{2 * i}, p;" for i in range(4)]
    return " ".join([*code, "}"])


SUM_OF_QUADS = tl.constexpr(_sum_of_quads(split=False))
SUM_OF_QUADS_SPLIT = tl.constexpr(_sum_of_quads(split=True))
FOUR_OF_SIXTEEN = tl.constexpr("=f,=f,=f,=f" + ",f" * 16)


@triton.jit
def sum_quads(v, SPLIT: tl.constexpr, FAST: tl.constexpr):
    """Sums of 16 vectors over quads of lanes: lane l gets v[l % 4], v[4 + l % 4] and so on."""
    if FAST:
        code: tl.constexpr = SUM_OF_QUADS_SPLIT if SPLIT else SUM_OF_QUADS
        return tl.inline_asm_elementwise(
            code, FOUR_OF_SIXTEEN,
            [v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7],
             v[8], v[9], v[10], v[11], v[12], v[13], v[14], v[15]],
            dtype=(tl.float32, tl.float32, tl.float32, tl.float32), is_pure=True, pack=1,
        )  # fmt: skip
    else:
        o_t = tl.arange(0, v[0].shape[0])
        out = ()
        for i in tl.static_range(4):
            got = tl.zeros([v[0].shape[0]], tl.float32)
            for j in tl.static_range(4):
                quads = tl.sum(tl.reshape(v[4 * i + j], [v[0].shape[0] // 4, 4]), axis=1)
                got = tl.where(o_t % 4 == j, tl.gather(quads, o_t // 4, 0), got)
            out = out + (got,)
        return out


@triton.jit
def sum_of_channels(quads, o_l, S: tl.constexpr, FAST: tl.constexpr):
    """Sums over the channels of a warp from those of `sum_quads`: 16 for each of the S parts.

    They are shared out among the lanes, one each or, with S = 4, two: see `place_of_sum`.
    """
    if S == 1:
        one = exchange(exchange(quads, o_l, 16, 2, FAST), o_l, 8, 1, FAST)[0]
        return (one + from_lane(one, o_l ^ 4, FAST),)
    elif S == 2:
        return exchange(exchange(quads, o_l, 8, 2, FAST), o_l, 4, 1, FAST)
    else:
        return exchange(quads, o_l, 4, 2, FAST)


@triton.jit
def place_of_sum(o_l, S: tl.constexpr):
    """Which of the 16 sums a lane gets; the second is 4 further, and with S = 1 two share one."""
    if S == 1:
        return (o_l & 16) // 2 + (o_l & 8) // 2 + o_l % 4
    elif S == 2:
        return (o_l & 8) + (o_l & 4) + o_l % 4
    else:
        return (o_l & 4) * 2 + o_l % 4


@triton.jit
def store_sums(p, dB, dC, mask, o_l, T: tl.constexpr, S: tl.constexpr, FAST: tl.constexpr):
    """Write what this warp's channels add to dB and dC of one state and T tokens."""
    dB = sum_of_channels(dB, o_l, S, FAST)
    dC = sum_of_channels(dC, o_l, S, FAST)
    for i in tl.static_range(len(dB)):
        store(p + 4 * i, dB[i], mask, FAST)
        store(p + 4 * i + T, dC[i], mask, FAST)


@triton.jit(do_not_specialize=["L", "SEG"])
def scan_bwd_kernel(
    x_ptr, dt_ptr, a_ptr, bc_ptr, d_ptr, z_ptr, bias_ptr, dy_ptr, state_ptr,
    dx_ptr, ddt_ptr, dz_ptr, dbc_ptr, r_ptr, da_ptr, dd_ptr, dbias_ptr, cu_ptr, L, SEG,
    D: tl.constexpr, G: tl.constexpr, N: tl.constexpr, ZS: tl.constexpr, T: tl.constexpr,
    S: tl.constexpr, PACKED: tl.constexpr, HAS_D: tl.constexpr, HAS_Z: tl.constexpr,
    HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, SPLIT: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """All gradients of one segment for 32 channels, tiles last to first.

    `r_ptr` holds what flows in from the future, and in the end what flows to the past; `dbc_ptr`
    gets each warp's share of dB and dC as (slot, g, block, warp, n, 2, T), `da_ptr`, `dd_ptr` and
    `dbias_ptr` this segment's share of dA, dD and the bias. No share has two writers, so sums come
    out the same every time. Grid as `scan_fwd_kernel`, S warps.
    """
    blocks: tl.constexpr = (D // G + LANES - 1) // LANES
    COUNT: tl.constexpr = N // S
    # Two states a turn need no moves between what is loaded and what is used, but with the code for
    # several lanes no registers are left for them.
    UNROLLED: tl.constexpr = 1 if S > 1 else 2 - COUNT % 2
    OWN: tl.constexpr = T // S
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
    place, m_place = part * (COUNT * 2 * T) + place_of_sum(o_l, S), (o_l & 4) == 0
    if S > 1:
        m_place = o_l < LANES
    b_bias = tl.zeros([LANES * S], tl.float32)
    if HAS_BIAS:
        b_bias = load(bias_ptr + o_d, m_d, FAST).to(tl.float32)
    if HAS_D:
        b_D = load(d_ptr + o_d, m_d, FAST).to(tl.float32)
    b_dD = tl.zeros([LANES * S], tl.float32)
    b_dbias = tl.zeros([LANES * S], tl.float32)
    zero = tl.zeros([LANES * S], tl.float32)
    p_r = r_ptr + (segment * N + part * COUNT) * D + o_d
    p_da = da_ptr + (segment * N + part * COUNT) * D + o_d
    for n in range(COUNT):
        store(p_da + n * D, zero, m_d, FAST)
    # One lane asks for 32 bytes of the tile to come.
    row = o_t % T
    channel = i_g * (D // G) + tl.minimum(i_d * LANES + o_t // T % 2 * (LANES // 2), D // G - 1)
    eighth = i_g * (D // G) + tl.minimum(i_d * LANES + o_t % 4 * 8, D // G - 1)
    for i in range(first, last):
        tile = last - 1 - (i - first)
        left = tl.where(m_d, (end - start - tile * T).to(tl.int32) - part * OWN, 0)
        token = start + tile * T
        o_own = token * D + part * OWN * D + o_d
        p_x = x_ptr + o_own
        p_dy = dy_ptr + o_own
        p_z = p_x
        if HAS_Z:
            p_z = z_ptr + token * ZS + part * OWN * ZS + o_d
        p_h = state_ptr + ((first_slot + tile) * N + part * COUNT) * D + o_d
        xs = rows(p_x, D, left, OWN, FAST)
        dts = rows(dt_ptr + o_own, D, left, OWN, FAST)
        dys = rows(p_dy, D, left, OWN, FAST)
        if HAS_Z:
            zs = rows(p_z, ZS, left, OWN, FAST)
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
        for line in tl.static_range(0, N, 8 * S):
            o_n = tl.minimum(line + o_t // 4, N - 1) * D + eighth
            prefetch(state_ptr + (first_slot + tile - back // T) * N * D + o_n, FAST)
            in_l1 = bring(in_l1, state_ptr + (first_slot + tile) * N * D + o_n, FAST)
            in_l1 = bring(in_l1, r_ptr + segment * N * D + o_n, FAST)
            in_l1 = bring(in_l1, da_ptr + segment * N * D + o_n, FAST)
        p_bc = bc_ptr + ((first_slot + tile) * G + i_g) * N * (2 * T)
        for column in tl.static_range(0, N * 2 * T, 8 * LANES * S):
            in_l1 = bring(in_l1, p_bc + tl.minimum(column + o_t * 8, N * 2 * T - 1), FAST)
        own_steps = ()
        own_us = ()
        own_gys = ()
        for t in tl.static_range(OWN):
            b_dt = step_size(dts[t], b_bias, left, t, HAS_BIAS, SOFTPLUS, FAST)
            b_gy = dys[t].to(tl.float32)
            if HAS_Z:
                b_z = zs[t].to(tl.float32)
                b_gy *= b_z * sigmoid(b_z, FAST)
            own_steps = own_steps + (b_dt,)
            own_us = own_us + (b_dt * xs[t].to(tl.float32),)
            own_gys = own_gys + (b_gy,)
        steps = spread(own_steps, o_l, T, S, FAST)
        us = spread(own_us, o_l, T, S, FAST)
        gys = spread(own_gys, o_l, T, S, FAST)
        ys = ()
        dus = ()
        ddts = ()
        for _t in tl.static_range(T):
            ys = ys + (zero,)
            dus = dus + (zero,)
            ddts = ddts + (zero,)
        q_a = a_ptr + part * COUNT * D + o_d
        q_h = p_h
        q_r = p_r
        q_da = p_da
        q_bc = p_bc
        if S > 1:
            q_bc = p_bc + part * 4
        share = ((first_slot + tile) * G + i_g) * (blocks * S) + i_d * S + o_t // LANES
        q_dbc = dbc_ptr + share * (N * 2 * T) + place
        next_A = load(q_a, m_d, FAST)
        next_h = load(q_h, m_d, FAST)
        next_r = load_again(q_r, m_d, FAST)
        next_dA = load_again(q_da, m_d, FAST)
        next_Bs = shared(q_bc, T, S, FAST)
        for pair in range(0, COUNT, UNROLLED):
            for later in tl.static_range(UNROLLED):
                b_A, b_h, b_r, b_dA = next_A, next_h, next_r, next_dA
                Bs = next_Bs
                Cs = shared(q_bc + T * S, T, S, FAST)  # waited for after the exponentials
                # What else the next n needs is loaded before this n; the last one loads its own.
                step = tl.where(pair + later < COUNT - 1, 1, 0)
                q_a += step * D
                q_h += step * D
                q_bc += step * (2 * T * S)
                next_A = load(q_a, m_d, FAST)
                next_r = load_again(q_r + step * D, m_d, FAST)
                next_dA = load_again(q_da + step * D, m_d, FAST)
                next_Bs = shared(q_bc, T, S, FAST)
                next_h = load(q_h, m_d, FAST)
                before = ()
                decays = ()
                products = ()
                sums = ()
                for t in tl.static_range(T):
                    b_a = exp2(steps[t] * b_A, FAST)  # (2)
                    before = before + (b_h,)
                    decays = decays + (b_a,)
                    b_h = b_a * b_h + us[t] * Bs[t]  # (3), (4)
                    products = products + (gys[t] * b_h,)
                    sums = sums + (ys[t] + b_h * Cs[t],)  # (5)
                if HAS_Z:
                    ys = sums
                dC = sum_quads(products, SPLIT, FAST)
                products = ()
                new_du = ()
                new_ddt = ()
                for back_t in tl.static_range(T):
                    b_g = gys[T - 1 - back_t] * Cs[T - 1 - back_t] + b_r  # (8)
                    b_r = decays[T - 1 - back_t] * b_g
                    b_dlog = b_r * before[T - 1 - back_t]  # gradient of Δ_t A
                    new_du = (dus[T - 1 - back_t] + b_g * Bs[T - 1 - back_t],) + new_du
                    new_ddt = (ddts[T - 1 - back_t] + b_dlog * b_A,) + new_ddt
                    b_dA += b_dlog * steps[T - 1 - back_t]
                    products = (b_g * us[T - 1 - back_t],) + products
                dus = new_du
                ddts = new_ddt
                store(q_r, b_r, m_d, FAST)
                store(q_da, b_dA, m_d, FAST)
                store_sums(q_dbc, sum_quads(products, SPLIT, FAST), dC, m_place, o_l, T, S, FAST)
                q_r += D
                q_da += D
                q_dbc += 2 * T
        # Loaded again rather than kept, since registers are what limits the loop over n; and all
        # before the first store, which may alias as far as the compiler knows.
        xs = rows(p_x, D, in_l1, OWN, FAST)
        if HAS_Z:
            ys = collect(ys, o_l, T, S, FAST)
            zs = rows(p_z, ZS, in_l1, OWN, FAST)
            dys = rows(p_dy, D, in_l1, OWN, FAST)
        dus = collect(dus, o_l, T, S, FAST)
        ddts = collect(ddts, o_l, T, S, FAST)
        for t in tl.static_range(OWN):
            b_x = xs[t].to(tl.float32)
            b_dx = dus[t] * own_steps[t]
            b_ddt = dus[t] * b_x + ddts[t] * LN2
            if HAS_D:
                b_dx += own_gys[t] * b_D
                b_dD += own_gys[t] * b_x
            if SOFTPLUS:
                b_ddt *= softplus_slope(own_steps[t], FAST)
            b_dbias += b_ddt
            p = o_own + t * D
            store(dx_ptr + p, b_dx, in_l1 > t, FAST)
            store(ddt_ptr + p, b_ddt, in_l1 > t, FAST)
            if HAS_Z:
                b_y = ys[t]
                if HAS_D:
                    b_y += b_x * b_D
                b_z = zs[t].to(tl.float32)
                b_sig = sigmoid(b_z, FAST)
                b_dz = dys[t].to(tl.float32) * b_y * b_sig * (1.0 + b_z * (1.0 - b_sig))
                store(dz_ptr + p, b_dz, in_l1 > t, FAST)
    if HAS_D:
        store(dd_ptr + segment * D + o_d, total(b_dD, o_l, S, FAST), m_d, FAST)
    if HAS_BIAS:
        store(dbias_ptr + segment * D + o_d, total(b_dbias, o_l, S, FAST), m_d, FAST)


@triton.jit(do_not_specialize=["L", "BLOCKS"])
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
