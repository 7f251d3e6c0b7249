from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssm_ref.genomics.caduceus import (
    BothStrands,
    Caduceus,
    CaduceusClassifier,
    CaduceusConfig,
)
from ssm_ref.genomics.nucleotides import MASK, VOCAB_SIZE, complement_map, reverse_complement
from ssm_ref.norm import rms_norm
from ssm_ref.selective.mamba import Mamba, MambaConfig
from ssm_ref.selective.selective_scan import selective_scan

LENGTHS = [1, 2, 7, 8, 33]
KAPPA = complement_map(16)


def model(kind: Callable[..., BothStrands] = Caduceus, **options: Any) -> Any:
    """A tiny model in float64 with weights large enough that no part of it is silent."""
    torch.manual_seed(0)
    made = kind(CaduceusConfig(**{"d_model": 6, "n_layer": 2, "d_state": 3} | options)).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made.eval()


def dna(l: int, b: int = 3) -> Tensor:
    """Letters, N and masks at random."""
    ids = torch.randint(7, VOCAB_SIZE, (b, l), generator=torch.Generator().manual_seed(l))
    return ids.masked_fill(torch.rand(b, l, generator=torch.Generator().manual_seed(l)) < 0.2, MASK)


@pytest.mark.parametrize("l", LENGTHS)
@pytest.mark.parametrize("strands", ["sharing", "post_hoc"])
def test_the_other_strand_gets_the_same_answers_in_its_own_letters(strands: str, l: int) -> None:
    net, ids = model(strands=strands), dna(l)
    want = net(ids).flip(1)[..., KAPPA]
    torch.testing.assert_close(net(reverse_complement(ids)), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("l", LENGTHS)
@pytest.mark.parametrize("strands", ["sharing", "post_hoc"])
def test_both_strands_get_one_class(strands: str, l: int) -> None:
    net, ids = model(CaduceusClassifier, strands=strands, n_classes=3), dna(l)
    torch.testing.assert_close(net(reverse_complement(ids)), net(ids), rtol=1e-12, atol=1e-12)


def test_one_strand_alone_tells_them_apart() -> None:
    """What the tests above measure is not true of any model."""
    ids = dna(33)
    letters = model(strands="one")
    far = letters(reverse_complement(ids)) - letters(ids).flip(1)[..., KAPPA]
    assert far.abs().max() > 0.1
    classes = model(CaduceusClassifier, strands="one")
    assert (classes(reverse_complement(ids)) - classes(ids)).abs().max() > 0.01


def test_post_hoc_reads_one_strand_while_it_learns() -> None:
    ids, net = dna(9), model(strands="post_hoc")
    alone = model(strands="one")
    alone.load_state_dict(net.state_dict())
    torch.testing.assert_close(net.train()(ids), alone(ids), rtol=1e-12, atol=1e-12)


def test_learning_from_either_strand_is_the_same_step() -> None:
    """Loss and every gradient agree, so augmenting by the other strand would change nothing."""
    ids, kept = dna(12), []
    for strand in (ids, reverse_complement(ids)):
        net = model()
        torch.nn.functional.cross_entropy(net(strand).flatten(0, 1), strand.flatten()).backward()
        kept.append({name: p.grad for name, p in net.named_parameters()})
    torch.testing.assert_close(kept[1], kept[0], rtol=1e-9, atol=1e-12)


def flip(u: Tensor) -> Tensor:
    """The paper's RC of features: time and channels reversed."""
    return u.flip(1, 2)


def test_matches_the_paper_s_form_with_two_halves_of_channels() -> None:
    """RCPS layer by layer as section 4 states it: halves, each by the same weights, then heads."""
    net, ids = model(), dna(11)
    strand, m = net.strand, net.cfg.d_model
    E = strand.embedding.weight
    u = torch.cat([E[ids], flip(E[KAPPA[ids.flip(1)]])], dim=-1)  # b l 2m

    def shared(f: Callable[[Tensor], Tensor], u: Tensor) -> Tensor:
        return torch.cat([f(u[..., :m]), flip(f(flip(u[..., m:])))], dim=-1)

    for layer in strand.layers:
        u = u + shared(lambda v, one=layer: 2 * one.mixer(one.norm(v)), u)
    u = shared(strand.norm, u)
    want = u[..., :m] @ E.T + u[..., m:].flip(2) @ E[KAPPA].T
    torch.testing.assert_close(net(ids), want, rtol=1e-12, atol=1e-12)


def test_bimamba_is_two_mambas_that_share_their_projections() -> None:
    layer = model().strand.layers[0]
    u = torch.randn(2, 7, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights, cfg = layer.mixer.state_dict(), MambaConfig(d_model=6, d_state=3)
    total = torch.zeros_like(u)
    for end, way in (("", False), ("_b", True)):
        block = Mamba(cfg).double()
        block.load_state_dict(
            {
                "in_proj.weight": weights["in_proj.weight"],
                "out_proj.weight": weights["out_proj.weight"],
                "conv_weight": weights[f"conv1d{end}.weight"][:, 0],
                "conv_bias": weights[f"conv1d{end}.bias"],
                "x_proj.weight": weights[f"x_proj{end}.weight"],
                "dt_proj.weight": weights[f"dt_proj{end}.weight"],
                "dt_bias": weights[f"dt_proj{end}.bias"],
                "A_log": weights["A_b_log" if end else "A_log"],
                "D": weights[f"D{end}"],
            }
        )
        v = rms_norm(u, layer.norm.weight)
        total = total + (block(v.flip(1)).flip(1) if way else block(v))
    torch.testing.assert_close(layer(u), u + total, rtol=1e-10, atol=1e-12)


def test_algorithm_matches_definition() -> None:
    by_chunks, ids = model(), dna(19)
    by_loop = Caduceus(by_chunks.cfg, scan=selective_scan).double().eval()
    by_loop.load_state_dict(by_chunks.state_dict())
    torch.testing.assert_close(by_chunks(ids), by_loop(ids), rtol=1e-10, atol=1e-12)


def test_every_answer_sees_every_letter() -> None:
    net, ids = model(strands="one"), dna(6, b=1)
    u = net.strand.embedding(ids).detach().requires_grad_()
    out = u
    for layer in net.strand.layers:
        out = layer(out)
    for t in (0, 3, 5):
        (gradient,) = torch.autograd.grad(out[0, t].sum(), u, retain_graph=True)
        assert (gradient[0].abs().sum(-1) > 0).all()


@pytest.mark.parametrize("kind", [Caduceus, CaduceusClassifier])
def test_gradients(kind: Callable[..., nn.Module]) -> None:
    """Along random directions of all weights at once, against central differences."""
    net, ids = model(kind), dna(5)
    weights = [p for p in net.parameters() if p.requires_grad]
    g = torch.Generator().manual_seed(3)
    out = net(ids)
    along = torch.randn(out.shape, generator=g, dtype=out.dtype)
    gradients = torch.autograd.grad((out * along).sum(), weights)
    for _ in range(3):
        ways = [torch.randn(p.shape, generator=g, dtype=p.dtype) for p in weights]
        ends = []
        for step in (1e-5, -2e-5):
            with torch.no_grad():
                for weight, way in zip(weights, ways, strict=True):
                    weight += step * way
                ends.append((net(ids) * along).sum())
        with torch.no_grad():
            for weight, way in zip(weights, ways, strict=True):
                weight += 1e-5 * way
        want = sum((d * way).sum() for d, way in zip(gradients, ways, strict=True))
        torch.testing.assert_close((ends[0] - ends[1]) / 2e-5, want, rtol=1e-6, atol=1e-7)


def test_the_published_size_has_the_published_number_of_parameters() -> None:
    """256 wide and 16 deep is the authors' 7.7 M model; both strands cost no weight more."""
    with torch.device("meta"):
        counts = {
            strands: sum(p.numel() for p in Caduceus(CaduceusConfig(strands=strands)).parameters())
            for strands in ("sharing", "post_hoc")
        }
    assert round(counts["sharing"] / 1e6, 1) == 7.7
    assert counts["sharing"] == counts["post_hoc"]


def test_bf16_says_nearly_the_same() -> None:
    net, ids = model().float(), dna(20)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = net(ids)
    far = (narrow.float() - net(ids)).norm() / net(ids).norm()
    assert far < 0.05


def test_no_row_and_one_letter() -> None:
    assert model()(dna(1, b=2)).shape == (2, 1, 16)
    assert model()(dna(4, b=0)).shape == (0, 4, 16)
    assert model(CaduceusClassifier)(dna(4, b=0)).shape == (0, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: model()(dna(4)[0]), r"shape \(b, l\)"),
        (lambda: model()(dna(4).double()), "int32 or int64"),
        (lambda: model()(dna(4)[:, :0]), "l at least 1"),
        (lambda: model()(dna(4) + 8), r"ids must be in 0 … 15; got 11 … 19"),
        (lambda: model()(dna(4).to("meta")), "must be on cpu; got meta"),
        (lambda: CaduceusConfig(strands="both"), "'sharing', 'post_hoc' or 'one'; got 'both'"),
        (lambda: CaduceusConfig(vocab_size=5), "at least 12; got 5"),
        (lambda: CaduceusConfig(n_layer=0), "n_layer must be at least 1; got 0"),
    ],
)
def test_bad_input_says_what_was_wanted(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
