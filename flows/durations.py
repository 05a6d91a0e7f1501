"""When stages ended here, and how long they took: notes beside the artifacts, never inside them, since two runs differ."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = Path(".perennial/durations.jsonl")


def clock(root: Path, stage: str, seconds: float) -> None:
    """Note that `stage` has just ended after so many seconds; a line that was cut off by a crash is ignored when read."""
    file = root / FILE
    file.parent.mkdir(exist_ok=True)
    with file.open("a") as notes:
        notes.write(json.dumps({"stage": stage, "seconds": round(seconds, 3), "ended": round(time.time(), 3)}) + "\n")


def clocked(root: Path) -> dict[str, float]:
    """Seconds by stage instance, the last time each one ran."""
    return {note["stage"]: note["seconds"] for note in _notes(root)}


def raised(root: Path, generation: str) -> tuple[float, float] | None:
    """When the training of a generation began and when it was judged, in seconds since 1970; None where nobody noted it."""
    last = {note["stage"]: note for note in _notes(root) if "ended" in note}
    trained, judged = last.get(f"evolve@{generation}"), last.get(f"judge@{generation}")
    if trained is None or judged is None:
        return None
    began, ended = trained["ended"] - trained["seconds"], judged["ended"]
    return (began, ended) if began <= ended else None  # the clock was set back


def _notes(root: Path) -> Iterator[dict[str, Any]]:
    file = root / FILE
    for line in file.read_text().splitlines() if file.is_file() else []:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue
