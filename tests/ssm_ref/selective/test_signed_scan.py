"""The signed scan against its equation written out, and what a sign is for."""

import torch
from torch.nn.functional import silu, softplus

from ssm_ref.language_model import LanguageModelConfig
from ssm_ref.selective.mamba import Mamba, MambaConfig, MambaLanguageModel
from ssm_ref.selective.signed_scan import signed_selective_scan, signed_selective_scan_step


def test_is_its_equation() -> None:
    b, l, d, n = 2, 9, 3, 4
    x, dt, z = (torch.randn(b, l, d, dtype=torch.float64) for _ in range(3))
    B, C = (torch.randn(b, l, n, dtype=torch.float64) for _ in range(2))
    A, D = -torch.rand(d, n, dtype=torch.float64), torch.randn(d, dtype=torch.float64)
    y, last = signed_selective_scan(x, dt, A, B, C, D=D, z=z, dt_softplus=True)
    h = torch.zeros(b, d, n, dtype=torch.float64)
    for t in range(l):
        delta = softplus(dt[:, t])[..., None]
        h = (2 * torch.exp(delta * A) - 1) * h + delta * B[:, t, None] * x[:, t, :, None]
        read = (h * C[:, t, None]).sum(dim=-1) + D * x[:, t]
        torch.testing.assert_close(y[:, t], read * silu(z[:, t]))
    torch.testing.assert_close(last, h)


def test_a_large_step_turns_the_state_round() -> None:
    ones = torch.ones(1, 4, 1)
    written = torch.tensor([1.0, 0, 0, 0])[None, :, None]
    y, _ = signed_selective_scan(written, 50 * ones, -ones[0, :1], ones / 50, ones)
    torch.testing.assert_close(y[0, :, 0], torch.tensor([1.0, -1, 1, -1]))


def test_a_model_steps_as_it_scans() -> None:
    model = MambaLanguageModel(
        LanguageModelConfig(vocab_size=7, d_model=8, n_layers=2),
        MambaConfig(d_model=8, d_state=4),
        scan=signed_selective_scan,
        scan_step=signed_selective_scan_step,
    ).double()
    assert all(m.scan is signed_selective_scan for m in model.modules() if isinstance(m, Mamba))
    ids = torch.randint(7, (2, 6))
    want, state = model(ids), model.allocate_state(2)
    for t in range(6):
        got, state = model.step(ids[:, t], state)
        torch.testing.assert_close(got, want[:, t])
