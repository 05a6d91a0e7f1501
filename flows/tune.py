"""A grid over a study: every point is a variant of one strategy, chosen between on the validation split alone."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from components.documents import load_yaml
from components.errors import BadParams, UnknownName
from components.generations.lineage import resolved
from components.params import Changes, Line, Params
from components.reports import tune as report
from components.reports.study import METRICS
from components.reports.tune import Point
from flows import study as studies
from flows.outcome import Outcome
from flows.study import Study, Variant
from flows.workspace import Workspace

Grid = Mapping[str, Sequence[Any]]
SECTIONS = tuple(Changes.model_fields)


@dataclass(frozen=True)
class Found:
    """What `tune` tried and chose."""

    folder: Path
    adopt: Mapping[str, Any]
    """The part of params.yaml that says the choice; empty where it does already."""
    outcome: Outcome | None


def tune(
    workspace: Workspace, study: Study, strategy: str, grid: Grid, *, metric: str, one_at_a_time: bool = False
) -> Found:
    """Raise every point of the grid as a variant of `study` (whose own variants are left aside) and choose between them.

    Raises BadParams and UnknownName before anything is made, StageFailed where no point could be measured.
    """
    if metric not in METRICS:
        raise UnknownName("metric", metric, METRICS)
    known = studies.choices(workspace, replace(study, variants={}))
    points = points_of(strategy, study.detector, grid, known, one_at_a_time=one_at_a_time)
    study = replace(study, variants=variants_of(strategy, points), reference=points[0].label)
    own, outcome = studies.grow(workspace, study, "validation")
    runs = studies.finished(own, study, "validation")
    tried = [report.scored(point, [run for run in runs if run.entry.label == point.label], metric) for point in points]
    folder = studies.reports(workspace, study.name)
    chosen, _ = report.choose(tried, metric)
    adopt = adoption(strategy, study.detector, chosen.point, workspace.params())
    about = {
        "study": study.name,
        "strategy": strategy,
        "detector": study.detector,
        "sequence": list(study.sequence),
        "seeds": list(study.seeds),
        "orders": study.orders,
        "one_at_a_time": one_at_a_time,
        "grid": {name: list(values) for name, values in grid.items()},
    }
    report.tell(tried, folder, metric=metric, about=about, adopt=adopt)
    return Found(folder, adopt, outcome)


def grid_of(words: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """``section.option=a,b`` as options and their values, in the order given; raises BadParams."""
    grid: dict[str, tuple[Any, ...]] = {}
    for word in words:
        name, _, said = word.partition("=")
        section, _, option = name.partition(".")
        values = [part.strip() for part in said.split(",")]
        if section not in SECTIONS:
            near = difflib.get_close_matches(section, SECTIONS, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise BadParams(
                f"expected --grid SECTION.OPTION=a,b with a section of {', '.join(SECTIONS)}, found '{word}'.{hint}"
            )
        if not option or not all(values) or name in grid:
            raise BadParams(f"expected --grid SECTION.OPTION=a,b, each option once with its values, found '{word}'.")
        try:
            grid[name] = tuple(load_yaml(value.encode()) for value in values)
        except yaml.YAMLError as fault:
            raise BadParams(f"expected values as params.yaml has them in '{word}': {fault}") from fault
    if not grid:
        raise BadParams("expected at least one --grid SECTION.OPTION=a,b, found none. What is to be tuned?")
    return grid


def points_of(strategy: str, detector: str, grid: Grid, params: Params, *, one_at_a_time: bool = False) -> list[Point]:
    """The points of the grid, each once, named by what they do otherwise than `params`; raises BadParams, UnknownName.

    All combinations, or what `params` say and every value by itself.
    """
    plain = _values(Line(detector=detector, strategy=strategy), grid, params)
    if one_at_a_time:
        asked = [{}, *({name: value} for name, values in grid.items() for value in values)]
    else:
        asked = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    points: dict[str, Point] = {}
    for chosen in asked:
        line = Line(detector=detector, strategy=strategy, changes=_changes(chosen))
        values = _values(line, grid, params)
        departures = {name: value for name, value in values.items() if value != plain[name]}
        label = "_".join(
            [strategy, *(f"{name.partition('.')[2]}_{_word(departures[name])}" for name in sorted(departures))]
        )
        there = points.setdefault(label, Point(label, values, departures))
        if there.departures != departures:
            raise BadParams(
                f"expected values that can be told apart by name, found {dict(there.departures)} and {departures}: both "
                f"would be '{label}'. Tune them in two studies."
            )
    return list(points.values())


def variants_of(strategy: str, points: Sequence[Point]) -> dict[str, Variant]:
    """The points as rows of a study."""
    return {point.label: Variant(strategy, _changes(point.departures)) for point in points}


def adoption(strategy: str, detector: str, point: Point, params: Params) -> dict[str, Any]:
    """The part of params.yaml that says a point, as far as `params` do not say it already."""
    plain = _values(Line(detector=detector, strategy=strategy), point.values, params)
    changes = _changes({name: value for name, value in point.values.items() if value != plain[name]})
    of_detector, training = dict(changes.detector), dict(changes.training)
    own = params.detectors.get(detector, {}).get("training", {})
    if stronger := {key: training.pop(key) for key in list(training) if key in own}:
        of_detector["training"] = stronger
    said = {
        "detectors": {detector: of_detector} if of_detector else {},
        "strategies": {strategy: changes.strategy} if changes.strategy else {},
        "memory": changes.memory,
        "training": training,
    }
    return {section: options for section, options in said.items() if options}


def _changes(chosen: Mapping[str, Any]) -> Changes:
    sections: dict[str, dict[str, Any]] = {}
    for name, value in chosen.items():
        section, _, option = name.partition(".")
        sections.setdefault(section, {})[option] = value
    return Changes(**sections)


def _values(line: Line, grid: Mapping[str, Any], params: Params) -> dict[str, Any]:
    """What a line's next recipe would say of every option of the grid; raises BadParams for one that there is not."""
    choice = resolved(line, params)
    said = {name: getattr(choice, name).model_dump(mode="json") for name in SECTIONS}
    values = {}
    for name in grid:
        section, _, option = name.partition(".")
        if option not in said[section]:
            raise UnknownName(f"option of {section}", option, said[section])
        values[name] = said[section][option]
    return values


def _word(value: Any) -> str:
    """A value as a part of a name."""
    text = f"{value}".lower()
    return re.sub(r"[^a-z0-9]+", "_", text.replace("-", "m") if isinstance(value, (int, float)) else text).strip("_")
