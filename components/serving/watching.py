"""What a champion was asked of late, beside what it was calibrated on (`components.evaluation.population`)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from components.evaluation.population import FEWEST, Drift, Expected, Population, drift, expected, summary
from components.serving.asked import Asked
from components.vocabulary import FORGED, GENUINE, LABEL_NAMES

ALPHA = 0.05
DAYS = 7.0
_CALLED = {LABEL_NAMES[FORGED]: True, GENUINE: False}


@dataclass(frozen=True)
class Watched:
    """What is known of the files that a generation was asked about."""

    generation: str
    since: str
    """ISO 8601, UTC; what was asked before does not count."""
    asked: dict[str, Any]
    """Shares of files: `population.summary`."""
    drift: Drift | None
    """None where `without` says why."""
    without: str
    expected: Expected | None
    alpha: float

    @property
    def drifted(self) -> bool:
        return self.drift is not None and self.drift.alarms(self.alpha)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "drifted": self.drifted}

    def numbers(self) -> dict[str, float]:
        """What there is to draw over time, by name; what is not known is left out."""
        found = {
            "files": self.asked["files"],
            "face_yield": self.asked.get("with_a_face"),
            "cannot_tell": self.asked.get("cannot_tell"),
            "agreement": self.asked.get("agreement"),
            "drift": self.drift and self.drift.distance,
            "drift_chance": self.drift and self.drift.chance,
            "expected_accuracy": self.expected and self.expected.accuracy,
            "expected_forged": self.expected and self.expected.forged,
        }
        if self.drift:
            found |= {f"stability_{name}": index for name, index in self.drift.stability.items()}
        return {name: float(value) for name, value in found.items() if value is not None}


def look(
    asked: Asked, generation: str, point_folder: Path, *, days: float = DAYS, alpha: float = ALPHA, seed: int = 0
) -> Watched:
    """Of the last `days`; `point_folder` is the generation's operating point."""
    since = datetime.now(UTC) - timedelta(days=days)
    rows, seen = asked.rows(generation, since), asked.population(generation, since)
    reference = Population.read(point_folder)
    found = drift(reference, seen, seed=seed) if reference and seen else None
    told = rows[rows["probability"].notna()]  # which have none where there is no operating point
    called = [_CALLED.get(verdict) for verdict in told["verdict"]]
    return Watched(
        generation,
        since.isoformat(timespec="seconds"),
        summary(rows),
        found,
        "" if found else _without(reference, seen),
        expected(told["probability"].to_numpy(float), called),
        alpha,
    )


def _without(reference: Population | None, seen: Population | None) -> str:
    if reference is None:
        return "it has no operating point, so there is nothing to compare with"
    if len(reference) < FEWEST:
        return f"it was calibrated on {len(reference)} clips, and comparing takes {FEWEST}"
    files = len(seen) if seen else 0
    return f"{files} files with a judged face were asked about, and comparing takes {FEWEST}"
