"""DFIL: the new forgery from few faces, with a teacher for answers and features and a contrast of labels (Pan et al., 2023).

Flow     new and remembered faces -> student -> the detector's own losses
                                            -> SupCon on the embedding
                                  -> teacher M_{i-1}, frozen -> answers, beside the truth; embedding
         L = own + [ alpha tau^2 KL + (1 - alpha) CE ] + 0.01 feature + 0.1 SupCon
Source   arXiv 2309.09526 (ACM MM 2023); read at DeepFakeIL/DFIL @ f1188db3e347, DFIL/TaskN_KD.py and SupConLoss.py
Differs  the published code loads the teacher's weights into the student and leaves its teacher as ImageNet made it, and it
         gives the divergence logarithms where it expects probabilities; here the teacher is M_{i-1} and the divergence is one.
         Half of every batch is remembered; there, new and remembered faces are shuffled together.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from components.detectors import Detector
from components.losses import contrastive, distillation
from components.params import Section, Share
from components.strategies import Strategy, Terms
from components.tasks.dataset import Batch


class DFILOptions(Section):
    """The published values, all of TaskN_KD.py."""

    knowledge: float = Field(1.0, ge=0)
    temperature: float = Field(20.0, gt=0)
    """tau of the answers."""
    alpha: Share = 0.3
    """How much the teacher's answers count beside the truth."""
    feature: float = Field(0.01, ge=0)
    contrast: float = Field(0.1, ge=0)
    contrast_temperature: float = Field(1.0, gt=0)


class DFIL(Strategy):
    """Answer and see as the teacher did, on new and remembered faces alike, and keep the labels apart."""

    Options: ClassVar[type[Section]] = DFILOptions
    options: DFILOptions
    terms = {"knowledge": "knowledge", "feature": "feature", "supcon": "contrast"}
    remembers = "entropy_and_mean"

    def losses(self, student: Detector, teacher: Detector | None, batch: Batch) -> Terms:
        o = self.options
        seen = student(batch.faces)
        terms = student.losses(seen, batch)
        contrast = contrastive.within(seen.embedding, batch.labels, temperature=o.contrast_temperature)
        terms = {**terms, "supcon": o.contrast * contrast}
        if teacher is None:
            return terms
        known = teacher(batch.faces)
        answers = distillation.hard_and_soft_label(
            seen.logits, known.logits, batch.labels, tau=o.temperature, alpha=o.alpha
        )
        features = distillation.feature_mean_square(seen.embedding, known.embedding)
        return {**terms, "knowledge": o.knowledge * answers, "feature": o.feature * features}
