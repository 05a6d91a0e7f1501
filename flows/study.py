"""Strategies against one another on one sequence: every run is a line of a workspace of its own, raised by the lifecycle
like any other, so that a study can be killed, continued, extended and looked into with every other command."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from components import detectors, strategies
from components.archives import manifest
from components.archives.parts import Part
from components.documents import dump_yaml, load_yaml
from components.errors import BadParams, StageFailed, UnknownName
from components.generations.lineage import Lineage, propose
from components.params import Archive, Changes, Line, Name, Params, Section, Withdrawal, parse
from components.reports import foreign
from components.reports import study as report
from components.reports.study import Run, RunKey, Split
from components.vocabulary import VAL
from components.writing import replace_text
from flows import cache, parts, pipeline
from flows.durations import clocked
from flows.lifecycle import lifecycle
from flows.orders import name_in
from flows.outcome import Outcome
from flows.pending import judged, look
from flows.workspace import WIRED, Workspace

FOLDER = Path(".perennial/studies")
FOREIGN = "foreign"
"""Kind of what `perennial import-scores` brought."""
COPIED = (
    "faces",
    "validation",
    "detectors",
    "strategies",
    "memory",
    "training",
    "evaluation",
    "operating_point",
    "withdrawn",
)
GATE = [{"rule": "absolute", "min_auc": 0.0}]
"""Always open: a study compares, and what it raises replaces nobody's champion."""
HEADER = "# A study: written by `perennial study`, which adds lines and never changes them.\n"
HSCL = "hscl"
"""The contrast that a detector may bring; a strategy that declares it too adds it where the detector brings none."""
ROUNDING = 1e-9
LINE_NAME = re.compile(r"(?P<label>.+)_s(?P<seed>\d+)(?:_o(?P<order>\d+))?")
LISTED = 8  # tasks, whose 40,320 orders are still listed; the twelve of CDDB have 479 million
FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


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
    pooled: tuple[str, ...] = ()
    """Other studies, on other streams, whose finished runs count in the tests as well."""
    parts: Mapping[str, Part] = field(default_factory=dict)
    """Tasks that are no archive of their own name."""
    faces: Mapping[str, Any] = field(default_factory=dict)
    """How faces are cut, where that is otherwise than in the workspace."""

    def of(self, name: str) -> Part:
        """The archive that a task or a benchmark is, or is a part of."""
        return self.parts.get(name, Part(name))


def run(workspace: Workspace, study: Study, on: Split = "validation") -> tuple[Path, Outcome | None]:
    """Raise what the study lacks and tell what it found; returns the folder of the report and what the lifecycle did.

    Archives, faces, and every section of params.yaml but the lines and the gate are those of `workspace` when the study
    began. What was withdrawn later is left out from then on. Finished runs stay, so labels and seeds may be added. Raises
    BadParams and UnknownName before anything is raised, StageFailed where stages failed and no run is finished.
    """
    own, outcome = grow(workspace, study, on)
    return _told(workspace, study, finished(own, study, on), on), outcome


def grow(workspace: Workspace, study: Study, on: Split) -> tuple[Workspace, Outcome | None]:
    """Raise what the study lacks; returns its own workspace, with a finished run at least, and what the lifecycle did."""
    own = prepare(workspace, study)
    if on == "validation":
        _expect_validation(own, study)
    outcome = lifecycle(own.root) if look(own) else None
    if outcome and outcome.failed and not finished(own, study, "test"):
        raise StageFailed("no run is finished; " + "; ".join(f"{name}: {why}" for name, why in outcome.failed.items()))
    return own, outcome


def prepare(workspace: Workspace, study: Study) -> Workspace:
    """The study's own workspace: told of every withdrawal, its archives landed, its lines written."""
    _check(workspace, study)
    own = Workspace.create(workspace.root / FOLDER / study.name, _cut(_params(workspace), study.faces))
    _refuse_other_faces(own, study)
    pipeline.start(own.root)
    cache.share(own.root, workspace.root)
    _leave_out(own, workspace.params().withdrawn)
    _leave_out(own, parts.renamed(workspace.params().withdrawn, study.parts))
    known = workspace.params().archives
    for name in (*study.sequence, *study.benchmarks):
        if name not in own.params().archives:
            part = study.of(name)
            parts.bring(own, workspace, name, part, _role(study, name, known[part.archive]))
    _write_lines(own, study)
    return own


def tell(workspace: Workspace, study: Study, on: Split = "validation") -> Path:
    """Report on the runs that are finished, into reports/studies/NAME/SPLIT; raises BadParams where there are none, or none
    that was examined on that split."""
    own = own_of(workspace, study.name)
    return _told(workspace, study, finished(own, study, on), on)


def finished(own: Workspace, study: Study, on: Split) -> list[Run]:
    """The study's runs whose last generation was judged; raises BadParams where a line is there with other choices."""
    _lines(own, study)
    return _finished(own, runs_of(study), on)


def finished_of(workspace: Workspace, name: str, on: Split) -> list[Run]:
    """Every finished run of a study that was begun under this name; raises UnknownName where none was."""
    studies = sorted(path.name for path in (workspace.root / FOLDER).glob("*") if path.is_dir())
    if name not in studies:
        raise UnknownName("study", name, studies)
    own = own_of(workspace, name)
    return _finished(own, ((key_of(line), about) for line, about in own.params().lines.items()), on)


def key_of(line: str) -> RunKey:
    """What the name of a line says, as `runs_of` gives it."""
    said = LINE_NAME.fullmatch(line)
    assert said is not None
    return RunKey(line, said["label"], int(said["seed"]), int(said["order"] or 0))


def _finished(own: Workspace, lines: Iterable[tuple[RunKey, Line]], on: Split) -> list[Run]:
    lineage, seconds = own.lineage(), clocked(own.root)
    runs = []
    for key, line in lines:
        generations = lineage.of(key.line)
        if len(generations) == len(line.sequence) and all(judged(own, name) for name in generations):
            runs.append(report.read_run(own.data, key, generations, seconds, on=on))
    return runs


def foreign_runs(own: Workspace, study: Study) -> list[Run]:
    """Other people's detectors, beside the study's first seed in the given order."""
    return foreign.read_runs(own.data(FOREIGN), study.sequence, study.seeds[0])


def runs_of(study: Study) -> Iterator[tuple[RunKey, Line]]:
    """Every run with the line that makes it; a seed that is named twice counts once."""
    seeds = dict.fromkeys(study.seeds)
    for (label, variant), order, seed in itertools.product(study.variants.items(), orders(study), seeds):
        number, sequence = order
        name = f"{label}_s{seed}" + (f"_o{number}" if number else "")
        line = Line(
            detector=study.detector, strategy=variant.strategy, seed=seed, sequence=sequence, changes=variant.changes
        )
        yield RunKey(name, label, seed, number), line


def orders(study: Study) -> list[tuple[int, tuple[str, ...]]]:
    """The given order and `orders - 1` others, drawn without repetition by a fixed seed; number 0 is the given one."""
    others = math.factorial(len(study.sequence)) - 1
    if study.orders - 1 > others:
        raise BadParams(f"expected at most {others + 1} orders of {len(study.sequence)} tasks, found {study.orders}.")
    return [(0, study.sequence), *enumerate(_others(study.sequence, study.orders - 1), start=1)]


def _others(sequence: tuple[str, ...], count: int) -> list[tuple[str, ...]]:
    """So many orders but the given one: of a few tasks drawn from the list of all, of more shuffled until they suffice."""
    generator = np.random.default_rng(0)
    if count and len(sequence) <= LISTED:
        every = [order for order in itertools.permutations(sequence) if order != sequence]
        return [every[which] for which in generator.permutation(len(every))[:count]]
    found = {sequence: 0}
    while len(found) <= count:
        found.setdefault(tuple(sequence[which] for which in generator.permutation(len(sequence))), len(found))
    return list(found)[1:]


def ablations(strategy: str, detector: str, params: Params) -> dict[str, Variant]:
    """The strategy without each of its terms, without the detector's contrast, and without each part of its memory.

    A part that is not there is not taken away; the other parts of a memory grow in proportion.
    """
    found = {strategy: Variant(strategy)}
    options = strategies.options(strategy, params.strategies.get(strategy, {}))
    terms = strategies.find(strategy).terms
    said = {key: value for key, value in params.detectors.get(detector, {}).items() if key != "training"}
    brings_hscl = getattr(detectors.options(detector, said), "hscl_weight", 0) > 0
    for term, weight in terms.items():
        if getattr(options, weight) > 0 and not (brings_hscl and term == HSCL):
            found[f"{strategy}_no_{weight}"] = Variant(strategy, Changes(strategy={weight: 0.0}))
    if brings_hscl:  # and nobody steps in for it
        silent = {terms[HSCL]: 0.0} if HSCL in terms else {}
        found[f"{strategy}_no_hscl"] = Variant(strategy, Changes(detector={"hscl_weight": 0.0}, strategy=silent))
    policy = strategies.find(strategy).remembers if params.memory.policy == "own" else params.memory.policy
    if policy == "hybrid":
        shares = {"hard": params.memory.hard, "representative": params.memory.representative}
        shares["diverse"] = 1 - sum(shares.values())
        for part, share in shares.items():
            if ROUNDING < share < 1 - ROUNDING:
                others = {name: 0.0 if name == part else shares[name] / (1 - share) for name in shares}
                del others["diverse"]  # is what the two leave
                found[f"{strategy}_no_{part}"] = Variant(strategy, Changes(memory=others))
        found[f"{strategy}_reservoir"] = Variant(strategy, Changes(memory={"policy": "reservoir"}))
    return found


def variants_of(names: Sequence[str]) -> dict[str, Variant]:
    """Strategies as their papers have them."""
    return {name: Variant(name) for name in names}


class _Row(Section):
    """A variant as a file has it."""

    strategy: Name
    changes: Changes = Changes()


class _Rows(Section):
    rows: dict[Name, _Row]


def variants_in(path: Path) -> dict[str, Variant]:
    """The variants of a YAML file, label -> {strategy, changes}; raises BadParams listing every fault."""
    try:
        raw = load_yaml(path.read_bytes())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as fault:
        raise BadParams(f"expected YAML in '{path}', a strategy and its changes by label: {fault}") from fault
    rows = parse(_Rows, {"rows": raw}, path.name).rows
    return {label: Variant(row.strategy, row.changes) for label, row in rows.items()}


def choices(workspace: Workspace, study: Study) -> Params:
    """What the study's params.yaml says, or would say if it began now, with its lines; raises BadParams."""
    own = workspace.root / FOLDER / study.name / "params.yaml"
    raw = {
        **load_yaml(own.read_text() if own.is_file() else _cut(_params(workspace), study.faces)),
        "archives": {
            name: {"layout": entry.layout, "role": _role(study, name, entry)}
            for name, entry in _archives(workspace.params(), study).items()
        },
        "sequence": study.sequence,
        "benchmarks": tuple(dict.fromkeys((*study.sequence, *study.benchmarks))),
        "lines": {key.line: line.model_dump(exclude={"sequence"}) for key, line in runs_of(study)},
        "withdrawn": (),
    }
    return parse(Params, raw, f"study '{study.name}'")


def _check(workspace: Workspace, study: Study) -> None:
    """Raise BadParams or UnknownName for what cannot be followed; nothing is made."""
    if not FOLDER_NAME.fullmatch(study.name):
        raise BadParams(f"expected a study's name of letters, digits, '_', '.' and '-', found '{study.name}'.")
    if not study.seeds or not study.sequence or not study.variants:
        raise BadParams("expected at least one strategy, one task and one seed, found none. Name some.")
    for name in study.pooled:
        finished_of(workspace, name, "test")
    params = workspace.params()
    for name in (*study.sequence, *study.benchmarks):
        archive = study.of(name).archive
        if archive not in params.archives:
            raise UnknownName("archive", archive, params.archives)
        if not workspace.data("archives", archive).is_dir():
            raise BadParams(f"expected the files of '{archive}', found none. Fetch them with `dvc pull`.")
        if name in study.sequence and params.archives[archive].role == "task":
            raise BadParams(
                f"expected tasks that are benchmarks too, found '{archive}', which landed with the role task. How well it is "
                "remembered could not be measured. Land it under another name with `--role both`."
            )
    chosen = choices(workspace, study)
    for key, _ in runs_of(replace(study, orders=1, seeds=study.seeds[:1])):
        alone = chosen.model_copy(update={"lines": {key.line: chosen.lines[key.line]}})
        try:
            propose(alone, Lineage(), ready=chosen.archives)
        except UnknownName:
            raise
        except BadParams as fault:
            raise BadParams(f"'{key.label}' of study '{study.name}': {fault}") from fault


def _role(study: Study, name: str, archive: Archive) -> str:
    return "benchmark" if name in study.benchmarks else archive.role


def _archives(params: Params, study: Study) -> dict[str, Archive]:
    """What landed in the workspace, and the parts the study makes of it."""
    return {**params.archives, **{name: params.archives[part.archive] for name, part in study.parts.items()}}


def _refuse_other_faces(own: Workspace, study: Study) -> None:
    """Faces are cut as they were when the study began; a study that wants them otherwise is another."""
    there = own.params().faces.model_dump()
    if differing := {key: value for key, value in study.faces.items() if there[key] != value}:
        raise BadParams(
            f"study '{study.name}' began with other faces: "
            + ", ".join(f"{key} {there[key]} instead of {value}" for key, value in differing.items())
            + ". Name another study."
        )


def _cut(params: str, faces: Mapping[str, Any]) -> str:
    """A study's first params.yaml with what the study says of faces."""
    raw = load_yaml(params)
    return HEADER + dump_yaml({**raw, "faces": {**raw["faces"], **faces}}) if faces else params


def _params(workspace: Workspace) -> str:
    raw = workspace.params().model_dump(mode="json", exclude_unset=True)
    sections = {name: raw[name] for name in COPIED if name in raw or name in WIRED}
    sections["evaluation"] = {**sections.get("evaluation", {}), "validation": True}
    empty: dict[str, Any] = {"archives": {}, "sequence": [], "benchmarks": [], "lines": {}}
    return HEADER + dump_yaml({**empty, **sections, "gate": GATE})


def _lines(own: Workspace, study: Study) -> dict[str, Line]:
    """The lines that are there and those the study adds; one that is there with other choices is refused."""
    lines = dict(own.params().lines)
    for key, line in runs_of(study):
        there, wanted = lines.setdefault(key.line, line).model_dump(), line.model_dump()
        differing = [
            f"{name} '{there[name]}' instead of '{wanted[name]}'" for name in wanted if there[name] != wanted[name]
        ]
        if differing:
            raise BadParams(
                f"line '{key.line}' of study '{study.name}' is there with other choices: {', '.join(differing)}. "
                "Ask for the same, or name another study."
            )
    return lines


def _leave_out(own: Workspace, withdrawn: Sequence[Withdrawal]) -> None:
    """Tell the study's params.yaml of what has been withdrawn since it began, before anything more lands or is made."""
    if new := [order for order in withdrawn if order not in own.params().withdrawn]:
        own.rewrite(lambda document: name_in(document, new))


def _write_lines(own: Workspace, study: Study) -> None:
    """Add the study's lines to its params.yaml."""
    lines = _lines(own, study)
    raw = load_yaml(own.params_file.read_bytes())
    raw["lines"] = {name: line.model_dump(mode="json", exclude_unset=True) for name, line in lines.items()}
    parse(Params, raw, "study")
    replace_text(own.params_file, HEADER + dump_yaml(raw))


def _expect_validation(own: Workspace, study: Study) -> None:
    """Raise BadParams where nothing could be told on the validation split, before anything is raised."""
    advice = f"Tell study '{study.name}' on the test split, with --on test, or "
    if not own.params().evaluation.validation:
        raise BadParams(
            f"expected a study that looks at validation faces, found one of an older version. {advice}begin another study."
        )
    for name in study.sequence:
        rows = manifest.read(own.data("manifests", name) / manifest.MANIFEST_FILE)
        if not (rows["split"] == VAL).any():
            raise BadParams(
                f"expected validation clips in '{name}', found none: it has no such split, and too few training sources to "
                f"hold any out. {advice}leave '{name}' out."
            )


def own_of(workspace: Workspace, name: str) -> Workspace:
    """The workspace of a study that was begun."""
    return Workspace.at(workspace.root / FOLDER / name)


def reports(workspace: Workspace, name: str) -> Path:
    """Where the reports on a study are: a folder a split."""
    return workspace.root / "reports" / "studies" / name


def _told(workspace: Workspace, study: Study, runs: Sequence[Run], on: Split) -> Path:
    into = reports(workspace, study.name) / on
    others = {name: finished_of(workspace, name, on) for name in study.pooled}
    if on == "test":
        runs = [*runs, *foreign_runs(own_of(workspace, study.name), study)]
    report.tell(runs, into, reference=study.reference, on=on, others=others)
    return into


def parsed(values: str) -> tuple[str, ...]:
    """``a,b,c`` as names."""
    return tuple(part.strip() for part in values.split(",") if part.strip())


def numbers(values: str) -> tuple[int, ...]:
    """``0,1,2`` as numbers; raises BadParams."""
    if not all(part.isdecimal() for part in parsed(values)):
        raise BadParams(f"expected whole numbers separated by commas, found '{values}'. Write 0,1,2.")
    return tuple(int(part) for part in parsed(values))
