"""Frames of a clip, read in one sequential pass.

Seeking to each of 32 frames is ten times slower where keyframes are rare, and they are: FaceForensics++ has one in 250.
A still image is a clip of one frame. Frames are RGB and upright: rotation recorded by the camera is applied.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageOps

from components.archives.listing import IMAGE_SUFFIXES
from components.errors import BadArchive
from components.faces.table import Images

_FORMATS = ("BMP", "JPEG", "PNG", "WEBP")  # Pillow knows stranger ones, with a longer history of holes


def evenly_spaced(n_frames: int, count: int) -> list[int]:
    """At most `count` distinct frame indices over the whole clip, first and last included."""
    return sorted({int(i) for i in np.linspace(0, n_frames - 1, min(count, n_frames)).round()})


def is_still(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def length(path: Path) -> int:
    """Frames in the clip, counted without decoding; raises BadArchive where the file ends before its last frame.

    The header alone is not believed: many files promise a frame or two that they do not hold.
    """
    if is_still(path):
        return 1
    with _opened(path) as container:
        stream = _video(container, path)
        promised = int(stream.frames)
        found = 0
        try:
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    raise _damaged(path, f"frame {found} of {promised}", "the file is cut short")
                found += packet.size > 0
        except av.FFmpegError as fault:
            raise _damaged(path, f"frame {found} of {promised or 'an unknown number'}", fault) from fault
    if found == 0 or found < promised - _slack(promised):
        raise _damaged(path, f"frame {found} of {promised}", "the file is cut short")
    return found


def read(path: Path, count: int) -> Iterator[tuple[int, Images]]:
    """`count` evenly spaced frames, all of them where the clip has fewer: (frame index, (H,W,3) uint8 RGB)."""
    return read_at(path, evenly_spaced(length(path), count))


def read_at(path: Path, indices: Sequence[int]) -> Iterator[tuple[int, Images]]:
    """The frames of these ascending `indices`; raises BadArchive telling how far decoding got."""
    if is_still(path):
        yield 0, _still(path)
        return
    wanted = set(indices)
    last = max(wanted, default=-1)
    reached, latest = -1, None
    with _opened(path) as container:
        stream = _video(container, path)
        stream.thread_type = "AUTO"
        try:
            for reached, latest in enumerate(container.decode(stream)):
                if reached in wanted:
                    yield reached, _upright(latest)
                if reached >= last:
                    return
        except av.FFmpegError as fault:
            raise _damaged(path, f"frame {reached + 1}, frame {last} was wanted", fault) from fault
    if latest is None or reached < last - _slack(last):
        raise _damaged(path, f"frame {reached + 1}, frame {last} was wanted", "no more frames came")
    if reached not in wanted:  # packets without a picture at the very end: the last picture stands in
        yield reached, _upright(latest)


def _slack(frames: int) -> int:
    """Frames at the end of a sound file that its header or packets may promise in vain."""
    return max(2, frames // 50)


def _opened(path: Path) -> Any:
    try:
        return av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError) as fault:
        raise _damaged(path, "nothing", fault) from fault


def _video(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise _damaged(path, "the list of streams", "there is no video among them")
    return container.streams.video[0]


def _upright(frame: Any) -> Images:
    """RGB pixels; `rotation` is how many degrees counter-clockwise the picture wants to be turned."""
    pixels: Images = frame.to_ndarray(format="rgb24")
    quarter_turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns)) if quarter_turns else pixels


def _still(path: Path) -> Images:
    """Pillow, not OpenCV: OpenCV paints the missing part of a truncated JPEG grey and says nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as fault:
        raise _damaged(path, "nothing", fault) from fault


def _damaged(path: Path, reached: str, fault: object) -> BadArchive:
    return BadArchive(
        f"expected a readable clip in '{path}', decoding got as far as {reached} ({fault}). "
        "Fetch the file again, or leave it out of the archive."
    )
