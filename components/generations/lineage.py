"""The lineage, ``lineage.yaml``: what was born, one row each, never edited; and how a new row comes to be.

benches:      which archive joined the benchmarks after which          {faceswap: {after: deepfakes}, …}
generations:  one row a generation, in the order of birth              {rsia_net-M1: {line, detector, …}, …}
heads:        the youngest generation of each line, what it is made of {rsia_net: {generation: rsia_net-M1, …}}
examinations: of a generation that lived when a benchmark joined       {rsia_net-M1_on_mask: {generation, benchmark, …}}

A row names its teacher, so a line is a tree: the branch that lives leads from a founder to the head, and whoever is not on it
is retired. Nothing says so of a generation; it follows from the rows that came after it.

    M1 ── M2          retry M2:    M1 ── M2 (retired)
                                    └─── M3           learns what M2 learned, with other choices

Every command reads it, so what knows detectors and strategies, and torch with them, is imported where a row is made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.documents import dump_yaml
from components.errors import BadParams, BrokenLineage, Refused, UnknownName
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
        """Names of a line's generations, oldest first, the retired ones too."""
        return [name for name, row in self.generations.items() if row.line == line]

    def ancestors(self, generation: str) -> list[str]:
        """Who taught whom, from a founder to the generation itself; nobody has none."""
        found: list[str] = []
        while generation in self.generations and generation not in found:
            found.append(generation)
            generation = self.generations[generation].teacher
        return found[::-1]

    def living(self, line: str) -> list[str]:
        """The branch that lives: the line's youngest generation and its ancestors, oldest first."""
        return self.ancestors(self.heads[line].generation) if line in self.heads else []

    @property
    def retired(self) -> frozenset[str]:
        """Generations that teach nobody any more: others learned in their place."""
        return frozenset(self.generations).difference(*(self.living(line) for line in self.heads))

    def tasks(self, generation: str) -> list[str]:
        """What a generation and its ancestors have learned, oldest first."""
        return [self.generations[name].learns for name in self.ancestors(generation)]

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
class Judged:
    """What became of generations that were judged; whoever is in neither has no verdict yet."""

    accepted: frozenset[str] = frozenset()
    """The gate opened, or a person promoted them; and nobody rolled them back."""
    refused: Mapping[str, Recipe] = field(default_factory=dict)
    """The others, and the recipes they were raised by."""
    champions: Mapping[str, str] = field(default_factory=dict)
    """Line -> who answers for it."""
    reseated: Mapping[str, str] = field(default_factory=dict)
    """Teacher -> who answers for its line, where a person's word made that another than the teacher's verdict did."""


@dataclass(frozen=True)
class Proposal:
    """What `perennial plan` would add."""

    lineage: Lineage
    recipes: dict[str, Recipe]
    waiting: tuple[str, ...]
    """Tasks or benchmarks named in params.yaml whose faces are not ready."""


def propose(
    params: Params, lineage: Lineage, ready: Collection[str], judged: Judged | None = None, *, checked: bool = False
) -> Proposal:
    """Rows and recipes for every (line, task) that has none yet, over archives whose faces are `ready`.

    A line whose `after_refusal` is not `continue` gets one row at a time, the next when the last was `judged`; after a
    refusal none, or with `retry` the same task once more, as soon as params.yaml says something else than was refused.
    Raises BadParams where a detector, a strategy or the gate cannot be followed, or a line would not stay one; nothing
    is written. `checked`: today's code has passed these params in `check_choices` already.
    """
    if not checked:
        check_choices(params)
    growth = _Growth(params, lineage, ready, judged or Judged())
    for line in params.lines:
        growth.go_on(line)
    tasks = [task for choice in params.lines.values() for task in choice.sequence or params.sequence]
    wanted = dict.fromkeys([*params.sequence, *tasks, *params.benchmarks])
    return Proposal(growth.lineage, growth.recipes, tuple(name for name in wanted if name not in ready))


def retry(params: Params, lineage: Lineage, ready: Collection[str], judged: Judged, generation: str) -> Proposal:
    """One row more: the champion's next heir learns what a refused generation of the line learned.

    Raises UnknownName, BadParams as `propose` does, and Refused where the generation was not refused, where others learned
    in its place already, or where a refused one was raised by exactly these choices.
    """
    if generation not in lineage.generations:
        raise UnknownName("generation", generation, lineage.generations)
    row = lineage.generations[generation]
    check_choices(params)
    if row.line not in params.lines:
        raise BadParams(f"expected line '{row.line}' under `lines` in params.yaml, found it gone. Put it back there.")
    champion = judged.champions.get(row.line, NOBODY)
    _expect_refused(generation, champion, lineage, judged)
    growth = _Growth(params, lineage, ready, judged)
    task = growth.task_of(generation)
    if task not in ready:
        raise BadParams(
            f"expected the faces of '{task}', which {generation} learned, found none. `perennial run` cuts them."
        )
    recipe = growth.recipe_of(row.line, task, champion)
    if same := growth.tried(recipe):
        raise Refused(
            f"expected other choices in params.yaml than those by which '{same}' was raised and refused, found the same. "
            "Change training, memory, a detector's or a strategy's options, the line's `changes`, or the gate."
        )
    growth.add(recipe)
    return Proposal(growth.lineage, growth.recipes, ())


def _expect_refused(generation: str, champion: str, lineage: Lineage, judged: Judged) -> None:
    row, instead = lineage.generations[generation], "Nothing was planned."
    if generation in lineage.ancestors(champion):
        who = "is the champion" if generation == champion else f"is an ancestor of the champion '{champion}'"
        raise Refused(f"expected a refused generation, found that '{generation}' {who}. {instead}")
    if generation in judged.accepted:
        raise Refused(
            f"expected a refused generation, found that the gate opened for '{generation}'. `perennial run` promotes it; "
            f"`perennial rollback {row.line}` afterwards takes that back."
        )
    if generation in lineage.retired:
        head = lineage.heads[row.line].generation
        raise Refused(
            f"expected a generation on the branch to '{head}', found that '{generation}' is retired. {instead}"
        )
    if generation not in judged.refused:
        raise Refused(f"expected a verdict on '{generation}', found none. Judge it first: `perennial run`.")
    if row.learns in lineage.tasks(champion):
        raise Refused(f"expected a task that '{champion}' has not learned, found '{row.learns}'. {instead}")


class _Growth:
    """A lineage to which rows are added, and the recipes of the new ones."""

    def __init__(self, params: Params, lineage: Lineage, ready: Collection[str], judged: Judged) -> None:
        self._params, self._ready, self._judged = params, ready, judged
        self.recipes: dict[str, Recipe] = {}
        self.lineage = lineage.model_copy(
            update={
                "benches": joined(lineage.benches, [name for name in params.benchmarks if name in ready]),
                "generations": dict(lineage.generations),
                "heads": dict(lineage.heads),
            }
        )

    def go_on(self, line: str) -> None:
        """Add the rows that a line is due now."""
        choice, head = self._params.lines[line], self._head(line)
        _check_kin(line, choice, self.lineage)
        if not choice.waits:
            for task in self._unlearned(line):
                self.add(self.recipe_of(line, task, self._head(line)))
        elif head == NOBODY or head in self._judged.accepted:
            for task in self._unlearned(line)[:1]:
                self.add(self.recipe_of(line, task, head))
        elif choice.after_refusal == "retry" and head in self._judged.refused:
            self._try_again(line, head)

    def add(self, recipe: Recipe) -> None:
        row, before = recipe.row, self.lineage.heads.get(recipe.row.line)
        self.lineage.generations[recipe.generation] = row
        self.lineage.heads[row.line] = Head(
            generation=recipe.generation,
            detector=row.detector,
            strategy=row.strategy,
            examined=before.examined if before else NOBODY,
        )
        self.recipes[recipe.generation] = recipe

    def recipe_of(self, line: str, task: str, teacher: str) -> Recipe:
        """The recipe of the line's next generation, as params.yaml has it."""
        from components.memory.buffer import expect_room

        params, lineage, choice = self._params, self.lineage, self._params.lines[line]
        bench = next(reversed(lineage.benches), NOBODY)
        if bench == NOBODY:
            raise BadParams("expected at least one benchmark that is ready, found none. Add one to `benchmarks`.")
        chosen = resolved(choice, params)
        expect_room(chosen.memory, tasks=len(lineage.ancestors(teacher)) + 1)
        row = Row(
            line=line,
            detector=choice.detector,
            strategy=choice.strategy,
            learns=task,
            teacher=teacher,
            bench=bench,
            champion=self._judged.reseated.get(teacher, NOBODY),
        )
        return Recipe.resolved(
            generation=f"{line}-M{len(lineage.of(line)) + 1}",
            row=row,
            detector=_choice(row.detector, chosen.detector),
            strategy=_choice(row.strategy, chosen.strategy),
            faces=params.faces,
            memory=chosen.memory.model_dump(),
            training=chosen.training,
            evaluation=params.evaluation,
            operating_point=params.operating_point,
            gate=params.gate,
            seed=params.seed if choice.seed is None else choice.seed,
            machine=Machine.of_settings(),
            benchmarks=lineage.benchmarks(row.bench),
            teacher_benchmarks=() if row.is_founder else lineage.benchmarks(lineage.generations[teacher].bench),
        )

    def task_of(self, generation: str) -> str:
        """What it learned, in the youngest version that landed."""
        task = self.lineage.generations[generation].learns
        return self._params.latest(task) if task in self._params.archives else task

    def tried(self, recipe: Recipe) -> str:
        """Who was raised from the same teacher on the same task by the same choices, and refused; empty if nobody was."""
        asked = (recipe.row.teacher, recipe.row.learns, recipe.choices)
        known = {name: (old.row.teacher, old.row.learns, old.choices) for name, old in self._judged.refused.items()}
        same = (name for name, old in known.items() if old == asked)
        return next((name for name in same if self.lineage.generations[name].line == recipe.row.line), "")

    def _try_again(self, line: str, refused: str) -> None:
        """From the champion, unless all that params.yaml says was refused before, or the champion knows the task."""
        champion, task = self._judged.champions.get(line, NOBODY), self.task_of(refused)
        if task in self._ready and task not in self.lineage.tasks(champion):
            recipe = self.recipe_of(line, task, champion)
            if not self.tried(recipe):
                self.add(recipe)

    def _unlearned(self, line: str) -> list[str]:
        """Tasks that are ready and that nobody of the living branch learned, in order."""
        learned = {self.lineage.generations[name].learns for name in self.lineage.living(line)}
        tasks = self._params.lines[line].sequence or self._params.sequence
        return [task for task in tasks if task in self._ready and task not in learned]

    def _head(self, line: str) -> str:
        return self.lineage.heads[line].generation if line in self.lineage.heads else NOBODY


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
