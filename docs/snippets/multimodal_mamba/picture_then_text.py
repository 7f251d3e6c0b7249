# %% setup
import torch
from torch import Tensor, nn

from ssm_ref.language_model import LanguageModelConfig
from ssm_ref.multimodal.multimodal_mamba import MediaReader, MlpConnector, MultimodalMamba
from ssm_ref.selective.mamba import MambaConfig, MambaLanguageModel
from ssm_ref.vision.vision_mamba import VisionMamba, VisionMambaConfig

torch.manual_seed(0)


class Patches(nn.Module):
    def __init__(self, model: VisionMamba) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return self.model.patches(image)


# %% shown
vision = VisionMambaConfig(image=(32, 32), patch=(8, 8), d_model=24, n_layer=2)
language = MambaLanguageModel(
    LanguageModelConfig(vocab_size=64, d_model=32, n_layers=2), MambaConfig(d_model=32)
)
reader = MediaReader([Patches(VisionMamba(vision))], MlpConnector(24, 32))
model = MultimodalMamba(language, picture=reader)

question = torch.tensor([[7, 3, 9]])
state = language.allocate_state(1)
logits, state = model.prefill(question, state, picture=torch.randn(1, 3, 32, 32))
print("logits of the question", tuple(logits.shape))
print("numbers in the state", sum(part.numel() for layer in state for part in layer))

# %% shown
for _ in range(3):
    logits, state = model.step(torch.tensor([1]), state)
print("after three more tokens", sum(part.numel() for layer in state for part in layer))

# %% check
assert logits.shape == (1, 64)
