"""A detector small enough to be trained in a test, which keeps a note of how many faces it was shown."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.detectors import Detection, Detector
from components.params import Section
from components.tasks.dataset import Batch


class Pinhole(Detector):
    """Two convolutions with batch statistics, and a head."""

    Options = Section
    input_px = 12

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU())
        self.coarse = nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU())
        self.head = nn.Linear(6, 2)
        self.shown: list[int] = []

    def forward(self, faces: Tensor) -> Detection:
        self.shown.append(len(faces))
        fine = self.fine(faces)
        coarse = self.coarse(fine)
        embedding = coarse.mean((2, 3))
        return Detection(self.head(embedding), embedding, (fine, coarse))

    def losses(self, detection: Detection, batch: Batch) -> dict[str, Tensor]:
        return {
            "cross_entropy": F.cross_entropy(detection.logits, batch.labels),
            "spread": 0.01 * detection.embedding.square().mean(),
        }


@pytest.fixture
def pinhole() -> Callable[[int], Pinhole]:
    """`pinhole(seed)`: the same weights for the same seed."""

    def make(seed: int = 0) -> Pinhole:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return Pinhole()

    return make


@pytest.fixture
def batch() -> Callable[..., Batch]:
    """`batch(new=4, old=4)`: forged faces are striped; new ones first, replayed ones after them."""

    def make(*, new: int = 4, old: int = 4, seed: int = 0) -> Batch:
        total = new + old
        faces = torch.rand(total, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
        labels = torch.arange(total) % 2
        faces[labels == 1, :, ::2] *= 0.5
        return Batch(faces, labels, labels, torch.arange(total) >= new)

    return make
