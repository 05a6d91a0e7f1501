"""What validation said of something, in two files of a folder. Needs no Great Expectations.

report.json       ours: whether it passed, and every rule with the rows that broke it
validation.json   Great Expectations' own: a list of suite validation results, one a table, with rendered content
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.writing import replace_text

REPORT_FILE, VALIDATION_FILE = "report.json", "validation.json"

Validation = dict[str, Any]
"""An `ExpectationSuiteValidationResult` as JSON."""


def write_report(folder: Path, report: Mapping[str, Any], validations: Sequence[Validation]) -> None:
    for name, said in ((REPORT_FILE, report), (VALIDATION_FILE, validations)):
        replace_text(folder / name, json.dumps(said, indent=1, sort_keys=True) + "\n")


def read_report(folder: Path) -> dict[str, Any] | None:
    """``report.json``; None where nobody has looked."""
    said = _read(folder / REPORT_FILE)
    return None if said is None else dict(said)


def read_validations(folder: Path) -> list[Validation]:
    """``validation.json``; nothing where nobody has looked, or an older version that did not write it."""
    return list(_read(folder / VALIDATION_FILE) or ())


def passed(folder: Path) -> bool | None:
    """Whether it passed; None where nobody has looked at it."""
    report = read_report(folder)
    return None if report is None else bool(report["passed"])


def _read(path: Path) -> Any:
    return json.loads(path.read_bytes()) if path.is_file() else None
