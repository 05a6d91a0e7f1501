"""The story of a line, gathered from its files: what was raised, what it learned and forgot, what the gate said of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.evaluation import late
from components.evaluation.estimate import Estimate
from components.gates.files import GenerationFiles

Losses = dict[str, list[tuple[float, float]]]
"""Loss by name: (epoch, value)."""

NO_TERMS = {"epoch", "step", "images"}  # columns of the curve that count instead of being lost


@dataclass(frozen=True)
class Story:
    """A line from its founder to its youngest generation."""

    generations: tuple[GenerationFiles, ...]
    benchmarks: tuple[str, ...]
    """Tasks in the order they were learned, then benchmarks nobody of the line learned."""
    added: tuple[late.Cell, ...] = ()
    """Cells that `perennial examine` added after these generations were judged."""

    @property
    def line(self) -> str:
        return self.last.line

    @property
    def last(self) -> GenerationFiles:
        return self.generations[-1]

    @property
    def champion(self) -> GenerationFiles | None:
        """Whom the last verdict leaves in charge."""
        name = self.last.verdict["champion_after"]
        return next((generation for generation in self.generations if generation.name == name), None)

    @property
    def tasks(self) -> tuple[str, ...]:
        """What was learned, in order."""
        return tuple(dict.fromkeys(generation.learns for generation in self.generations))

    @property
    def others(self) -> tuple[str, ...]:
        """Benchmarks nobody of the line learned."""
        return tuple(name for name in self.benchmarks if name not in self.tasks)

    def cell(self, generation: str, benchmark: str, metric: str = "auc") -> Estimate:
        judged = _estimate(self.last.matrix["cells"].get(generation, {}).get(benchmark, {}).get(metric))
        for one in self.added if judged.value is None else ():
            if (one.generation, one.benchmark) == (generation, benchmark):
                return _estimate(one.measured.get(metric))
        return judged

    def summed(self, generation: str, metric: str) -> Estimate:
        return _estimate(self.last.matrix["summary"].get(generation, {}).get(metric))

    def is_future(self, generation: str, benchmark: str) -> bool:
        """Whether the line learned that benchmark only after this generation."""
        learned = self.tasks.index(benchmark) if benchmark in self.tasks else -1
        return learned > [other.name for other in self.generations].index(generation)

    def has_older_code(self, generation: GenerationFiles) -> bool:
        """Whether other code raised it than the line's youngest."""
        return generation.code != self.last.code


def read_story(verdicts: Path, scores: Path, generations: Path, last: str, *, examined: Path | None = None) -> Story:
    """The story that ends with generation `last`; the folders hold those of all generations, by name.

    `examined` is the folder of the line's last examination. A cell of weights that are gone is passed over.

    Raises BrokenLineage where a verdict or a card is missing, or they speak of different weights.
    """
    names = GenerationFiles(generations / last, scores / last, verdicts / last).matrix["generations"]
    found = tuple(GenerationFiles(generations / name, scores / name, verdicts / name) for name in names)
    for generation in found:
        generation.expect_judged()
    learned = list(dict.fromkeys(generation.learns for generation in found))
    weights = {generation.name: generation.weights for generation in found}
    cells = [cell for cell in late.read(examined) if weights.get(cell.generation) == cell.weights] if examined else []
    asked = list(dict.fromkeys([*found[-1].matrix["benchmarks"], *(cell.benchmark for cell in cells)]))
    order = (*(t for t in learned if t in asked), *(name for name in asked if name not in learned))
    return Story(found, order, tuple(cells))


def losses(generation: GenerationFiles) -> Losses:
    """The named losses of its training curve over its ``epoch``, or else its ``step``."""
    found: Losses = {}
    for number, row in enumerate(generation.curve):
        clock = row.get("epoch", row.get("step", float(number)))
        for name, value in row.items():
            if name not in NO_TERMS:
                found.setdefault(name, []).append((clock, value))
    return found


def _estimate(raw: dict[str, Any] | None) -> Estimate:
    return Estimate.from_json(raw) if raw else Estimate.undefined("not measured")
