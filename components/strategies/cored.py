"""CoReD: continual representation using distillation; no stored images (Kim et al., ACM MM 2021).

Flow     before a task: its faces -> teacher M_{i-1} -> pooled features, averaged per bin of (class, confidence)
         new faces -> student -> the detector's own losses
                              -> pooled features, averaged per bin -> pulled to the teacher's averages
                   -> teacher, frozen -> answers, beside the truth
         L = own + [ alpha tau^2 KL + (1 - alpha) CE ] + sum over bins of 1/D | student's mean - teacher's mean |^2
Source   arXiv 2107.02408; read at alsgkals2/CoReD @ 596667aab870, CoReD.py, Function_CoReD.py, Function_common.py
Differs  channels stay apart: the published code averages them first, which leaves one number per bin. A bin of the student's
         is made of the student's own confidence in training mode, in one pass with everything else. No patches of the other
         class are pasted into faces: there a fifth of the batches have them, of any size, under unchanged labels.
         Exemplars may be added with `memory.policy`; they are then distilled like new faces.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from components.detectors import Detection, Detector
from components.losses import distillation
from components.losses.precision import wide
from components.params import Section, Share
from components.strategies import Strategy, Terms, batches, some
from components.tasks.dataset import Batch, Faces
from components.vocabulary import LABELS

POOL_PX = 4  # the published code's max-pool


class CoReDOptions(Section):
    """The published values."""

    knowledge: float = Field(1.0, ge=0)
    temperature: float = Field(20.0, gt=0)
    """tau of the answers."""
    alpha: Share = 0.5
    """How much the teacher's answers count beside the truth."""
    feature: float = Field(1.0, ge=0)
    bins: int = Field(5, ge=1)
    """Of the teacher's confidence, from a half to one, for each class."""
    faces: int = Field(1000, ge=2)
    """Faces of the new task, at most, over which the teacher's features are averaged."""
    batch: int = Field(64, ge=1)
    """Faces the teacher looks at together for it."""


class CoReD(Strategy):
    """Answer as the teacher did, and see alike what one is alike sure of."""

    Options: ClassVar[type[Section]] = CoReDOptions
    options: CoReDOptions
    terms = {"knowledge": "knowledge", "feature": "feature"}

    def prepare(self, student: Detector, teacher: Detector | None, task: Faces, carried: dict[str, Tensor]) -> None:
        if teacher is None:
            return
        features, index = [], []
        with torch.no_grad():
            for batch in batches(task, some(task, self.options.faces), self.options.batch, teacher):
                known = teacher(batch.faces)
                features.append(_pooled(known))
                index.append(self._bin(known, batch))
        bins = len(LABELS) * self.options.bins
        self.means, count = distillation.binned_means(torch.cat(features), torch.cat(index), bins=bins)
        self.met = count > 0

    def losses(self, student: Detector, teacher: Detector | None, batch: Batch) -> Terms:
        o = self.options
        seen = student(batch.faces)
        terms = student.losses(seen, batch)
        if teacher is None:
            return terms
        answers = distillation.hard_and_soft_label(
            seen.logits, teacher(batch.faces).logits, batch.labels, tau=o.temperature, alpha=o.alpha
        )
        features = distillation.binned(_pooled(seen), self._bin(seen, batch), self.means, self.met)
        return {**terms, "knowledge": o.knowledge * answers, "feature": o.feature * features}

    def _bin(self, found: Detection, batch: Batch) -> Tensor:
        return distillation.confidence_bins(found.logits.detach(), batch.labels, bins=self.options.bins)


def _pooled(found: Detection) -> Tensor:
    """The coarsest map, the greatest value of every 4 x 4 patch: (B, C, H, W) -> (B, C H/4 W/4)."""
    maps = wide(found.levels[-1])
    return F.max_pool2d(maps, [min(POOL_PX, side) for side in maps.shape[-2:]]).flatten(1)
