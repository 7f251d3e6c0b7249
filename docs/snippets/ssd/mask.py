# %% setup
import matplotlib.pyplot as plt
import torch

torch.manual_seed(0)

# %% shown
l, c = 32, 8
a = -0.25 * torch.rand(l)  # logarithms of the decays
a[13] = -6.0  # one token that forgets nearly everything
sums = a.cumsum(0)
L = (sums[:, None] - sums[None, :]).tril().exp().tril()

figure, axes = plt.subplots(figsize=(3.6, 3.2), layout="constrained")
drawn = axes.imshow(L)
for edge in range(c, l, c):
    axes.axvline(edge - 0.5, color="white", lw=0.6)
    axes.axhline(edge - 0.5, color="white", lw=0.6)
axes.set_title("Who hears whom")
axes.set_xlabel("written at")
axes.set_ylabel("read at")
figure.colorbar(drawn, label="what is left")
plt.show()

block = L[2 * c : 3 * c, :c]  # below the diagonal: between two chunks
print("rank of a block below the diagonal:", torch.linalg.matrix_rank(block).item())

# %% check
assert torch.linalg.matrix_rank(block) == 1
