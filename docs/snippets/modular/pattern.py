# %% setup
import torch

# %% shown
from ssm_ref.generation import generate
from ssm_ref.hybrid.modular import Sizes, build, standard_parts
from ssm_ref.language_model import LanguageModelConfig

torch.manual_seed(0)
pattern = "2-2-*E"  # Mamba-2, MLP, Mamba-2, MLP, attention, experts
cfg = LanguageModelConfig(vocab_size=50, d_model=32, n_layers=len(pattern))
sizes = Sizes(d_model=32, d_state=16, d_head=16, d_ff=64, n_experts=4)
model = build(pattern, cfg, standard_parts(sizes)).eval()
print([type(layer.branch).__name__ for layer in model.layers])

new = generate(model, [[1, 2], [3, 4, 5, 6]], max_new_tokens=5)  # prompts of unequal length
print([len(row) for row in new])

# %% check
assert new[0] == generate(model, [[1, 2]], max_new_tokens=5)[0]
