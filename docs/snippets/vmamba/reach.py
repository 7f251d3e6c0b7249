# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.vision.ss2d import SS2D, SS2DConfig

torch.manual_seed(0)

# %% shown
rows = columns = 12
mixer = SS2D(SS2DConfig(d_model=32, d_state=16))
u = torch.randn(8, rows, columns, 32, requires_grad=True)
mixer(u)[:, rows // 2, columns // 2].square().sum().backward()
reach = u.grad.norm(dim=-1).mean(0)  # how much each place matters to the middle one

figure, axes = plt.subplots(figsize=(3.4, 3.0), layout="constrained")
drawn = axes.imshow(reach.log10())
axes.set_xticks(range(0, columns, 3))
axes.set_yticks(range(0, rows, 3))
axes.set_xlabel("column")
axes.set_ylabel("row")
figure.colorbar(drawn, label="log10 of the gradient")
plt.show()

# %% check
middle = rows // 2
beside, below, corner = reach[middle, middle + 3], reach[middle + 3, middle], reach[0, 0]
assert beside > corner
assert below > corner
