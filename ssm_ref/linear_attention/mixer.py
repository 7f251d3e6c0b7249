"""A layer around the recurrence: what linear attention and its kin share as parts of a model.

    case_t, past = project(u_t, past)    a model's own projections of its input    (1)
    o_t, S = recurrence(case_t, S)    ssm_ref.linear_attention.recurrence    (2)
    y_t = output(o_t)    a model's own norm, gate and last projection    (3)

The state is S and what the projections need of the past (the inputs of a short convolution, a
position): both of one size however long the past is. Padding on the left writes nothing, since its
inputs are zero and its keys are masked.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.causal_layer import CausalLayer
from ssm_ref.expect import expect_batch, expect_shape, expect_token, state_dtype
from ssm_ref.linear_attention.recurrence import Case, chunked, recurrent

Scan = Callable[[Case, Tensor], tuple[Tensor, Tensor]]


class MixerState(NamedTuple):
    """What a layer keeps of the past: its projections' part, and S in float32 or wider."""

    past: Tensor
    S: Float[Tensor, "b h n p"]


class Projected(NamedTuple):
    """What a layer makes of its input: the case, its part of the state, and what `output` takes."""

    case: Case
    past: Tensor
    rest: tuple[Tensor, ...] = ()


class Mixer(CausalLayer):
    """Eqs. (1) to (3) and the state around them; a model gives `project` and `output`.

    `state_shape` is (h, n, p) of S and `past_shape` that of the rest, both without the batch.
    `scan` is `chunked`, `parallel` or `recurrent`.
    """

    o_proj: nn.Linear  # the last projection, which every model has

    def __init__(
        self,
        d_model: int,
        state_shape: tuple[int, int, int],
        past_shape: tuple[int, ...] = (0,),
        *,
        scan: Scan = chunked,
    ) -> None:
        super().__init__()
        if min(d_model, *state_shape) < 1:
            raise ValueError(
                f"d_model and the state's heads and widths must be at least 1; "
                f"got {d_model} and {state_shape}"
            )
        self.d_model, self.state_shape, self.past_shape = d_model, state_shape, past_shape
        self.scan = scan

    def project(self, u: Float[Tensor, "b l d"], past: Tensor) -> Projected:
        """The case of Eq. (1) for u after `past`."""
        raise NotImplementedError

    def output(self, o: Float[Tensor, "b l h p"], *rest: Tensor) -> Float[Tensor, "b l d"]:
        """The layer's output, Eq. (3), from what was read and `Projected.rest`."""
        raise NotImplementedError

    @property
    def reads(self) -> tuple[int, Tensor]:
        """Channels of an input, and a weight whose dtype and device it must have."""
        return self.d_model, self.o_proj.weight

    def step(
        self, u: Float[Tensor, "b d"], state: MixerState
    ) -> tuple[Float[Tensor, "b d"], MixerState]:
        """One more token, in time and memory that do not depend on the past."""
        expect_token("u", u, *self.reads)
        self._check_state(state, u.shape[0])
        y, state = self._through(recurrent, u[:, None], state, None)
        return y[:, 0], state

    def empty_past(self, batch: int) -> Tensor:
        """The projections' part of an empty state: zeros in the dtype of the weights."""
        return self.o_proj.weight.new_zeros(batch, *self.past_shape)

    def allocate_state(self, batch: int) -> MixerState:
        """The state of an empty past."""
        expect_batch(batch)
        weight = self.o_proj.weight
        S = weight.new_zeros(batch, *self.state_shape, dtype=state_dtype(weight))
        return MixerState(self.empty_past(batch), S)

    def heads(self, x: Float[Tensor, "b l c"]) -> Float[Tensor, "b l h w"]:
        """The channels of x by heads."""
        return x.unflatten(-1, (self.state_shape[0], -1))

    def _run(
        self,
        u: Tensor,
        state: MixerState | None,
        mask: Tensor | None,
        cu_seqlens: Tensor | None = None,
    ) -> tuple[Tensor, MixerState]:
        state = self.allocate_state(u.shape[0]) if state is None else state
        return self._through(self.scan, u, state, mask)

    def _through(
        self, scan: Scan, u: Tensor, state: MixerState, mask: Tensor | None
    ) -> tuple[Tensor, MixerState]:
        """Eqs. (1) to (3) with `scan` for the recurrence."""
        if mask is not None:
            u = u.masked_fill(~mask[..., None], 0)
        case, past, rest = self.project(u, state.past)  # (1)
        o, S = scan(case if mask is None else _silence(case, mask), state.S)  # (2)
        return self.output(o, *rest), MixerState(past, S)  # (3)

    def _memory(self, state: MixerState) -> Tensor:
        return state.S

    def _check_state(self, state: MixerState, batch: int) -> None:
        if not isinstance(state, MixerState):
            raise ValueError(f"state must be a MixerState; got {type(state).__name__}")
        if tuple(state.past.shape) != (batch, *self.past_shape):
            raise ValueError(
                f"state.past must have shape {(batch, *self.past_shape)}; "
                f"got {tuple(state.past.shape)}"
            )
        expect_shape("state.S", state.S, (batch, *self.state_shape))


def _silence(case: Case, mask: Tensor) -> Case:
    padding = ~mask[..., None, None]
    k = case.k.masked_fill(padding, 0)
    b = None if case.b is None else k if case.b is case.k else case.b.masked_fill(padding, 0)
    return case._replace(k=k, b=b)


@torch.no_grad()
def draw_projections(layer: nn.Module, gain: float = 2**-2.5) -> None:
    """Fill every linear map of `layer` by Glorot's rule times `gain`, and its biases with zeros.

    The start that the code of RetNet, GLA and the delta family was published with.
    """
    for part in layer.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight, gain=gain)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def split_heads(name: str, width: int, n_heads: int) -> int:
    """Width of one of `n_heads` equal heads; raises `ValueError` unless they share it evenly."""
    if n_heads < 1 or width < 1 or width % n_heads:
        raise ValueError(f"n_heads={n_heads} must divide {name}={width}")
    return width // n_heads
