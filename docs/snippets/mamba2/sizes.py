# %% setup
import torch

# %% shown
from ssm_ref.selective.mamba2 import PUBLISHED, Mamba2LanguageModel, published_config

with torch.device("meta"):  # shapes only: no memory for the weights
    for size in PUBLISHED:
        shell, block = published_config(size)
        model = Mamba2LanguageModel(shell, block)
        parameters = sum(p.numel() for p in model.parameters())
        state = shell.n_layers * (block.d_inner * block.d_state + 3 * block.d_xBC)
        print(
            f"{size:>5}: {parameters:>13,} parameters, state of {state:>10,} numbers per sequence"
        )

# %% check
assert parameters == 2_702_599_680
