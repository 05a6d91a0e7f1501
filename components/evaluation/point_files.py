"""The files of an operating point, and what they say; read by whoever shows it, with nothing but the standard library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.writing import replace_text

POINT_FILE = "operating_point.json"
FAMILIARITY_FILE, POPULATION_FILE = "familiarity.safetensors", "population.parquet"
NOT_CALIBRATED = "it was raised before there were operating points"
NONE: Mapping[str, Any] = {"point": None, "reason": NOT_CALIBRATED, "ladder": None}
FORMAT = 1


def told(folder: Path) -> dict[str, Any]:
    """``operating_point.json``; where there is no such file, that there is no point, and why."""
    path = folder / POINT_FILE
    if not path.is_file():
        return dict(NONE)
    said: dict[str, Any] = json.loads(path.read_text())
    return said


def write(folder: Path, said: Mapping[str, Any]) -> None:
    """Write ``operating_point.json``, alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (FAMILIARITY_FILE, POPULATION_FILE):
        (folder / file).unlink(missing_ok=True)
    content = {"format": FORMAT, **said}
    replace_text(folder / POINT_FILE, json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")
