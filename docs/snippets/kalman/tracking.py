# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.foundations.kalman import (
    LinearGaussian,
    kalman_filter,
    kalman_filter_parallel,
    smooth,
)

torch.manual_seed(1)
f64 = torch.float64

# %% shown
A = torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=f64)  # place and speed
Q = 0.01 * torch.tensor([[1 / 3, 1 / 2], [1 / 2, 1.0]], dtype=f64)
C, R = torch.tensor([[1.0, 0.0]], dtype=f64), torch.tensor([[4.0]], dtype=f64)
model = LinearGaussian(A, Q, C, R, torch.zeros(2, dtype=f64), torch.eye(2, dtype=f64))

x, places = torch.zeros(2, dtype=f64), []
noise = torch.linalg.cholesky(Q)
for _ in range(80):
    x = A @ x + noise @ torch.randn(2, dtype=f64)
    places.append(x[0])
truth = torch.stack(places)
y = truth + 2 * torch.randn(80, dtype=f64)

filtered = kalman_filter(model, y[None, :, None])
smoothed = smooth(model, filtered)
parallel = kalman_filter_parallel(model, y[None, :, None])
print(f"filter as a scan: {(parallel.mean - filtered.mean).abs().max():.0e} from the loop")
estimates = {"measured": y, "filtered": filtered.mean[0, :, 0], "smoothed": smoothed.mean[0, :, 0]}
for name, estimate in estimates.items():
    print(f"{name}: root mean square error {(estimate - truth).square().mean().sqrt():.2f}")

# %% shown
fig, ax = plt.subplots(figsize=(7, 3.2))
mean, deviation = filtered.mean[0, :, 0], filtered.covariance[:, 0, 0].sqrt()
ax.fill_between(range(80), mean - 2 * deviation, mean + 2 * deviation, alpha=0.2)
ax.plot(mean, label="filtered, ± 2 deviations")
ax.plot(smoothed.mean[0, :, 0], "--", label="smoothed")
ax.plot(truth, color="tab:gray", label="true place")
ax.plot(y, ".", ms=4, color="tab:gray", alpha=0.6, label="measured")
ax.set(xlabel="k", title="Noisy measurements, filtered and smoothed")
ax.legend()
fig.tight_layout()

# %% check
torch.testing.assert_close(parallel.mean, filtered.mean)
