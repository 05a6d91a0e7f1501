"""Cells of a line that were measured after its generations were judged, on disk.

late.json   [{generation, benchmark, weights, measured}], in the order they were found; `measured` as in ``metrics.json``
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.writing import replace_text

LATE_FILE = "late.json"


@dataclass(frozen=True)
class Cell:
    """What a generation knows of a benchmark that joined after it was judged."""

    generation: str
    benchmark: str
    weights: str
    """sha256 of the weights that answered."""
    measured: Mapping[str, Any]


def read(examination: Path) -> list[Cell]:
    """The cells up to an examination; none in nobody's folder, or where the stage has not run."""
    path = examination / LATE_FILE
    return [Cell(**raw) for raw in json.loads(path.read_text())] if path.is_file() else []


def write(examination: Path, cells: Iterable[Cell]) -> None:
    """Write ``late.json``."""
    replace_text(examination / LATE_FILE, json.dumps([asdict(cell) for cell in cells], indent=2, sort_keys=True) + "\n")
