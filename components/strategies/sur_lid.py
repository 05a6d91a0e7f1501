"""SUR-LID: every forgery a place of its own in feature space, and a head, all turned one way (Cheng et al., CVPR 2025).

Flow     faces -> student -> the detector's own losses
                          -> embedding -> the head of the face's task -> cross entropy
         from the second task on:
         embedding, that of remembered faces refilled -> SupCon over (task, class)
         remembered faces -> teacher M_{i-1}, frozen -> embedding; answers of its heads, beside the truth
         after a step: every head turns a little to the one it is least like, older ones less
         asked: embedding -> the mean of all heads
Source   arXiv 2411.11396; read at beautyremain/SUR-LID @ 9a7d228e43a9, detectors/CL_LID_effnb4.py, its configuration, and
         detectors/utils
Differs  any detector takes the place of the EfficientNet-B4. Its own head goes on learning with its own losses, which know
         two classes and not a pair a task; there the heads are all there is. How features are refilled is drawn once a step,
         not a group; a group's centre is that of its faces in the batch, where the published one was kept since its task.
         The divergence of answers is one, as in `dfil`. A new head's first weights follow from the name of its task, and
         nothing is drawn. Half of every batch is remembered; there, three faces of each (task, class) join 32 new ones.
         The published variant in which the genuine faces of all tasks are one class of SupCon is `one_genuine`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from components.detectors import Detection, Detector
from components.losses import contrastive, distillation, isolation
from components.losses.precision import wide
from components.params import Section, Share
from components.strategies import Strategy, Terms, batches, evaluating
from components.tasks.dataset import Batch, Faces, task_number
from components.vocabulary import LABELS, REAL

WEIGHT, BIAS, TASKS = "heads.weight", "heads.bias", "heads.tasks"
NOBODY_S = -1
"""The head of a face whose task is not known."""


class SURLIDOptions(Section):
    """The published values."""

    decision: float = Field(1.0, ge=0)
    """Of the heads' cross entropy."""
    isolation: float = Field(4.0, ge=0)
    contrast_temperature: float = Field(0.1, gt=0)
    one_genuine: bool = False
    """Genuine faces of all tasks are isolated as one group."""
    refill: bool = True
    feature: float = Field(10.0, ge=0)
    knowledge: float = Field(1.0, ge=0)
    temperature: float = Field(20.0, gt=0)
    """tau of the answers."""
    alpha: Share = 0.3
    """How much the teacher's answers count beside the truth."""
    turn: float = Field(0.01, ge=0, le=1)
    """How far the newest head turns at a step; each older one a tenth of that, none less than 1/200 of it."""
    turn_from: Share = 0.1
    """Of the training, before which no head turns: two of 20 epochs."""


class SURLID(Strategy):
    """Keep what was learned where it lies, put the new beside it, and let all of it decide together."""

    Options: ClassVar[type[Section]] = SURLIDOptions
    options: SURLIDOptions
    terms = {"decision": "decision", "isolation": "isolation", "feature": "feature", "knowledge": "knowledge"}
    remembers = "sparse_uniform"

    def prepare(self, student: Detector, teacher: Detector | None, task: Faces, carried: dict[str, Tensor]) -> None:
        device = next(student.parameters()).device
        self.before = Heads.of(carried).to(device).requires_grad_(False) if carried else None
        width = carried[WEIGHT].shape[2] if carried else _width(student, task)
        self.heads = Heads.of(_with_head(carried, task.name, width)).to(device)
        self.newest = int(self.heads.numbered(torch.tensor([task_number(task.name)], device=device)))

    def learnable(self) -> nn.Module:
        return self.heads

    def losses(self, student: Detector, teacher: Detector | None, batch: Batch) -> Terms:
        o = self.options
        seen, which = student(batch.faces), self._heads_of(batch)
        terms = student.losses(seen, batch)
        has = which != NOBODY_S
        answers = self.heads(seen.embedding, which)
        terms = {**terms, "decision": o.decision * F.cross_entropy(answers[has], batch.labels[has])}
        if teacher is None or self.before is None:
            return terms
        old = has & batch.replayed & (which < len(self.before.weight))
        if not old.any():
            return terms
        known = teacher(batch.faces[old])
        believed = self.before(known.embedding, which[old])
        knowledge = distillation.hard_and_soft_label(
            answers[old], believed, batch.labels[old], tau=o.temperature, alpha=o.alpha
        )
        return {
            **terms,
            "feature": o.feature * distillation.feature_mean_square(seen.embedding[old], known.embedding),
            "knowledge": o.knowledge * knowledge,
            "isolation": o.isolation * self._isolation(seen.embedding[has], which[has], batch.where(has)),
        }

    @torch.no_grad()
    def after_step(self, done: float) -> None:
        if done <= self.options.turn_from:
            return
        age = len(self.heads.weight) - 1 - torch.arange(len(self.heads.weight), device=self.heads.weight.device)
        share = self.options.turn * torch.clamp(0.1**age, min=1 / 200)
        self.heads.weight.copy_(isolation.turned(self.heads.weight, share))

    def carry_over(self, student: Detector, task: Faces, memory: Faces | None = None) -> dict[str, Tensor]:
        """The heads of every task so far, oldest first."""
        return {f"heads.{name}": tensor for name, tensor in self.heads.state_dict().items()}

    @staticmethod
    def classifier(detector: Detector, carried: dict[str, Tensor]) -> Detector:
        """The mean of the heads answers; raises KeyError where nothing was carried over."""
        return Council(detector, Heads.of(carried))

    def _heads_of(self, batch: Batch) -> Tensor:
        """(B,) the head of each face: the newest of a new one, and of a remembered one that of its task."""
        nobody_s = torch.full_like(batch.labels, NOBODY_S)
        which = nobody_s if batch.tasks is None else self.heads.numbered(batch.tasks)
        return torch.where(batch.replayed, which, self.newest)

    def _isolation(self, embedding: Tensor, which: Tensor, batch: Batch) -> Tensor:
        o = self.options
        features, groups = F.normalize(wide(embedding), dim=1), which * len(LABELS) + batch.labels
        if o.refill:
            features = torch.where(batch.replayed[:, None], _refilled(features, groups), features)
        if o.one_genuine:
            groups = groups.masked_fill(batch.labels == REAL, NOBODY_S)
        contrast = contrastive.within(features, groups, temperature=o.contrast_temperature)
        return o.contrast_temperature * contrast


def _refilled(features: Tensor, groups: Tensor) -> Tensor:
    """Features in the room that a few leave between them, in one of three ways, drawn from torch's global generator."""
    way, share = int(torch.randint(3, ())), torch.rand(len(groups), device=groups.device)
    if way == 0:  # in each group the mean in the place of one
        lowest = torch.where(groups[:, None] == groups, share, 1).amin(dim=1)
        return isolation.towards_centre(features, groups, (share > lowest).to(features.dtype))
    if way == 1:
        return isolation.midpoints(features, groups)
    return isolation.towards_centre(features, groups, (0.5 + share / 2).to(features.dtype))


class Heads(nn.Module):
    """A linear head of the embedding for every task, oldest first: weight (T, 2, D), bias (T, 2), tasks (T,) their numbers."""

    tasks: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, tasks: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
        self.register_buffer("tasks", tasks.clone())

    @classmethod
    def of(cls, carried: dict[str, Tensor]) -> Heads:
        return cls(carried[WEIGHT], carried[BIAS], carried[TASKS])

    def forward(self, embedding: Tensor, which: Tensor) -> Tensor:
        """Logits (B, 2) of the head `which` (B,) says for each embedding (B, D); zeros where it says nobody's."""
        chosen = which[:, None] == torch.arange(len(self.weight), device=which.device)
        return (self.all_of(embedding) * chosen[:, :, None]).sum(dim=1)  # no gather: its gradient is not deterministic

    def all_of(self, embedding: Tensor) -> Tensor:
        """Logits (B, T, 2) of every head."""
        with torch.autocast(embedding.device.type, enabled=False):
            z = wide(embedding)
            return torch.einsum("bd,tcd->btc", z, self.weight.to(z.dtype)) + self.bias

    def numbered(self, tasks: Tensor) -> Tensor:
        """Task numbers (B,) -> the heads of these tasks (B,)."""
        own = tasks[:, None] == self.tasks
        return torch.where(own.any(dim=1), own.int().argmax(dim=1), NOBODY_S)


class Council(Detector):
    """A detector whose logits are the mean of its heads'."""

    def __init__(self, detector: Detector, heads: Heads) -> None:
        super().__init__()
        self.detector, self.heads = detector, heads.to(next(detector.parameters()).device).requires_grad_(False)
        self.input_px = detector.input_px
        self.eval()

    def forward(self, faces: Tensor) -> Detection:
        found = self.detector(faces)
        return replace(found, logits=self.heads.all_of(found.embedding).mean(dim=1))


def _with_head(carried: dict[str, Tensor], name: str, width: int) -> dict[str, Tensor]:
    """The heads carried over and one for this task, unless it has one; between +-1/sqrt(D), as torch begins linear layers."""
    number = task_number(name)
    if carried and number in carried[TASKS].tolist():
        return carried
    classes, seeded = len(LABELS), torch.Generator().manual_seed(number)
    drawn = (2 * torch.rand(classes * (width + 1), generator=seeded) - 1) / width**0.5
    new = {
        WEIGHT: drawn[classes:].view(1, classes, width),
        BIAS: drawn[:classes].view(1, classes),
        TASKS: torch.tensor([number]),
    }
    return {key: torch.cat([carried[key], value]) if carried else value for key, value in new.items()}


@torch.no_grad()
def _width(student: Detector, task: Faces) -> int:
    """D, of a single face."""
    with evaluating(student):
        return next(student(batch.faces).embedding.shape[1] for batch in batches(task, np.arange(1), 1, student))
