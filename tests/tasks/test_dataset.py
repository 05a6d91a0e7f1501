"""Faces as a student meets them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from components.errors import BadArchive
from components.faces.table import FaceTable, encode
from components.tasks.dataset import Faces, as_faces, joined


def table(path: Path, labels: list[int], splits: list[str]) -> FaceTable:
    """Face i is grey of level i."""
    rows = pd.DataFrame({"label": labels, "split": splits})
    rows = rows.assign(
        archive="swap", clip=[f"{i}.mp4" for i in rows.index], frame=0, method="", identity="", source=""
    )
    rows = rows.assign(landmarks=[[0.0] * 10] * len(rows), box=[[0.0] * 4] * len(rows), score=1.0)
    return FaceTable.write(path, rows, [encode(np.full((4, 4, 3), i, np.uint8)) for i in rows.index], {})


def test_only_the_training_split_is_learned(tmp_path: Path) -> None:
    faces = Faces.training_split("swap", table(tmp_path / "t", [0, 1, 0, 1], ["train", "test", "val", "train"]))
    assert len(faces) == 2
    assert faces.rows["clip"].tolist() == ["0.mp4", "3.mp4"] and faces.rows.index.tolist() == [0, 1]
    assert faces.labels.tolist() == [0, 1]
    assert faces.images(np.array([1, 0]))[:, 0, 0, 0].tolist() == [3, 0]


@pytest.mark.parametrize(
    ("labels", "splits", "found"),
    [([0, 0, 1], ["train", "train", "test"], r"\[0\]"), ([0, 1], ["test", "test"], "none")],
)
def test_a_task_without_both_classes_is_refused(
    tmp_path: Path, labels: list[int], splits: list[str], found: str
) -> None:
    with pytest.raises(BadArchive, match=rf"'swap', found labels {found}.*--role benchmark"):
        Faces.training_split("swap", table(tmp_path / "t", labels, splits))


def test_a_batch_holds_pixels_labels_and_where_they_came_from(tmp_path: Path) -> None:
    faces = Faces.whole("swap", table(tmp_path / "t", [0, 1, 1], ["train"] * 3))
    batch = joined(faces.batch(np.array([0, 2])), faces.batch(np.array([1]), replayed=True))
    assert batch.faces.shape == (3, 3, 4, 4) and batch.faces.dtype == torch.float32
    assert (batch.faces[:, 0, 0, 0] * 255).round().tolist() == [0, 2, 1]
    assert batch.labels.tolist() == [0, 1, 1] and batch.labels.dtype == torch.long
    assert batch.replayed.tolist() == [False, False, True]


def test_without_a_memory_a_batch_is_only_new(tmp_path: Path) -> None:
    new = Faces.whole("swap", table(tmp_path / "t", [0, 1], ["train"] * 2)).batch(np.array([0, 1]))
    assert joined(new, None) is new and not new.replayed.any()


def test_pixels_become_numbers_from_0_to_1_with_colour_first() -> None:
    images = np.zeros((1, 2, 5, 3), np.uint8)
    images[0, 1, 4] = (255, 51, 0)
    faces = as_faces(images)
    assert faces.shape == (1, 3, 2, 5) and faces.is_contiguous()
    torch.testing.assert_close(faces[0, :, 1, 4], torch.tensor([1.0, 0.2, 0.0]))
