"""Weighed: a detector whose every number can be worked out by hand (Nobody, 2026).

Flow     faces (B,3,8,8) -> 1 x 1 convolution, frozen -> attention of 64 places -> mean -> logits (B,2)
         training only: embedding -> projection (B,5), and one teacher a method
Source   arXiv 0000.00000 (nowhere); its code says the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from components.detectors import Detection, Detector
from components.params import Section
from components.tasks.dataset import Batch


class WeighedOptions(Section):
    """Where its weights come from."""

    pretrained: str = "imagenet"


class Weighed(Detector):
    """A frozen convolution, attention without weights, a head, and what serves training alone."""

    Options: ClassVar[type[Section]] = WeighedOptions

    def __init__(self, options: WeighedOptions) -> None:
        super().__init__()
        assert not options.pretrained, "a card needs no weights"
        self.input_px = 8
        self.colours = nn.Conv2d(3, 4, 1, bias=False).requires_grad_(False)
        self.head = nn.Linear(4, 2)
        self.projection = nn.Linear(4, 5, bias=False)
        self.wide = nn.Linear(4, 2**17, bias=False)
        self.teachers = nn.ModuleList()

    def begin_task(self, methods: Sequence[str]) -> None:
        while len(self.teachers) < len(methods):
            self.teachers.append(nn.Linear(4, 1, bias=False))

    def forward(self, faces: Tensor) -> Detection:
        maps = self.colours(faces)
        tokens = maps.flatten(2).mT[:, None]
        embedding = F.scaled_dot_product_attention(tokens, tokens, tokens).mean((1, 2))
        return Detection(self.head(embedding), embedding, (maps,))

    def losses(self, detection: Detection, batch: Batch) -> dict[str, Tensor]:
        taught = sum(teacher(detection.embedding).mean() for teacher in self.teachers)
        wide = self.wide(detection.embedding).mean()
        return {
            "cross_entropy": F.cross_entropy(detection.logits, batch.labels),
            "rest": self.projection(detection.embedding).square().mean() + taught + wide,
        }
