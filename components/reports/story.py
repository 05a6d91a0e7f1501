"""The story of a line, gathered from its files: what was born, what it learned and forgot, what the gate said of it."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import BrokenLineage

Curve = dict[str, list[tuple[float, float]]]
"""Loss by name: (epoch, value)."""

NO_TERMS = {"epoch", "step", "images"}  # columns of curve.csv that count instead of being lost


@dataclass(frozen=True)
class Measured:
    """A number, its interval, or why there is none."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    @classmethod
    def of(cls, raw: dict[str, Any] | None) -> Measured:
        raw = raw or {"value": None, "reason": "not measured"}
        return cls(raw.get("value"), raw.get("low"), raw.get("high"), raw.get("reason"))


@dataclass(frozen=True)
class Birth:
    """One generation."""

    name: str
    learns: str
    verdict: dict[str, Any]
    card: dict[str, Any]
    curve: Curve

    @property
    def opens(self) -> bool:
        return bool(self.verdict["opens"])

    @property
    def short(self) -> str:
        """``M3`` of ``rsia_net-M3``."""
        return self.name.rpartition("-")[2]


@dataclass(frozen=True)
class Story:
    """A line from its founder to its youngest generation."""

    line: str
    births: tuple[Birth, ...]
    benchmarks: tuple[str, ...]
    """Tasks in the order they were learned, then benchmarks nobody of the line learned."""
    cells: dict[str, dict[str, dict[str, Any]]]
    summary: dict[str, dict[str, dict[str, Any]]]

    @property
    def last(self) -> Birth:
        return self.births[-1]

    @property
    def champion(self) -> Birth | None:
        """Whom the last verdict leaves in charge."""
        name = self.last.verdict["champion_after"]
        return next((birth for birth in self.births if birth.name == name), None)

    @property
    def tasks(self) -> tuple[str, ...]:
        """What was learned, in order."""
        return tuple(dict.fromkeys(birth.learns for birth in self.births))

    def cell(self, generation: str, benchmark: str, metric: str = "auc") -> Measured:
        return Measured.of(self.cells.get(generation, {}).get(benchmark, {}).get(metric))

    def summed(self, generation: str, metric: str) -> Measured:
        return Measured.of(self.summary.get(generation, {}).get(metric))

    def is_future(self, generation: str, benchmark: str) -> bool:
        """Whether the line learned that benchmark only after this generation."""
        learned = self.tasks.index(benchmark) if benchmark in self.tasks else -1
        return learned > [birth.name for birth in self.births].index(generation)


def read_story(verdicts: Path, generations: Path, last: str) -> Story:
    """The story that ends with generation `last`; raises BrokenLineage where a verdict or a card is missing."""
    matrix = _read(verdicts / last / "matrix.json")
    births = []
    for name in matrix["generations"]:
        folder = generations / name
        verdict, card = _read(verdicts / name / "verdict.json"), _read(folder / "card.json")
        births.append(Birth(name, matrix["learns"][name], verdict, card, _curve(folder / "curve.csv")))
    learned = list(dict.fromkeys(birth.learns for birth in births))
    asked = list(matrix["benchmarks"])
    columns = [task for task in learned if task in asked] + [name for name in asked if name not in learned]
    return Story(matrix["line"], tuple(births), tuple(columns), matrix["cells"], matrix["summary"])


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BrokenLineage(f"expected '{path}', found none. Run the lifecycle, or fetch it with `dvc pull`.")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def _curve(path: Path) -> Curve:
    """Losses of ``curve.csv`` over its ``epoch``, or else its ``step``; empty cells are left out."""
    curve: Curve = {}
    if not path.is_file():
        return curve
    with path.open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            clock = float(row.get("epoch") or row.get("step") or number)
            for name, text in row.items():
                if name not in NO_TERMS and text:
                    value = float(text)
                    if math.isfinite(value):
                        curve.setdefault(name, []).append((clock, value))
    return curve
