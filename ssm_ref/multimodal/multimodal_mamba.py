"""A Mamba language model that reads pictures and sounds before its text.

    v = [E_1(media), …, E_k(media)]            side by side, (b, l, Σ d_i)      (1)
    m = W_3 GELU(W_2 GELU(W_1 v))              Cobra's connector                (2)
    m = MLP(v + mixer(norm(W v)))              VL-Mamba's connector             (3)
    x = [m_picture; m_sound; E[ids]]           one sequence for the model       (4)

Encoders turn media into rows of features; a connector turns those into vectors of the language
model's width, which stand where embeddings would. From then on nothing is special: the state has
read the picture, and decoding costs what it costs for text.

Sources: Zhao et al., Cobra, AAAI 2025, arXiv:2403.14520 (two frozen vision encoders, their
features joined by channel, an MLP, a Mamba-2.8B); Qiao et al., VL-Mamba, arXiv:2403.13600 (a
bidirectional scan in the connector). Cobra reads DINOv2 and SigLIP; any encoders serve here.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ssm_ref.expect import expect_sequence
from ssm_ref.language_model import LanguageModel, State
from ssm_ref.norm import RMSNorm
from ssm_ref.vision.bidirectional_mamba import BidirectionalMamba, BidirectionalMambaConfig


class MlpConnector(nn.Sequential):
    """Three matrices with GELU between them, Eq. (2)."""

    def __init__(self, d_features: int, d_model: int, *, expand: int = 4) -> None:
        hidden = expand * d_features
        super().__init__(
            nn.Linear(d_features, hidden),
            nn.GELU(),
            nn.Linear(hidden, d_model),
            nn.GELU(),
            nn.Linear(d_model, d_model),
        )
        self.d_features = d_features

    def forward(self, v: Float[Tensor, "b l f"]) -> Float[Tensor, "b l m"]:
        """Vectors for the language model.    (2)"""
        expect_sequence("v", v, self.d_features, next(self.parameters()))
        out: Tensor = super().forward(v)  # (2)
        return out


class ScanConnector(nn.Module):
    """A bidirectional scan over the features, then an MLP, Eq. (3)."""

    def __init__(self, d_features: int, d_model: int) -> None:
        super().__init__()
        self.inward = nn.Linear(d_features, d_model)
        self.norm = RMSNorm(d_model)
        self.mixer = BidirectionalMamba(BidirectionalMambaConfig(d_model=d_model))
        self.mlp = MlpConnector(d_model, d_model, expand=1)

    def forward(self, v: Float[Tensor, "b l f"]) -> Float[Tensor, "b l m"]:
        """Vectors for the language model, each aware of all features."""
        expect_sequence("v", v, self.inward.in_features, self.inward.weight)
        x = self.inward(v)
        out: Tensor = self.mlp(x + self.mixer(self.norm(x)))  # (3)
        return out


class MediaReader(nn.Module):
    """Frozen encoders and a connector that is trained.

    Args:
        encoders: each takes the media and returns features (b, l, d_i), all with one l.
        connector: takes (b, l, Σ d_i) to (b, l, d_model).
    """

    def __init__(self, encoders: Sequence[nn.Module], connector: nn.Module) -> None:
        super().__init__()
        if not encoders:
            raise ValueError("a reader needs at least one encoder")
        self.encoders = nn.ModuleList(encoders).requires_grad_(False)
        self.connector = connector

    def forward(self, media: Tensor) -> Float[Tensor, "b l m"]:
        """Vectors that stand for the media in the sequence, Eqs. (1) and (2) or (3).

        Raises:
            ValueError: if the encoders answer with different numbers of rows.
        """
        with torch.no_grad():
            features = [encoder(media) for encoder in self.encoders]
        shapes = [tuple(f.shape[:2]) for f in features]
        if len(set(shapes)) > 1:
            raise ValueError(f"encoders must answer with equal (batch, rows); got {shapes}")
        out: Tensor = self.connector(torch.cat(features, dim=-1))  # (1)
        return out


class MultimodalMamba(nn.Module):
    """A language model with a reader for each kind of media it may be given, Eq. (4).

    Args:
        language: the model that reads the sequence, a `MambaLanguageModel` or any other here.
        picture: reader of pictures, or None.
        sound: reader of sounds, or None.
    """

    def __init__(
        self,
        language: LanguageModel,
        *,
        picture: MediaReader | None = None,
        sound: MediaReader | None = None,
    ) -> None:
        super().__init__()
        self.language = language
        self.picture, self.sound = picture, sound

    def forward(
        self,
        ids: Int[Tensor, "b l"],
        *,
        picture: Tensor | None = None,
        sound: Tensor | None = None,
    ) -> Float[Tensor, "b l v"]:
        """Logits after each text token, given the media before it.

        Raises:
            ValueError: if there is no reader for the media, or its batch is not that of ids.
        """
        state = self.language.allocate_state(ids.shape[0])
        return self.prefill(ids, state, picture=picture, sound=sound)[0]

    def prefill(
        self,
        ids: Int[Tensor, "b l"],
        state: State,
        *,
        picture: Tensor | None = None,
        sound: Tensor | None = None,
    ) -> tuple[Float[Tensor, "b l v"], State]:
        """`forward` after the past in `state`, and the state after the last token."""
        text = self.language.embed(ids)
        parts = [
            self._read(kind, reader, media, text)
            for kind, reader, media in (
                ("picture", self.picture, picture),
                ("sound", self.sound, sound),
            )
            if media is not None
        ]
        x = torch.cat([*parts, text], dim=1)  # (4)
        logits, state = self.language.prefill_embedded(x, state)
        return logits[:, x.shape[1] - ids.shape[1] :], state

    def step(self, ids: Int[Tensor, " b"], state: State) -> tuple[Float[Tensor, "b v"], State]:
        """Logits after one more token a row; media cost nothing any more."""
        return self.language.step(ids, state)

    def _read(self, kind: str, reader: MediaReader | None, media: Tensor, text: Tensor) -> Tensor:
        if reader is None:
            raise ValueError(f"this model has no reader for a {kind}")
        if media.shape[0] != text.shape[0]:
            raise ValueError(
                f"{kind} and ids must have one batch; got {media.shape[0]} and {text.shape[0]}"
            )
        out = reader(media)
        if out.shape[2] != text.shape[2]:
            raise ValueError(
                f"the {kind} reader must give vectors of width {text.shape[2]}; got {out.shape[2]}"
            )
        return out.to(text.dtype)
