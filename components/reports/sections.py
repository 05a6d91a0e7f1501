"""What the sections of a line's page say, worked out of its story; how they look is ``templates/line.html``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from components.evaluation.estimate import Estimate
from components.gates.files import GenerationFiles
from components.params import Rung
from components.reports import figures
from components.reports.mistakes import Mistake
from components.reports.pages import fixed
from components.reports.story import Story
from components.reports.terms import TERMS

RUNGS: tuple[str, ...] = get_args(Rung)
RULES = {True: "passed", False: "refused", None: "skipped"}
"""Words for what a rule said."""
SIGNS = {"min_": "≥", "max_": "≤"}


@dataclass(frozen=True)
class Tile:
    """A number to remember."""

    name: str
    value: str
    note: str


@dataclass(frozen=True)
class Rule:
    """What a rule of the gate said, as a row of a table."""

    rule: str
    benchmark: str
    value: str
    """What was measured; empty where the rule knows more than one number, or none."""
    limit: str
    """``≥ 0.700``."""
    passed: bool | None
    verdict: str
    words: str
    explains: bool
    """Whether the row needs its words: it did not pass, or not by that number alone."""


@dataclass(frozen=True)
class Cell:
    """What a generation knows of a benchmark."""

    benchmark: str
    auc: Estimate
    kind: str
    """`learned` in that generation, `future` where the line learned it later, else empty."""

    @property
    def heat(self) -> str:
        """Teal above guessing, orange below, fainter the nearer to it; no colour for what is not learned yet."""
        if self.auc.value is None or self.kind == "future":
            return ""
        distance = min(abs(self.auc.value - 0.5) * 2, 1)
        tone, reach = ("var(--good)", 0.74) if self.auc.value >= 0.5 else ("var(--bad)", 0.5)
        return f"--tone:{tone};--heat:{0.04 + reach * distance**1.5:.3f}"


def line(story: Story, beside: Sequence[str], alarms: Sequence[Mistake], misses: Sequence[Mistake]) -> dict[str, Any]:
    """All that the page of a line is told: its story, the names of other lines, and the faces most wrong."""
    return {
        "story": story,
        "lines": sorted({story.line, *beside}),
        "known": known(story),
        "tiles": tiles(story),
        "matrix": {generation.name: cells(story, generation) for generation in story.generations},
        "added": [f"{one.generation} on {one.benchmark}" for one in story.added],
        "rules": {
            generation.name: [_rule(said) for said in generation.verdict["rules"]] for generation in story.generations
        },
        "terms": [(name, TERMS.get(name, "")) for name, _ in figures.loss_colours(story.generations)],
        "tallies": {generation.name: tally(generation) for generation in story.generations},
        "points": [at_threshold(generation) for generation in story.generations],
        "ladder": ladder(story.last),
        "reliability": figures.reliability(story.last),
        "forgetting": figures.forgetting_curves(story) if len(story.generations) > 1 else None,
        "losses": figures.losses(story.generations),
        "loss_colours": figures.loss_colours(story.generations),
        "alarms": alarms,
        "misses": misses,
    }


def known(story: Story) -> list[tuple[str, float]]:
    """What the champion knows of the tasks learned until it: (task, AUC)."""
    if story.champion is None:
        return []
    name = story.champion.name
    aucs = [(task, story.cell(name, task).value) for task in story.tasks if not story.is_future(name, task)]
    return [(task, auc) for task, auc in aucs if auc is not None]


def tiles(story: Story) -> list[Tile]:
    """Who answers, what it knows and lost, and how many tried; numbers of one generation, without a champion the youngest."""
    champion = story.champion
    shown = champion or story.last
    learned = f"learned {champion.learns} last" if champion else "the gate has not opened"
    opened = sum(generation.opens for generation in story.generations)
    return [
        Tile("Champion", champion.short if champion else "none", learned),
        _measured("Average AUC", story.summed(shown.name, "average_auc"), f"of what {shown.short} was taught"),
        _measured("Forgetting", story.summed(shown.name, "forgetting"), f"AUC that {shown.short} lost on older tasks"),
        Tile("Generations", str(len(story.generations)), f"the gate opened for {opened}"),
    ]


def cells(story: Story, generation: GenerationFiles) -> list[Cell]:
    """Its row of the matrix."""
    return [
        Cell(benchmark, story.cell(generation.name, benchmark), _kind(story, generation, benchmark))
        for benchmark in story.benchmarks
    ]


def _rule(said: Mapping[str, Any]) -> Rule:
    """One number and its limit, where it asks for one: ``min_auc`` is the least ``auc``, ``max_drop`` the largest ``drop``."""
    measured, required = said.get("measured") or {}, said.get("required") or {}
    asked = {key[4:]: (SIGNS[key[:4]], limit) for key, limit in required.items() if key[:4] in SIGNS}
    found = [(measured[key], *asked[key]) for key in asked if key in measured]
    value, sign, limit = found[0] if len(found) == 1 else (None, "", None)
    within = value is not None and limit is not None and (value >= limit if sign == SIGNS["min_"] else value <= limit)
    shown = (_plain(value), f"{sign} {_plain(limit)}") if limit is not None else ("", "")
    name, on, passed = str(said["rule"]).replace("_", " "), str(said.get("benchmark") or ""), said["passed"]
    return Rule(name, on, *shown, passed, RULES[passed], said["words"], passed is not True or not within)


def _plain(number: Any) -> str:
    return (
        f"{number:z.3f}"
        if isinstance(number, float) and abs(number) >= 0.001
        else f"{number:g}"
        if number is not None
        else "–"
    )


def tally(generation: GenerationFiles) -> str:
    """``5 passed, 1 skipped``."""
    said = [rule["passed"] for rule in generation.verdict["rules"]]
    counts = {word: sum(passed is kind for passed in said) for kind, word in RULES.items()}
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)


@dataclass(frozen=True)
class AtThreshold:
    """How a generation does at its own threshold."""

    short: str
    reason: str | None
    """Why it has none."""
    threshold: float | None = None
    promised: Estimate | None = None
    """False alarms on validation clips."""
    cllr: float | None = None
    balanced_accuracy: float | None = None
    error: float | None = None
    alarms: tuple[tuple[str, float | None], ...] = ()
    """By benchmark."""


def at_threshold(generation: GenerationFiles) -> AtThreshold:
    point, standing = generation.calibrated["point"], generation.standing
    if not point:
        return AtThreshold(generation.short, str(generation.calibrated["reason"]))
    return AtThreshold(
        generation.short,
        None,
        point["threshold"],
        Estimate.from_json(point["found"]["false_alarms"]),
        point["found"]["cllr"],
        standing.get("balanced_accuracy"),
        standing.get("calibration_error"),
        tuple((standing.get("false_alarms") or {}).items()),
    )


@dataclass(frozen=True)
class Ladder:
    """AUC of faces made worse."""

    faces: tuple[tuple[str, int], ...]
    """By benchmark."""
    rungs: tuple[tuple[str, tuple[float | None, ...]], ...]
    """The clean ones first; AUC on each benchmark."""


def ladder(generation: GenerationFiles) -> Ladder | None:
    """None where nobody climbed."""
    climbed = generation.calibrated["ladder"]
    if not climbed:
        return None
    rungs = [("clean", tuple(found["clean"] for found in climbed.values()))]
    rungs += [(rung, tuple(found["rungs"].get(rung) for found in climbed.values())) for rung in RUNGS]
    return Ladder(tuple((name, found["faces"]) for name, found in climbed.items()), tuple(rungs))


def _measured(name: str, estimate: Estimate, note: str) -> Tile:
    told = note if estimate.value is not None else estimate.reason or "not measured"
    return Tile(name, fixed(estimate.value, 3), told)


def _kind(story: Story, generation: GenerationFiles, benchmark: str) -> str:
    if generation.learns == benchmark:
        return "learned"
    return "future" if story.is_future(generation.name, benchmark) else ""
