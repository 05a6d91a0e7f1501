"""What a face table says of itself: ``faces.json``. Needs neither pandas nor an image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from components.errors import BadArchive

FACES_FILE = "faces.json"


def read_about(folder: Path) -> dict[str, Any]:
    """{"digest", "faces" (how many), "profile"}; raises BadArchive where there is no face table, or a damaged one."""
    path = folder / FACES_FILE
    if not path.is_file():
        raise BadArchive(f"expected a face table in '{folder}', found no {FACES_FILE}. Run the stage that makes it.")
    try:
        about: dict[str, Any] = json.loads(path.read_text())
    except ValueError as fault:
        raise BadArchive(f"the face table in '{folder}' is damaged ({fault}). Make it again.") from fault
    return about
