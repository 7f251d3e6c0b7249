"""Checkpoints both ways with transformers, and every way in which a folder can be wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from ssm_ref.attention.transformer import AttentionConfig, Transformer, TransformerConfig
from ssm_ref.checkpoint import INDEX, from_pretrained, save_pretrained
from ssm_ref.hybrid.jamba import Jamba, JambaConfig
from ssm_ref.language_model import LanguageModel, LanguageModelConfig
from ssm_ref.linear_attention.rwkv4 import RWKV4, RWKV4Config
from ssm_ref.selective.mamba import MambaConfig, MambaLanguageModel
from ssm_ref.selective.mamba2 import Mamba2Config, Mamba2LanguageModel
from ssm_ref.selective.mamba3 import Mamba3Config, Mamba3LanguageModel

SHELL = LanguageModelConfig(vocab_size=29, d_model=16, n_layers=2, pad_vocab_to=1)
UNTIED = LanguageModelConfig(
    vocab_size=29, d_model=16, n_layers=2, pad_vocab_to=1, tie_embeddings=False
)
ATTENTION = AttentionConfig(d_model=16, n_heads=4, n_kv_heads=2)
MAMBA2 = Mamba2Config(d_model=16, d_state=6, d_head=4, n_groups=2)

MODELS = {
    "mamba": lambda: MambaLanguageModel(SHELL, MambaConfig(d_model=16, d_state=4)),
    "mamba, own head": lambda: MambaLanguageModel(
        UNTIED, MambaConfig(d_model=16, d_state=4, bias=True, conv_bias=False)
    ),
    "falcon": lambda: MambaLanguageModel(
        SHELL, MambaConfig(d_model=16, d_state=4, ssm_norm="plain")
    ),
    "mamba2": lambda: Mamba2LanguageModel(SHELL, MAMBA2),
    "mamba2, own head": lambda: Mamba2LanguageModel(UNTIED, MAMBA2),
    "jamba": lambda: Jamba(
        JambaConfig(
            vocab_size=29,
            n_blocks=4,
            d_ff=24,
            attention=AttentionConfig(d_model=16, n_heads=4, n_kv_heads=2, rope_base=None),
            mamba=MambaConfig(d_model=16, d_state=4, ssm_norm="learned"),
            n_experts=3,
            attention_period=3,
            attention_offset=1,
        )
    ),
    "rwkv": lambda: RWKV4(RWKV4Config(vocab_size=29, d_model=16, n_blocks=2)),
    "llama": lambda: Transformer(
        TransformerConfig(vocab_size=29, n_blocks=2, d_ff=24, attention=ATTENTION)
    ),
}


def make(name: str) -> LanguageModel:
    torch.manual_seed(0)
    model = MODELS[name]()
    with torch.no_grad():  # large enough for logits to tell models apart
        model.embedding.weight.mul_(20)
    return model.eval()


def wide(model: Any) -> Any:
    """transformers keeps Mamba-2's A, D and dt in float32 whatever the rest is."""
    return model.float().eval()


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_transformers_reads_what_we_save(name: str, tmp_path: Path) -> None:
    ours = make(name)
    save_pretrained(ours, tmp_path)
    theirs = wide(transformers.AutoModelForCausalLM.from_pretrained(tmp_path))
    ids = torch.randint(29, (2, 7))
    torch.testing.assert_close(ours(ids), theirs(ids).logits, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_we_read_what_transformers_saves(name: str, tmp_path: Path) -> None:
    save_pretrained(make(name), tmp_path / "ours")
    theirs = wide(transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours"))
    for parameter in theirs.parameters():  # other numbers than ours
        parameter.add_(0.1 * torch.rand_like(parameter))
    theirs.save_pretrained(tmp_path / "theirs")
    ids = torch.randint(29, (2, 7))
    ours = from_pretrained(tmp_path / "theirs")
    torch.testing.assert_close(ours(ids), theirs(ids).logits, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["mamba", "mamba2", "mamba2, own head"])
@torch.no_grad()
def test_the_layout_of_the_authors_round_trips(name: str, tmp_path: Path) -> None:
    ours, ids = make(name), torch.randint(29, (2, 7))
    save_pretrained(ours, tmp_path, layout="state-spaces")
    assert "backbone.embedding.weight" in load_file(tmp_path / "model.safetensors")
    assert torch.equal(from_pretrained(tmp_path)(ids), ours(ids))


@torch.no_grad()
def test_a_published_configuration_of_the_authors_is_understood(tmp_path: Path) -> None:
    ours = make("mamba2")
    save_pretrained(ours, tmp_path, layout="state-spaces")
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"vocab_size": 27, "pad_vocab_size_multiple": 29}
    config["ssm_cfg"]["chunk_size"] = 256
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = from_pretrained(tmp_path)
    assert model(torch.zeros(1, 2, dtype=torch.long)).shape == (1, 2, 27)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_shards_hold_the_same_model(name: str, tmp_path: Path) -> None:
    ours, ids = make(name), torch.randint(29, (1, 5))
    save_pretrained(ours, tmp_path, max_shard_bytes=2000)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert torch.equal(from_pretrained(tmp_path)(ids), ours(ids))
    theirs = wide(transformers.AutoModelForCausalLM.from_pretrained(tmp_path))
    torch.testing.assert_close(ours(ids), theirs(ids).logits, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_saving_again_replaces_what_was_there(tmp_path: Path) -> None:
    small, other, ids = make("mamba"), make("llama"), torch.randint(29, (1, 5))
    for model, limit in ((small, 2000), (other, 10**9), (small, 3000), (other, 2000)):
        save_pretrained(model, tmp_path, max_shard_bytes=limit)
        assert torch.equal(from_pretrained(tmp_path)(ids), model(ids))
        index = tmp_path / INDEX
        named = set(json.loads(index.read_text())["weight_map"].values()) if index.exists() else {}
        stored = {path.name for path in tmp_path.glob("*.safetensors")}
        assert stored == (set(named) or {"model.safetensors"})


@torch.no_grad()
def test_a_save_that_fails_leaves_the_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, ids = make("mamba"), torch.randint(29, (1, 5))
    save_pretrained(model, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    full = OSError("no space left on device")

    def fail(tensors: Any, path: Path, *_: Any) -> None:
        Path(path).write_bytes(b"half")
        raise full

    monkeypatch.setattr("ssm_ref.checkpoint.save_file", fail)
    with pytest.raises(OSError, match="no space left"):
        save_pretrained(make("llama"), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert torch.equal(from_pretrained(tmp_path)(ids), model(ids))


def test_loaded_models_can_be_trained(tmp_path: Path) -> None:
    save_pretrained(make("mamba2"), tmp_path)
    model = from_pretrained(tmp_path)
    model(torch.zeros(1, 3, dtype=torch.long)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_narrow_weights_keep_A_and_D_wide(tmp_path: Path) -> None:
    save_pretrained(make("mamba2"), tmp_path)
    model = from_pretrained(tmp_path, dtype=torch.bfloat16)
    dtypes = {name.rsplit(".", 1)[-1]: p.dtype for name, p in model.named_parameters()}
    assert dtypes["A_log"] == dtypes["D"] == dtypes["dt_bias"] == torch.float32
    assert dtypes["weight"] == dtypes["conv_weight"] == torch.bfloat16
    logits = model(torch.zeros(1, 3, dtype=torch.long))
    assert logits.dtype == torch.bfloat16
    assert logits.isfinite().all()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_pretrained(make("mamba"), tmp_path)
    return tmp_path


def rewrite(folder: Path, change: Any) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda t: t.pop("backbone.layers.1.mixer.D"),
            r"missing backbone.layers.1.mixer.D \(32,\)",
        ),
        (lambda t: t.update(extra=torch.zeros(3, 2)), r"left over extra \(3, 2\)"),
        (
            lambda t: t.update({"backbone.norm_f.weight": torch.zeros(17)}),
            r"backbone.norm_f.weight must have shape \(16,\); got \(17,\)",
        ),
        (
            lambda t: t.update({"backbone.norm_f.weight": torch.zeros(16, dtype=torch.long)}),
            "backbone.norm_f.weight must be floating point; got I64",
        ),
        (
            lambda t: t.update({"lm_head.weight": torch.zeros(29, 16)}),
            "ties lm_head.weight to backbone.embeddings.weight, but the file stores other values",
        ),
    ],
)
def test_wrong_tensors_name_themselves(folder: Path, change: Any, words: str) -> None:
    rewrite(folder, change)
    with pytest.raises(ValueError, match=words):
        from_pretrained(folder)


def test_all_wrong_tensors_are_named_at_once(folder: Path) -> None:
    rewrite(folder, lambda t: (t.pop("backbone.layers.0.mixer.D"), t.update(extra=torch.zeros(1))))
    with pytest.raises(ValueError, match=r"missing backbone.layers.0.mixer.D .*; left over extra"):
        from_pretrained(folder)


def test_a_copy_of_the_tied_head_is_accepted(folder: Path) -> None:
    want = from_pretrained(folder)
    rewrite(folder, lambda t: t.update({"lm_head.weight": t["backbone.embeddings.weight"].clone()}))
    ids = torch.zeros(1, 2, dtype=torch.long)
    assert torch.equal(from_pretrained(folder)(ids), want(ids))


def test_pickles_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pickled weights \(pytorch_model.bin\), .*refused"):
        from_pretrained(folder)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"model_type": "bert"}, "of no known layout .*model_type is 'bert'"),
        ({"hidden_act": "gelu"}, "hidden_act must be 'silu'; got 'gelu'"),
        ({"vocab_size": None}, "no entry 'vocab_size'"),
        ({"intermediate_size": 40}, "expand · hidden_size = 32; got 40"),
    ],
)
def test_configurations_that_are_not_ours(folder: Path, entries: Any, words: str) -> None:
    config = json.loads((folder / "config.json").read_text()) | entries
    config = {name: value for name, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=words):
        from_pretrained(folder)


ROPES = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
    "yarn, bounds not rounded": {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 128,
        "beta_fast": 8.0,
        "truncate": False,
        "attention_factor": 1.5,
    },
}


@pytest.mark.parametrize("rope", ROPES.values(), ids=ROPES.keys())
@torch.no_grad()
def test_stretched_positions_are_those_of_transformers(
    rope: dict[str, Any], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=29,
        hidden_size=64,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        initializer_range=0.3,
        rope_parameters={"rope_theta": 10_000.0} | rope,
    )
    theirs = transformers.LlamaForCausalLM(config).eval()
    theirs.save_pretrained(tmp_path)
    ours, ids = from_pretrained(tmp_path), torch.randint(29, (1, 150))
    torch.testing.assert_close(ours(ids), theirs(ids).logits, rtol=1e-3, atol=1e-4)
    save_pretrained(ours, tmp_path / "again")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "again")
    torch.testing.assert_close(again(ids).logits, theirs(ids).logits, rtol=1e-4, atol=1e-5)


def test_the_older_way_to_write_scaled_positions(tmp_path: Path) -> None:
    save_pretrained(make("llama"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["rope_parameters"]
    config |= {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    attention = from_pretrained(tmp_path).transformer_cfg.attention
    assert (attention.rope_base, attention.rope_scaling.kind) == (5e5, "linear")


@pytest.mark.parametrize(
    ("rope", "words"),
    [
        ({"rope_type": "dynamic", "factor": 2.0}, "rope_type must be one of .*; got 'dynamic'"),
        ({"rope_type": "yarn"}, "rope_type 'yarn' needs a factor"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor must be 1.0; got 0.5"),
    ],
)
def test_positions_we_cannot_turn_are_refused(rope: Any, words: str, tmp_path: Path) -> None:
    save_pretrained(make("llama"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["rope_parameters"] |= rope
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=words):
        from_pretrained(tmp_path)


def test_weights_are_no_integers(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"dtype must be floating point; got torch.int32"):
        from_pretrained(folder, dtype=torch.int32)


def test_broken_folders(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\x10")
    with pytest.raises(ValueError, match="is no safetensors file"):
        from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"has neither model.safetensors nor"):
        from_pretrained(folder)
    (folder / INDEX).write_text('{"weight_map": {"a": "../elsewhere.safetensors"}}')
    with pytest.raises(ValueError, match="which is no file of"):
        from_pretrained(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        from_pretrained(folder)
    with pytest.raises(ValueError, match=r"has no config.json"):
        from_pretrained(folder / "nowhere")


def test_a_layout_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"MambaLanguageModel can be stored as .*'mamba3'"):
        save_pretrained(make("mamba"), tmp_path, layout="mamba3")
    assert not list(tmp_path.iterdir())


MAMBA3_BLOCKS = {
    "siso": ({}, 0),
    "mimo with mlp": ({"mimo_rank": 2, "n_groups": 2, "out_norm": True}, 128),
}


@pytest.mark.parametrize(("options", "d_ff"), MAMBA3_BLOCKS.values(), ids=MAMBA3_BLOCKS.keys())
@torch.no_grad()
def test_mamba3_round_trips_under_the_names_of_its_authors(
    options: Any, d_ff: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    block = Mamba3Config(d_model=16, d_state=8, d_head=8, **options)
    ours = Mamba3LanguageModel(SHELL, block, d_ff=d_ff).eval()
    save_pretrained(ours, tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    prefix = "backbone.layers.0"
    names = {name.removeprefix(f"{prefix}.") for name in stored if name.startswith(prefix)}
    mixer = {"in_proj.weight", "dt_bias", "B_bias", "C_bias", "B_norm.weight", "C_norm.weight"}
    mixer |= {"D", "out_proj.weight"}
    mlp = set()
    if d_ff:
        mixer |= {"mimo_x", "mimo_z", "mimo_o", "norm.weight"}
        mlp = {"norm2.weight", "mlp.fc1.weight", "mlp.fc2.weight"}
        up = ours.get_parameter("layers.1.branch.up_proj.weight")
        assert torch.equal(stored[f"{prefix}.mlp.fc1.weight"][:d_ff], up)
    assert names == {"norm.weight", *mlp, *(f"mixer.{name}" for name in mixer)}
    ids = torch.randint(29, (2, 7))
    assert torch.equal(from_pretrained(tmp_path)(ids), ours(ids))
