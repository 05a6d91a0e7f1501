"""HDU: the old forgeries return as perturbations that fool the teacher; no stored images.

"HDU" is the name under which comparisons list it; the method is HDP, historical distribution preserving.

Flow     after a task: genuine faces + delta -> the finished student calls them forged -> delta is handed down
         next task: genuine faces + one of the deltas, labelled forged -> student -> cross entropy
                    these and the genuine faces -> teacher M_{i-1}, frozen -> embedding, answers
Source   Sun et al. 2023, arXiv 2308.06217 (IJCV 2025); read at skJack/HDP @ abe7fcf83c96, train.py and configs/train_hdp.yaml
Differs  the teacher is in eval mode, where the published one trains its batch statistics; the divergence is over the two
         classes of each face, where the published one is over the faces of a batch; the search for delta is bounded, and over
         at most a thousand faces; embeddings are compared on the unit sphere, because detectors choose their own scale. Any
         detector takes the place of the EfficientNet-B4 with its 128 features. Exemplars may be added with `memory.policy`.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from components.detectors import Detector
from components.losses import distillation, perturbations
from components.params import Section, Share
from components.strategies import Strategy, Terms, batches, evaluating, part, some
from components.tasks.dataset import Batch, Faces
from components.vocabulary import FORGED, REAL

PERTURBATION = "perturbation."  # before the name of a task
START = 1e-3  # the first delta is uniform in [0, START)


class HDUOptions(Section):
    """The published values; perturbations are measured where faces lie in [-1, 1]."""

    pseudo_forged: float = Field(1.0, ge=0)
    """Weight of the cross entropy of perturbed faces; at 1 every face of a step weighs alike."""
    feature: float = Field(1.0, ge=0)
    soft_label: float = Field(1.0, ge=0)
    """0 leaves out the divergence of the answers, which the authors call optional."""
    temperature: float = Field(1.0, gt=0)
    step: float = Field(1e-4, gt=0)
    bound: float = Field(0.15, gt=0, le=2)
    share: Share = 0.8
    """Of the genuine faces of a batch; once so many are called forged, the next batch has its turn."""
    passes: int = Field(5, ge=1)
    """Over the genuine faces."""
    most_steps: int = Field(100, ge=1)
    """Of a batch in one pass. Ours."""
    faces: int = Field(1000, ge=1)
    """Genuine faces, at most. Ours."""
    batch: int = Field(64, ge=1)


class HDU(Strategy):
    """Learn new forgeries beside the shadows of old ones."""

    Options: ClassVar[type[Section]] = HDUOptions
    options: HDUOptions
    terms = {"pseudo_forged": "pseudo_forged", "feature": "feature", "soft_label": "soft_label"}

    def prepare(self, student: Detector, teacher: Detector | None, task: Faces, carried: dict[str, Tensor]) -> None:
        self.handed = {name: value for name, value in sorted(carried.items()) if name.startswith(PERTURBATION)}

    def losses(self, student: Detector, teacher: Detector | None, batch: Batch) -> Terms:
        genuine = batch.labels == REAL
        if teacher is None or not self.handed or not genuine.any():
            return super().losses(student, teacher, batch)
        o = self.options
        shadows = self._shadows(batch.faces[genuine])
        faces = torch.cat([batch.faces, shadows])
        old = torch.cat([genuine, genuine.new_ones(len(shadows))])  # what the teacher knows
        seen, known = student(faces), teacher(faces[old])
        forged = torch.full((len(shadows),), FORGED, device=faces.device)
        pseudo = F.cross_entropy(seen.logits[len(genuine) :].float(), forged, reduction="sum") / len(genuine)
        return {
            **student.losses(part(seen, slice(len(genuine))), batch),
            "pseudo_forged": o.pseudo_forged * pseudo,
            "feature": o.feature * distillation.feature(seen.embedding[old], known.embedding),
            "soft_label": o.soft_label * distillation.soft_label(seen.logits[old], known.logits, tau=o.temperature),
        }

    def carry_over(self, student: Detector, task: Faces, memory: Faces | None = None) -> dict[str, Tensor]:
        """The perturbations handed down, and one for this task."""
        positions = some(task, 2 * self.options.faces)
        genuine = positions[task.labels[positions] == REAL]
        return {**self.handed, f"{PERTURBATION}{task.name}": self._search(student, task, genuine)}

    def _shadows(self, genuine: Tensor) -> Tensor:
        """Genuine faces (R, 3, H, W) in [0, 1] under one of the perturbations, drawn from torch's global generator."""
        drawn = list(self.handed.values())[int(torch.randint(len(self.handed), ()))].to(genuine.device)
        if drawn.shape[-2:] != genuine.shape[-2:]:
            drawn = F.interpolate(drawn[None], genuine.shape[-2:], mode="bilinear", align_corners=False)[0]
        return _as_faces(perturbations.perturbed(_as_images(genuine), drawn))

    def _search(self, student: Detector, task: Faces, genuine: np.ndarray) -> Tensor:
        """delta (3, H, W) of the size of the task's faces, which makes the student call genuine faces forged."""
        o = self.options
        shape = task.batch(genuine[:1]).faces.shape[1:]
        start = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * START
        delta = start.to(next(student.parameters()).device)
        with evaluating(student):
            for _ in range(o.passes):
                for batch in batches(task, genuine, o.batch, student):
                    delta = perturbations.universal(
                        lambda images: student(_as_faces(images)).logits.float(),
                        _as_images(batch.faces),
                        delta,
                        share=o.share,
                        step=o.step,
                        bound=o.bound,
                        most_steps=o.most_steps,
                    )
        return delta


def _as_images(faces: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1]."""
    return faces * 2 - 1


def _as_faces(images: Tensor) -> Tensor:
    return (images + 1) / 2
