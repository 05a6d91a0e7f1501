"""Faces ready for training: the training split of an archive, or a memory, and the batches made of them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import cv2
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from components.errors import BadArchive
from components.faces.table import FaceTable
from components.orders import struck
from components.params import Withdrawal
from components.tasks.ahead import ahead
from components.vocabulary import FORGED, LABEL_NAMES, LABELS, REAL, TRAIN, VAL

FRACTIONS = np.arange(256, dtype=np.float32) / np.float32(255)
"""Of every byte."""


@dataclass(frozen=True)
class Batch:
    """One step's faces.

    faces     (B, 3, H, W) float32 in [0, 1]; bytes until `ready`
    labels    (B,) long, 0 real, 1 forged
    methods   (B,) long, 0 genuine, k the k-th forgery method that the line has met
    replayed  (B,) bool, True for exemplars of the memory
    masks     (B, 1, H, W) float32 in [0, 1], 1 where a face was manipulated: zeros for genuine faces, NaN throughout for
              forged ones of which nobody knows; None where nobody knows of any
    tasks     (B,) long, the `task_number` of the task each face belongs to; None where nobody knows
    born      (B, 2) float32, the logits of the generation that first kept an exemplar, of the face as it is in the table:
              NaN for new faces and where nobody knows; None where nobody knows of any
    """

    faces: Tensor
    labels: Tensor
    methods: Tensor
    replayed: Tensor
    masks: Tensor | None = None
    tasks: Tensor | None = None
    born: Tensor | None = None

    @classmethod
    def of(cls, faces: Tensor, labels: Tensor, methods: Tensor | None = None) -> Batch:
        """A batch without exemplars; where no methods are given, every forged face is of the first."""
        methods = labels if methods is None else methods
        return cls(faces, labels, methods, torch.zeros(len(labels), dtype=torch.bool, device=labels.device))

    def to(self, device: torch.device | str) -> Batch:
        """On a device; from pinned memory without waiting for it to arrive."""
        return self._each(lambda values: values.to(device, non_blocking=values.is_pinned()))

    def ready(self) -> Batch:
        """Its faces as fractions."""
        return replace(self, faces=as_fractions(self.faces))

    def pin_memory(self) -> Batch:
        """In memory that a device reads by itself; the name is the one torch's loader asks for."""
        return self._each(Tensor.pin_memory)

    def where(self, chosen: Tensor) -> Batch:
        """The faces that a mask or indices (on the batch's device) choose."""
        return self._each(lambda values: values[chosen])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(values) for name, values in known.items() if values is not None})


@dataclass(frozen=True)
class Faces:
    """Rows of a face table that may be drawn, their pixels decoded by the table."""

    name: str
    table: FaceTable
    indices: np.ndarray  # (N,) rows of the table
    methods: tuple[str, ...]
    """Forgery methods in the order in which the line met them: what `Batch.methods` counts."""
    born: np.ndarray | None = None
    """What `Batch.born` says of each row of the table."""

    @classmethod
    def training_split(cls, name: str, table: FaceTable, met: Sequence[str] = ()) -> Faces:
        """The training split of an archive to a line that has `met` some methods; raises BadArchive unless it holds both
        classes."""
        chosen = np.flatnonzero((table.rows["split"] == TRAIN).to_numpy())
        labels = set(table.rows["label"].to_numpy()[chosen].tolist())
        if labels != {REAL, FORGED}:
            raise BadArchive(
                f"expected real and forged training faces in '{name}', found labels {sorted(labels) or 'none'}. "
                "An archive with one class, or none, can only be a benchmark: land it with --role benchmark."
            )
        return cls(name, table, chosen, _methods(table.rows.iloc[chosen], met))

    @classmethod
    def validation_split(cls, name: str, table: FaceTable, met: Sequence[str] = ()) -> Faces | None:
        """The validation split of an archive: faces that may choose, and of which nothing is learned; None unless it holds
        both classes."""
        chosen = np.flatnonzero((table.rows["split"] == VAL).to_numpy())
        if set(table.rows["label"].to_numpy()[chosen].tolist()) != {REAL, FORGED}:
            return None
        return cls(name, table, chosen, _methods(table.rows.iloc[chosen], met))

    def without(self, withdrawn: Sequence[Withdrawal]) -> Faces:
        """All but those withdrawn; raises BadArchive where a class would have none left."""
        left_out = struck(self.rows, withdrawn)
        gone = set(self.labels.tolist()) - set(self.labels[~left_out].tolist())
        if gone:
            classes = " and no ".join(LABEL_NAMES[label] for label in sorted(gone))
            raise BadArchive(
                f"expected real and forged faces in '{self.name}' besides the {left_out.sum()} that were withdrawn, found "
                f"no {classes} one. A task needs both: take it out of `sequence` in params.yaml."
            )
        return replace(self, indices=self.indices[~left_out])

    @classmethod
    def whole(cls, name: str, table: FaceTable, met: Sequence[str] = ()) -> Faces:
        return cls(name, table, np.arange(len(table)), _methods(table.rows, met))

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def rows(self) -> pd.DataFrame:
        return self.table.rows.iloc[self.indices].reset_index(drop=True)

    @cached_property
    def labels(self) -> np.ndarray:
        return self.table.rows["label"].to_numpy()[self.indices].astype(np.int64)

    @cached_property
    def encoded_bytes(self) -> int:
        """Of all these faces, as they lie in the table."""
        return self.table.encoded_bytes(self.indices)

    @cached_property
    def _numbers(self) -> np.ndarray:
        """What `Batch.methods` says of each face."""
        number = {method: k for k, method in enumerate(self.methods, start=1)}
        codes, names = pd.factorize(self.table.rows["method"].iloc[self.indices])
        counted = np.array([number.get(name, 0) for name in names], dtype=np.int64)
        return np.where(self.labels == REAL, 0, counted[codes])

    @cached_property
    def _tasks(self) -> np.ndarray:
        """What `Batch.tasks` says of each face."""
        codes, names = pd.factorize(self.table.rows["archive"].iloc[self.indices])
        return np.array([task_number(name) for name in names], dtype=np.int64)[codes]

    def images(self, chosen: np.ndarray) -> np.ndarray:
        """uint8 (B, H, W, 3) of the given positions; the table keeps what it decoded."""
        return self.table.images(self.indices[chosen])

    def batch(self, chosen: np.ndarray, *, replayed: bool = False) -> Batch:
        height, width, channels = self.table.shape
        faces = np.empty((len(chosen), channels, height, width), np.float32)
        decoded = ahead(self.table.image, self.indices[chosen].tolist())  # beside what makes fractions of them
        return self._with(_filled(decoded, faces), chosen, replayed)

    def bytes(self, chosen: np.ndarray, *, replayed: bool = False, seen: slice = slice(None)) -> Batch:
        """`batch` with its faces as bytes, those of the part `seen` alone, and all that is known of the others."""
        return self._with(torch.from_numpy(self.images(chosen[seen])).permute(0, 3, 1, 2), chosen, replayed)

    def _with(self, faces: Tensor, chosen: np.ndarray, replayed: bool) -> Batch:
        labels, shares = torch.from_numpy(self.labels[chosen]), self.table.masks(self.indices[chosen])
        return Batch(
            faces,
            labels,
            torch.from_numpy(self._numbers[chosen]),
            torch.full((len(chosen),), replayed, dtype=torch.bool),
            None if shares is None else _as_masks(shares, labels, faces.shape[-2:]),
            torch.from_numpy(self._tasks[chosen]),
            None if self.born is None else torch.from_numpy(self.born[self.indices[chosen]]),
        )


def task_number(name: str) -> int:
    """The number of a task: that of its name, whoever asks and whatever else was learned."""
    return zlib.crc32(name.encode())


def _methods(rows: pd.DataFrame, met: Sequence[str]) -> tuple[str, ...]:
    """Forgery methods in the order of meeting: those `met` before, then those of `rows` by name."""
    here = set(rows["method"][rows["label"] == FORGED])
    return (*met, *sorted(here - set(met)))


def as_faces(images: np.ndarray) -> Tensor:
    """uint8 (B, H, W, C) -> float32 (B, C, H, W) in [0, 1]."""
    return _filled(images, np.empty((len(images), images.shape[3], *images.shape[1:3]), np.float32))


def _filled(images: Iterable[np.ndarray], faces: np.ndarray) -> Tensor:
    """`faces` (B, C, H, W) with the fractions of images (H, W, C), each made while it is in the processor's cache."""
    _, channels, height, width = faces.shape
    planes = np.empty((channels, height, width), np.uint8)
    for image, face in zip(images, faces, strict=True):
        cv2.split(image, list(planes))
        cv2.LUT(planes.reshape(-1, width), FRACTIONS, dst=face.reshape(-1, width))
    return torch.from_numpy(faces)


def as_fractions(faces: Tensor) -> Tensor:
    """Bytes (B, C, H, W) as float32 in [0, 1], in rows; fractions stay what they are."""
    if faces.dtype != torch.uint8:
        return faces
    if faces.device.type == "cpu" and faces.is_contiguous(memory_format=torch.channels_last):
        return as_faces(faces.permute(0, 2, 3, 1).numpy())
    return faces.contiguous().float().div_(255)


def _as_masks(shares: np.ndarray, labels: Tensor, size: Sequence[int]) -> Tensor:
    """float32 (B, h, w) of a face table -> (B, 1, H, W), as `Batch.masks`."""
    masks = functional.interpolate(torch.from_numpy(shares)[:, None], tuple(size), mode="bilinear")
    masks[labels == REAL] = 0
    return masks


def joined(new: Batch, remembered: Batch | None) -> Batch:
    """New faces first, remembered ones after them; masks where either knows any, tasks where both do."""
    if remembered is None:
        return new
    nobody_knows = new.masks is None and remembered.masks is None
    return Batch(
        torch.cat([new.faces, remembered.faces]),
        torch.cat([new.labels, remembered.labels]),
        torch.cat([new.methods, remembered.methods]),
        torch.cat([new.replayed, remembered.replayed]),
        None if nobody_knows else torch.cat([_masks_of(new), _masks_of(remembered)]),
        None if new.tasks is None or remembered.tasks is None else torch.cat([new.tasks, remembered.tasks]),
        None if remembered.born is None else torch.cat([_born_of(new), remembered.born]),
    )


def _born_of(batch: Batch) -> Tensor:
    """What is known of the birth of these faces, also where that is nothing."""
    return torch.full((len(batch.labels), len(LABELS)), torch.nan) if batch.born is None else batch.born


def _masks_of(batch: Batch) -> Tensor:
    """The masks of a batch, also where nobody knows of any."""
    if batch.masks is not None:
        return batch.masks
    forged = (batch.labels == FORGED)[:, None, None, None]
    return torch.where(forged, torch.nan, 0.0).expand(-1, 1, *batch.faces.shape[-2:])
