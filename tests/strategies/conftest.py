"""A detector small enough to be trained in a test, which keeps a note of how many faces it was shown; and its tasks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components import strategies
from components.detectors import Detection, Detector
from components.faces.table import FaceTable, encode
from components.params import Section
from components.strategies import Strategy
from components.tasks.dataset import Batch, Faces, task_number
from components.vocabulary import GENUINE, LABELS, REAL, TRAIN


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


class TwoDomains(Pinhole):
    """The same, with what it saw in space and, as others would in frequency, upside down."""

    def forward(self, faces: Tensor) -> Detection:
        found, turned = super().forward(faces), super().forward(1 - faces)
        found.domains = {"spatial": found.levels, "frequency": turned.levels}
        return found


@pytest.fixture
def two_domains() -> Callable[[int], TwoDomains]:
    """`two_domains(seed)`: the same weights for the same seed."""

    def make(seed: int = 0) -> TwoDomains:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return TwoDomains()

    return make


@pytest.fixture
def batch() -> Callable[..., Batch]:
    """`batch(new=4, old=4)`: forged faces are striped; new ones first, replayed ones of the task "swap" after them."""

    def make(*, new: int = 4, old: int = 4, seed: int = 0) -> Batch:
        total = new + old
        faces = torch.rand(total, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
        labels = torch.arange(total) % 2
        faces[labels == 1, :, ::2] *= 0.5
        old_ones = torch.arange(total) >= new
        born = torch.randn(total, 2, generator=torch.Generator().manual_seed(seed))
        born[~old_ones] = torch.nan
        return Batch(faces, labels, labels, old_ones, None, torch.full((total,), task_number("swap")), born)

    return make


@pytest.fixture(scope="session")
def faces_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Faces]:
    """`faces_of("swap", "mesh", clips=4)`: so many clips of each class and task, one face each; forged ones are striped."""

    @cache
    def make(*tasks: str, clips: int = 4, side_px: int = 12) -> Faces:
        keys = [(task, label, clip) for task in tasks for label in LABELS for clip in range(clips)]
        rows = pd.DataFrame(keys, columns=["archive", "label", "clip"]).astype({"clip": str})
        rows["method"] = np.where(rows["label"] == REAL, GENUINE, rows["archive"])
        rows = rows.assign(frame=0, identity="", source=rows["clip"], split=TRAIN, score=1.0)
        rows = rows.assign(landmarks=[[0.0] * 10] * len(rows), box=[[0.0] * 4] * len(rows))
        pixels = np.random.default_rng(list("".join(tasks).encode())).integers(
            60, 200, (len(rows), side_px, side_px, 3)
        )
        pixels[(rows["label"] != REAL).to_numpy(), ::2] //= 2
        table = FaceTable.write(
            tmp_path_factory.mktemp(tasks[0]), rows, [encode(image.astype(np.uint8)) for image in pixels], {}
        )
        return Faces.whole(tasks[0], table)

    return make


@pytest.fixture
def task(faces_of: Callable[..., Faces]) -> Faces:
    return faces_of("swap")


QUICK = {"hdu": {"passes": 1, "most_steps": 3}}


@pytest.fixture
def built() -> Callable[..., Strategy]:
    """`built("ewc", strength=3)`: a strategy with the paper's options, but for those said and for patience."""

    def make(name: str, **said: Any) -> Strategy:
        return strategies.build(name, strategies.options(name, {**QUICK.get(name, {}), **said}))

    return make


@pytest.fixture
def taught(built: Callable[..., Strategy], pinhole: Callable[[int], Pinhole]) -> Callable[..., Pinhole]:
    """`taught(strategy, task)`: a finished founder, frozen and in eval mode, with what it `carried`."""

    def make(name: str, task: Faces, founder: Pinhole | None = None) -> Pinhole:
        strategy, founder = built(name), founder or pinhole(1)
        strategy.prepare(founder, None, task, {})
        founder.carried = strategy.carry_over(founder, task)
        founder.shown.clear()
        return founder.eval().requires_grad_(False)

    return make
