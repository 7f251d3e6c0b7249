# %% setup
import torch

from ssm_ref.foundations.state_space import (
    LinearSystem,
    change_basis,
    markov_parameters,
    simulate,
    textbook_form,
)

torch.manual_seed(0)
torch.set_printoptions(precision=3, sci_mode=False)

# %% shown
f64 = torch.float64
A = torch.tensor([[0.8, 0.3], [-0.3, 0.8]], dtype=f64)
B, C = torch.tensor([[1.0], [0.5]], dtype=f64), torch.tensor([[0.0, 1.0]], dtype=f64)
system = LinearSystem(A, B, C, torch.tensor([[2.0]], dtype=f64))

impulse = torch.zeros(1, 6, 1, dtype=f64)  # b l m
impulse[0, 0] = 1
print("simulated:", simulate(system, impulse)[0].flatten())
print("C Āⁱ B̄:  ", markov_parameters(system, 6).flatten())

# %% check
torch.testing.assert_close(
    simulate(system, impulse)[0].flatten(), markov_parameters(system, 6).flatten()
)

# %% shown
eigenvalues, V = torch.linalg.eig(A)
diagonal = change_basis(system, V)
print("eigenvalues:", eigenvalues)
print("same kernel:", markov_parameters(diagonal, 6).real.flatten())
book = textbook_form(system)
print("textbook: C Ā =", book.C.flatten(), " C B̄ + D =", book.D.item())

# %% check
torch.testing.assert_close(markov_parameters(diagonal, 6).real, markov_parameters(system, 6))
