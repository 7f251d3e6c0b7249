"""What TeX names mean in Unicode: letters, operators, fonts, accents, delimiters, spaces."""

from __future__ import annotations

_GREEK = (
    "alpha α beta β gamma γ delta δ epsilon ϵ varepsilon ε zeta ζ eta η theta θ vartheta ϑ iota ι "
    "kappa κ lambda λ mu μ nu ν xi ξ pi π varpi ϖ rho ρ varrho ϱ sigma σ varsigma ς tau τ "
    "upsilon υ phi ϕ varphi φ chi χ psi ψ omega ω omicron ο"
)
_UPRIGHT = (
    "Gamma Γ Delta Δ Theta Θ Lambda Λ Xi Ξ Pi Π Sigma Σ Upsilon Υ Phi Φ Psi Ψ Omega Ω "
    "infty ∞ partial ∂ nabla ∇ emptyset ∅ varnothing ∅ hbar ℏ ell ℓ Re ℜ Im ℑ aleph ℵ "
    "imath ı jmath ȷ top ⊤ bot ⊥ angle ∠ triangle △ square □ Box □ blacksquare ■ checkmark ✓ "
    "dots … ldots … cdots ⋯ vdots ⋮ ddots ⋱ dotsc … dotsb ⋯ prime ′ degree ° S § P ¶ dagger † "
    "forall ∀ exists ∃ nexists ∄ neg ¬ lnot ¬ surd √ star ⋆ ast ∗"
)
_OPERATORS = (
    "times × cdot ⋅ div ÷ pm ± mp ∓ odot ⊙ oplus ⊕ otimes ⊗ ominus ⊖ oslash ⊘ circ ∘ bullet ∙ "
    "le ≤ leq ≤ ge ≥ geq ≥ ne ≠ neq ≠ equiv ≡ approx ≈ sim ∼ simeq ≃ cong ≅ propto ∝ ll ≪ gg ≫ "
    "leqslant ⩽ geqslant ⩾ lesssim ≲ gtrsim ≳ prec ≺ succ ≻ preceq ⪯ succeq ⪰ triangleq ≜ "
    "coloneqq ≔ doteq ≐ mid ∣ nmid ∤ parallel ∥ perp ⟂ in ∈ notin ∉ ni ∋ subset ⊂ subseteq ⊆ "
    "supset ⊃ supseteq ⊇ cup ∪ cap ∩ setminus ∖ land ∧ wedge ∧ lor ∨ vee ∨ models ⊨ vdash ⊢ "
    "to → rightarrow → leftarrow ← gets ← leftrightarrow ↔ Rightarrow ⇒ Leftarrow ⇐ "
    "Leftrightarrow ⇔ iff ⟺ implies ⟹ impliedby ⟸ mapsto ↦ longmapsto ⟼ longrightarrow ⟶ "
    "longleftarrow ⟵ hookrightarrow ↪ uparrow ↑ downarrow ↓ updownarrow ↕ nearrow ↗ searrow ↘ "
    "rightharpoonup ⇀ leadsto ⇝ colon : vert | Vert ‖ lt < gt > bmod mod therefore ∴ because ∵"
)
_LARGE = (
    "sum ∑ prod ∏ coprod ∐ bigcup ⋃ bigcap ⋂ bigoplus ⨁ bigotimes ⨂ bigodot ⨀ bigvee ⋁ bigwedge ⋀"
)
_INTEGRALS = "int ∫ iint ∬ iiint ∭ oint ∮"
_FUNCTIONS = (
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh coth exp log ln lg deg dim hom "
    "ker arg"
)
_LIMITS = "max min sup inf lim limsup liminf argmax argmin det gcd Pr"


def _pairs(text: str) -> dict[str, str]:
    words = text.split()
    return dict(zip(words[::2], words[1::2], strict=True))


ITALIC = _pairs(_GREEK)
UPRIGHT = _pairs(_UPRIGHT)
OPERATORS = _pairs(_OPERATORS)
LARGE = _pairs(_LARGE)
INTEGRALS = _pairs(_INTEGRALS)
FUNCTIONS = frozenset(_FUNCTIONS.split())
LIMITS = frozenset(_LIMITS.split())
SPACES = {
    ",": 0.1667, ":": 0.2222, ">": 0.2222, ";": 0.2778, "!": -0.1667, " ": 0.25, "quad": 1.0,
    "qquad": 2.0, "thinspace": 0.1667, "enspace": 0.5, "medspace": 0.2222, "thickspace": 0.2778,
    "negthinspace": -0.1667, "nobreakspace": 0.25,
}  # fmt: skip
ACCENTS = {
    "bar": "¯", "hat": "^", "tilde": "~", "dot": "˙", "ddot": "¨", "vec": "→", "check": "ˇ",
    "breve": "˘", "acute": "´", "grave": "`", "mathring": "˚",
}  # fmt: skip
WIDE = {
    "widehat": "^", "widetilde": "~", "overbrace": "⏞", "overrightarrow": "→",
    "overleftarrow": "←",
}  # fmt: skip
UNDER = {"underbrace": "⏟", "underbracket": "⎵"}
DELIMITERS = {
    "(": "(", ")": ")", "[": "[", "]": "]", "|": "|", "/": "/", ".": "", "<": "⟨", ">": "⟩",
    "\\{": "{", "\\}": "}", "\\lbrace": "{", "\\rbrace": "}", "\\|": "‖", "\\langle": "⟨",
    "\\rangle": "⟩", "\\lfloor": "⌊", "\\rfloor": "⌋", "\\lceil": "⌈", "\\rceil": "⌉",
    "\\vert": "|", "\\Vert": "‖", "\\lvert": "|", "\\rvert": "|", "\\lVert": "‖", "\\rVert": "‖",
    "\\backslash": "\\", "\\uparrow": "↑", "\\downarrow": "↓", "\\lbrack": "[", "\\rbrack": "]",
}  # fmt: skip
BIG = {
    "big": 1.2, "Big": 1.8, "bigg": 2.4, "Bigg": 3.0, "bigl": 1.2, "Bigl": 1.8, "biggl": 2.4,
    "Biggl": 3.0, "bigr": 1.2, "Bigr": 1.8, "biggr": 2.4, "Biggr": 3.0, "bigm": 1.2, "Bigm": 1.8,
    "biggm": 2.4, "Biggm": 3.0,
}  # fmt: skip

# First code point of the capitals, of the small letters and of the digits, in Unicode's plane 1.
_ALPHABETS = {
    "bold": (0x1D400, 0x1D41A, 0x1D7CE),
    "bold-italic": (0x1D468, 0x1D482, 0),
    "script": (0x1D49C, 0x1D4B6, 0),
    "fraktur": (0x1D504, 0x1D51E, 0),
    "double-struck": (0x1D538, 0x1D552, 0x1D7D8),
    "sans-serif": (0x1D5A0, 0x1D5BA, 0x1D7E2),
    "monospace": (0x1D670, 0x1D68A, 0x1D7F6),
}
_HOLES = {
    "script": dict(zip("BEFHILMRego", "ℬℰℱℋℐℒℳℛℯℊℴ", strict=True)),
    "fraktur": dict(zip("CHIRZ", "ℭℌℑℜℨ", strict=True)),
    "double-struck": dict(zip("CHNPQRZ", "ℂℍℕℙℚℝℤ", strict=True)),
}
_GREEK_BOLD = {"bold": (0x1D6A8, 0x1D6C2), "bold-italic": (0x1D71C, 0x1D736)}
FONTS = {
    "mathbf": "bold", "boldsymbol": "bold-italic", "bm": "bold-italic", "mathcal": "script",
    "mathscr": "script", "mathfrak": "fraktur", "mathbb": "double-struck", "Bbb": "double-struck",
    "mathsf": "sans-serif", "mathtt": "monospace", "mathrm": "normal", "mathit": "italic",
    "mathnormal": "italic", "rm": "normal", "bf": "bold", "cal": "script",
}  # fmt: skip


def styled(character: str, font: str) -> str:
    """Return the character in a mathematical alphabet, itself where that has none."""
    if character in _HOLES.get(font, {}):
        return _HOLES[font][character]
    upper, lower, digit = _ALPHABETS.get(font, (0, 0, 0))
    if upper and "A" <= character <= "Z":
        return chr(upper + ord(character) - ord("A"))
    if lower and "a" <= character <= "z":
        return chr(lower + ord(character) - ord("a"))
    if digit and "0" <= character <= "9":
        return chr(digit + ord(character) - ord("0"))
    if font in _GREEK_BOLD:
        capital, small = _GREEK_BOLD[font]
        if "Α" <= character <= "Ω":
            return chr(capital + ord(character) - ord("Α"))
        if "α" <= character <= "ω":
            return chr(small + ord(character) - ord("α"))
    return character
