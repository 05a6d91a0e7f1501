"""How many clips of an archive are set aside, and why: ``set_aside.json`` beside the list of them. Needs no pandas."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from components.writing import replace_text

LIST_FILE: Final = "set_aside.parquet"
REASONS_FILE: Final = "set_aside.json"


def write_reasons(folder: Path, reasons: Iterable[str]) -> None:
    """Reason -> clips, the most frequent first; `reasons` has one a clip."""
    counts = sorted(Counter(reasons).items(), key=lambda count: (-count[1], count[0]))
    replace_text(folder / REASONS_FILE, json.dumps(dict(counts), indent=1) + "\n")


def words_of(folder: Path) -> list[str]:
    """`12 clips set aside: file in split train of 'ffpp'.` for each reason; nothing where none was."""
    file = folder / REASONS_FILE
    counts = json.loads(file.read_bytes()) if file.is_file() else {}
    return [f"{count} clips set aside: {why}." for why, count in counts.items()]
