"""From rows to a batch on its device: what a step meets is decoded and augmented beside the steps before it.

A `Draw` says what one step meets, a `Loader` makes it, and what is left to a device is done there. Every draw carries its
own seed, so the same batches come whoever makes them, in whatever order.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np
import torch
from torch import Tensor

from components.faces.table import FaceTable
from components.params import MemoryOptions
from components.settings import settings
from components.tasks import augmentations
from components.tasks.ahead import ahead
from components.tasks.augmentations import KNOWN, Change
from components.tasks.dataset import Batch, Faces, as_fractions, joined

MOST_PROCESSES = 16
RECODED = 0x5EC0DE
"""Makes another seed of a draw's."""
PIECE = 256
"""Faces."""


@dataclass(frozen=True)
class Draw:
    """What one step meets."""

    new: np.ndarray
    """Positions of the task."""
    old: np.ndarray | None
    """Positions of the memory; None where there is none."""
    seed: int
    """Of the augmentations."""

    def __len__(self) -> int:
        return len(self.new) + (0 if self.old is None else len(self.old))

    def split(self, part: slice) -> tuple[slice, slice]:
        """A part of the whole, new faces first: which of the new ones it holds, and which of the old."""
        count = len(self.new)
        new = slice(min(part.start, count), min(part.stop, count))
        return new, slice(max(part.start - count, 0), max(part.stop - count, 0))


@dataclass(frozen=True)
class Held:
    """Every face of a lesson as bytes on the device, where they fit: nothing is decoded or copied at a step."""

    task: Tensor
    """(N, 3, H, W)."""
    memory: Tensor | None

    @classmethod
    def on(cls, device: torch.device, task: Faces, memory: Faces | None) -> Held:
        return cls(_bytes_on(device, task), None if memory is None else _bytes_on(device, memory))

    @classmethod
    def where_they_fit(cls, device: torch.device, task: Faces, memory: Faces | None) -> Held | None:
        """On an accelerator of which they take a quarter of what is free at most."""
        if device.type != "cuda" or not len(task):
            return None
        face, count = task.images(np.array([0])).nbytes, len(task) + (0 if memory is None else len(memory))
        free, _ = torch.cuda.mem_get_info(device)
        return cls.on(device, task, memory) if face * count <= free / 4 else None

    def of(self, draw: Draw, part: slice) -> Tensor:
        """The faces of a part of this draw."""
        device, (new, old) = self.task.device, draw.split(part)
        faces = self.task[torch.from_numpy(draw.new[new]).to(device)]
        if self.memory is None or draw.old is None:
            return faces
        return torch.cat([faces, self.memory[torch.from_numpy(draw.old[old]).to(device)]])


@dataclass(frozen=True)
class Loaded:
    """A batch whose faces are bytes yet, and what is left to do to them."""

    batch: Batch
    draw: Draw
    left: tuple[Change, ...] = ()

    def pin_memory(self) -> Loaded:
        return replace(self, batch=self.batch.pin_memory())

    def on(self, device: torch.device, faces: Tensor | None = None) -> Batch:
        """Ready on the device, with `faces` that are there already."""
        batch = self.batch.to(device)
        return replace(batch, faces=augmentations.done(batch.faces if faces is None else faces, self.left)).ready()


@dataclass(frozen=True)
class Recoding:
    """What becomes of new faces, so that they look like remembered ones: a share of them passes the memory's codec."""

    codec: str
    """As an augmentation of that name does it."""
    quality: int
    share: float

    @classmethod
    def of(cls, memory: MemoryOptions | None, share: float) -> Recoding | None:
        """None where a memory loses nothing, or no new face is to lose anything."""
        return cls(memory.codec, memory.quality, share) if memory and memory.lossy and share else None

    def drawn(self, draw: Draw) -> list[Change]:
        """For the new faces of a draw; from other random numbers than its augmentations."""
        chosen = torch.zeros(len(draw), dtype=torch.bool)
        generator = torch.Generator().manual_seed(draw.seed ^ RECODED)
        chosen[: len(draw.new)] = torch.rand(len(draw.new), generator=generator) < self.share
        return [Change(self.codec, chosen, {"quality": torch.full((int(chosen.sum()),), self.quality)})]


@dataclass(frozen=True)
class Loader:
    """Makes the batches of a lesson; of each, the faces of one share alone where several processes share them.

    chances    of the augmentations, in order
    on_device  whether trailing augmentations that need no OpenCV are left to the device, and faces stay bytes
    decodes    whether the faces come from here; the device holds them otherwise
    share      which, of how many
    recoding   of new faces, before they are augmented
    """

    task: Faces
    memory: Faces | None
    chances: Mapping[str, float]
    on_device: bool = False
    decodes: bool = True
    share: tuple[int, int] = (0, 1)
    recoding: Recoding | None = None

    def __call__(self, draw: Draw) -> Loaded:
        mine = part_of(len(draw), *self.share)
        batch = self._drawn(draw, mine if self.decodes else slice(0, 0))
        changes = self.recoding.drawn(draw) if self.recoding else []
        changes += augmentations.drawn(len(draw), self.chances, torch.Generator().manual_seed(draw.seed))
        masks = None if batch.masks is None else augmentations.moved(batch.masks, changes)
        here = len(changes) - (_trailing(changes) if self.on_device else 0)
        faces = augmentations.done(batch.faces, [change.of(mine) for change in changes[:here]])
        ready = faces if self.on_device else as_fractions(faces)
        return Loaded(replace(batch, faces=ready, masks=masks), draw, tuple(c.of(mine) for c in changes[here:]))

    def holds_nothing_back(self) -> bool:
        """Whether every augmentation can be done on the device."""
        return not self.recoding and not any(KNOWN[name].by_opencv for name in self.chances if name in KNOWN)

    def _drawn(self, draw: Draw, mine: slice) -> Batch:
        seen_new, seen_old = draw.split(mine)
        new = self.task.bytes(draw.new, seen=seen_new)
        if self.memory is None or draw.old is None:
            return new
        return joined(new, self.memory.bytes(draw.old, replayed=True, seen=seen_old))


def batches(loader: Loader, draws: Iterable[Draw], device: torch.device) -> Iterator[Batch]:
    """The batches of these draws on a device, made before they are wanted; of each, the loader's share of its faces.

    Faces stay on an accelerator where they fit and nothing needs OpenCV; there a step decodes and copies none.
    """
    loader = replace(loader, on_device=device.type != "cpu")
    held = Held.where_they_fit(device, loader.task, loader.memory) if loader.holds_nothing_back() else None
    if held is not None:
        loader = replace(loader, decodes=False, on_device=True)
    count = 0 if held is not None else processes(device)
    for loaded in ahead(loader, draws, processes=count, pinned=device.type == "cuda"):
        part = part_of(len(loaded.draw), *loader.share)
        yield loaded.on(device, None if held is None else held.of(loaded.draw, part))


@dataclass(frozen=True)
class Look:
    """Some faces of a table, seen once or under several changes."""

    rows: np.ndarray
    views: tuple[tuple[Change, ...], ...] = ((),)


@dataclass(frozen=True)
class _Looking:
    table: FaceTable
    as_bytes: bool

    def __call__(self, look: Look) -> list[Tensor]:
        faces = torch.from_numpy(self.table.images(look.rows)).permute(0, 3, 1, 2)
        views = [augmentations.done(faces, changes) for changes in look.views]
        return views if self.as_bytes else [as_fractions(view) for view in views]


def looks(table: FaceTable, wanted: Sequence[Look], device: torch.device | str) -> Iterator[list[Tensor]]:
    """Every view of each of these looks, (B, 3, H, W) in [0, 1] on a device, made before it is wanted."""
    where = torch.device(device)
    make = _Looking(table, as_bytes=where.type != "cpu")
    count = processes(where) if len(wanted) > MOST_PROCESSES else 0  # they take seconds to start
    for views in ahead(make, wanted, processes=count):
        yield [as_fractions(view.to(where)) for view in views]


def share_of(count: int, parts: int) -> int:
    """How many faces of `count` each of several has; the last ones have fewer where it does not divide."""
    return -(-count // parts)


def part_of(count: int, which: int, parts: int) -> slice:
    """The faces of one of several: `count` of them dealt in one piece each, `share_of` at a time."""
    each = share_of(count, parts)
    return slice(min(which * each, count), min((which + 1) * each, count))


def processes(device: torch.device) -> int:
    """How many processes load faces for a device: as the settings say; by default the spare cores of an accelerator's
    machine, and none where the CPU computes, whose cores are for stages."""
    said = settings().loaders
    if said is not None:
        return said
    spare = (os.cpu_count() or 1) // settings().devices - 1
    return 0 if device.type == "cpu" else max(0, min(MOST_PROCESSES, spare))


def _trailing(changes: list[Change]) -> int:
    """How many of the last changes need no OpenCV."""
    return len(list(takewhile(lambda change: not KNOWN[change.name].by_opencv, reversed(changes))))


def _bytes_on(device: torch.device, faces: Faces) -> Tensor:
    """All of them on a device, decoded in pieces."""
    pieces = [np.arange(start, min(start + PIECE, len(faces))) for start in range(0, len(faces), PIECE)]
    decoded = ahead(faces.bytes, pieces)
    return torch.cat([piece.faces.contiguous().to(device) for piece in decoded])
