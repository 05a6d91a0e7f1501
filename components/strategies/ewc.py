"""EWC, elastic weight consolidation: weights the old tasks cared about are held back by springs (Kirkpatrick et al. 2017).

Flow     after a task: its faces one by one -> squared gradients of the cross entropy -> F, added to what was handed down
         next task: the detector's own losses + lambda/2 sum F (theta - theta*)^2, theta* being the teacher's weights
Source   arXiv 1612.00796, Eq. 3; one decayed F for all tasks after Schwarz et al. 2018 (online EWC), Sec. 4
Differs  F is of single faces with their true labels, averaged over at most a thousand of them, as many of each label. Public
         code squares gradients of batches (avalanche @ eb075be393e1) or weighs faces by their probability (mammoth @
         e75a491c69fd), and both leave out the 1/2.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from components.detectors import Detector
from components.losses import penalties
from components.params import Section
from components.strategies import Strategy, Terms, batches, evaluating, some
from components.tasks.dataset import Batch, Faces

FISHER = "fisher."  # before the name of a parameter


class EWCOptions(Section):
    """Strength of the springs, and how they are measured."""

    strength: float = Field(1000.0, ge=0)
    """lambda; worth a sweep from 10 to 10,000."""
    decay: float = Field(1.0, ge=0, le=1)
    """gamma of online EWC: what remains of the older tasks' F at every new one."""
    faces: int = Field(1000, ge=2)
    """Faces of the task, at most, over which F is measured."""


class EWC(Strategy):
    """The detector's own losses, and a pull towards the teacher's weights."""

    Options: ClassVar[type[Section]] = EWCOptions
    options: EWCOptions
    terms = {"ewc": "strength"}

    def prepare(self, student: Detector, teacher: Detector | None, task: Faces, carried: dict[str, Tensor]) -> None:
        """Weights that the student froze, or gained since its teacher, have no spring."""
        theta = _trainable(student)
        handed = {name.removeprefix(FISHER): value for name, value in carried.items()}
        self.fisher = {
            name: handed[name].to(value.device)
            for name, value in theta.items()
            if name in handed and handed[name].shape == value.shape
        }

    def losses(self, student: Detector, teacher: Detector | None, batch: Batch) -> Terms:
        terms = super().losses(student, teacher, batch)
        if teacher is None or not self.fisher:
            return terms
        theta, anchor = dict(student.named_parameters()), dict(teacher.named_parameters())
        return {**terms, "ewc": penalties.fisher_penalty(theta, anchor, self.fisher, lam=self.options.strength)}

    def carry_over(self, student: Detector, task: Faces, memory: Faces | None = None) -> dict[str, Tensor]:
        theta = _trainable(student)
        singles = batches(task, some(task, self.options.faces), 1, student)
        with evaluating(student):
            new = penalties.fisher_diagonal((_cross_entropy(student, face) for face in singles), theta)
        before = {name: self.fisher.get(name, torch.zeros_like(value)) for name, value in new.items()}
        summed = penalties.accumulated(before, new, gamma=self.options.decay)
        return {f"{FISHER}{name}": value for name, value in summed.items()}


def _trainable(detector: Detector) -> dict[str, Tensor]:
    return {name: value for name, value in detector.named_parameters() if value.requires_grad}


def _cross_entropy(student: Detector, batch: Batch) -> Tensor:
    return F.cross_entropy(student(batch.faces).logits, batch.labels)
