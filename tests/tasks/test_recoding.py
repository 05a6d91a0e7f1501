"""New faces pass the memory's codec, so that what it leaves is no sign of an old face."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from components.faces.table import FaceTable, decode, encode
from components.params import MemoryOptions
from components.tasks.dataset import Batch, Faces
from components.tasks.loading import Draw, Loader, Recoding
from tests.tasks.test_loading import face_rows

SIDE_PX = 32
KEEPS = MemoryOptions(codec="webp", quality=80, policy="hybrid")


def faces(folder: Path, name: str, count: int, seed: int, codec: str = "lossless") -> Faces:
    """Soft shapes with the grain of a sensor on them."""
    generator = np.random.default_rng(seed)
    images = [
        cv2.resize(generator.random((4, 4, 3)), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC) * 200
        + generator.normal(20, 5, (SIDE_PX, SIDE_PX, 3))
        for _ in range(count)
    ]
    rows = face_rows(name, count)
    encoded = [encode(np.clip(image, 0, 255).astype(np.uint8), codec, KEEPS.quality) for image in images]
    return Faces.whole(name, FaceTable.write(folder / name, rows, encoded, {"detector": "none", "size_px": SIDE_PX}))


@pytest.fixture
def task(tmp_path: Path) -> Faces:
    return faces(tmp_path, "new", 240, 1)


@pytest.fixture
def memory(tmp_path: Path) -> Faces:
    return faces(tmp_path, "old", 240, 2, "webp")


def batch(task: Faces, memory: Faces, share: float, draw: Draw, part: tuple[int, int] = (0, 1)) -> Batch:
    return Loader(task, memory, {}, share=part, recoding=Recoding.of(KEEPS, share))(draw).batch


def test_a_share_of_the_new_faces_passes_the_codec_and_no_remembered_one(task: Faces, memory: Faces) -> None:
    draw = Draw(np.arange(100), np.arange(40), 7)
    seen = (batch(task, memory, 0.5, draw).faces * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    given = task.images(np.arange(100))
    passed = [decode(encode(image, "webp", KEEPS.quality)) for image in given]
    as_it_was = [np.array_equal(one, other) for one, other in zip(seen[:100], given, strict=True)]
    recoded = [np.array_equal(one, other) for one, other in zip(seen[:100], passed, strict=True)]
    assert all(a != b for a, b in zip(as_it_was, recoded, strict=True))
    assert 30 < sum(recoded) < 70
    assert np.array_equal(seen[100:], memory.images(np.arange(40)))


def test_devices_that_share_a_batch_recode_the_same_faces(task: Faces, memory: Faces) -> None:
    draw = Draw(np.arange(30), np.arange(10), 7)
    parts = [batch(task, memory, 0.5, draw, (which, 3)).faces for which in range(3)]
    assert torch.equal(torch.cat(parts), batch(task, memory, 0.5, draw).faces)


def test_what_is_recoded_changes_no_other_draw(task: Faces, memory: Faces) -> None:
    draw, chances = Draw(np.arange(30), np.arange(10), 7), {"flip": 0.5, "brightness_contrast": 0.5}
    plain = Loader(task, memory, chances)(draw).batch.faces
    recoded = Loader(task, memory, chances, recoding=Recoding.of(KEEPS, 0.5))(draw).batch.faces
    same = (plain == recoded).flatten(1).all(1)
    assert same[30:].all() and 5 < int(same[:30].sum()) < 25


@pytest.mark.parametrize(
    "keeps", [None, MemoryOptions(policy="hybrid"), KEEPS.model_copy(update={"policy": "everything"})]
)
def test_where_the_memory_loses_nothing_nothing_is_recoded(keeps: MemoryOptions | None) -> None:
    assert Recoding.of(keeps, 0.5) is None


class Grain(nn.Module):
    """Looks at how strongly each of a few filters answers: what a codec leaves of a sensor's grain."""

    def __init__(self) -> None:
        super().__init__()
        self.filters, self.norm, self.head = nn.Conv2d(3, 12, 3, bias=False), nn.BatchNorm1d(12), nn.Linear(12, 1)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        grain = faces - nn.functional.avg_pool2d(faces, 3, 1, padding=1)
        return self.head(self.norm(self.filters(grain).square().mean((2, 3)).log()))


@pytest.mark.parametrize(("share", "told"), [(0.0, True), (1.0, False)])
def test_a_network_tells_remembered_from_new_by_the_codec_unless_new_ones_pass_it_too(
    task: Faces, memory: Faces, share: float, told: bool
) -> None:
    torch.manual_seed(0)
    network = Grain()
    optimiser, generator = torch.optim.Adam(network.parameters(), lr=0.03), np.random.default_rng(0)
    for step in range(60):
        seen = batch(task, memory, share, Draw(generator.integers(0, 160, 32), generator.integers(0, 160, 32), step))
        loss = nn.functional.binary_cross_entropy_with_logits(network(seen.faces)[:, 0], seen.replayed.float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    unknown = batch(task, memory, share, Draw(np.arange(160, 240), np.arange(160, 240), 1000))
    with torch.no_grad():
        auc = roc_auc_score(unknown.replayed, network.eval()(unknown.faces)[:, 0])
    assert auc > 0.95 if told else 0.35 < auc < 0.65
