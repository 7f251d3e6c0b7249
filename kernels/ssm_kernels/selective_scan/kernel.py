"""Device code that the passes of the selective scan share: lanes, loads and functions.

A program walks 32 channels that lie side by side in memory. S lanes share a channel, each with its
part of the states, so that few channels fill the device too: the program has S warps, a warp has
32 / S channels, and lane l of it has channel l % (32 / S) and part l // (32 / S). Forward, a lane
holds K neighbouring channels, for which S / K warps are enough. Whatever belongs to several tokens
or states is a tuple of vectors over the lanes, one vector a token or state, so that loops over them
unroll into straight code in registers. Eq. (4) is then one multiply-add a token and state, without
shuffles or shared memory. Of T tokens each lane reads, gates and writes T / S for its channel:
`spread` tells the other lanes what it read, `collect` adds up over states. B and C are the same for
all channels: `pack_bc_kernel` turns them so that four tokens of one state are one 16-byte load, and
those of the S lanes lie side by side.

Forward, a lane keeps its states in registers from the first token to the last; a wider state takes
several passes, which add to `acc_ptr`. Backward, the tokens of a tile are in registers and a loop
walks the states; the states before every tile were stored by the forward pass.

Geometry. Sequence s owns tokens [start, end) of the flat time axis and the tile slots from
`first_slot` on; with `cu_ptr` packed lengths make both irregular. A sequence is cut into segments
of SEG tiles: `ends_kernel` finds what each alone hands on and `carry_kernel` joins them, so that
one long sequence still fills the device. Scratch arrays have channels innermost: states are (slot
or segment, n, d).

`left` counts the tokens from a lane's first to the end of its sequence, and is not above zero in a
lane whose channel does not exist: `left > t` is the one mask of token t.
"""

import math

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)
LANES = tl.constexpr(32)
# What is lost of a number cut to 10 bits of mantissa, on average over evenly spread logarithms.
DROPPED = tl.constexpr(2**-11 / (2 * math.log(2)))


def _ptx(masked_by: str, code: str) -> tl.constexpr:
    return tl.constexpr(f"{{ .reg .pred p; setp.ne.b32 p, {masked_by}, 0; {code} }}")


LOAD_16 = _ptx("$2", "mov.b16 $0, 0; @p ld.global.nc.b16 $0, [$1];")
LOAD_32 = _ptx("$2", "mov.b32 $0, 0; @p ld.global.nc.b32 $0, [$1];")
LOAD_WRITTEN = _ptx("$2", "mov.b32 $0, 0; @p ld.global.b32 $0, [$1];")
# An instruction in line must return something.
STORE_16 = _ptx("$3", "@p st.global.b16 [$1], $2; mov.b32 $0, 0;")
STORE_32 = _ptx("$3", "@p st.global.b32 [$1], $2; mov.b32 $0, 0;")


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
def shared(p, T: tl.constexpr, S: tl.constexpr, FAST: tl.constexpr):
    """B or C of one state at T tokens, the same for all channels."""
    out = ()
    for i in tl.static_range(T // 4):
        out = out + four(p + 4 * S * i, FAST)
    return out


@triton.jit
def load(p, mask, FAST: tl.constexpr):
    """What lies at one address a lane and is not written by this launch; zero without mask.

    Spelt out, since for each of its own loads and stores Triton's coalescing walks the whole
    program: in straight code, nine tenths of the time of compilation.
    """
    if FAST:
        if p.dtype.element_ty.primitive_bitwidth == 16:
            bits = tl.inline_asm_elementwise(
                LOAD_16, "=&h,l,r", [p.to(tl.int64), mask.to(tl.int32)],
                dtype=tl.int16, is_pure=True, pack=1,
            )  # fmt: skip
        else:
            bits = tl.inline_asm_elementwise(
                LOAD_32, "=&r,l,r", [p.to(tl.int64), mask.to(tl.int32)],
                dtype=tl.int32, is_pure=True, pack=1,
            )  # fmt: skip
        return bits.to(p.dtype.element_ty, bitcast=True)
    else:
        return tl.load(p, mask=mask, other=0.0)


@triton.jit
def load_again(p, mask, FAST: tl.constexpr):
    """The float32 at one address a lane, which this launch may have written; zero without mask."""
    if FAST:
        return tl.inline_asm_elementwise(
            LOAD_WRITTEN, "=&f,l,r", [p.to(tl.int64), mask.to(tl.int32)],
            dtype=tl.float32, is_pure=False, pack=1,
        )  # fmt: skip
    else:
        return tl.load(p, mask=mask, other=0.0)


@triton.jit
def store(p, x, mask, FAST: tl.constexpr):
    """Write one number a lane, rounded to the type that p points to."""
    x = x.to(p.dtype.element_ty)
    if FAST:
        if p.dtype.element_ty.primitive_bitwidth == 16:
            tl.inline_asm_elementwise(
                STORE_16, "=r,l,h,r",
                [p.to(tl.int64), x.to(tl.int16, bitcast=True), mask.to(tl.int32)],
                dtype=tl.int32, is_pure=False, pack=1,
            )  # fmt: skip
        else:
            tl.inline_asm_elementwise(
                STORE_32, "=r,l,r,r",
                [p.to(tl.int64), x.to(tl.int32, bitcast=True), mask.to(tl.int32)],
                dtype=tl.int32, is_pure=False, pack=1,
            )  # fmt: skip
    else:
        tl.store(p, x, mask=mask)


@triton.jit
def rows(p, stride: tl.constexpr, left, T: tl.constexpr, FAST: tl.constexpr):
    """The channels at T tokens, as they lie in memory; zero past the end."""
    out = ()
    for t in tl.static_range(T):
        out = out + (load(p + t * stride, left > t, FAST),)
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

    The last instruction takes all four bytes of x, but the compiler does not know that it drops
    the load.
    """
    if FAST:
        return tl.inline_asm_elementwise(
            "{ .reg .b32 a; ld.global.b32 a, [$2]; prmt.b32 $0, $1, a, 0x3210; }", "=r,r,l",
            [x, p.to(tl.int64)], dtype=tl.int32, is_pure=False, pack=1,
        )  # fmt: skip
    else:
        return x


@triton.jit
def from_lane(x, lane, FAST: tl.constexpr):
    """x of another lane of the same warp."""
    if FAST:
        return tl.inline_asm_elementwise(
            "shfl.sync.idx.b32 $0, $1, $2, 31, -1;", "=f,f,r", [x, lane],
            dtype=tl.float32, is_pure=True, pack=1,
        )  # fmt: skip
    else:
        return tl.gather(x, tl.arange(0, x.shape[0]) // 32 * 32 + lane, 0)


@triton.jit
def spread(own, o_l, T: tl.constexpr, S: tl.constexpr, FAST: tl.constexpr):
    """T numbers of a channel for all of its S lanes, each of which holds T / S of them."""
    out = own
    if S > 1:
        out = ()
        for t in tl.static_range(T):
            lane = t // (T // S) * (32 // S) + o_l % (32 // S)
            out = out + (from_lane(own[t % (T // S)], lane, FAST),)
    return out


@triton.jit
def exchange(parts, o_l, BIT: tl.constexpr, HALF: tl.constexpr, FAST: tl.constexpr):
    """Sums over two lanes that differ by BIT; the lower one gets the first HALF of them."""
    upper = (o_l & BIT) != 0
    out = ()
    for i in tl.static_range(HALF):
        kept = tl.where(upper, parts[HALF + i], parts[i])
        given = tl.where(upper, parts[i], parts[HALF + i])
        out = out + (kept + from_lane(given, o_l ^ BIT, FAST),)
    return out


@triton.jit
def collect(parts, o_l, T: tl.constexpr, S: tl.constexpr, FAST: tl.constexpr):
    """Sums over the S lanes of a channel, of which each gets T / S: the reverse of `spread`."""
    for level in tl.static_range(3):
        if 1 << level < S:
            parts = exchange(parts, o_l, 16 >> level, T >> (level + 1), FAST)
    return parts


@triton.jit
def total(x, o_l, S: tl.constexpr, FAST: tl.constexpr):
    """Sum over the S lanes of a channel, for all of them."""
    for level in tl.static_range(3):
        if 1 << level < S:
            x += from_lane(x, o_l ^ (16 >> level), FAST)
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


@triton.jit(do_not_specialize=["L", "PASS"])
def pack_bc_kernel(
    b_ptr, c_ptr, bc_ptr, cu_ptr, L, G, N, PASS,
    T: tl.constexpr, S: tl.constexpr, BLOCK_N: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """B and C of one tile in float32, zero past the end. Grid: (tile, s).

    Laid out as (slot, g, pass, n / S, 2, T / 4, S, 4): a pass is PASS states, the last one what is
    left, and the S lanes of a channel, which own a share of its states each, read side by side.
    """
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
            n = o_n % N % PASS
            count = tl.minimum(PASS, N - (o_n % N - n)) // S
            q = ((first_slot + i_t) * (G * N) + o_n - n + n % count * S) * (2 * T) + n // count * 4
            o_T = tl.arange(0, T)
            q = q[None, :] + (o_T // 4 * (4 * S) + o_T % 4)[:, None]
            m = (o_n < G * N)[None, :] & (tl.arange(0, T) < T)[:, None]
            tl.store(bc_ptr + q, b_B, mask=m)
            tl.store(bc_ptr + q + T * S, b_C, mask=m)
