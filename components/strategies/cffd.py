"""CFFD: continual face-forgery detection by distilling a teacher on what the memory kept.

Flow     new and replayed faces -> student -> the detector's own losses, HSCL among them or added here
         replayed faces only    -> teacher M_{i-1}, frozen -> SLKD on answers, MFKD on every level,
                                   RKD on how faces relate, DKD on every level of each domain
Source   the CFFD / RSIA-Net paper has no public code; the forms are written from its formulas:
         SLKD = tau^2 KL(teacher || student), MFKD = (1/L) sum_l ||f_T^l(x) - f_S^l(x)||^2
Differs  levels are pooled over space, scaled to unit length and averaged over faces: the paper's plain sum grows with batch
         and channels. RKD (after Park et al. 2019) and DKD are ours, and so are the weights; the paper states none. HSCL of
         a detector that does not bring it has no projections, which would be weights of the detector's, and where there are
         no two domains to relate it contrasts the levels.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from components.detectors import Detection, Detector
from components.losses import contrastive, distillation
from components.params import Section
from components.strategies import Strategy, Terms, part
from components.tasks.dataset import Batch
from components.vocabulary import REAL


class CFFDOptions(Section):
    """Weights of the terms; heavier ones keep old forgeries no better and new ones out (LOG.md, 2026-11-22)."""

    temperature: float = Field(2.0, gt=0)
    """tau of SLKD."""
    soft_label: float = Field(1.0, ge=0)
    features: float = Field(0.3, ge=0)
    relations: float = Field(0.3, ge=0)
    domains: float = Field(0.3, ge=0)
    contrast: float = Field(0.1, ge=0)
    """Of HSCL, for detectors that bring none."""
    contrast_temperature: float = Field(0.1, gt=0)
    """T of it."""
    new_genuine: bool = True
    """Whether the teacher is asked about the new genuine faces too: what is genuine is so for every task."""


class CFFD(Strategy):
    """Learn from new and remembered faces; on the remembered ones, answer, see and relate as the teacher did."""

    Options: ClassVar[type[Section]] = CFFDOptions
    options: CFFDOptions
    terms = {
        "slkd": "soft_label",
        "mfkd": "features",
        "rkd": "relations",
        "dkd": "domains",
        "hscl": "contrast",
    }
    remembers = "hybrid"

    def losses(self, student: Detector, teacher: Detector | None, batch: Batch) -> Terms:
        o = self.options
        seen = student(batch.faces)
        terms = student.losses(seen, batch)
        if o.contrast and "hscl" not in terms:
            terms = {**terms, "hscl": o.contrast * hscl(seen, batch.labels, temperature=o.contrast_temperature)}
        asked = batch.replayed | (batch.labels == REAL) if o.new_genuine else batch.replayed
        if teacher is None or not asked.any():
            return terms
        return {**terms, **self._distilled(part(seen, asked), teacher(batch.faces[asked]))}

    def _distilled(self, student: Detection, teacher: Detection) -> Terms:
        """What differs between two networks' views of the same faces."""
        o = self.options
        terms = {
            "slkd": o.soft_label * distillation.soft_label(student.logits, teacher.logits, tau=o.temperature),
            "mfkd": o.features * distillation.feature_levels(student.levels, teacher.levels),
            "rkd": o.relations * distillation.relational(student.embedding, teacher.embedding),
        }
        if student.domains:
            terms["dkd"] = o.domains * distillation.domain_levels(student.domains, teacher.domains)
        return terms


def hscl(found: Detection, labels: Tensor, *, temperature: float) -> Tensor:
    """HSCL on pooled maps: over both domains of every level, or, without domains, over the levels.

        L = 1/(4 L) sum_l [ within(s_l) + within(f_l) + across(s_l, f_l) + across(f_l, s_l) ]
        L = 1/L sum_l within(f^l)

    Returns ().
    """
    if {"spatial", "frequency"} <= set(found.domains):
        pairs = zip(found.domains["spatial"], found.domains["frequency"], strict=True)
        terms = [contrastive.terms(_pooled(s), _pooled(f), labels, temperature=temperature).mean() for s, f in pairs]
    else:
        terms = [contrastive.within(_pooled(level), labels, temperature=temperature) for level in found.levels]
    return torch.stack(terms).mean()


def _pooled(maps: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C)."""
    return maps.mean(dim=(2, 3))
