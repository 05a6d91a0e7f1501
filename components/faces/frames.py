"""Frames of a clip, read in one sequential pass.

Seeking to each of 32 frames is ten times slower where keyframes are rare, and they are: FaceForensics++ has one in 250.
A still image is a clip of one frame. What a frame looks like `archives.media` says, for landing as for cropping.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from components.archives import media
from components.archives.files import UnreadableError, spelled
from components.errors import BadArchive
from components.faces.table import Images


def evenly_spaced(n_frames: int, count: int) -> list[int]:
    """At most `count` distinct frame indices over the whole clip, first and last included."""
    return sorted({int(i) for i in np.linspace(0, n_frames - 1, min(count, n_frames)).round()})


def length(path: Path) -> int:
    """Frames that a clip shows; raises BadArchive where the file ends before its last frame.

    The header alone is not believed: many files promise a frame or two that they do not hold.
    """
    with _refused(path):
        return media.shown(path)


def read(path: Path, count: int) -> Iterator[tuple[int, Images]]:
    """`count` evenly spaced frames, all of them where the clip has fewer: (frame index, (H,W,3) uint8 RGB)."""
    return read_at(path, evenly_spaced(length(path), count))


def read_at(path: Path, indices: Sequence[int]) -> Iterator[tuple[int, Images]]:
    """The frames of these ascending `indices`; raises BadArchive telling how far decoding got."""
    with _refused(path):
        yield from media.pixels_at(path, indices)


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    try:
        yield
    except UnreadableError as fault:
        raise BadArchive(
            f"expected a readable clip in '{spelled(path)}', decoding got as far as {fault.reached} ({fault}). "
            "Fetch the file again, or leave it out of the archive."
        ) from fault
