"""The calls of a layer over time whose past fits in a state, and what they promise.

    forward(u)             from an empty past, padded (`mask`) or packed (`cu_seqlens`) rows too
    prefill(u, state)      the same after a past, and the state after it
    step(u, state)         one more token, in time and memory that do not depend on the past
    allocate_state(b)      the state of an empty past

States are values: no call changes the one that it was given. Every call checks what it is given
before any work. A layer says what it reads (`reads`), how it runs (`_run`, `step`) and what its
state is (`allocate_state`, `_check_state`, `_memory`).
"""

from typing import Any, ClassVar

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ssm_ref.expect import expect_sequence
from ssm_ref.packing import check_left_padding, run_apart


class CausalLayer(nn.Module):
    """`forward` and `prefill` of a layer that gives the rest."""

    tells_packed_apart: ClassVar[bool] = False  # whether `_run` itself reads cu_seqlens

    @property
    def reads(self) -> tuple[int, Tensor]:
        """Channels of an input, and a weight whose dtype and device it must have."""
        raise NotImplementedError

    def forward(
        self,
        u: Float[Tensor, "b l m"],
        *,
        mask: Bool[Tensor, "b l"] | None = None,
        cu_seqlens: Int[Tensor, " s1"] | None = None,
    ) -> Float[Tensor, "b l o"]:
        """The layer from an empty past.

        `mask` is False on padding, on any side: the outputs there are zero and the others those of
        the row alone. `cu_seqlens` tells packed sequences apart. Raises `ValueError` for inputs
        that do not fit.
        """
        expect_sequence("u", u, *self.reads)
        if mask is not None or (cu_seqlens is not None and not self.tells_packed_apart):
            return run_apart(self.forward, u, mask=mask, cu_seqlens=cu_seqlens)
        return self._run(u, None, None, cu_seqlens)[0]

    def prefill(
        self, u: Float[Tensor, "b l m"], state: Any, *, mask: Bool[Tensor, "b l"] | None = None
    ) -> tuple[Float[Tensor, "b l o"], Any]:
        """The layer after the past in `state`, and the state after it.

        `mask` is False on padding, which stands on the left, after an empty past, and writes
        nothing. Raises `ValueError` for a state of another layer or batch.
        """
        expect_sequence("u", u, *self.reads)
        self._check_state(state, u.shape[0])
        if mask is not None:
            check_left_padding(mask, u.shape[:2], self._memory(state))
        return self._run(u, state, mask, None)

    def allocate_state(self, batch: int) -> Any:
        """The state of an empty past; raises `ValueError` unless `batch` is a number of rows."""
        raise NotImplementedError

    def _run(
        self, u: Tensor, state: Any, mask: Tensor | None, cu_seqlens: Tensor | None
    ) -> tuple[Tensor, Any]:
        """The layer over a sequence after `state`, an empty one if None; padding writes nothing."""
        raise NotImplementedError

    def _check_state(self, state: Any, batch: int) -> None:
        """Raise `ValueError` unless `state` is one of this layer for `batch` rows."""
        raise NotImplementedError

    def _memory(self, state: Any) -> Tensor:
        """The part of a state that any past leaves other than zero."""
        raise NotImplementedError
