"""What was said of near duplicates, in a folder of two files. Needs neither numpy nor a hash.

pairs.csv       for every clip and kind the nearest picture of another split of each archive that has one
report.json     how many clips there are, by kind; the digests of what was compared; whether it passed
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

PAIRS_FILE: Final = "pairs.csv"
REPORT_FILE: Final = "report.json"


def read_report(folder: Path) -> dict[str, Any]:
    """Nothing where nobody compared."""
    file = folder / REPORT_FILE
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
