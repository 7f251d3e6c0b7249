"""The links of the note this project grew from, each resolved to what its author meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssm_tools.notes import Found, NoteId, Vault, load_vault, resolve

MEANT = {
    "../llm/architectures/mamba_architecture.md": "ru/llm/architectures/mamba_architecture.md",
    "mamba_architecture.md": "ru/ssm/mamba_architecture.md",
    "transformers_and_llms.md": "ru/ssm/topics/transformers_and_llms.md",
    "ai_achievements_2024_2025.md": "ru/ssm/topics/ai_achievements_2024_2025.md",
    "hybrid_architectures.md": "ru/ssm/topics/hybrid_architectures.md",
    "vision_mamba.md": "ru/ssm/vision/vision_mamba.md",
    "audio_mamba.md": "ru/ssm/audio/audio_mamba.md",
    "efficient_llm_architectures.md": "ru/ssm/topics/efficient_llm_architectures.md",
    "../llm/architectures/state_space_models.md": "ru/llm/architectures/state_space_models.md",
}
SEED = "ru/ssm/state_space_models.md"


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Vault:
    root: Path = tmp_path_factory.mktemp("vault")
    for target in MEANT.values():
        for path in (target, target.replace("ru/", "en/", 1)):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text("# Заметка\n", encoding="utf-8")
    lines = [f"- **Пункт** - [[{written}]] - описание" for written in MEANT]
    (root / SEED).write_text("# SSM\n\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return load_vault(root)


@pytest.mark.parametrize("written", MEANT)
def test_each_link_means_what_its_author_meant(vault: Vault, written: str) -> None:
    note = vault.notes[NoteId(SEED)]
    link = next(link for link in note.links if note.text[link.target_start :].startswith(written))
    answer = resolve(vault, note, link)
    assert isinstance(answer, Found)
    assert answer.target == MEANT[written]
    assert answer.tier.plain
