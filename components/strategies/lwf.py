"""LwF, learning without forgetting: learn the new forgery while still answering as the teacher (Li and Hoiem 2016).

Flow     new faces -> student -> the detector's own losses
                   -> teacher M_{i-1}, frozen -> alpha tau^2 KL(teacher || student)
Source   arXiv 1606.09282, Eq. 2 and 3; read beside mammoth @ e75a491c69fd, models/lwf.py (alpha 0.5, no tau^2)
Differs  both classes are old and new, so there are no outputs of old tasks to warm up and no head to add.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from components.detectors import Detector
from components.losses import distillation
from components.params import Section
from components.strategies import Strategy, Terms
from components.tasks.dataset import Batch


class LwFOptions(Section):
    """Weight and temperature of the distillation."""

    soft_label: float = Field(1.0, ge=0)  # lambda_o, Sec. 3
    temperature: float = Field(2.0, gt=0)  # T, Sec. 3


class LwF(Strategy):
    """The detector's own losses, and the teacher's answers to faces it has never seen."""

    Options: ClassVar[type[Section]] = LwFOptions
    options: LwFOptions
    terms = {"soft_label": "soft_label"}

    def losses(self, student: Detector, teacher: Detector | None, batch: Batch) -> Terms:
        seen = student(batch.faces)
        terms = student.losses(seen, batch)
        new = ~batch.replayed
        if teacher is None or not new.any():
            return terms
        known = teacher(batch.faces[new])
        distilled = distillation.soft_label(seen.logits[new], known.logits, tau=self.options.temperature)
        return {**terms, "soft_label": self.options.soft_label * distilled}
