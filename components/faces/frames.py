"""Frames of a clip, read in one sequential pass.

Seeking to each of 32 frames is ten times slower where keyframes are rare, and they are: FaceForensics++ has one in 250.
A still image is a clip of one frame. What a frame looks like `archives.media` says, for landing as for cropping.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np

from components.archives import media
from components.archives.files import UnreadableError, spelled
from components.errors import BadArchive, Unreadable
from components.faces.table import Images


def evenly_spaced(n_frames: int, count: int) -> list[int]:
    """At most `count` distinct frame indices over the whole clip, first and last included."""
    return sorted({int(i) for i in np.linspace(0, n_frames - 1, min(count, n_frames)).round()})


def length(path: Path) -> int:
    """Frames that a clip shows; raises Unreadable where the file ends before its last frame, BadArchive where the system
    refuses to read it.

    The header alone is not believed: many files promise a frame or two that they do not hold.
    """
    with _refused(path):
        return media.shown(path)


def read(path: Path, count: int) -> Iterator[tuple[int, Images]]:
    """`count` evenly spaced frames, all of them where the clip has fewer: (frame index, (H,W,3) uint8 RGB)."""
    return read_at(path, evenly_spaced(length(path), count))


def read_at(path: Path, indices: Sequence[int]) -> Iterator[tuple[int, Images]]:
    """The frames of these ascending `indices`; raises Unreadable telling how far decoding got, BadArchive as `length` does."""
    with _refused(path):
        yield from media.pixels_at(path, indices)


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    try:
        yield
    except UnreadableError as fault:
        kind = BadArchive if _of_the_system(fault.__cause__) else Unreadable
        raise kind(
            f"expected a readable clip in '{spelled(path)}', decoding got as far as {fault.reached} ({fault}). "
            "Fetch the file again, or leave it out of the archive."
        ) from fault


def _of_the_system(fault: BaseException | None) -> bool:
    """Whether the disk or a right is at fault and not the file: another time, or elsewhere, it might be read."""
    return isinstance(fault, OSError) and fault.errno is not None and not isinstance(fault, av.FFmpegError)
