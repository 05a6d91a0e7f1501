"""Faces as a student meets them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from components.errors import BadArchive
from components.faces.table import FaceTable, encode, encode_mask
from components.tasks.dataset import Faces, as_faces, joined, task_number


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


def test_the_validation_split_chooses_and_is_nothing_where_it_cannot(tmp_path: Path) -> None:
    whole = table(tmp_path / "t", [0, 1, 0, 1], ["train", "val", "val", "test"])
    chosen = Faces.validation_split("swap", whole)
    assert chosen is not None and chosen.rows["clip"].tolist() == ["1.mp4", "2.mp4"]
    assert (
        Faces.validation_split("swap", table(tmp_path / "u", [0, 1, 0, 1], ["train", "train", "val", "test"])) is None
    )


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


def test_exemplars_bring_their_births_and_everyone_its_task(tmp_path: Path) -> None:
    faces = Faces.whole("swap", table(tmp_path / "t", [0, 1, 1], ["train"] * 3))
    assert faces.batch(np.array([0])).born is None
    born = np.array([[1, 2], [np.nan, np.nan], [5, 6]], np.float32)
    memory = replace(faces, indices=np.array([1, 2]), born=born)
    batch = joined(faces.batch(np.array([0])), memory.batch(np.array([1, 0]), replayed=True))
    assert batch.born is not None and batch.tasks is not None
    assert batch.born.nan_to_num(-1).tolist() == [[-1, -1], [5, 6], [-1, -1]]
    assert batch.tasks.tolist() == [task_number("swap")] * 3
    chosen = batch.where(batch.labels == 1).born
    assert chosen is not None and chosen.nan_to_num(-1).tolist() == [[5, 6], [-1, -1]]
    assert joined(faces.batch(np.array([0])), faces.batch(np.array([1]), replayed=True)).born is None


def masked(path: Path, labels: list[int], known: dict[int, int]) -> Faces:
    """Face i is of level i and 16 px; where it is known, the first columns of its mask (4, 4) are white."""
    plain = table(path / "plain", labels, ["train"] * len(labels))
    masks: list[bytes | None] = [None] * len(labels)
    for i, columns in known.items():
        masks[i] = encode_mask(np.where(np.arange(4) < columns, 255, 0).astype(np.uint8)[None].repeat(4, axis=0))
    faces = [encode(np.full((16, 16, 3), i, np.uint8)) for i in range(len(labels))]
    return Faces.whole("swap", FaceTable.write(path / "masked", plain.rows, faces, {}, masks=masks))


def test_a_batch_tells_what_was_manipulated_of_each_face(tmp_path: Path) -> None:
    faces = masked(tmp_path, [0, 1, 1, 1], {1: 4, 2: 2})
    masks = faces.batch(np.array([0, 1, 2, 3])).masks
    assert masks is not None and masks.shape == (4, 1, 16, 16) and masks.dtype == torch.float32
    assert (masks[0] == 0).all(), "genuine"
    assert (masks[1] == 1).all()
    assert (masks[2, 0, :, :6] == 1).all() and (masks[2, 0, :, 10:] == 0).all()
    assert masks[3].isnan().all(), "nobody knows"


def test_a_batch_of_which_nobody_knows_has_no_masks(tmp_path: Path) -> None:
    faces = masked(tmp_path, [0, 1, 1], {1: 4})
    assert faces.batch(np.array([0, 2])).masks is None
    assert Faces.whole("swap", table(tmp_path / "t", [0, 1], ["train"] * 2)).batch(np.array([0, 1])).masks is None


@pytest.mark.parametrize("remembers", [False, True])
def test_a_task_with_masks_meets_a_memory_without_and_the_other_way_round(tmp_path: Path, remembers: bool) -> None:
    knowing = masked(tmp_path, [0, 1], {1: 4}).batch(np.array([0, 1]))
    ignorant = masked(tmp_path / "other", [0, 1], {}).batch(np.array([0, 1]))
    both = joined(ignorant, knowing) if remembers else joined(knowing, ignorant)
    assert both.masks is not None
    unknown = both.masks.isnan().flatten(1)
    assert (unknown.all(1) == unknown.any(1)).all()
    assert both.masks.flatten(1).mean(1).nan_to_num(-1).tolist() == ([0, -1, 0, 1] if remembers else [0, 1, 0, -1])
    assert joined(ignorant, ignorant).masks is None


def test_masks_follow_the_faces_that_are_chosen(tmp_path: Path) -> None:
    batch = masked(tmp_path, [0, 1, 1], {1: 4, 2: 0}).batch(np.array([2, 0, 1]))
    chosen = batch.where(batch.labels == 1).masks
    assert chosen is not None and chosen.flatten(1).mean(1).tolist() == [0, 1]


def test_without_a_memory_a_batch_is_only_new(tmp_path: Path) -> None:
    new = Faces.whole("swap", table(tmp_path / "t", [0, 1], ["train"] * 2)).batch(np.array([0, 1]))
    assert joined(new, None) is new and not new.replayed.any()


def test_pixels_become_numbers_from_0_to_1_with_colour_first() -> None:
    images = np.zeros((1, 2, 5, 3), np.uint8)
    images[0, 1, 4] = (255, 51, 0)
    faces = as_faces(images)
    assert faces.shape == (1, 3, 2, 5) and faces.is_contiguous()
    torch.testing.assert_close(faces[0, :, 1, 4], torch.tensor([1.0, 0.2, 0.0]))
