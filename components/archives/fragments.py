"""A clip that is a part of a file: one face of a picture, some frames of a video.

    Train/a.jpg#xywh=10,20,64,64     the face in this box, in pixels: left, top, width, height
    train/b.mp4#frames=12-40         these frames, counted from 0, both included

The fragment belongs to the clip's path, so that several faces of one picture are several clips, each with a label.
After W3C Media Fragments URI 1.0, which has `xywh` and counts time in seconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

Box = tuple[int, int, int, int]
"""Left, top, width, height, in pixels."""

_FRAGMENT: Final = re.compile(r"#(?:xywh=(\d+),(\d+),(\d+),(\d+)|frames=(\d+)-(\d+))$")


@dataclass(frozen=True, slots=True)
class Part:
    """Of a file; all of it where nothing is said."""

    file: str
    box: Box | None = None
    frames: tuple[int, int] | None = None
    """First and last."""


def part_of(path: str) -> Part:
    """What the path of a clip names."""
    match = _FRAGMENT.search(path)
    if match is None:
        return Part(path)
    numbers = [int(number) for number in match.groups() if number is not None]
    file = path[: match.start()]
    if len(numbers) == 2:
        return Part(file, frames=(numbers[0], numbers[1]))
    return Part(file, box=(numbers[0], numbers[1], numbers[2], numbers[3]))


def face(x: float, y: float, width: float, height: float) -> str:
    """The fragment of a face's box, rounded to whole pixels."""
    return f"#xywh={max(round(x), 0)},{max(round(y), 0)},{round(width)},{round(height)}"


def frames(first: int, last: int) -> str:
    return f"#frames={first}-{last}"
