# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.vision.bidirectional_mamba import BidirectionalMamba, BidirectionalMambaConfig

torch.manual_seed(0)

# %% shown
rows = columns = 12
mixer = BidirectionalMamba(BidirectionalMambaConfig(d_model=32))
u = torch.randn(8, rows * columns, 32, requires_grad=True)
middle = (rows // 2) * columns + columns // 2
mixer(u)[:, middle].square().sum().backward()
reach = u.grad.norm(dim=-1).mean(0).view(rows, columns)  # how much each patch matters

figure, axes = plt.subplots(figsize=(3.4, 3.0), layout="constrained")
drawn = axes.imshow(reach.log10())
axes.set_xticks(range(0, columns, 3))
axes.set_yticks(range(0, rows, 3))
axes.set_xlabel("column")
axes.set_ylabel("row")
figure.colorbar(drawn, label="log10 of the gradient")
plt.show()

# %% check
beside, below = reach[rows // 2, columns // 2 + 1], reach[rows // 2 + 1, columns // 2]
assert beside > below  # a neighbour in the row is near in the scan, one in the column is not
