"""Which family a note belongs to, and the colour that a family has everywhere."""

from __future__ import annotations

from zlib import crc32

from ssm_tools.notes import Note
from ssm_tools.site.model import Sources

ORDER = (
    *("foundations", "structured", "selective", "linear_attention", "recurrent", "attention"),
    *("hybrid", "vision", "audio", "multimodal", "time_series", "genomics"),
    *("topics", "architectures", "ssm"),
)
_HUES = {
    "foundations": 215, "structured": 265, "selective": 162, "linear_attention": 30,
    "recurrent": 330, "attention": 4, "hybrid": 190, "vision": 285, "audio": 48,
    "multimodal": 110, "time_series": 80, "genomics": 310,
    "topics": 235, "architectures": 205, "ssm": 235,
}  # fmt: skip


def family_of(sources: Sources, note: Note) -> str:
    """Return the concept's family, else the note's folder, empty at the vault's root."""
    concept = sources.concepts.get(note.concept)
    if concept is not None:
        return str(concept.family)
    return note.key.rpartition("/")[0].rpartition("/")[2]


def hue(family: str) -> int:
    """Return the hue of a family's colour, by its name where it is not one of ours."""
    return _HUES.get(family, crc32(family.encode()) % 360 if family else 220)


def family_rank(family: str) -> tuple[int, str]:
    """Return a key that sorts families in reading order, others after them by name."""
    return (ORDER.index(family) if family in ORDER else len(ORDER), family)
