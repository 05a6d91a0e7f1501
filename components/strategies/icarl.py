"""iCaRL: herded exemplars, the teacher's answers, and classes that are points (Rebuffi et al., CVPR 2017).

Flow     new and remembered faces -> student -> the detector's own losses
         remembered faces         -> teacher M_{i-1}, frozen -> sigmoid answers as targets
         after a task: embeddings of its faces, and of the exemplars of every task before -> one prototype per (task, class)
         asked:        embedding -> the nearest prototype of each class -> logits (B,2)
Source   arXiv 1611.07725, Alg. 1 to 4; read beside mammoth @ e75a491c69fd and avalanche @ eb075be393e1
Differs  the paper's classes arrive one after another, ours are two, and every task brings both: prototypes are kept per task
         and the nearest of a class speaks for it. The teacher is asked about remembered faces alone, because its answers to
         new ones would contradict their labels, which in the paper belong to other outputs. New labels are learned by the
         detector's own losses, a cross entropy over both classes, where the paper has binary ones of every output (Alg. 3);
         the distillation is the paper's. A task's own prototypes are means of its training faces, which its exemplars are
         herded to match.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from components.detectors import Detection, Detector
from components.losses import distillation, prototypes
from components.params import Section
from components.strategies import Strategy, Terms, batches, evaluating, some
from components.tasks.dataset import Batch, Faces
from components.vocabulary import LABELS

PROTOTYPE = "prototype."  # prototype.<class>.<task>


class ICaRLOptions(Section):
    """Weight of the distillation, and how prototypes are measured."""

    distillation: float = Field(1.0, ge=0)  # both sums of Alg. 3 weigh alike
    faces: int = Field(1000, ge=2)
    """Faces of the new task, at most, whose embeddings are averaged."""
    batch: int = Field(64, ge=1)
    """Faces looked at together for it."""


class ICaRL(Strategy):
    """Replay with the teacher's answers as further targets; a generation is asked through `NearestMean`."""

    Options: ClassVar[type[Section]] = ICaRLOptions
    options: ICaRLOptions
    terms = {"distillation": "distillation"}
    remembers = "herding"

    def prepare(self, student: Detector, teacher: Detector | None, task: Faces, carried: dict[str, Tensor]) -> None:
        self.handed = {name: value for name, value in carried.items() if name.startswith(PROTOTYPE)}

    def losses(self, student: Detector, teacher: Detector | None, batch: Batch) -> Terms:
        seen = student(batch.faces)
        terms = student.losses(seen, batch)
        old = batch.replayed
        if teacher is None or not old.any():
            return terms
        known = teacher(batch.faces[old])
        distilled = distillation.sigmoid_answers(seen.logits[old], known.logits)
        return {**terms, "distillation": self.options.distillation * distilled}

    def carry_over(self, student: Detector, task: Faces, memory: Faces | None = None) -> dict[str, Tensor]:
        """Prototypes of every task as the student sees them now; a task without exemplars keeps what was handed down."""
        newest = some(task, self.options.faces)
        groups = [(task.name, task, newest[task.labels[newest] == label], label) for label in LABELS]
        if memory is not None:
            archives, labels = memory.rows["archive"].to_numpy(), memory.labels
            groups += [
                (archive, memory, np.flatnonzero((archives == archive) & (labels == label)), label)
                for archive in sorted(set(archives))
                for label in LABELS
            ]
        measured = {
            f"{PROTOTYPE}{label}.{name}": self._prototype(student, faces, positions)
            for name, faces, positions, label in groups
            if len(positions)
        }
        return {**self.handed, **measured}

    @staticmethod
    def classifier(detector: Detector, carried: dict[str, Tensor]) -> Detector:
        """The nearest prototype answers; raises KeyError where nothing was carried over."""
        held = sorted(name for name in carried if name.startswith(PROTOTYPE))
        classes = torch.tensor([int(name.removeprefix(PROTOTYPE).split(".", 1)[0]) for name in held])
        return NearestMean(detector, torch.stack([carried[name] for name in held]), classes)

    @torch.no_grad()
    def _prototype(self, student: Detector, faces: Faces, positions: np.ndarray) -> Tensor:
        with evaluating(student):
            seen = [
                (student(batch.faces).embedding, student(batch.faces.flip(-1)).embedding)
                for batch in batches(faces, positions, self.options.batch, student)
            ]
        features, mirrored = (torch.cat(side) for side in zip(*seen, strict=True))
        return prototypes.prototype(features, mirrored)


class NearestMean(Detector):
    """A detector whose logits are those of the nearest prototypes, so that their softmax is iCaRL's score."""

    means: Tensor
    classes: Tensor

    def __init__(self, detector: Detector, means: Tensor, classes: Tensor) -> None:
        super().__init__()
        self.detector = detector
        self.input_px = detector.input_px
        device = next(detector.parameters()).device
        self.register_buffer("means", means.to(device))
        self.register_buffer("classes", classes.to(device))
        self.eval()

    def forward(self, faces: Tensor) -> Detection:
        found = self.detector(faces)
        return replace(found, logits=prototypes.nearest_mean(found.embedding, self.means, self.classes))
