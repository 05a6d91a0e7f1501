"""DER++, dark experience replay: exemplars keep the answers they were born with (Buzzega et al., NeurIPS 2020).

Flow     new faces        -> student -> the detector's own losses
         remembered faces -> student -> alpha * mean square distance to the logits they were born with
                                     -> beta * cross entropy
Source   arXiv 2004.07211, Sec. 3 (DER is the same with beta = 0); read at aimagelab/mammoth @ e75a491c69fd, models/derpp.py and
         utils/best_args.py
Differs  logits are those of the generation that finished the task, of the face as it is; the paper stores them in mid-training
         as the reservoir meets a face, augmented. Both terms look at the same remembered faces, where the paper draws twice.
         The reservoir runs once over a finished task, and every (task, class) has an equal part of it and of a batch. What
         else a detector's paper asks is asked of new faces alone. Exemplars whose birth nobody wrote down have labels only.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from components.detectors import Detector
from components.losses import distillation
from components.losses.precision import wide
from components.params import Section
from components.strategies import Strategy, Terms, part
from components.tasks.dataset import Batch


class DERppOptions(Section):
    """The paper names no default but searches both for every benchmark; these are its choice for CIFAR-10 and 500 exemplars."""

    alpha: float = Field(0.2, ge=0)
    """Of the logits."""
    beta: float = Field(0.5, ge=0)
    """Of the labels of remembered faces, beside 1 for new ones."""


class DERpp(Strategy):
    """Learn new faces; give remembered ones their labels, and the answers they had when they were new."""

    Options: ClassVar[type[Section]] = DERppOptions
    options: DERppOptions
    terms = {"dark": "alpha", "replayed": "beta"}
    remembers = "reservoir"

    def losses(self, student: Detector, teacher: Detector | None, batch: Batch) -> Terms:
        seen, old = student(batch.faces), batch.replayed
        if not old.any():
            return student.losses(seen, batch)
        o = self.options
        labelled = F.cross_entropy(wide(seen.logits[old]), batch.labels[old])
        terms = {**student.losses(part(seen, ~old), batch.where(~old)), "replayed": o.beta * labelled}
        known = _known(batch)
        if not known.any():
            return terms
        assert batch.born is not None
        return {**terms, "dark": o.alpha * distillation.mean_square(seen.logits[known], batch.born[known])}


def _known(batch: Batch) -> Tensor:
    """(B,) bool, remembered faces whose birth is known."""
    return batch.replayed & (~batch.replayed if batch.born is None else batch.born.isfinite().all(dim=1))
