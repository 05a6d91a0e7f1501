"""Decoded faces, kept: in memory up to a limit, or mapped from a file where all of a table's fit.

A face is decoded when it is first asked for. Processes that map one file share what any of them decoded, and so does
the next stage. A mark beside each face says that it is there; a mark of a machine that has been started anew since is
not believed, because nobody knows in which order it had written.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import psutil

FOLDER = Path(".perennial/decoded")
Images = npt.NDArray[np.uint8]
Indices = Sequence[int] | npt.NDArray[np.integer[Any]]
Kept = TypeVar("Kept")


class InMemory:
    """The first faces that were asked for, up to `limit_bytes`: evicting would thrash when epochs cycle."""

    def __init__(self, limit_bytes: int) -> None:
        self._left = limit_bytes
        self._kept: dict[int, Images] = {}

    def get(self, index: int, decode: Callable[[], Images]) -> Images:
        known = self._kept.get(index)
        if known is not None:
            return known
        image = decode()
        if self._left >= image.nbytes:
            self._left -= image.nbytes
            self._kept[index] = image
        return image

    def missing(self, indices: Indices) -> list[int]:
        """Those of these faces that would have to be decoded."""
        return [index for index in map(int, indices) if index not in self._kept]

    def __len__(self) -> int:
        return len(self._kept)


class OnDisk:
    """All faces of a table in `folder`: ``faces`` (N, H, W, 3) bytes and ``there`` (N,) bytes, 1 where a face is decoded."""

    def __init__(self, folder: Path, shape: tuple[int, int, int, int]) -> None:
        self._faces = mapped(folder / "faces", shape)
        self._there = mapped(folder / "there", shape[:1])

    def get(self, index: int, decode: Callable[[], Images]) -> Images:
        if not self._there[index]:
            self._faces[index] = decode()
            self._there[index] = 1
        return np.asarray(self._faces[index])

    def missing(self, indices: Indices) -> list[int]:
        """Those of these faces that would have to be decoded."""
        return [index for index in map(int, indices) if not self._there[index]]

    def __len__(self) -> int:
        return int(np.count_nonzero(self._there))


def kept_for(digest: str, shape: tuple[int, int, int, int], limit_bytes: int) -> OnDisk | None:
    """Where the faces of the table with this digest are kept; None where they do not fit into `limit_bytes`.

    Tables that were not asked for since are let go, the longest unused first, until these fit beside the others. One
    that is mapped somewhere stays readable there.
    """
    here = FOLDER / f"{digest[:32]}-{int(psutil.boot_time())}"
    return with_room(here, int(np.prod(shape)), limit_bytes, lambda: OnDisk(here, shape))


def with_room(here: Path, size: int, limit_bytes: int, make: Callable[[], Kept]) -> Kept | None:
    """What `make` keeps in folder `here`, of `size` bytes, once the folders beside it leave room; None where they cannot."""
    if size > limit_bytes:
        return None
    try:
        _make_room(limit_bytes - size, but=here)
        here.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(here).free < 2 * size:  # a disk that fills up under a mapped file kills who writes
            return None
        kept = make()
        here.touch()  # it was asked for now
    except OSError:  # a full or read-only disk, which a cache must not make anybody's trouble
        return None
    return kept


def forget(workspace: Path) -> None:
    """Let go of everything that was kept in a workspace, and in those of its studies."""
    for kept in (workspace / FOLDER, *workspace.glob(f".perennial/studies/*/{FOLDER}")):
        shutil.rmtree(kept, ignore_errors=True)


def _make_room(limit_bytes: int, *, but: Path) -> None:
    others = sorted((p for p in but.parent.glob("*") if p != but), key=lambda p: p.stat().st_mtime, reverse=True)
    for folder in others:
        limit_bytes -= sum(file.stat().st_size for file in folder.iterdir())
        if limit_bytes < 0:
            shutil.rmtree(folder, ignore_errors=True)


def mapped(file: Path, shape: tuple[int, ...]) -> Images:
    """Bytes of this shape in a file, zeros where nothing was written yet; it takes the disk only as it fills."""
    size = int(np.prod(shape))
    with file.open("ab") as opened:
        if opened.tell() != size:
            opened.truncate(size)
    return np.memmap(file, np.uint8, "r+", shape=shape)
