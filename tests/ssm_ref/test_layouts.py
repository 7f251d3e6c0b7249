"""Settings that configurations have: each honoured as in transformers, or refused by its name."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from ssm_ref.attention.rope import RopeScaling
from ssm_ref.attention.transformer import AttentionConfig, Transformer, TransformerConfig
from ssm_ref.audio.audio_mamba import AudioMamba, AudioMambaConfig, from_official
from ssm_ref.checkpoint import from_pretrained, save_pretrained
from ssm_ref.hybrid.falcon_h1 import FalconH1, FalconH1Config, WideMamba2Config
from ssm_ref.hybrid.jamba import Jamba, JambaConfig
from ssm_ref.hybrid.nemotron_h import NemotronH, NemotronHConfig
from ssm_ref.hybrid.zamba2 import Zamba2, Zamba2Config
from ssm_ref.language_model import LanguageModelConfig
from ssm_ref.selective.mamba import MambaConfig, MambaLanguageModel
from ssm_ref.selective.mamba2 import Mamba2Config, Mamba2LanguageModel
from ssm_ref.vision.vision_mamba import VisionMamba, VisionMambaConfig

SHELL = {"vocab_size": 29, "hidden_size": 16, "num_hidden_layers": 2}
MAMBA = SHELL | {"state_size": 4, "layer_norm_epsilon": 1e-3}
MAMBA2 = SHELL | {"state_size": 6, "head_dim": 4, "num_heads": 8, "n_groups": 2, "chunk_size": 4}
JAMBA = SHELL | {
    "intermediate_size": 24,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "mamba_d_state": 4,
    "num_experts": 3,
    "attn_layer_period": 2,
    "attn_layer_offset": 1,
}
LLAMA = SHELL | {"intermediate_size": 24, "num_attention_heads": 4}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "mamba, biases": ("mamba", MAMBA | {"use_bias": True, "use_conv_bias": False}),
    "mamba, wide": ("mamba", MAMBA | {"expand": 3, "time_step_rank": 5, "conv_kernel": 3}),
    "mamba, own head": (
        "mamba",
        MAMBA | {"tie_word_embeddings": False, "residual_in_fp32": False},
    ),
    "falcon, other eps": ("falcon_mamba", MAMBA | {"mixer_rms_eps": 1e-2}),
    "falcon, own head": ("falcon_mamba", MAMBA | {"tie_word_embeddings": False}),
    "mamba2, bounded steps": ("mamba2", MAMBA2 | {"time_step_limit": (0.02, 0.05)}),
    "mamba2, one group": ("mamba2", MAMBA2 | {"n_groups": 1, "use_bias": True}),
    "mamba2, tied": ("mamba2", MAMBA2 | {"tie_word_embeddings": True, "use_conv_bias": False}),
    "jamba, biases": ("jamba", JAMBA | {"mamba_proj_bias": True, "mamba_conv_bias": False}),
    "jamba, no experts": ("jamba", JAMBA | {"num_experts": 1, "num_experts_per_tok": 1}),
    "jamba, tied": ("jamba", JAMBA | {"tie_word_embeddings": True, "mamba_dt_rank": 3}),
    "rwkv, narrow": ("rwkv", SHELL | {"intermediate_size": 20, "rescale_every": 0}),
    "llama, wide heads": ("llama", LLAMA | {"head_dim": 6, "num_key_value_heads": 1}),
    "llama, tied": ("llama", LLAMA | {"tie_word_embeddings": True, "rms_norm_eps": 1e-3}),
}


@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_settings_mean_what_they_mean_in_transformers(name: str, tmp_path: Path) -> None:
    kind, options = VARIANTS[name]
    config = transformers.AutoConfig.for_model(kind, **options)
    torch.manual_seed(0)
    theirs = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    for parameter in theirs.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path / "theirs")
    ours = from_pretrained(tmp_path / "theirs")
    save_pretrained(ours, tmp_path / "ours")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours").float().eval()
    ids = torch.randint(29, (2, 9))
    want = theirs(ids).logits
    torch.testing.assert_close(ours(ids), want, rtol=1e-3, atol=2e-4)
    torch.testing.assert_close(again(ids).logits, want, rtol=1e-3, atol=2e-4)


SHELL_OF_OURS = LanguageModelConfig(vocab_size=29, d_model=16, n_layers=2)
MODELS = {
    "mamba": lambda: MambaLanguageModel(SHELL_OF_OURS, MambaConfig(d_model=16, d_state=4)),
    "mamba2": lambda: Mamba2LanguageModel(
        SHELL_OF_OURS, Mamba2Config(d_model=16, d_state=4, d_head=4, dt_limit=(0.02, 0.05))
    ),
}


def rewrite(folder: Path, **entries: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@torch.no_grad()
def test_the_authors_layout_keeps_the_bounds_of_the_step(tmp_path: Path) -> None:
    ours, ids = MODELS["mamba2"](), torch.randint(29, (1, 7))
    save_pretrained(ours, tmp_path, layout="state-spaces")
    assert torch.equal(from_pretrained(tmp_path)(ids), ours(ids))


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("mamba", {"dt_min": 0.01, "dt_init_floor": 1e-3, "dt_init": "random", "dt_scale": 1.0}),
        ("mamba", {"use_fast_path": True}),
        ("mamba2", {"A_init_range": [1, 2], "chunk_size": 128, "rmsnorm": True, "d_ssm": None}),
    ],
)
def test_options_of_cost_and_start_are_taken(model: str, options: Any, tmp_path: Path) -> None:
    save_pretrained(MODELS[model](), tmp_path, layout="state-spaces")
    given = json.loads((tmp_path / "config.json").read_text())["ssm_cfg"]
    rewrite(tmp_path, ssm_cfg=given | options)
    assert from_pretrained(tmp_path).block_cfg.d_model == 16


@pytest.mark.parametrize(
    ("layout", "entries", "words"),
    [
        ("state-spaces", {"rms_norm": False}, "rms_norm must be True; got False"),
        ("state-spaces", {"attn_layer_idx": [3]}, r"attn_layer_idx must be \[\]; got \[3\]"),
        ("state-spaces", {"d_intermediate": 64}, "d_intermediate must be 0; got 64"),
        (
            "state-spaces",
            {"ssm_cfg": {"layer": "Mamba2", "rmsnorm": False}},
            "rmsnorm must be True",
        ),
        (
            "state-spaces",
            {"ssm_cfg": {"layer": "Mamba2", "D_has_hdim": True}},
            "D_has_hdim must be",
        ),
        ("state-spaces", {"ssm_cfg": {"layer": "Mamba2", "speed": 3}}, r"options \['speed'\]"),
        ("transformers mamba2", {"rms_norm": False}, "rms_norm must be True; got False"),
        ("transformers mamba2", {"num_heads": 5}, "num_heads must be 8; got 5"),
        ("transformers mamba2", {"expand": 1.5}, "intermediate_size|whole number"),
        ("transformers mamba2", {"hidden_act": "gelu"}, "hidden_act must be 'silu'"),
    ],
)
def test_settings_without_an_equal_here_are_refused(
    layout: str, entries: Any, words: str, tmp_path: Path
) -> None:
    save_pretrained(MODELS["mamba2"](), tmp_path, layout=layout)
    rewrite(tmp_path, **entries)
    with pytest.raises(ValueError, match=words):
        from_pretrained(tmp_path)


HEADS = {"d_model": 16, "n_heads": 2}
WIDE = AttentionConfig(**HEADS, d_key=4)
NO_POSITIONS = AttentionConfig(**HEADS, rope_base=None)
SLOW = Mamba2Config(d_model=16, d_state=4, d_head=4, dt_limit=(0.0, 1.0))
SHELL: dict[str, Any] = {"vocab_size": 11, "d_ff": 8}
STRETCHED = RopeScaling(kind="linear", factor=2.0)


def nemotron_h(attention: AttentionConfig, **options: Any) -> NemotronH:
    mamba = Mamba2Config(d_model=16, d_state=4, d_head=4, **options)
    return NemotronH(NemotronHConfig(**SHELL, pattern="M*-", attention=attention, mamba=mamba))


def falcon_h1(attention: AttentionConfig, **options: Any) -> FalconH1:
    mamba = WideMamba2Config(d_model=16, d_ssm=16, d_state=4, d_head=4, **options)
    return FalconH1(FalconH1Config(**SHELL, n_blocks=1, attention=attention, mamba=mamba))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Transformer(TransformerConfig(**SHELL, n_blocks=1, attention=WIDE)),
        lambda: Jamba(
            JambaConfig(
                **SHELL,
                n_blocks=1,
                attention=AttentionConfig(**HEADS, d_head=4, rope_base=None),
                mamba=MambaConfig(d_model=16, ssm_norm="learned", ssm_norm_eps=1e-6),
            )
        ),
        lambda: nemotron_h(NO_POSITIONS, dt_limit=(0.0, 1.0)),
        lambda: nemotron_h(NO_POSITIONS, norm_eps=1e-3),
        lambda: nemotron_h(replace(NO_POSITIONS, d_key=4)),
        lambda: Zamba2(
            Zamba2Config(**SHELL, n_layers=1, hybrid_layers=(0,), n_heads=2, mamba=SLOW, n_shared=1)
        ),
        lambda: falcon_h1(WIDE),
        lambda: falcon_h1(AttentionConfig(**HEADS, rope_scaling=STRETCHED)),
        lambda: falcon_h1(AttentionConfig(**HEADS), dt_limit=(0.0, 1.0)),
        lambda: falcon_h1(AttentionConfig(**HEADS), norm_eps=1e-3),
    ],
    ids=[
        "llama", "jamba", "nemotron_h: limit", "nemotron_h: epsilon", "nemotron_h: key", "zamba2",
        "falcon_h1: key", "falcon_h1: positions", "falcon_h1: limit", "falcon_h1: epsilon",
    ],
)  # fmt: skip
def test_what_a_layout_has_no_entry_for_is_not_stored_without_it(make: Any, tmp_path: Path) -> None:
    model = make()
    assert model(torch.tensor([[1, 2, 3]])).shape == (1, 3, 11)
    with pytest.raises(ValueError, match=r"can be stored as \[\]"):
        save_pretrained(model, tmp_path)


@pytest.mark.parametrize("make", [nemotron_h, falcon_h1])
def test_the_same_without_these_options_is_stored(make: Any, tmp_path: Path) -> None:
    attention = NO_POSITIONS if make is nemotron_h else AttentionConfig(**HEADS)
    save_pretrained(make(attention), tmp_path)
    assert isinstance(from_pretrained(tmp_path), NemotronH | FalconH1)


def test_a_second_epsilon_has_no_place_in_any_layout(tmp_path: Path) -> None:
    block = Mamba2Config(d_model=16, d_state=4, d_head=4, norm_eps=1e-3)
    with pytest.raises(ValueError, match="can be stored as"):
        save_pretrained(Mamba2LanguageModel(SHELL_OF_OURS, block), tmp_path)


PICTURES = {
    "vim": VisionMambaConfig(
        image=(8, 12), patch=(4, 4), stride=(2, 2), d_model=8, n_layer=2, n_classes=3, d_state=2
    ),
    "vim, one set of weights": VisionMambaConfig(
        image=(8, 8), patch=(4, 4), d_model=8, n_layer=1, n_classes=3, sharing="shared"
    ),
}


@pytest.mark.parametrize("name", PICTURES)
@torch.no_grad()
def test_vision_mamba_round_trips_under_its_published_names(name: str, tmp_path: Path) -> None:
    ours = VisionMamba(PICTURES[name]).eval()
    save_pretrained(ours, tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert stored.keys() == dict(ours.named_parameters()).keys()
    assert {"cls_token", "pos_embed", "patch_embed.proj.weight", "norm_f.weight"} <= stored.keys()
    assert "layers.0.mixer.A_b_log" in stored
    assert stored["layers.0.mixer.conv1d.weight"].ndim == 3
    image = torch.randn(1, 3, *ours.cfg.image)
    again = from_pretrained(tmp_path)
    assert again.cfg.steps == ours.cfg.steps
    assert torch.equal(again(image), ours(image))


@pytest.mark.parametrize("sharing", ["shared", "separate"])
@torch.no_grad()
def test_audio_mamba_round_trips_with_the_class_row_first(sharing: Any, tmp_path: Path) -> None:
    cfg = AudioMambaConfig(
        frames=12, n_mels=8, patch=(4, 4), d_model=8, n_layer=1, n_classes=3, sharing=sharing
    )
    ours = AudioMamba(cfg).eval()
    save_pretrained(ours, tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    first = stored["pos_embed.pos_embed"][:, 0]
    assert torch.equal(first, ours.picture.pos_embed[:, cfg.picture.middle])
    renamed = from_official(stored, cfg)
    assert all(torch.equal(renamed[name], value) for name, value in ours.state_dict().items())
    sound = torch.randn(1, 12, 8)
    assert torch.equal(from_pretrained(tmp_path)(sound), ours(sound))


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"if_rope": True}, "if_rope must be False; got True"),
        ({"bimamba_type": "none"}, r"bimamba_type must be one of \['v1', 'v2'\]; got 'none'"),
        ({"if_divide_out": False}, "if_divide_out must be True; got False"),
        ({"embed_dim": 16}, r"cls_token must have shape \(1, 1, 16\); got \(1, 1, 8\)"),
    ],
)
def test_other_vision_mambas_are_refused(entries: Any, words: str, tmp_path: Path) -> None:
    save_pretrained(VisionMamba(PICTURES["vim"]), tmp_path)
    rewrite(tmp_path, **entries)
    with pytest.raises(ValueError, match=words):
        from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"if_devide_out": False}, "if_devide_out must be True; got False"),
        ({"transpose_token_sequence": True}, "transpose_token_sequence must be False; got True"),
        ({"use_end_cls_token": True}, "use_end_cls_token must be False; got True"),
        ({"strides": [8, 8]}, r"strides must be \[4, 4\]; got \[8, 8\]"),
    ],
)
def test_other_audio_mambas_are_refused(entries: Any, words: str, tmp_path: Path) -> None:
    """By the names of the published class, whose spelling of the first is its own."""
    sizes: Any = {"frames": 12, "n_mels": 8, "patch": (4, 4), "d_model": 8, "n_layer": 1}
    save_pretrained(AudioMamba(AudioMambaConfig(**sizes, sharing="separate")), tmp_path)
    rewrite(tmp_path, **entries)
    with pytest.raises(ValueError, match=words):
        from_pretrained(tmp_path)


def test_a_wrong_tensor_of_vision_mamba_names_itself(tmp_path: Path) -> None:
    save_pretrained(VisionMamba(PICTURES["vim"]), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["layers.0.mixer.D_c"] = tensors.pop("layers.0.mixer.D_b")
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"missing layers.0.mixer.D_b \(16,\); left over .*D_c"):
        from_pretrained(tmp_path)
