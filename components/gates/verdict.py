"""What the gate said of a generation: ``verdict.json`` and the names of the files beside it. Needs no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from components.errors import BrokenLineage
from components.writing import replace_text

VERDICT_FILE, CHAMPION = "verdict.json", "champion"


def read_verdict(folder: Path) -> dict[str, Any]:
    """``verdict.json``; raises BrokenLineage where nobody has judged."""
    verdict = verdict_if_any(folder)
    if verdict is None:
        raise BrokenLineage(
            f"expected a verdict at '{folder / VERDICT_FILE}', found none. Judge it: `dvc repro judge@{folder.name}`."
        )
    return verdict


def verdict_if_any(folder: Path) -> dict[str, Any] | None:
    """``verdict.json``, None where nobody has judged."""
    path = folder / VERDICT_FILE
    if not path.is_file():
        return None
    verdict: dict[str, Any] = json.loads(path.read_text())
    return verdict


def write_verdict(folder: Path, verdict: dict[str, Any]) -> None:
    """Written at once: whoever looks at a line while its stages run finds all of it or none."""
    replace_text(folder / VERDICT_FILE, json.dumps(verdict, indent=2, sort_keys=True) + "\n")
