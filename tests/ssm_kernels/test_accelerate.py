"""accelerate: a model computes the same with the Triton operators in it."""

import importlib
from copy import deepcopy
from functools import partial
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import nn

from ssm_kernels.accelerate import accelerate
from ssm_kernels.selective_scan.op import selective_scan
from ssm_ref.language_model import LanguageModel, LanguageModelConfig
from ssm_ref.norm import RMSNorm
from ssm_ref.selective.causal_conv1d import causal_conv1d
from ssm_ref.selective.mamba import Mamba, MambaConfig, MambaLanguageModel
from ssm_ref.selective.mamba2 import Mamba2Config, Mamba2LanguageModel
from ssm_ref.selective.selective_scan import selective_scan_chunked
from ssm_ref.selective.signed_scan import signed_selective_scan, signed_selective_scan_step
from ssm_ref.vision.bidirectional_mamba import BidirectionalMamba, BidirectionalMambaConfig
from ssm_ref.vision.ss2d import SS2D, SS2DConfig

module = importlib.import_module("ssm_kernels.accelerate")


def small(device: torch.device, kind: str = "mamba", layers: int = 1) -> LanguageModel:
    torch.manual_seed(0)
    shell = LanguageModelConfig(vocab_size=11, d_model=4, n_layers=layers)
    if kind == "mamba2":
        cfg = Mamba2Config(d_model=4, d_state=2, d_head=4)
        return Mamba2LanguageModel(shell, cfg).to(device)
    return MambaLanguageModel(shell, MambaConfig(d_model=4, d_state=2)).to(device)


KINDS = pytest.mark.parametrize("kind", ["mamba", "mamba2"])


@KINDS
def test_same_logits_and_gradients(device: torch.device, kind: str) -> None:
    ids = torch.tensor([[1, 2, 3, 4, 5]], device=device)
    plain, fast = small(device, kind), accelerate(small(device, kind), backend="triton")
    want, got = plain(ids), fast(ids)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    want.square().sum().backward()
    got.square().sum().backward()
    for a, b in zip(plain.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-3, atol=1e-5)


@KINDS
def test_same_decode(device: torch.device, kind: str) -> None:
    ids = torch.tensor([[1, 2, 3]], device=device)
    plain, fast = small(device, kind), accelerate(small(device, kind), backend="triton")
    with torch.no_grad():
        want, state = plain.prefill(ids, plain.allocate_state(1))
        got, fast_state = fast.prefill(ids, fast.allocate_state(1))
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
        kept = fast_state[0].ssm.clone()
        for _ in range(2):
            want, state = plain.step(ids[:, 0], state)
            got, later = fast.step(ids[:, 0], fast_state)
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(fast_state[0].ssm, kept)  # a step leaves its state alone
            fast_state, kept = later, later[0].ssm.clone()


@KINDS
def test_a_step_that_records_gradients_has_them(device: torch.device, kind: str) -> None:
    ids = torch.tensor([1], device=device)
    plain, fast = small(device, kind), accelerate(small(device, kind), backend="triton")
    for model in (plain, fast):
        model.step(ids, model.allocate_state(1))[0].square().sum().backward()
    for a, b in zip(plain.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad)


@KINDS
def test_layers_are_joined_where_nobody_watches_their_norms(
    device: torch.device, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five layers in half precision, also with a hook on one norm, and with gradients."""
    ids = torch.tensor([[1, 2, 3, 4]], device=device)
    plain, fast = (small(device, kind, layers=5).half() for _ in range(2))
    accelerate(fast, backend="triton")
    seen: list[torch.dtype] = []
    joined = Mock(wraps=module.add_rms_norm)
    monkeypatch.setattr(module, "add_rms_norm", joined)
    with torch.no_grad():
        torch.testing.assert_close(fast(ids), plain(ids), rtol=2e-2, atol=2e-3)
        assert joined.call_count == 5
        hook = fast.layers[2].norm.register_forward_hook(lambda *a: seen.append(a[2].dtype))
        torch.testing.assert_close(fast(ids), plain(ids), rtol=2e-2, atol=2e-3)
        hook.remove()
        assert joined.call_count == 9
        hook = fast.layers[2].register_forward_pre_hook(lambda *a: seen.append(a[1][0].dtype))
        torch.testing.assert_close(fast(ids), plain(ids), rtol=2e-2, atol=2e-3)
        hook.remove()
        assert joined.call_count == 13
        hook = fast.layers[2].norm.register_forward_hook(lambda *a: seen.append(a[2].dtype))
        got, _ = fast.prefill(ids, fast.allocate_state(1))
        torch.testing.assert_close(got, plain(ids), rtol=2e-2, atol=2e-3)
        hook.remove()
    assert joined.call_count == 17
    assert seen == [torch.float32] * 3
    hook = fast.layers[2].norm.register_full_backward_pre_hook(
        lambda *a: seen.append(a[1][0].dtype)
    )
    fast(ids).float().sum().backward()
    hook.remove()
    assert len(seen) == 4
    fast.zero_grad()
    apart, want, got = (
        torch.autograd.grad(model(ids).float().square().sum(), model.layers[0].norm.weight)[0]
        for model in (_apart(fast), plain, fast)
    )
    torch.testing.assert_close(got, want, rtol=2e-2, atol=2e-3)
    torch.testing.assert_close(apart, want, rtol=2e-2, atol=2e-3)


def _apart(model: LanguageModel) -> LanguageModel:
    """`model` with its layers as they are by themselves."""
    other = deepcopy(model)
    other.join = None
    return other


def test_vision_mamba_gets_the_scan(device: torch.device) -> None:
    torch.manual_seed(0)
    block = BidirectionalMamba(BidirectionalMambaConfig(d_model=4, d_state=2)).to(device)
    u = torch.randn(1, 5, 4, device=device)
    want = block(u)
    got = accelerate(block, backend="triton")(u)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_maps_get_the_scan(device: torch.device) -> None:
    torch.manual_seed(0)
    block = SS2D(SS2DConfig(d_model=4, d_state=2)).to(device)
    u = torch.randn(1, 2, 3, 4, device=device, requires_grad=True)
    want = block(u)
    (slow,) = torch.autograd.grad(want.square().sum(), u)
    got = accelerate(block, backend="triton")(u)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    (fast,) = torch.autograd.grad(got.square().sum(), u)
    torch.testing.assert_close(fast, slow, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("affine", [True, False])
def test_norms_of_any_model(affine: bool, device: torch.device) -> None:
    torch.manual_seed(0)
    norm = RMSNorm(6, affine=affine).to(device)
    u = torch.randn(2, 3, 6, device=device, requires_grad=True)
    want = norm(u)
    (slow,) = torch.autograd.grad(want.square().sum(), u)
    got = accelerate(norm, backend="triton")(u)
    (fast,) = torch.autograd.grad(got.square().sum(), u)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)


def test_a_scan_of_another_kind_stays(device: torch.device) -> None:
    ids = torch.tensor([[1, 2, 3, 4, 5]], device=device)
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        shell = LanguageModelConfig(vocab_size=11, d_model=4, n_layers=1)
        signed = {"scan": signed_selective_scan, "scan_step": signed_selective_scan_step}
        models.append(MambaLanguageModel(shell, MambaConfig(d_model=4, d_state=2), **signed))
    plain, fast = (model.to(device) for model in models)
    accelerate(fast, backend="triton")
    mixer = fast.layers[0].branch
    assert mixer.scan is signed_selective_scan
    assert mixer.scan_step is signed_selective_scan_step
    assert mixer.conv is not causal_conv1d
    torch.testing.assert_close(fast(ids), plain(ids), rtol=1e-4, atol=1e-5)


def test_a_second_call_changes_the_backend(device: torch.device) -> None:
    model = accelerate(small(device), backend="triton")
    block = model.layers[0].branch
    swapped = ("scan", "scan_step", "conv", "conv_step")
    assert {getattr(block, name).keywords["backend"] for name in swapped} == {"triton"}
    accelerate(model, backend="reference")
    assert {getattr(block, name).keywords["backend"] for name in swapped} == {"reference"}


def test_an_operator_of_this_package_that_was_handed_in_gets_the_backend_too() -> None:
    block = Mamba(MambaConfig(d_model=4, d_state=2), scan=selective_scan)
    accelerate(block, backend="reference")
    assert block.scan.keywords == {"backend": "reference"}


@pytest.mark.parametrize(
    "scan", [signed_selective_scan, partial(selective_scan_chunked, chunk_size=2)]
)
def test_a_model_of_which_nothing_is_swapped_is_refused(scan: Any) -> None:
    block = BidirectionalMamba(BidirectionalMambaConfig(d_model=4), scan=scan)
    with pytest.raises(ValueError, match="an operator that has a form here; got Bidirectional"):
        accelerate(block)
    assert block.scan is scan


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="one of Mamba, Mamba2"):
        accelerate(nn.Linear(1, 1))
    with pytest.raises(ValueError, match="backend must be"):
        accelerate(small(torch.device("cpu")), backend="fast")
