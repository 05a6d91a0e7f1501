"""A detector dropped into the catalogue for tests: small, with everything that makes resuming hard.

Flow     faces (B,3,H,W) -> 16 px -> conv, batch statistics -> dropout -> logits (B,2)
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from components.detectors import Detection, Detector
from components.params import Section
from components.tasks.dataset import Batch


class PinholeOptions(Section):
    """How wide it is, and what its loss weighs."""

    width: int = 4
    spread: float = 0.01


class Pinhole(Detector):
    """One trained convolution behind a frozen one."""

    Options: ClassVar[type[Section]] = PinholeOptions

    def __init__(self, options: PinholeOptions) -> None:
        super().__init__()
        self.options = options
        self.input_px = 16
        self.colours = nn.Conv2d(3, 3, 1).requires_grad_(False)
        self.fine = nn.Sequential(nn.Conv2d(3, options.width, 3, stride=2), nn.BatchNorm2d(options.width), nn.ReLU())
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(options.width, 2)

    @staticmethod
    def paper_training(options: PinholeOptions) -> dict[str, Any]:
        return {"batch": 6, "epochs": 1, "step_epochs": 4}

    def forward(self, faces: Tensor) -> Detection:
        fine = self.fine(self.colours(F.interpolate(faces, size=(16, 16), mode="nearest")))
        embedding = fine.mean((2, 3))
        return Detection(self.head(self.dropout(embedding)), embedding, (fine,))

    def losses(self, detection: Detection, batch: Batch) -> dict[str, Tensor]:
        return {
            "cross_entropy": F.cross_entropy(detection.logits, batch.labels),
            "spread": self.options.spread * detection.embedding.square().mean(),
        }
