"""How long stages took here: a note beside the artifacts, never inside them, because two machines differ in it."""

from __future__ import annotations

import json
from pathlib import Path

FILE = Path(".perennial/durations.jsonl")


def clock(root: Path, stage: str, seconds: float) -> None:
    """Note that `stage` took so many seconds of wall time; a line that was cut off by a crash is ignored when read."""
    file = root / FILE
    file.parent.mkdir(exist_ok=True)
    with file.open("a") as notes:
        notes.write(json.dumps({"stage": stage, "seconds": round(seconds, 3)}) + "\n")


def clocked(root: Path) -> dict[str, float]:
    """Seconds by stage instance, the last time each one ran."""
    file = root / FILE
    seconds: dict[str, float] = {}
    for line in file.read_text().splitlines() if file.is_file() else []:
        try:
            note = json.loads(line)
        except json.JSONDecodeError:
            continue
        seconds[note["stage"]] = note["seconds"]
    return seconds
