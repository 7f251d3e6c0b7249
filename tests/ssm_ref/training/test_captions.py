"""Pictures of digits and their captions: what is asked, and a model that learns to read."""

from pathlib import Path

import pytest
import torch

from ssm_ref.training.batch import IGNORED
from ssm_ref.training.captions import (
    NAMES,
    CaptionedDigits,
    CaptionSource,
    Patches,
    PictureReader,
    PictureReaderConfig,
)
from ssm_ref.training.config import load_config
from ssm_ref.training.files import ImageSource
from ssm_ref.training.loop import Trainer
from ssm_ref.training.metrics import Progress
from ssm_ref.training.ranks import Ranks

CONFIG = """
steps = 150
batch_size = 8
log_every = 50
validate_every = 150
validation_batches = 1
[data]
name = "captioned_digits"
digits = 1
languages = ["en"]
[model]
name = "multimodal_mamba"
n_layers = 1
d_model = 32
connector = "mlp"
[optimizer]
lr = 1e-2
"""


def coded(**options: object) -> CaptionSource:
    """Pictures whose every pixel is the digit's number, apart from the hand's in one corner."""
    labels = torch.arange(40) % 10
    images = labels[:, None, None, None].float().expand(-1, 1, 2, 4).clone()
    images[:, 0, 0, 0] = torch.arange(40) / 100
    return CaptionSource(ImageSource(images, labels, 10, 0), CaptionedDigits(**options), seed=3)


def test_a_caption_names_the_digits_from_the_left_and_nothing_else_is_asked() -> None:
    source = coded(digits=2)
    batches = [source.training(step, 50) for step in range(2)]
    languages, length = set(), source.length
    assert source.sizes == {"vocab_size": 256, "image": (2, 8), "channels": 1}
    for batch in batches:
        assert batch.inputs.shape == (50, 2 * 8 + length)
        for row, wanted in zip(batch.inputs, batch.targets.tolist(), strict=True):
            digits = row[:16].reshape(2, 8)[1, ::4].long().tolist()
            ids = [int(x) for x in row[16:]]
            language = bytes(ids[:2]).decode()
            languages.add(language)
            answer = " ".join(NAMES[language][d] for d in digits) + "\n"
            asked = [t for t in wanted if t != IGNORED]
            assert bytes(asked).decode() == answer
            start = wanted.index(asked[0])
            assert start == len("en: ") - 1
            assert wanted[start : start + len(asked)] == asked
            assert ids[start + 1 : start + len(asked)] == asked[:-1]
    assert languages == {"en", "ru"}


def test_validation_shows_hands_that_training_never_does() -> None:
    source = coded(digits=1)

    def hands(batch: torch.Tensor) -> set[int]:
        return {round(100 * float(x)) for x in batch[:, 0]}

    trained = set().union(*(hands(source.training(step, 50).inputs) for step in range(10)))
    held = set().union(*(hands(batch.inputs) for batch in source.validation(3, 50)))
    assert held == set(range(4, 40, 5))
    assert trained == set(range(40)) - held


def test_patches_go_column_by_column() -> None:
    picture = torch.arange(4 * 6).reshape(1, 1, 4, 6)
    rows = Patches(2)(picture)
    assert rows.shape == (1, 6, 4)
    assert rows[0, :3].tolist() == [[0, 1, 6, 7], [12, 13, 18, 19], [2, 3, 8, 9]]


def test_learns_and_says_what_the_scores_say(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    path = tmp_path / "run.toml"
    path.write_text(CONFIG)
    trainer = Trainer(load_config(path), tmp_path / "out", Ranks(0, 1))
    before = trainer.validate(trainer.source)
    after = trainer.run(Progress(150, 0))
    assert after.loss < 0.2 * before.loss
    model, source = trainer.model, trainer.source
    assert isinstance(model, PictureReader)
    assert isinstance(source, CaptionSource)
    (batch,) = source.validation(1, 8)
    pictures, ids = model.parts(batch.inputs)
    said = model.say(pictures, ids[:, :4], source.length + 1 - 4)
    right = (model(batch.inputs).argmax(dim=-1) == batch.targets) | (batch.targets == IGNORED)
    assert right.all(dim=1).any(), "it reads some"
    for row, (mine, wanted) in enumerate(zip(said, batch.targets, strict=True)):
        true = bytes(wanted[wanted != IGNORED].tolist()).strip()
        assert (mine == true) == bool(right[row].all())
    captions = source.measure(model, torch.device("cpu"))["captions"]
    assert len(captions) == 12
    assert all(one["wanted"] in NAMES["en"] for one in captions)


def test_refuses() -> None:
    with pytest.raises(ValueError, match="at least one digit"):
        CaptionedDigits(digits=0)
    with pytest.raises(ValueError, match="at least one digit and one language"):
        CaptionedDigits(languages=())
    with pytest.raises(ValueError, match="whole 3-pixel patches"):
        PictureReaderConfig(image=(8, 24), channels=1, patch=3)
