"""What validation said of an archive: ``report.json``. Needs no Great Expectations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPORT_FILE = "report.json"


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / REPORT_FILE).write_text(json.dumps(report, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def passed(folder: Path) -> bool | None:
    """Whether the archive passed; None where nobody has looked at it."""
    path = folder / REPORT_FILE
    return bool(json.loads(path.read_text())["passed"]) if path.is_file() else None
