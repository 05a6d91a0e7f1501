"""Faces ready for training: the training split of an archive, or a memory, and the batches made of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from components.errors import BadArchive
from components.faces.table import FaceTable
from components.vocabulary import FORGED, REAL, TRAIN


@dataclass(frozen=True)
class Batch:
    """One step's faces.

    faces     (B, 3, H, W) float32 in [0, 1]
    labels    (B,) long, 0 real, 1 forged
    replayed  (B,) bool, True for exemplars of the memory
    """

    faces: Tensor
    labels: Tensor
    replayed: Tensor

    def to(self, device: torch.device | str) -> Batch:
        return Batch(self.faces.to(device), self.labels.to(device), self.replayed.to(device))


@dataclass(frozen=True)
class Faces:
    """Rows of a face table that may be drawn, their pixels decoded by the table."""

    name: str
    table: FaceTable
    indices: np.ndarray  # (N,) rows of the table

    @classmethod
    def training_split(cls, name: str, table: FaceTable) -> Faces:
        """The training split of an archive; raises BadArchive unless it holds both classes."""
        chosen = np.flatnonzero((table.rows["split"] == TRAIN).to_numpy())
        labels = set(table.rows["label"].to_numpy()[chosen].tolist())
        if labels != {REAL, FORGED}:
            raise BadArchive(
                f"expected real and forged training faces in '{name}', found labels {sorted(labels) or 'none'}. "
                "An archive with one class, or none, can only be a benchmark: land it with --role benchmark."
            )
        return cls(name, table, chosen)

    @classmethod
    def whole(cls, name: str, table: FaceTable) -> Faces:
        return cls(name, table, np.arange(len(table)))

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def rows(self) -> pd.DataFrame:
        return self.table.rows.iloc[self.indices].reset_index(drop=True)

    @property
    def labels(self) -> np.ndarray:
        return self.table.rows["label"].to_numpy()[self.indices].astype(np.int64)

    def images(self, chosen: np.ndarray) -> np.ndarray:
        """uint8 (B, H, W, 3) of the given positions; the table keeps what it decoded."""
        return self.table.images(self.indices[chosen])

    def batch(self, chosen: np.ndarray, *, replayed: bool = False) -> Batch:
        return Batch(
            as_faces(self.images(chosen)),
            torch.from_numpy(self.labels[chosen]),
            torch.full((len(chosen),), replayed, dtype=torch.bool),
        )


def as_faces(images: np.ndarray) -> Tensor:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W) in [0, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float().div_(255)


def joined(new: Batch, remembered: Batch | None) -> Batch:
    """New faces first, remembered ones after them."""
    if remembered is None:
        return new
    return Batch(
        torch.cat([new.faces, remembered.faces]),
        torch.cat([new.labels, remembered.labels]),
        torch.cat([new.replayed, remembered.replayed]),
    )
