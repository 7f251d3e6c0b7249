"""Formulas become MathML at build time; what cannot be read says where."""

from __future__ import annotations

import pytest

from ssm_tools.site.tex import TexError, convert


@pytest.mark.parametrize(
    ("tex", "holds"),
    [
        ("h_t", "<msub><mi>h</mi><mi>t</mi></msub>"),
        ("x^2_i", "<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>"),
        ("0{,}97", "<mn>0,97</mn>"),
        (r"\Delta", '<mi mathvariant="normal">Δ</mi>'),
        (r"\mathbb{R}", "ℝ"),
        (r"\sum_k a_k", 'movablelimits="true">∑</mo>'),
        (r"\begin{aligned} a &= b \\ c &= d \end{aligned}", '<mtable class="tex-align"><mtr>'),
        (r"\begin{cases} 1 & x \\ 2 & y \end{cases}", 'stretchy="true">{</mo>'),
        (r"\text{если } x < 1", "<mtext>если\u00a0</mtext>"),
        (r"\operatorname{softplus}(x)", ">softplus</mo>"),
        (r"x'", '<mrow><mi>x</mi><mo form="postfix" lspace="0" rspace="0">′</mo></mrow>'),
        (r"P_n'", "′</mo></mrow><mi>n</mi></msub>"),
        ("a<b", "<mo>&lt;</mo>"),
        ("f(x)", '<mo form="prefix" stretchy="false">(</mo>'),
        (r"\{x\}", '<mo form="postfix" stretchy="false">}</mo>'),
        (r"\ln\lvert x\rvert", '<mo form="prefix" stretchy="false">|</mo><mi>x</mi>'),
        (r"\lVert x\rVert y", '<mi>x</mi><mo form="postfix" stretchy="false">‖</mo>'),
        (r"\ln|x|", '<mo lspace="0" rspace="0" stretchy="false">|</mo><mi>x</mi>'),
    ],
)
def test_converts(tex: str, holds: str) -> None:
    assert holds in convert(tex).mathml


def test_a_tag_is_the_equation_number() -> None:
    assert convert(r"y = x \tag{3}", True).tag == "3"


@pytest.mark.parametrize(
    ("tex", "message"),
    [
        (r"\nosuch x", "unknown TeX command"),
        ("{a", "missing"),
        ("a}", "without its beginning"),
        (r"\begin{aligned} a", "missing"),
        ("{" * 99, "nested deeper"),
    ],
)
def test_faults_have_a_place(tex: str, message: str) -> None:
    with pytest.raises(TexError, match=message) as caught:
        convert(tex)
    assert 0 <= caught.value.position <= len(tex)
