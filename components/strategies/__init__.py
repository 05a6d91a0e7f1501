"""How a student learns a new task without losing the old ones: one file per method, named as the method.

A strategy speaks at three moments. ``prepare`` before the first step, ``losses`` at every step, ``bequeath`` after the
last one; what it bequeaths is saved beside the weights and reaches the next generation's ``prepare`` as `bequest`.
Roles are arguments; nothing survives in attributes that was not bequeathed.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, ClassVar, Literal

from torch import Tensor

from components.detectors import Detector
from components.errors import UnknownName
from components.params import Section, parse
from components.tasks.dataset import Batch, Faces

Terms = dict[str, Tensor]


class Strategy:
    """Finetune on what is given; every method overrides the moments it needs."""

    Options: ClassVar[type[Section]] = Section
    remembers: ClassVar[Literal["nothing", "reservoir", "hybrid"]] = "nothing"
    """The memory policy of the method's own paper; `nothing` keeps no exemplars."""

    def __init__(self, options: Section) -> None:
        self.options = options

    def prepare(self, student: Detector, teacher: Detector | None, task: Faces, bequest: dict[str, Tensor]) -> None:
        """Called once, student and teacher on their device; the teacher is frozen and in eval mode."""

    def losses(self, student: Detector, teacher: Detector | None, batch: Batch) -> Terms:
        """Named, weighted terms of one step; the loop adds them up and logs them under their names."""
        return student.losses(student(batch.faces), batch)

    def bequeath(self, student: Detector, task: Faces) -> dict[str, Tensor]:
        """What the next generation needs beyond weights and memory."""
        return {}


def names() -> tuple[str, ...]:
    """Every strategy there is, by file name."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def options(name: str, raw: dict[str, Any]) -> Section:
    """`raw` checked against the strategy's own options; raises UnknownName or BadParams."""
    return parse(find(name).Options, raw, f"strategies.{name}")


def build(name: str, options: Section) -> Strategy:
    return find(name)(options)


def find(name: str) -> type[Strategy]:
    """The class in ``strategies/<name>.py``; raises UnknownName."""
    if name not in names():
        raise UnknownName("strategy", name, names())
    module = importlib.import_module(f"{__name__}.{name}")
    return next(
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Strategy) and kind.__module__ == module.__name__
    )
