import pytest
import torch
from torch import Tensor, nn

from ssm_ref.audio.audio_mamba import AudioMamba, AudioMambaConfig
from ssm_ref.language_model import LanguageModelConfig
from ssm_ref.multimodal.multimodal_mamba import (
    MediaReader,
    MlpConnector,
    MultimodalMamba,
    ScanConnector,
)
from ssm_ref.selective.mamba import MambaConfig, MambaLanguageModel
from ssm_ref.vision.vision_mamba import VisionMamba, VisionMambaConfig

D = 16


class Patches(nn.Module):
    """The patch features of a model, as an encoder."""

    def __init__(self, model: VisionMamba | AudioMamba) -> None:
        super().__init__()
        self.model = model

    def forward(self, media: Tensor) -> Tensor:
        return self.model.patches(media)


def vision(d_model: int = 8) -> Patches:
    cfg = VisionMambaConfig(image=(8, 8), patch=(4, 4), d_model=d_model, n_layer=1, d_state=2)
    return Patches(VisionMamba(cfg))


def model(connector: str = "mlp") -> MultimodalMamba:
    torch.manual_seed(0)
    language = MambaLanguageModel(
        LanguageModelConfig(vocab_size=16, d_model=D, n_layers=2),
        MambaConfig(d_model=D, d_state=4),
    )
    made = MlpConnector(20, D) if connector == "mlp" else ScanConnector(20, D)
    audio = AudioMambaConfig(frames=16, n_mels=8, patch=(8, 8), d_model=8, n_layer=1, d_state=2)
    return MultimodalMamba(
        language,
        picture=MediaReader([vision(), vision(12)], made),
        sound=MediaReader([Patches(AudioMamba(audio))], MlpConnector(8, D)),
    ).double()


IDS = torch.arange(10).view(2, 5)
GENERATOR = torch.Generator().manual_seed(1)
PICTURE = torch.randn(2, 3, 8, 8, generator=GENERATOR, dtype=torch.float64)
SOUND = torch.randn(2, 16, 8, generator=GENERATOR, dtype=torch.float64)


def test_without_media_it_is_its_language_model() -> None:
    net = model()
    torch.testing.assert_close(net(IDS), net.language(IDS), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("connector", ["mlp", "scan"])
def test_media_change_the_answer(connector: str) -> None:
    net = model(connector)
    plain, seen = net(IDS), net(IDS, picture=PICTURE)
    heard = net(IDS, picture=PICTURE, sound=SOUND)
    assert plain.shape == seen.shape == heard.shape == (2, 5, 16)
    assert (plain - seen).abs().max() > 1e-6
    assert (heard - seen).abs().max() > 1e-6


def test_step_by_step_equals_prefill() -> None:
    net = model()
    want = net(IDS, picture=PICTURE, sound=SOUND)
    state = net.language.allocate_state(2)
    logits, state = net.prefill(IDS[:, :2], state, picture=PICTURE, sound=SOUND)
    rows = [logits]
    for t in range(2, 5):
        row, state = net.step(IDS[:, t], state)
        rows.append(row[:, None])
    torch.testing.assert_close(torch.cat(rows, dim=1), want, rtol=1e-9, atol=1e-11)


def test_the_state_does_not_grow_with_the_picture() -> None:
    net = model()
    sizes = set()
    for media in ({}, {"picture": PICTURE}, {"picture": PICTURE, "sound": SOUND}):
        state = net.prefill(IDS, net.language.allocate_state(2), **media)[1]
        sizes.add(sum(part.numel() for layer in state for part in layer))
    assert len(sizes) == 1


def test_encoders_stay_frozen_and_connectors_learn() -> None:
    net = model()
    net(IDS, picture=PICTURE, sound=SOUND).square().sum().backward()
    for reader in (net.picture, net.sound):
        assert reader is not None
        assert all(p.grad is None for p in reader.encoders.parameters())
        assert all(p.grad is not None for p in reader.connector.parameters())


def test_learns_to_name_what_it_sees() -> None:
    net = model().float()
    picture = torch.rand(32, 3, 8, 8)
    answer = torch.arange(32) % 2
    picture[torch.arange(32), answer] += 3.0  # red or green
    ids = torch.full((32, 1), 5)
    trained = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.0)
    for _ in range(40):
        loss = nn.functional.cross_entropy(net(ids, picture=picture)[:, -1], answer)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net: net(IDS, picture=PICTURE[:1]), "must have one batch; got 1 and 2"),
        (lambda net: MultimodalMamba(net.language)(IDS, sound=SOUND), "no reader for a sound"),
        (lambda net: MediaReader([], nn.Identity()), "at least one encoder"),
        (
            lambda net: MultimodalMamba(
                net.language, picture=MediaReader([vision().double()], nn.Identity())
            )(IDS, picture=PICTURE),
            "must give vectors of width 16; got 8",
        ),
        (
            lambda net: MediaReader([nn.Identity(), nn.Flatten(1)], nn.Identity())(SOUND),
            "equal",
        ),
    ],
)
def test_bad_input_says_what_was_wanted(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call(model())
