# %% setup
import torch

from ssm_ref.linear_attention.rwkv4 import RWKV4, RWKV4Config

torch.manual_seed(0)

# %% shown
model = RWKV4(RWKV4Config(vocab_size=50, d_model=32, n_blocks=2)).eval()
ids = torch.randint(50, (1, 100))
logits, state = model.prefill(ids[:, :-1], model.allocate_state(1))
logits, state = model.step(ids[:, -1], state)
print("step against forward:", (logits - model(ids)[:, -1]).abs().max().item())
print("state of the first time mixer:", [tuple(part.shape) for part in (state[0].x, *state[0].wkv)])
print("state of the first channel mixer:", tuple(state[1].shape))

# %% check
assert torch.allclose(logits, model(ids)[:, -1], atol=1e-5)
