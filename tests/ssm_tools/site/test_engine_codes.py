"""The page about the engine names every code that the engine has, in both languages."""

from __future__ import annotations

from ssm_tools.notes.codes import CODES
from ssm_tools.site.engine_codes import RUSSIAN, code_rows
from ssm_tools.site.engine_features import FEATURES


def test_every_code_has_its_words() -> None:
    assert set(RUSSIAN) == set(CODES)
    for russian in (True, False):
        rows = list(code_rows(russian=russian))
        assert [row[0] for row in rows] == list(CODES)
        assert all(meaning for _, _, meaning in rows)


def test_no_feature_stands_twice() -> None:
    assert len({english for _, english, _ in FEATURES}) == len(FEATURES)
