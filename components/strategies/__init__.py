"""How a student learns a new task without losing the old ones: one file per method, named as the method.

A strategy speaks at three moments. ``prepare`` before the first step, ``losses`` at every step (and ``after_step``, where it
must), ``carry_over`` after the last one; what it returns is saved beside the weights and reaches the next generation's
``prepare`` as `carried`. Roles are arguments; nothing survives in attributes that was not carried over, and what learns beside
the student is ``learnable``. A run that was killed prepares again before it takes up its checkpoint, so ``prepare`` and
``carry_over`` follow from their arguments alone and draw no random numbers of their own; ``losses`` may draw from torch's
global generator, which the loop seeds at every step.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from components.detectors import Detection, Detector
from components.errors import UnknownName
from components.params import MemoryPolicy, Section, parse
from components.tasks.ahead import ahead
from components.tasks.dataset import Batch, Faces

Terms = dict[str, Tensor]


class Strategy:
    """Finetune on what is given; every method overrides the moments it needs."""

    Options: ClassVar[type[Section]] = Section
    remembers: ClassVar[MemoryPolicy] = "nothing"
    """The memory policy of the method's own paper; `nothing` keeps no exemplars."""
    terms: ClassVar[Mapping[str, str]] = {}
    """Each term of its own -> the option that weighs it: at 0 the method is what it would be without the term. A term that
    a detector may bring too is left to the detector where it does."""
    tasks_alike: ClassVar[bool] = False
    """A batch holds equally many faces of every task, old or new; `training.replayed` then has no effect."""

    def __init__(self, options: Section) -> None:
        self.options = options

    def prepare(self, student: Detector, teacher: Detector | None, task: Faces, carried: dict[str, Tensor]) -> None:
        """Called once, student and teacher on their device, what was carried over on the CPU; the teacher is frozen and in eval
        mode."""

    def learnable(self) -> nn.Module:
        """Weights of the method's own, made by ``prepare`` on the student's device: they learn with the student and are saved
        in its checkpoint."""
        return nn.Module()

    def losses(self, student: Detector, teacher: Detector | None, batch: Batch) -> Terms:
        """Named, weighted terms of one step, the detector's and `terms`; the loop adds them up and logs them under their
        names."""
        return student.losses(student(batch.faces), batch)

    def after_step(self, done: float) -> None:
        """Called after every step of the optimiser.

        done  of the training, in (0, 1]
        """

    def carry_over(self, student: Detector, task: Faces, memory: Faces | None = None) -> dict[str, Tensor]:
        """What the next generation needs beyond weights and memory; the student is left as it was found.

        memory  the exemplars this generation learned with, of the tasks before this one; None where there are none
        """
        return {}

    @staticmethod
    def classifier(detector: Detector, carried: dict[str, Tensor]) -> Detector:
        """Who answers when a generation is asked: the detector itself, unless the method has another way to classify.

        detector  the generation's, in eval mode and on its device
        carried   what the generation's own strategy carried over
        """
        return detector


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


def part(found: Detection, chosen: Tensor | slice) -> Detection:
    """What was found in some of the faces."""
    return found.each(lambda values: values[chosen])


# -- looking at a whole task, before its first lesson or after its last ---------------------------------------------------


@contextmanager
def evaluating(detector: Detector) -> Iterator[None]:
    """`detector` in eval mode, and afterwards in the mode it was in."""
    was = detector.training
    detector.eval()
    try:
        yield
    finally:
        detector.train(was)


def some(faces: Faces, most: int) -> np.ndarray:
    """Positions of at most `most` faces, ascending; for the same faces always the same.

    Every label that there is may have an equal share, one face at least, and none more than half.
    """
    labels = np.unique(faces.labels)
    share = max(1, most // max(2, len(labels)))
    drawn = [np.random.default_rng(0).permutation(np.flatnonzero(faces.labels == label))[:share] for label in labels]
    return np.sort(np.concatenate(drawn))


def batches(faces: Faces, positions: np.ndarray, size: int, detector: Detector) -> Iterator[Batch]:
    """The faces at `positions` in their order, as they are in the table, on the detector's device."""
    device = next(detector.parameters()).device
    parts = [positions[start : start + size] for start in range(0, len(positions), size)]
    for batch in ahead(faces.batch, parts):
        yield batch.to(device)
