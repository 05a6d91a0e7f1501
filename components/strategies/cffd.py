"""CFFD: continual face-forgery detection by distilling a teacher on what the memory kept.

Flow     new and replayed faces -> student -> the detector's own losses (for RSIA-Net: cross entropy and HSCL)
         replayed faces only    -> teacher M_{i-1}, frozen -> SLKD on logits, MFKD on every level
Source   the CFFD / RSIA-Net paper has no public code; the forms are written from its formulas:
         SLKD = tau^2 KL(teacher || student), MFKD = (1/L) sum_l ||f_T^l(x) - f_S^l(x)||^2
Differs  MFKD compares L2-normalised, spatially pooled levels and averages over faces: the paper's plain sum grows
         with batch and channels. The weights are ours; the paper states none.
"""

from __future__ import annotations

from pydantic import Field

from components.detectors import Detector
from components.losses import distillation
from components.params import Section
from components.strategies import Strategy, Terms
from components.tasks.dataset import Batch


class Options(Section):
    """Weights of the distillation terms."""

    temperature: float = Field(2.0, gt=0)
    soft_label: float = Field(1.0, ge=0)
    features: float = Field(1.0, ge=0)


class CFFD(Strategy):
    """Learn from new and remembered faces; on the remembered ones, answer and see as the teacher did."""

    Options = Options
    remembers = "hybrid"

    def losses(self, student: Detector, teacher: Detector | None, batch: Batch) -> Terms:
        seen = student(batch.faces)
        terms = student.losses(seen, batch)
        if teacher is None or not batch.replayed.any():
            return terms
        old = batch.replayed
        known = teacher(batch.faces[old])
        assert isinstance(self.options, Options)
        return {
            **terms,
            "slkd": self.options.soft_label
            * distillation.soft_label(seen.logits[old], known.logits, tau=self.options.temperature),
            "mfkd": self.options.features
            * distillation.feature_levels([level[old] for level in seen.levels], known.levels),
        }
