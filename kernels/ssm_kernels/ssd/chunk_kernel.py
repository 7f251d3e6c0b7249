"""What the kernels of ssd share: where chunks lie, what they load, and the gate Δ.

Tokens lie in one row (batch · length, or packed). A head whose values are wider than BLOCK_P is
cut into slices, and `i_v` counts slices of heads; a slice is a head of its own but for its gate Δ.
A chunk is two tiles of T places, and EVEN says that every chunk is full. Decays are sums of log2
since the chunk began.

From one tile of a chunk to the other the decay is split at their border, so that C Bᵀ between them
is a matrix that all heads share. Dot results are never transposed and fed to another dot (Triton
3.4 to 3.7 miscompile that on Hopper): transposed operands come from memory.
"""

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def span(i, table_ptr, L, size, per, PACKED: tl.constexpr):
    """Segment or chunk i: its sequence, first token, tokens, and number within the sequence."""
    if PACKED:
        p = table_ptr + i.to(tl.int64) * 4
        i_s, start, end, k = tl.load(p), tl.load(p + 1), tl.load(p + 2), tl.load(p + 3)
    else:
        i_s, k = i.to(tl.int64) // per, i.to(tl.int64) % per
        start = i_s * L + k * size
        end = tl.minimum(start + size, (i_s + 1) * L)
    return i_s, start, (end - start).to(tl.int32), k


@triton.jit
def places(T: tl.constexpr, left, EVEN: tl.constexpr):
    """Which of T places hold tokens, of which `left` are left."""
    o_q = tl.arange(0, T)
    return o_q < (T if EVEN else left)


@triton.jit
def slice_of(i_v, H: tl.constexpr, P: tl.constexpr, V: tl.constexpr, BLOCK_P: tl.constexpr):
    """Slice i_v: its head, its first value in the row of a token, and which of its values exist."""
    i_h, p_first = i_v // (V // H), (i_v % (V // H)) * BLOCK_P
    return i_h, i_h * P + p_first, p_first + tl.arange(0, BLOCK_P) < P


@triton.jit
def tile(ptr, stride: tl.constexpr, m_t, m_c, T: tl.constexpr, WIDTH: tl.constexpr):
    """T rows of WIDTH columns; 0 where masked. Offsets within a tile fit 32 bits."""
    o = tl.arange(0, T)[:, None] * stride + tl.arange(0, WIDTH)[None, :]
    return tl.load(ptr + o, mask=m_t[:, None] & m_c[None, :], other=0.0)


@triton.jit
def put_tile(ptr, stride: tl.constexpr, b, m_t, m_c, T: tl.constexpr, WIDTH: tl.constexpr):
    """Store b in the dtype of `ptr`, where it is not masked."""
    o = tl.arange(0, T)[:, None] * stride + tl.arange(0, WIDTH)[None, :]
    tl.store(ptr + o, b.to(ptr.dtype.element_ty), mask=m_t[:, None] & m_c[None, :])


@triton.jit
def below(b):
    """b, bounded so that 2^b stays finite, and NaN where it is."""
    return tl.minimum(b, 126.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def joined(b_low, b_high):
    """Two float32 values in one of 64 bits, which is loaded as fast as either."""
    b_low = b_low.to(tl.int32, bitcast=True).to(tl.int64) & 0xFFFFFFFF
    return b_low | (b_high.to(tl.int32, bitcast=True).to(tl.int64) << 32)


@triton.jit
def apart(b):
    """The two values that `joined` put in one."""
    b_low, b_high = b.to(tl.int32), (b >> 32).to(tl.int32)
    return b_low.to(tl.float32, bitcast=True), b_high.to(tl.float32, bitcast=True)


@triton.jit
def diagonal(b_S, T: tl.constexpr):
    """The T values on the diagonal of b_S."""
    o = tl.arange(0, T)
    return tl.sum(tl.where(o[:, None] == o[None, :], b_S, 0.0), axis=1)


@triton.jit
def gate(dt_ptr, bias_ptr, p, m, o_h, m_h, low, high, SOFTPLUS: tl.constexpr, BIAS: tl.constexpr):
    """Δ of Eq. (1) and its slope against dt, heads × times; both 0 where masked."""
    b_dt = tl.load(dt_ptr + p, mask=m, other=0.0).to(tl.float32)
    if BIAS:
        b_bias = tl.load(bias_ptr + o_h, mask=m_h, other=0.0).to(tl.float32)
        b_dt += b_bias[:, None]
    b_slope = tl.full(b_dt.shape, 1.0, tl.float32)
    if SOFTPLUS:
        b_e = tl.exp(-tl.abs(b_dt))
        b_slope = tl.where(b_dt >= 0, 1.0, b_e) / (1.0 + b_e)
        # log1p by its series where 1 + e would round e away
        b_log = tl.where(b_e < 1e-3, b_e * (1.0 - b_e * (0.5 - b_e / 3.0)), tl.log(1.0 + b_e))
        b_dt = tl.where(b_dt > 0, b_dt, 0.0) + b_log
    b_slope = tl.where((b_dt >= low) & (b_dt <= high), b_slope, 0.0)
    b_dt = tl.where(b_dt < low, low, tl.where(b_dt > high, high, b_dt))
    return tl.where(m, b_dt, 0.0), tl.where(m, b_slope, 0.0)


@triton.jit
def ask(ptr, stride: tl.constexpr, rows, T: tl.constexpr, EVEN: tl.constexpr):
    """Ask for one address in each of T rows, of which `rows` exist, to be brought to the L2 cache.

    Of two pipeline stages the second waits at once for what the first has asked of memory; asked a
    slice ahead, it waits for the L2 cache alone.
    """
    o = tl.arange(0, T)
    if not EVEN:
        o = tl.minimum(o, rows - 1)
    tl.inline_asm_elementwise(
        "prefetch.global.L2 [$1]; mov.b32 $0, 0;", "=r,l", [(ptr + o * stride).to(tl.int64)],
        dtype=tl.int32, is_pure=False, pack=1,
    )  # fmt: skip


@triton.jit
def ask_state(ptr, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    """The same for SIZE neighbouring values of two bytes; BLOCK is a power of 2."""
    ask(ptr, 64, (SIZE + 63) // 64, BLOCK // 64, SIZE == BLOCK)
