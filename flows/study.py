"""Strategies against one another on one sequence: every run is a line of a workspace of its own, raised by the lifecycle
like any other, so that a study can be killed, continued, extended and looked into with every other command."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from annotated_types import Ge

from components import detectors, strategies
from components.errors import BadParams, UnknownName
from components.params import Changes, Line, Params, parse
from components.reports import study as report
from components.reports.study import Entry
from flows import pipeline
from flows.durations import clocked
from flows.land import land
from flows.lifecycle import Outcome, lifecycle
from flows.pending import judged, pending
from flows.workspace import WIRED, Workspace

FOLDER = Path(".perennial/studies")
COPIED = ("faces", "validation", "detectors", "strategies", "memory", "training", "evaluation")
GATE = [{"rule": "absolute", "min_auc": 0.0}]
"""A study compares and promotes nobody's champion away: its gate is always open."""


@dataclass(frozen=True)
class Variant:
    """A row of the table: a strategy, and what it does otherwise than its paper."""

    strategy: str
    changes: Changes = field(default_factory=Changes)


@dataclass(frozen=True)
class Study:
    """What is compared."""

    name: str
    detector: str
    variants: Mapping[str, Variant]
    """By label."""
    sequence: tuple[str, ...]
    seeds: tuple[int, ...]
    orders: int = 1
    """How many orders of the sequence: the given one, and others drawn at random."""
    benchmarks: tuple[str, ...] = ()
    """Examined, never learned."""
    reference: str = "cffd"


def run(workspace: Workspace, study: Study) -> tuple[Path, Outcome | None]:
    """Raise what the study lacks and tell what it found; returns the folder of the report and what the lifecycle did.

    Archives, faces, and every section of params.yaml but the lines and the gate are those of `workspace`. Runs that are
    there stay, so labels and seeds may be added later. Raises BadParams, UnknownName.
    """
    _check(workspace, study)
    own = Workspace.create(workspace.root / FOLDER / study.name, _params(workspace))
    pipeline.start(own.root)
    pipeline.share_cache(own.root, workspace.root)
    known = workspace.params().archives
    for name in (*study.sequence, *study.benchmarks):
        role = "benchmark" if name in study.benchmarks else known[name].role
        source = workspace.data("archives", name)
        if name not in own.params().archives:
            land(own, name, str(source), layout=known[name].layout, role=role, faces=known[name].faces)
    _write_lines(own, study)
    outcome = lifecycle(own.root) if pending(own) else None
    return tell(workspace, study), outcome


def tell(workspace: Workspace, study: Study) -> Path:
    """Report on the runs that are finished, into reports/studies/NAME."""
    own = Workspace.at(workspace.root / FOLDER / study.name)
    lineage, seconds = own.lineage(), clocked(own.root)
    finished = []
    for entry, line in entries(study):
        generations = lineage.of(entry.line)
        if len(generations) == len(line.sequence) and all(judged(own, name) for name in generations):
            finished.append(report.read_run(own.root, entry, generations, seconds))
    into = workspace.root / "reports" / "studies" / study.name
    report.tell(finished, into, reference=study.reference)
    return into


def entries(study: Study) -> Iterator[tuple[Entry, Line]]:
    """Every run with the line that makes it."""
    for (label, variant), order, seed in itertools.product(study.variants.items(), orders(study), study.seeds):
        number, sequence = order
        name = f"{label}_s{seed}" + (f"_o{number}" if number else "")
        line = Line(
            detector=study.detector, strategy=variant.strategy, seed=seed, sequence=sequence, changes=variant.changes
        )
        yield Entry(name, label, seed, number), line


def orders(study: Study) -> list[tuple[int, tuple[str, ...]]]:
    """The given order and `orders - 1` others, drawn without repetition by a fixed seed; number 0 is the given one."""
    others = [order for order in itertools.permutations(study.sequence) if order != study.sequence]
    if study.orders - 1 > len(others):
        raise BadParams(
            f"expected at most {len(others) + 1} orders of {len(study.sequence)} tasks, found {study.orders}."
        )
    drawn = np.random.default_rng(0).permutation(len(others))[: study.orders - 1]
    return [(0, study.sequence), *((number, others[which]) for number, which in enumerate(drawn, start=1))]


def ablations(strategy: str, detector: str, params: Params) -> dict[str, Variant]:
    """The strategy without each of its terms, without the detector's contrast, and without each part of its memory."""
    found = {strategy: Variant(strategy)}
    options = strategies.options(strategy, params.strategies.get(strategy, {}))
    for name, about in type(options).model_fields.items():
        is_weight = any(isinstance(bound, Ge) and bound.ge == 0 for bound in about.metadata)
        if is_weight and getattr(options, name) > 0:
            found[f"{strategy}_no_{name}"] = Variant(strategy, Changes(strategy={name: 0.0}))
    said = {key: value for key, value in params.detectors.get(detector, {}).items() if key != "training"}
    if getattr(detectors.options(detector, said), "hscl_weight", 0):
        found[f"{strategy}_no_hscl"] = Variant(strategy, Changes(detector={"hscl_weight": 0.0}))
    if strategies.find(strategy).remembers == "hybrid":
        hard, representative = params.memory.hard, params.memory.representative
        rest = {"hard": 1 - hard, "representative": 1 - representative, "diverse": hard + representative}
        shares = {
            "hard": {"hard": 0.0, "representative": representative / rest["hard"]},
            "representative": {"hard": hard / rest["representative"], "representative": 0.0},
            "diverse": {"hard": hard / rest["diverse"], "representative": representative / rest["diverse"]},
        }
        for part, share in shares.items():
            found[f"{strategy}_no_{part}"] = Variant(strategy, Changes(memory=share))
        found[f"{strategy}_reservoir"] = Variant(strategy, Changes(memory={"policy": "reservoir"}))
    return found


def _check(workspace: Workspace, study: Study) -> None:
    params = workspace.params()
    for name in (*study.sequence, *study.benchmarks):
        if name not in params.archives:
            raise UnknownName("archive", name, params.archives)
        if not workspace.data("archives", name).is_dir():
            raise BadParams(f"expected the files of '{name}', found none. Fetch them with `dvc pull`.")
    detectors.options(study.detector, {})
    for label, variant in study.variants.items():
        strategies.options(variant.strategy, {})
        parse(Params, {"lines": {label: {"detector": study.detector, "strategy": variant.strategy}}}, "study")
    if not study.seeds or not study.sequence or not study.variants:
        raise BadParams("expected at least one strategy, one task and one seed, found none. Name some.")


def _params(workspace: Workspace) -> str:
    raw = workspace.params().model_dump(mode="json", exclude_unset=True)
    sections = {name: raw[name] for name in COPIED if name in raw or name in WIRED}
    empty: dict[str, Any] = {"archives": {}, "sequence": [], "benchmarks": [], "lines": {}}
    text = yaml.safe_dump({**empty, **sections, "gate": GATE}, sort_keys=False)
    return "# A study: written by `perennial study`, which adds lines and never changes them.\n" + text


def _write_lines(own: Workspace, study: Study) -> None:
    """Add the study's lines to its params.yaml; a line that is there with other choices is refused."""
    params = own.params()
    lines = dict(params.lines)
    for entry, line in entries(study):
        if lines.setdefault(entry.line, line).model_dump() != line.model_dump():
            raise BadParams(
                f"line '{entry.line}' of study '{study.name}' is there with other choices. Name another study."
            )
    raw = yaml.safe_load(own.params_file.read_text())
    raw["lines"] = {name: line.model_dump(mode="json", exclude_unset=True) for name, line in lines.items()}
    parse(Params, raw, "study")
    fresh = own.params_file.with_suffix(".fresh")
    fresh.write_text(yaml.safe_dump(raw, sort_keys=False))
    fresh.replace(own.params_file)


def parsed(values: str) -> tuple[str, ...]:
    """``a,b,c`` as names."""
    return tuple(part.strip() for part in values.split(",") if part.strip())


def variants_of(names: Sequence[str]) -> dict[str, Variant]:
    """Strategies as their papers have them."""
    return {name: Variant(name) for name in names}
