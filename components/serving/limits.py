"""What a service takes, asked of a file's head before a frame of it is decoded; and the work of a process that may be killed.

A head may lie. Then the limits of whoever decodes hold: `archives.media.MAX_PIXELS`, and the time and memory of a process.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import av
from PIL import Image

from components.archives.files import CLIP, Format, UnreadableError, format_of
from components.archives.media import MAX_PIXELS
from components.errors import TooLarge, Unreadable
from components.faces import detection
from components.faces.detection import FaceDetector
from components.params import CropOptions
from components.serving.looking import Seen, look
from components.serving.record import Reason


@dataclass(frozen=True)
class Limits:
    """What is taken of one caller: of a file, and of time for it."""

    bytes: int = 256 * 2**20
    """Of one request."""
    pixels: int = 34_000_000
    """Of one frame: 8K video, and a photograph of 34 megapixels."""
    seconds: float = 600.0
    """That a clip lasts."""
    frames: int = 36_000
    time_s: float = 120.0
    """For reading a file and finding faces in it."""


@dataclass(frozen=True)
class Task:
    """One file to be looked at, and how: all that a process needs to know."""

    path: Path
    name: str
    """What it is called."""
    detector: str
    """A name of `faces.detection`."""
    params: CropOptions
    limits: Limits


@dataclass(frozen=True)
class Declared:
    """What the head of a file says of it; zeros where it says nothing."""

    width: int = 0
    height: int = 0
    frames: int = 1
    seconds: float = 0.0


def look_within(task: Task) -> Seen:
    """What is seen in a file; raises TooLarge beyond the limits, and Unreadable for what is no whole picture or clip."""
    try:
        expect_within(declared(task.path), task.limits)
    except (UnreadableError, OSError) as fault:
        raise Unreadable(f"expected a picture or a clip in '{task.name}', found none: {fault}.") from fault
    seen = look(task.path, _finder(task.detector, task.params), task.params, task.name)
    if seen.reason is None:
        return seen
    words = seen.reason.words.replace(str(task.path), task.name)
    if seen.reason.code == "unreadable":
        raise Unreadable(words)
    return replace(seen, reason=Reason(code=seen.reason.code, words=words))


def expect_within(said: Declared, limits: Limits) -> None:
    """Raise TooLarge for more than is taken."""
    if said.width * said.height > limits.pixels:
        raise TooLarge(f"expected at most {limits.pixels:,} pixels, found {said.width}x{said.height}. Make it smaller.")
    if said.frames > limits.frames:
        raise TooLarge(f"expected at most {limits.frames} frames, found {said.frames}. Send a part of the clip.")
    if said.seconds > limits.seconds:
        raise TooLarge(f"expected at most {limits.seconds:.0f} s, found {said.seconds:.0f} s. Send a part of the clip.")


def declared(path: Path) -> Declared:
    """What the head of a file says; raises UnreadableError where it begins like nothing that is read."""
    known = format_of(path)
    return _of_clip(path, known) if known.kind == CLIP else _of_still(path, known)


def _of_clip(path: Path, known: Format) -> Declared:
    try:
        with av.open(f"file:{path}", format=known.reader, options={"protocol_whitelist": "file"}) as clip:
            video = next(iter(clip.streams.video), None)
            lasts = (clip.duration or 0) / av.time_base
            if video is None:
                return Declared(seconds=lasts)
            return Declared(video.width, video.height, video.frames or int(lasts * (video.average_rate or 0)), lasts)
    except (av.FFmpegError, ValueError):
        return Declared()  # whoever reads it says what is wrong with it


def _of_still(path: Path, known: Format) -> Declared:
    try:
        with Image.open(path, formats=[known.reader]) as image:
            return Declared(image.width, image.height)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as fault:
        raise TooLarge(f"expected at most {MAX_PIXELS:,} pixels, found more. Make it smaller.") from fault
    except Exception:  # readers of damaged files raise what they like; whoever reads it says what is wrong with it
        return Declared()


@lru_cache(maxsize=4)
def _finder(name: str, params: CropOptions) -> FaceDetector:
    """One for each way of cutting faces: generations of several ways may answer at once."""
    return detection.build(name, params)
