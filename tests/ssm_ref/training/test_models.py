"""Every language model by its name in a config: it is built, trained, saved and loaded again."""

from pathlib import Path

import pytest
import torch

from ssm_ref.hybrid.modular import Sizes, standard_parts
from ssm_ref.training.batch import Batch
from ssm_ref.training.config import load_config
from ssm_ref.training.execution import Ahead
from ssm_ref.training.loop import Drawn, Trainer
from ssm_ref.training.models import MODELS
from ssm_ref.training.ranks import Ranks

ATTENTION = "[model.attention]\nd_model = 8\nn_heads = 2\n"
MAMBA2 = "[model.mamba]\nd_model = 8\nd_state = 4\nd_head = 4\n"
EXPERTS = "[model.experts]\nd_model = 8\nd_ff = 8\nn_experts = 2\nrenormalize = true\n"
EXAMPLES = {
    "mamba": "d_model = 8\nn_layers = 2",
    "signed_mamba": "d_model = 8\nn_layers = 2",
    "mamba2": "d_model = 8\nn_layers = 2\nd_head = 4\nd_state = 4",
    "mamba3": "d_model = 8\nn_layers = 2\nd_head = 4\nd_state = 4",
    "transformer": f"n_blocks = 1\nd_ff = 8\n{ATTENTION}",
    "s4": "d_model = 8\nn_layers = 2\nd_state = 4\nl_max = 4",
    "s4d": "d_model = 8\nn_layers = 2\nd_state = 4",
    "s5": "d_model = 8\nn_layers = 2\nd_state = 4",
    "deltanet": "d_model = 8\nn_layers = 2\nn_heads = 2\nd_ff = 8\nnegative_eigenvalues = true",
    "rwkv4": "d_model = 8\nn_blocks = 1",
    "rwkv7": "d_model = 8\nn_blocks = 1\nd_head = 4",
    "jamba": "n_blocks = 2\nd_ff = 8\nattention_period = 2\nattention_offset = 1\n"
    f"{ATTENTION}[model.mamba]\nd_model = 8",
    "hymba": "n_blocks = 1\nd_ff = 8\nn_heads = 2\nn_meta = 2\n[model.mamba]\nd_model = 8",
    "zamba2": "n_layers = 2\nhybrid_layers = [1]\nn_heads = 2\nd_ff = 8\nn_shared = 1\n"
    f"adapter_rank = 2\n{MAMBA2}",
    "samba": f"n_blocks = 1\nd_ff = 8\n{ATTENTION}window = 3\n[model.mamba]\nd_model = 8",
    "falcon_h1": f"n_blocks = 1\nd_ff = 8\n{ATTENTION}{MAMBA2}d_ssm = 16\n",
    "nemotron_h": f'pattern = "M-*-"\nd_ff = 8\n{ATTENTION}{MAMBA2}',
    "qwen3_next": f"n_blocks = 2\nattention_every = 2\nd_shared = 8\n{EXPERTS}"
    "[model.attention]\nd_model = 8\nn_heads = 2\nn_kv_heads = 1\nd_head = 4\nrope_dims = 2\n"
    "[model.delta]\nd_model = 8\nn_heads = 2\nd_head = 4",
    "kimi_linear": "n_blocks = 2\nattention_layers = [1]\nd_ff = 8\nd_shared = 8\n"
    f"{EXPERTS}[model.attention]\nd_model = 8\nn_heads = 2\nrank = 4\nd_shared = 2\nd_key = 4\n"
    "d_value = 4\n[model.delta]\nd_model = 8\nn_heads = 2\nd_head = 4",
} | {
    f"pattern {letter}": f'd_model = 8\nd_head = 4\nd_state = 4\nd_ff = 8\npattern = "{letter}"'
    for letter in standard_parts(Sizes(d_model=8))
}

# These are tested with their own data.
OTHERS = {"caduceus", "caduceus_classifier", "letters_around", "multimodal_mamba"}


def test_every_language_model_has_an_example() -> None:
    takes_tokens = {
        name
        for name, kind in MODELS.items()
        if {"vocab_size"} & {f for c in kind.configs for f in c.__dataclass_fields__}
    }
    assert takes_tokens - OTHERS == {name for name in EXAMPLES if not name.startswith("pattern")}


@pytest.mark.parametrize("example", EXAMPLES)
def test_learns_one_batch_by_heart(example: str, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        f'steps = 20\nbatch_size = 4\n[model]\nname = "{example.split()[0]}"\n{EXAMPLES[example]}\n'
        '[data]\nname = "induction_heads"\nlength = 6\nvocab = 5\n'
        "[optimizer]\nlr = 1e-2\nweight_decay = 0.0\n"
    )
    trainer = Trainer(load_config(path), tmp_path / "out", Ranks(0, 1))
    inputs, _ = trainer.source.training(0, 4)
    batch = Batch(inputs, inputs)  # asked everywhere, so a mixer of channels alone can answer
    same = Ahead(lambda _: Drawn(batch, inputs.numel(), inputs.numel()), 0)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    losses = [float(trainer._advance(same)[0]) for _ in range(20)]
    assert losses[-1] < 0.9 * losses[0], losses
    for name, p in trainer.model.named_parameters():
        assert not (p.requires_grad and torch.equal(p, before[name])), f"no gradient in {name}"
    trainer.save()
    again = Trainer(load_config(path), tmp_path / "out", Ranks(0, 1))
    assert again.step == 20
    with torch.no_grad():
        torch.testing.assert_close(again.model(inputs), trainer.model(inputs))
