"""Rows of handwritten digits and what they say in words: data for a model that reads pictures.

An example is a picture of several real digits side by side and the text "en: seven two five" or
"ru: семь два пять" in bytes; what is asked is the bytes after the language and a line end.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn

from ssm_ref.language_model import LanguageModelConfig
from ssm_ref.multimodal.multimodal_mamba import (
    MediaReader,
    MlpConnector,
    MultimodalMamba,
    ScanConnector,
)
from ssm_ref.selective.mamba import MambaConfig, MambaLanguageModel
from ssm_ref.training.batch import IGNORED, Batch, generator
from ssm_ref.training.files import ImageSource
from ssm_ref.training.pictures import Pictures, open_pictures

NAMES = {
    "en": ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
    "ru": ["ноль", "один", "два", "три", "четыре", "пять", "шесть", "семь", "восемь", "девять"],
}
END = ord("\n")


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionedDigits:
    """Pictures of `digits` digits in a row, named in one of `languages`.

    A row of numbers is pixels, then bytes of the text. Digits of validation are ones that training
    never shows.
    """

    of: Pictures = "digits"
    digits: int = 3
    languages: tuple[Literal["en", "ru"], ...] = ("en", "ru")

    def __post_init__(self) -> None:
        if self.digits < 1 or not self.languages:
            raise ValueError(
                "at least one digit and one language are wanted; got "
                f"digits={self.digits}, languages={self.languages}"
            )

    def open(self, folder: Path, seed: int, where: str) -> "CaptionSource":
        """The pictures; `ValueError` without their package."""
        return CaptionSource(open_pictures(self.of, where), self, seed)


@dataclass(frozen=True, slots=True)
class CaptionSource:
    """Fresh rows of digits at every step."""

    single: ImageSource
    task: CaptionedDigits
    seed: int

    @property
    def sizes(self) -> dict[str, Any]:
        """Bytes, and what the pictures are like."""
        _, channels, h, w = self.single.images.shape
        return {"vocab_size": 256, "image": (h, self.task.digits * w), "channels": channels}

    @property
    def fingerprint(self) -> str:
        """A hash of pixels and labels."""
        return self.single.fingerprint

    @property
    def length(self) -> int:
        """Bytes of the longest text but the last one, which nothing follows."""
        languages = self.task.languages
        return max(
            len(self.text([label] * self.task.digits, language)) - 1
            for language in languages
            for label in range(10)
        )

    def text(self, labels: list[int], language: str) -> bytes:
        """What a picture of these digits is followed by."""
        words = " ".join(NAMES[language][label] for label in labels)
        return f"{language}: {words}\n".encode()

    def training(self, step: int, size: int) -> Batch:
        """Digits of four fifths of the hands, in rows."""
        kept = [i for i in range(len(self.single.labels)) if i % 5 != 4]
        return self._batch(torch.tensor(kept), size, generator(self.seed, 0, step))

    def validation(self, count: int, size: int) -> Iterator[Batch]:
        """Rows of held-out digits."""
        held = torch.arange(4, len(self.single.labels), 5)
        for i in range(count):
            yield self._batch(held, size, generator(self.seed, 1, i))

    def measure(self, model: nn.Module, device: torch.device) -> dict[str, Any]:
        """What the model says of a few held-out pictures, byte after byte, beside the truth."""
        assert isinstance(model, PictureReader)
        (batch,) = self.validation(1, 12)
        pictures, ids = model.parts(batch.inputs.to(device))
        begun = len(self.text([], self.task.languages[0])) - 1  # language, colon and space
        said = model.say(pictures, ids[:, :begun], self.length + 1 - begun)
        wanted = [bytes(row[row != IGNORED].tolist()) for row in batch.targets]
        return {
            "captions": [
                {"wanted": true.decode().strip(), "said": mine.decode(errors="replace").strip()}
                for true, mine in zip(wanted, said, strict=True)
            ]
        }

    def _batch(self, hands: Tensor, n: int, g: Generator) -> Batch:
        chosen = hands[torch.randint(len(hands), (n, self.task.digits), generator=g)]
        spoken = torch.randint(len(self.task.languages), (n,), generator=g)
        pictures = self.single.images[chosen]  # n k c h w
        pictures = pictures.permute(0, 2, 3, 1, 4).flatten(3)  # n c h (k w)
        ids = torch.full((n, self.length + 1), END, dtype=torch.long)
        targets = torch.full((n, self.length), IGNORED, dtype=torch.long)
        for row, (labels, which) in enumerate(
            zip(self.single.labels[chosen].tolist(), spoken.tolist(), strict=True)
        ):
            text = self.text(labels, self.task.languages[which])
            ids[row, : len(text)] = torch.tensor(list(text))
            begun = len(f"{self.task.languages[which]}: ")
            targets[row, begun - 1 : len(text) - 1] = ids[row, begun : len(text)]
        return Batch(torch.cat([pictures.flatten(1), ids[:, :-1].float()], dim=1), targets)


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureReaderConfig:
    """How a picture becomes vectors: patches of `patch` pixels a side, then a connector."""

    image: tuple[int, int]
    channels: int
    patch: int = 4
    connector: Literal["mlp", "scan"] = "scan"

    def __post_init__(self) -> None:
        if self.patch < 1 or any(size % self.patch for size in self.image):
            raise ValueError(f"image {self.image} must be made of whole {self.patch}-pixel patches")


class Patches(nn.Module):
    """The encoder that learns nothing: patches as rows, column by column from the left."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, picture: Tensor) -> Tensor:
        """(b, c, h, w) to (b, patches, c · size²)."""
        p = self.size
        cut = picture.unflatten(3, (-1, p)).unflatten(2, (-1, p))  # b c y p x p
        return cut.permute(0, 4, 2, 1, 3, 5).flatten(3).flatten(1, 2)


class PictureReader(nn.Module):
    """A multimodal Mamba on rows of numbers, as `CaptionSource` packs them."""

    def __init__(
        self, shell: LanguageModelConfig, layer: MambaConfig, reader: PictureReaderConfig
    ) -> None:
        super().__init__()
        self.reader = reader
        d_features = reader.channels * reader.patch**2
        make = {"mlp": MlpConnector, "scan": ScanConnector}[reader.connector]
        picture = MediaReader([Patches(reader.patch)], make(d_features, shell.d_model))
        self.model = MultimodalMamba(MambaLanguageModel(shell, layer), picture=picture)

    def parts(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (b, c, h, w) and ids (b, l) of packed rows."""
        shape = (self.reader.channels, *self.reader.image)
        pixels = shape[0] * shape[1] * shape[2]
        return packed[:, :pixels].unflatten(1, shape), packed[:, pixels:].long()

    def forward(self, packed: Tensor) -> Tensor:
        """Logits after every byte of the text."""
        pictures, ids = self.parts(packed)
        logits: Tensor = self.model(ids, picture=pictures)
        return logits

    @torch.no_grad()
    def say(self, pictures: Tensor, ids: Tensor, most: int) -> list[bytes]:
        """The likeliest bytes that go on from `ids`, up to a line end or `most` of them."""
        state = self.model.language.allocate_state(len(ids))
        logits, state = self.model.prefill(ids, state, picture=pictures)
        said = [logits[:, -1].argmax(dim=-1)]
        while len(said) < most:
            logits, state = self.model.step(said[-1], state)
            said.append(logits.argmax(dim=-1))
        rows = torch.stack(said, dim=1).tolist()
        return [bytes(row).partition(b"\n")[0] for row in rows]
