"""The recipe of one generation: everything that shaped it, resolved once when it was planned and never edited."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import yaml

from components.documents import dump_yaml
from components.errors import BrokenLineage
from components.params import (
    CropOptions,
    EvaluationOptions,
    MemoryOptions,
    Name,
    OperatingPointOptions,
    Rule,
    Section,
    TrainingOptions,
    Withdrawal,
    read,
)
from components.settings import settings
from components.vocabulary import NOBODY, Compiled, Precision
from components.writing import replace_text


class Row(Section):
    """A generation's row in ``lineage.yaml``."""

    line: Name
    detector: Name
    strategy: Name
    learns: Name
    teacher: str = NOBODY
    bench: Name
    """The archive that closes its list of benchmarks."""
    champion: str = NOBODY
    """Whom it is compared with where a person chose another champion than its teacher's verdict left; nobody: that one."""

    @property
    def is_founder(self) -> bool:
        return self.teacher == NOBODY


class Choice(Section):
    """A detector or a strategy by name, with every option resolved."""

    name: Name
    options: dict[str, Any] = {}


class FrozenMemory(MemoryOptions):
    """The options of the memory, and what only recipes of version 0.1 say beside them."""

    withdrawn: tuple[Withdrawal, ...] = ()
    """Withdrawn when the generation was planned; a file says it now (`components.withdrawal.files`)."""


class Machine(Section):
    """How the machine computes, as far as it changes the numbers; the settings of the day it was planned."""

    precision: Precision = "32-true"
    deterministic: bool = True
    devices: int = 1
    compile: Compiled = "no"

    @classmethod
    def of_settings(cls) -> Machine:
        """What the settings say now."""
        said = settings()
        return cls(
            precision=said.precision, deterministic=said.deterministic, devices=said.devices, compile=said.compile
        )


class Recipe(Section):
    """``recipes/<generation>.yaml``."""

    generation: str
    row: Row
    detector: Choice
    strategy: Choice
    faces: CropOptions = CropOptions()
    """How the faces it learned from were cut, and how those it is asked about must be."""
    memory: FrozenMemory
    training: TrainingOptions
    evaluation: EvaluationOptions
    operating_point: OperatingPointOptions = OperatingPointOptions()
    """Recipes of 0.3 and before do not say it."""
    gate: tuple[Rule, ...]
    seed: int
    machine: Machine = Machine()
    """Recipes of 0.1 do not say it: theirs were trained like this."""
    benchmarks: tuple[Name, ...]
    teacher_benchmarks: tuple[Name, ...] = ()
    """Benchmarks the teacher was examined on; on the others the candidate's teacher is scored beside it."""

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """The recipe at `path`; raises BrokenLineage if there is none and BadParams if it cannot be followed."""
        if not path.is_file():
            raise BrokenLineage(f"expected the recipe '{path}', found none. `perennial plan` writes recipes.")
        return read(cls, path)

    @classmethod
    def resolved(cls, **choices: Any) -> Recipe:
        """A recipe of these choices that says everything, what is left at its default too."""
        said = cls(**choices).model_dump(mode="json", exclude={"memory": {"withdrawn"}})
        return cls.model_validate(said)

    def write(self, path: Path) -> None:
        replace_text(path, dump_yaml(self.model_dump(mode="json", exclude_unset=True)))

    @property
    def choices(self) -> dict[str, Any]:
        """What params.yaml has a say in: all but who it is, where it stands in the lineage, and on which machine."""
        elsewhere = {"generation", "row", "machine", "benchmarks", "teacher_benchmarks"}
        said = self.model_dump(mode="json", exclude=elsewhere)
        said["memory"].pop("withdrawn")
        return said

    @property
    def digest(self) -> str:
        """sha256 of what the file says, whatever the order of its keys; a choice younger than the file does not count."""
        said = self.model_dump(mode="json", exclude_unset=True)
        return hashlib.sha256(yaml.safe_dump(said, sort_keys=True).encode()).hexdigest()
