"""What a generation says of itself: ``card.json``, and the names of the files beside it. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from components.errors import BrokenLineage
from components.writing import replace_text

WEIGHTS, CARRY_OVER, CARD, CURVE = "weights.safetensors", "carry_over.safetensors", "card.json", "curve.csv"

IN_0_1 = ("bequest", "bequest.safetensors")
"""The key and the file of a carry-over in version 0.1; registered versions of that time still have them."""
CodeState = Literal["today's", "older", "before 0.2"]
"""What the code that raised a generation is to today's."""


def read_card(folder: Path) -> dict[str, Any]:
    """``card.json``; raises BrokenLineage where there is no generation."""
    path = folder / CARD
    if not path.is_file():
        raise BrokenLineage(f"expected a generation at '{folder}', found no {CARD}. Raise it with `perennial run`.")
    card: dict[str, Any] = json.loads(path.read_text())
    return card


def write_card(folder: Path, card: dict[str, Any]) -> None:
    replace_text(folder / CARD, json.dumps(card, indent=2, sort_keys=True) + "\n")


def code_digest(card: Mapping[str, Any]) -> str | None:
    """Digest of the code that raised a generation; None where its card was written before 0.2."""
    digest = (card.get("code") or {}).get("digest")
    return str(digest) if digest else None


def code_state(card: Mapping[str, Any], today: str | None) -> CodeState | None:
    """Whether code of digest `today` raised that generation, or another; None where `today` is not known and counts."""
    raised_by = code_digest(card)
    if raised_by is None:
        return "before 0.2"
    if today is None:
        return None
    return "today's" if raised_by == today else "older"
