"""The lineage, ``lineage.yaml``: what was born, one row each, never edited; and how a new row comes to be.

benches:      which archive joined the benchmarks after which          {faceswap: {after: deepfakes}, …}
generations:  one row a generation, in the order of birth              {rsia_net-M1: {line, detector, …}, …}
heads:        the youngest generation of each line, what it is made of {rsia_net: {generation: rsia_net-M1, …}}
examinations: of a generation that lived when a benchmark joined       {rsia_net-M1_on_mask: {generation, benchmark, …}}

Every command reads it, so what knows detectors and strategies, and torch with them, is imported where a row is made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.documents import dump_yaml
from components.errors import BadParams, BrokenLineage
from components.generations.card import CARD, read_card
from components.generations.recipe import Choice, Machine, Recipe, Row
from components.params import Line, MemoryOptions, Name, Params, Section, TrainingOptions, parse, read
from components.vocabulary import NOBODY
from components.writing import replace_text

HEADER = "# The lineage: one row a generation. `perennial plan` appends; nothing here is ever edited by hand.\n"


class Bench(Section):
    """One archive joining the benchmarks."""

    after: str = NOBODY


class Head(Section):
    """The youngest generation of a line."""

    generation: str
    detector: Name
    strategy: Name
    examined: str = NOBODY
    """The line's last examination."""


class Examination(Section):
    """A generation that was judged before a benchmark joined, examined on it (`components.generations.examinations`)."""

    generation: str
    benchmark: Name
    detector: Name
    strategy: Name
    after: str = NOBODY
    """The examination before it in its line."""


class Lineage(Section):
    """The whole file."""

    benches: dict[Name, Bench] = {}
    generations: dict[str, Row] = {}
    heads: dict[Name, Head] = {}
    examinations: dict[str, Examination] = {}

    @classmethod
    def read(cls, path: Path) -> Lineage:
        """The lineage at `path`, empty if there is none; raises BadParams for what cannot be read."""
        if not path.is_file():
            return cls()
        return read(cls, path)

    def write(self, path: Path) -> None:
        """Replace the file at once: a reader finds the old lineage or the new one."""
        replace_text(path, HEADER + dump_yaml(self.model_dump(mode="json")))

    def of(self, line: str) -> list[str]:
        """Names of a line's generations, oldest first."""
        return [name for name, row in self.generations.items() if row.line == line]

    def tasks(self, generation: str) -> list[str]:
        """What a generation's line has learned up to it, oldest first."""
        line = self.of(self.generations[generation].line)
        return [self.generations[name].learns for name in line[: line.index(generation) + 1]]

    def rests_on(self, archive: str) -> bool:
        """Whether a generation learned the archive, or generations are examined on it."""
        return archive in self.benches or any(row.learns == archive for row in self.generations.values())

    def benchmarks(self, bench: str) -> tuple[str, ...]:
        """The benchmarks up to and including `bench`, in the order they joined."""
        names: list[str] = []
        while bench != NOBODY:
            names.append(bench)
            bench = self.benches[bench].after
        return tuple(reversed(names))


def check(lineage: Lineage, recipes: Path, generations: Path) -> None:
    """Raise BrokenLineage if a row was edited after birth: it must agree with its recipe, and the recipe with the card."""
    _check_pointers(lineage)
    for name, row in lineage.generations.items():
        recipe = Recipe.read(recipes / f"{name}.yaml")
        if recipe.row != row:
            differing = [k for k in Row.model_fields if getattr(recipe.row, k) != getattr(row, k)]
            raise BrokenLineage(
                f"lineage.yaml says of {name}: "
                + ", ".join(f"{k} '{getattr(row, k)}'" for k in differing)
                + "; its recipe, written when it was planned, says "
                + ", ".join(f"'{getattr(recipe.row, k)}'" for k in differing)
                + ". Rows are never edited: restore the row, or plan a new line."
            )
        if row.teacher != NOBODY and lineage.generations.get(row.teacher, row).line != row.line:
            raise BrokenLineage(f"{name} of line '{row.line}' names '{row.teacher}' of another line as its teacher.")
        if row.teacher != NOBODY and row.teacher not in lineage.generations:
            raise BrokenLineage(f"{name} names teacher '{row.teacher}', who is not in lineage.yaml. Restore the row.")
        folder = generations / name
        if (folder / CARD).is_file() and read_card(folder)["recipe"] != recipe.digest:
            raise BrokenLineage(
                f"recipes/{name}.yaml was edited after {name} was born of it (recipe {recipe.digest[:12]}, "
                f"card {read_card(folder)['recipe'][:12]}). Restore it from version control; params.yaml shapes the next."
            )


def _check_pointers(lineage: Lineage) -> None:
    """Benches follow one another in the order they joined, rows name one of them, and each line's head is its youngest."""
    before = NOBODY
    for name, bench in lineage.benches.items():
        if bench.after != before:
            raise BrokenLineage(
                f"lineage.yaml says that bench '{name}' joined after '{bench.after}', but the one above it is '{before}'. "
                "Benches are never edited: restore them."
            )
        before = name
    for name, row in lineage.generations.items():
        if row.bench not in lineage.benches:
            raise BrokenLineage(f"{name} names bench '{row.bench}', which is not in lineage.yaml. Restore it.")
    youngest = {row.line: name for name, row in lineage.generations.items()}
    heads = {line: head.generation for line, head in lineage.heads.items()}
    for line in sorted(youngest.keys() | heads.keys()):
        if youngest.get(line) != heads.get(line):
            raise BrokenLineage(
                f"lineage.yaml calls '{heads.get(line, NOBODY)}' the head of line '{line}', but its youngest generation is "
                f"'{youngest.get(line, NOBODY)}'. Restore the head."
            )
    _check_examinations(lineage)


def _check_examinations(lineage: Lineage) -> None:
    """Examinations follow one another within their line, each of a generation and a benchmark that are there."""
    last = dict.fromkeys(lineage.heads, NOBODY)
    for key, said in lineage.examinations.items():
        row = lineage.generations.get(said.generation)
        if row is None or said.benchmark not in lineage.benches:
            raise BrokenLineage(
                f"lineage.yaml says that '{said.generation}' was examined on '{said.benchmark}' ({key}), which are not both "
                "in it. Restore the row and the bench."
            )
        expected = Examination(
            generation=said.generation,
            benchmark=said.benchmark,
            detector=row.detector,
            strategy=row.strategy,
            after=last[row.line],
        )
        if said != expected:
            raise BrokenLineage(
                f"expected examination '{key}' to say {expected.model_dump()}, found {said.model_dump()}. "
                "Examinations are never edited: restore them."
            )
        last[row.line] = key
    for line, head in lineage.heads.items():
        if head.examined != last[line]:
            raise BrokenLineage(
                f"expected '{last[line]}' as the last examination of line '{line}', found '{head.examined}' in its head. "
                "Restore the head."
            )


@dataclass(frozen=True)
class Proposal:
    """What `perennial plan` would add."""

    lineage: Lineage
    recipes: dict[str, Recipe]
    waiting: tuple[str, ...]
    """Tasks or benchmarks named in params.yaml whose faces are not ready."""


def propose(params: Params, lineage: Lineage, ready: Collection[str], *, checked: bool = False) -> Proposal:
    """Rows and recipes for every (line, task) that has none yet, over archives whose faces are `ready`.

    Raises BadParams where a detector, a strategy or the gate cannot be followed, or a line would not stay one; nothing
    is written. `checked`: today's code has passed these params in `check_choices` already.
    """
    if not checked:
        check_choices(params)
    for line, choice in params.lines.items():
        _check_kin(line, choice, lineage)
    benches = joined(lineage.benches, [name for name in params.benchmarks if name in ready])
    last = next(reversed(benches), NOBODY)
    rows = dict(lineage.generations)
    heads = dict(lineage.heads)
    recipes: dict[str, Recipe] = {}
    grown = Lineage(benches=benches, generations=rows, heads=heads, examinations=lineage.examinations)
    for line, choice in params.lines.items():
        learned = {rows[name].learns for name in grown.of(line)}
        for task in choice.sequence or params.sequence:
            if task in learned or task not in ready:
                continue
            if last == NOBODY:
                raise BadParams("expected at least one benchmark that is ready, found none. Add one to `benchmarks`.")
            teacher = heads[line].generation if line in heads else NOBODY
            name = f"{line}-M{len(Lineage(generations=rows).of(line)) + 1}"
            row = Row(
                line=line, detector=choice.detector, strategy=choice.strategy, learns=task, teacher=teacher, bench=last
            )
            examined = heads[line].examined if line in heads else NOBODY
            heads[line] = Head(generation=name, detector=row.detector, strategy=row.strategy, examined=examined)
            rows[name] = row
            grown = Lineage(benches=benches, generations=rows, heads=heads, examinations=lineage.examinations)
            recipes[name] = _recipe(name, row, params, choice, grown)
    tasks = [task for choice in params.lines.values() for task in choice.sequence or params.sequence]
    wanted = dict.fromkeys([*params.sequence, *tasks, *params.benchmarks])
    return Proposal(grown, recipes, tuple(name for name in wanted if name not in ready))


def joined(benches: Mapping[str, Bench], names: Iterable[str]) -> dict[str, Bench]:
    """The benches with these archives at the end, in this order; one that is there stays where it is."""
    grown = dict(benches)
    for name in names:
        if name not in grown:
            grown[name] = Bench(after=next(reversed(grown), NOBODY))
    return grown


def append(proposal: Proposal, lineage_file: Path, recipes: Path) -> None:
    """Write the new recipes, then the lineage; a crash in between leaves recipes that the next plan rewrites.

    Raises BadParams, with nothing written, where a descendant could not take over its teacher's weights.
    """
    _check_architecture(proposal, recipes)
    for name, recipe in proposal.recipes.items():
        recipe.write(recipes / f"{name}.yaml")
    proposal.lineage.write(lineage_file)


@dataclass(frozen=True)
class Choices:
    """What a line's next generation is made of, every option resolved."""

    detector: Section
    strategy: Section
    memory: MemoryOptions
    training: TrainingOptions


def resolved(line: Line, params: Params) -> Choices:
    """A paper's own values, overruled by the general section, overruled by the detector's, overruled by the line's."""
    from components import detectors, strategies

    said = {**params.detectors.get(line.detector, {}), **line.changes.detector}
    own = said.pop("training", {})
    if not isinstance(own, dict):
        raise BadParams(
            f"expected detectors.{line.detector}.training to be a section, found '{own}'. Write keys and values."
        )
    detector = detectors.options(line.detector, said)
    where = f"training of {line.detector}"
    paper, general = detectors.paper_training(line.detector, detector), params.training.model_dump(exclude_unset=True)
    memory = params.memory.model_dump(exclude_unset=True)
    policy = params.memory.policy if params.memory.policy != "own" else strategies.find(line.strategy).remembers
    return Choices(
        detector,
        strategies.options(line.strategy, {**params.strategies.get(line.strategy, {}), **line.changes.strategy}),
        parse(MemoryOptions, {**memory, "policy": policy, **line.changes.memory}, "memory"),
        parse(TrainingOptions, {**paper, **general, **own, **line.changes.training}, where),
    )


def _recipe(name: str, row: Row, params: Params, line: Line, lineage: Lineage) -> Recipe:
    from components.memory.buffer import expect_room

    chosen = resolved(line, params)
    expect_room(chosen.memory, tasks=len(lineage.of(row.line)))
    return Recipe.resolved(
        generation=name,
        row=row,
        detector=_choice(row.detector, chosen.detector),
        strategy=_choice(row.strategy, chosen.strategy),
        faces=params.faces,
        memory=chosen.memory.model_dump(),
        training=chosen.training,
        evaluation=params.evaluation,
        operating_point=params.operating_point,
        gate=params.gate,
        seed=params.seed if line.seed is None else line.seed,
        machine=Machine.of_settings(),
        benchmarks=lineage.benchmarks(row.bench),
        teacher_benchmarks=() if row.is_founder else lineage.benchmarks(lineage.generations[row.teacher].bench),
    )


def _choice(name: str, options: Section) -> Choice:
    return Choice(name=name, options=options.model_dump(mode="json"))


def _check_kin(line: str, choice: Line, lineage: Lineage) -> None:
    """A line is one detector raised with one strategy; params.yaml may not make it another."""
    if line not in lineage.heads:
        return
    row = lineage.generations[lineage.heads[line].generation]
    if (row.detector, row.strategy) != (choice.detector, choice.strategy):
        raise BadParams(
            f"line '{line}' has been '{row.detector}' with '{row.strategy}' since its founder, found "
            f"'{choice.detector}' with '{choice.strategy}' in lines.{line}. A line never changes: name a new one."
        )


def _check_architecture(proposal: Proposal, recipes: Path) -> None:
    """Options of a detector may change within a line as long as the teacher's weights still fit."""
    for name, recipe in proposal.recipes.items():
        if recipe.row.is_founder or recipe.row.teacher in proposal.recipes:  # those share one params.yaml
            continue
        before = Recipe.read(recipes / f"{recipe.row.teacher}.yaml")
        if recipe.detector != before.detector and _shapes(recipe) != _shapes(before):
            raise BadParams(
                f"expected options of detector '{recipe.detector.name}' that fit the weights of '{recipe.row.teacher}', "
                f"{before.detector.options}, found {recipe.detector.options} for {name}. A line keeps its architecture: "
                "restore the options, or name a new line."
            )


def _shapes(recipe: Recipe) -> dict[str, tuple[int, ...]]:
    """The shape of every weight of the recipe's detector."""
    from components import detectors

    options = detectors.options(recipe.detector.name, recipe.detector.options)
    detector = detectors.build(recipe.detector.name, options, blank=True)
    return {name: tuple(tensor.shape) for name, tensor in detector.state_dict().items()}


def check_choices(params: Params) -> None:
    """Raise BadParams or UnknownName where a detector, a strategy or the gate cannot be followed."""
    from components import detectors, strategies

    if not params.gate:
        raise BadParams("expected rules under `gate`, found none: an empty gate is never an approval. See params.yaml.")
    for line in params.lines.values():
        resolved(line, params)
    named: list[tuple[str, Any]] = [(n, detectors) for n in params.detectors] + [
        (n, strategies) for n in params.strategies
    ]
    for name, catalogue in named:
        catalogue.options(name, {})
