"""When stages ended here, and how long they took: notes beside the artifacts, never inside them, since two runs differ."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
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


class Ahead:
    """How far a run is, and about how long it still takes.

    `known`: seconds by stage instance, as `clocked` gives them. A stage takes about as long as those of its kind did; as
    many run at once as did so far.
    """

    def __init__(self, known: Mapping[str, float], now: Callable[[], float] = time.monotonic) -> None:
        self._took: dict[str, list[float]] = {}
        for stage, seconds in known.items():
            self._took.setdefault(_kind(stage), []).append(seconds)
        self._now, self._begun_at = now, now()
        self._waiting: dict[str, float | None] = {}
        self._done_s: dict[str, float] = {}

    def expect(self, stage: str) -> None:
        """It will run, or be looked at."""
        self._done_s.pop(stage, None)
        self._waiting[stage] = None

    def begin(self, stage: str) -> None:
        if stage in self._waiting and self._waiting[stage] is None:
            self._waiting[stage] = self._now()

    def end(self, stage: str) -> None:
        if stage in self._waiting:
            begun = self._waiting.pop(stage)
            self._done_s[stage] = 0.0 if begun is None else self._now() - begun
            self._took.setdefault(_kind(stage), []).append(self._done_s[stage])

    @property
    def left_s(self) -> float | None:
        """Seconds; None while nobody can tell."""
        spent = sum(self._done_s.values())
        if not spent or not all(_kind(stage) in self._took for stage in self._waiting):
            return None
        at_once = max(spent / max(self._now() - self._begun_at, 1e-9), 0.1)
        return sum(self._still(stage, begun) for stage, begun in self._waiting.items()) / at_once

    def _still(self, stage: str, begun: float | None) -> float:
        usual = statistics.median(self._took[_kind(stage)])
        return usual if begun is None else max(usual - (self._now() - begun), 0.0)

    def words(self) -> str:
        """``stage 12 of 54, about 6 min left``; stages that wait for a plan are not known yet."""
        done, left = len(self._done_s), self.left_s
        where = f"stage {min(done + 1, done + len(self._waiting))} of {done + len(self._waiting)}"
        return where if left is None or not self._waiting else f"{where}, about {_about(left)} left"


def _kind(stage: str) -> str:
    return stage.partition("@")[0]


def _about(seconds: float) -> str:
    """``40 s``, ``6 min``, ``2.5 h``."""
    if seconds < 90:
        return f"{max(round(seconds / 10) * 10, 10)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
