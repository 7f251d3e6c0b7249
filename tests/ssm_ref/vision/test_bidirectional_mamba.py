import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ssm_ref.selective.mamba import Mamba, MambaConfig
from ssm_ref.selective.selective_scan import selective_scan
from ssm_ref.vision.bidirectional_mamba import BidirectionalMamba, BidirectionalMambaConfig

SHARING = ["separate", "shared"]


def mixer(sharing: str, d_model: int = 6) -> BidirectionalMamba:
    torch.manual_seed(0)
    cfg = BidirectionalMambaConfig(d_model=d_model, d_state=3, sharing=sharing)
    return BidirectionalMamba(cfg, scan=selective_scan).double()


def tokens(b: int = 2, l: int = 7, d: int = 6) -> Tensor:
    return torch.randn(b, l, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("sharing", SHARING)
def test_algorithm_matches_definition(sharing: str) -> None:
    by_loop = mixer(sharing)
    by_chunks = BidirectionalMamba(by_loop.cfg).double()
    by_chunks.load_state_dict(by_loop.state_dict())
    torch.testing.assert_close(by_chunks(tokens()), by_loop(tokens()), rtol=1e-10, atol=1e-12)


def half(model: BidirectionalMamba, end: str) -> Mamba:
    """One direction of a mixer with separate weights, as a Mamba block."""
    block = Mamba(MambaConfig(d_model=model.cfg.d_model, d_state=model.cfg.d_state)).double()
    names = model.state_dict()
    A_log = names["A_log" if not end else "A_b_log"]
    pairs = {
        "in_proj.weight": names["in_proj.weight"],
        "out_proj.weight": names["out_proj.weight"],
        "conv_weight": names[f"conv1d{end}.weight"][:, 0],
        "conv_bias": names[f"conv1d{end}.bias"],
        "x_proj.weight": names[f"x_proj{end}.weight"],
        "dt_proj.weight": names[f"dt_proj{end}.weight"],
        "dt_bias": names[f"dt_proj{end}.bias"],
        "A_log": A_log,
        "D": names[f"D{end}"],
    }
    block.load_state_dict(pairs)
    return block


def test_separate_is_the_mean_of_two_mambas() -> None:
    model, u = mixer("separate"), tokens()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    forward, backward = half(model, ""), half(model, "_b")
    want = 0.5 * (forward(u) + backward(u.flip(1)).flip(1))
    torch.testing.assert_close(model(u), want, rtol=1e-8, atol=1e-10)


def test_shared_matches_its_equations_written_out() -> None:
    model, u = mixer("shared"), tokens()
    with torch.no_grad():
        model.A_b_log += 0.3 * torch.randn_like(model.A_b_log)
    x, z = functional.linear(u, model.in_proj.weight).chunk(2, dim=-1)
    conv = model.get_submodule("conv1d")
    x = functional.silu(conv(functional.pad(x.mT, (3, 0))).mT)
    dt, B, C = model.get_submodule("x_proj")(x).split([1, 3, 3], dim=-1)
    dt = functional.softplus(model.get_submodule("dt_proj")(dt))

    def scan(A_log: Tensor, order: list[int]) -> Tensor:
        h, y = torch.zeros(2, 12, 3, dtype=u.dtype), torch.zeros_like(x)
        for t in order:
            decay = torch.exp(dt[:, t, :, None] * -A_log.exp())
            h = decay * h + (dt[:, t] * x[:, t])[..., None] * B[:, t, None]
            y[:, t] = (h * C[:, t, None]).sum(-1) + model.D * x[:, t]
        return y

    times = list(range(7))
    y = scan(model.A_log, times) + scan(model.A_b_log, times[::-1])
    want = functional.linear(y * functional.silu(z), model.out_proj.weight)
    torch.testing.assert_close(model(u), want, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("sharing", SHARING)
def test_every_output_sees_every_input(sharing: str) -> None:
    model, u = mixer(sharing), tokens(1, 5).requires_grad_()
    for t in (0, 2, 4):
        (gradient,) = torch.autograd.grad(model(u)[0, t].sum(), u)
        assert (gradient[0].abs().sum(-1) > 0).all()


def test_reversal_swaps_the_directions() -> None:
    model, u = mixer("separate"), tokens()
    swapped = mixer("separate")
    state = model.state_dict()
    swap = {
        name: state[name.replace("A_log", "A_b_log")]
        if name == "A_log"
        else state["A_log"]
        if name == "A_b_log"
        else state[name.replace("_b.", ".")]
        if "_b." in name
        else state["D"]
        if name == "D_b"
        else state["D_b"]
        if name == "D"
        else state[
            name.replace("conv1d.", "conv1d_b.")
            .replace("x_proj.", "x_proj_b.")
            .replace("dt_proj.", "dt_proj_b.")
        ]
        for name in state
    }
    swapped.load_state_dict(swap)
    torch.testing.assert_close(swapped(u.flip(1)).flip(1), model(u), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("sharing", SHARING)
def test_gradients(sharing: str) -> None:
    model = mixer(sharing, d_model=2)
    assert torch.autograd.gradcheck(model, (tokens(1, 3, 2).requires_grad_(),))


@pytest.mark.parametrize("sharing", SHARING)
def test_one_token_and_an_empty_batch(sharing: str) -> None:
    model = mixer(sharing)
    assert model(tokens(2, 1)).shape == (2, 1, 6)
    assert model(tokens(0, 3)).shape == (0, 3, 6)


def test_bad_input_says_what_was_wanted() -> None:
    with pytest.raises(ValueError, match=r"shape \(batch, length, 6\); got \(2, 7, 5\)"):
        mixer("shared")(tokens(d=5))
    with pytest.raises(ValueError, match="sharing must be 'separate' or 'shared'; got 'both'"):
        BidirectionalMambaConfig(d_model=4, sharing="both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="d_state must be at least 1; got 0"):
        BidirectionalMambaConfig(d_model=4, d_state=0)
