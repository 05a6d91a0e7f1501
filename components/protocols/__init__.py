"""Protocols that papers compare under, by name: one file each, ``<name>.yaml`` beside this one.

    names()           -> ("cddb_easy", …)
    read("dfil")      -> its order, archives, few-shot counts, memory, metric, and the rows that were reported

A file states facts with their source. What nobody stated is null, and `unknown` says so of it: the workspace's own choice
then holds. Reported rows stand beside measured ones and are no targets; those from another paper's table say `through` which.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from components import params
from components.errors import UnknownName
from components.params import MemoryOptions, Name, Section, Share

FOLDER = Path(__file__).parent
All = Literal["all"]


class Wanted(Section):
    """An archive that must have landed under this name."""

    what: str
    layout: Name
    """To land it with; another that suits its files does as well."""


class Task(Section):
    """One task: an archive, or the genuine clips of one and the forged ones of some of its methods."""

    name: Name
    archive: Name
    methods: tuple[str, ...] = ()
    """Of the archive, in any case of letters; all where none is named."""


class Learn(Section):
    """How a task is learned."""

    frames: int | None = Field(None, ge=1)
    """Of a training clip."""
    founder_clips_per_class: int | All | None = None
    clips_per_class: int | All | None = None
    """Training clips of each class, of the first task and of every later one."""
    epochs: int | None = Field(None, ge=1)
    """Of every task."""
    batch: int | None = Field(None, ge=2)
    learning_rate: float | None = Field(None, gt=0)


class Ask(Section):
    """How what was learned is measured."""

    frames: int | None = Field(None, ge=1)
    """Of a test clip."""
    metric: Literal["auc", "acc"] | None = None
    over: Literal["clips", "faces"] | None = None
    """What is ranked or counted: clips, by the mean over their frames; or single frames, images."""
    mean: Literal["tasks", "images"] | None = None
    """Of the tasks: each alike, or each by its test images."""


class Kept(Section):
    """The memory."""

    budget: int | None = Field(None, ge=0)
    """Faces."""
    per_task: bool | None = None
    """Whether every task has that budget, or all together."""


class Reported(Section):
    """A row that somebody printed."""

    row: str
    """As it is called there."""
    strategy: Name | None = None
    """Ours that stands beside it."""
    average: Share
    forgetting: float | None = None
    tasks: tuple[Share, ...] = ()
    """Final values, in the order of the tasks."""
    source: str
    through: str = ""
    """Another's table, where the row was not read in the method's own pages."""


class Protocol(Section):
    """One file."""

    title: str
    source: str
    archives: dict[Name, Wanted]
    tasks: tuple[Task, ...] = Field(min_length=1)
    """In the order in which they are learned."""
    network: str | None = None
    """Of the paper. The detector is whoever runs the protocol's to choose."""
    size_px: int | None = Field(None, ge=32)
    learn: Learn = Learn()
    test: Ask = Ask()
    memory: Kept = Kept()
    reported: tuple[Reported, ...] = ()
    unknown: dict[str, str] = {}
    """What is known of every fact that is null, by its place, or by several with commas between; and what else is not known."""

    @property
    def sequence(self) -> tuple[str, ...]:
        return tuple(task.name for task in self.tasks)

    @property
    def faces(self) -> dict[str, Any]:
        """What it says of the section `faces`."""
        return _said(frames=self.test.frames, size_px=self.size_px)

    @property
    def training(self) -> dict[str, Any]:
        """What it says of the section `training`."""
        learn = self.learn
        clips = {key: getattr(learn, key) for key in ("founder_clips_per_class", "clips_per_class")}
        return _said(
            founder_epochs=learn.epochs,
            epochs=learn.epochs,
            batch=learn.batch,
            learning_rate=learn.learning_rate,
            frames_per_clip=learn.frames,
            **{key: None if count == "all" else count for key, count in clips.items()},
        )

    @property
    def memorised(self) -> dict[str, Any]:
        """What it says of the section `memory`; a number of faces leaves no other budget in force."""
        others = [name for name in MemoryOptions.model_fields if name.startswith("budget_")]
        silenced = {} if self.memory.budget is None else dict.fromkeys(others)
        return silenced | _said(budget=self.memory.budget, per_task=self.memory.per_task)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Protocol:
        faults = [f"task '{t.name}' is of archive '{t.archive}', which is not listed" for t in self._strays()]
        faults += [
            f"tasks name '{name}' twice" for name in sorted({n for n in self.sequence if self.sequence.count(n) > 1})
        ]
        admitted = {place.strip() for places in self.unknown for place in places.split(",")}
        facts = dict(self._facts())
        silent = [place for place, fact in facts.items() if fact is None and place not in admitted]
        faults += [f"'{place}' is null, and unknown does not say so" for place in silent]
        faults += [f"unknown names '{place}', which is stated" for place in admitted if facts.get(place) is not None]
        if self.learn.frames and self.test.frames and self.learn.frames > self.test.frames:
            faults.append(
                f"expected learn.frames of {self.test.frames} at most, as are tested, found {self.learn.frames}"
            )
        faults += [
            f"row '{row.row}' has {len(row.tasks)} values for {len(self.tasks)} tasks"
            for row in self.reported
            if row.tasks and len(row.tasks) != len(self.tasks)
        ]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _strays(self) -> list[Task]:
        return [task for task in self.tasks if task.archive not in self.archives]

    def _facts(self) -> Iterator[tuple[str, Any]]:
        """Place and value of everything a protocol is expected to state."""
        yield from (("network", self.network), ("size_px", self.size_px))
        for name in ("learn", "test", "memory"):
            section = getattr(self, name)
            yield from ((f"{name}.{key}", getattr(section, key)) for key in type(section).model_fields)


def names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def read(name: str) -> Protocol:
    """The protocol of that name; raises UnknownName, or BadParams where its file cannot be followed."""
    if name not in names():
        raise UnknownName("protocol", name, names())
    return params.read(Protocol, FOLDER / f"{name}.yaml")


def _said(**facts: Any) -> dict[str, Any]:
    return {key: fact for key, fact in facts.items() if fact is not None}
