"""What is seen in a file before any network of ours is asked: its measures, and its faces. Needs no torch.

file -> limits -> frames -> faces (N, S, S, 3), in this process or in one that may be killed (`workers`)

"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from components.archives import media
from components.archives.files import CLIP, UnreadableError, format_of
from components.archives.media import Measured
from components.errors import BadArchive, NoFaceFound, TooLarge, Unreadable
from components.faces import detection
from components.faces.detection import FaceDetector
from components.faces.extraction import faces_of
from components.params import CropOptions

NO_FACES = np.zeros((0, 1, 1, 3), np.uint8)


@dataclass(frozen=True)
class Seen:
    """The faces of one file, with their frames; none of them where there is an error."""

    file: str
    faces: npt.NDArray[np.uint8] = field(default_factory=lambda: NO_FACES)
    """(N, S, S, 3) RGB."""
    frames: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """(N,)"""
    seconds: float = 0.0
    error: str | None = None
    """Why there is no face."""


@dataclass(frozen=True)
class Limits:
    """What is taken of one caller: of a file, and of time for it."""

    bytes: int = 256 * 2**20
    """Of one request."""
    pixels: int = 33_554_432
    """Of one frame: 8K video, and a photograph of 33 megapixels."""
    seconds: float = 600.0
    """That a clip lasts."""
    frames: int = 36_000
    time_s: float = 120.0
    """For reading a file and finding faces in it."""


@dataclass(frozen=True)
class Task:
    """One file to be looked at, and how: all that a worker needs to know."""

    path: Path
    detector: str
    """A name of `faces.detection`."""
    params: CropOptions
    limits: Limits


def look(path: Path, face_detector: FaceDetector, params: CropOptions) -> Seen:
    """The faces of a file; one that cannot be read, or shows none, says why."""
    start = time.perf_counter()
    try:
        faces, numbers, _ = faces_of(path, face_detector, params)
    except (NoFaceFound, BadArchive, OSError) as error:
        return Seen(str(path), seconds=_since(start), error=str(error))
    return Seen(str(path), faces, numbers, _since(start))


def look_within(task: Task) -> tuple[Measured, Seen]:
    """What a file is and what is seen in it; raises TooLarge beyond the limits, Unreadable for what is no whole still or clip.

    The limits are asked before a frame is decoded for its faces.
    """
    measured = _measured_within(task.path, task.limits)
    return measured, look(task.path, _finder(task.detector, task.params), task.params)


def _measured_within(path: Path, limits: Limits) -> Measured:
    try:
        _refuse_pixels(*_declared(path), limits)
        measured = media.measure(path)
    except (UnreadableError, OSError) as fault:
        raise Unreadable(f"expected a whole picture or clip, found one that cannot be read: {fault}.") from fault
    _refuse_pixels(measured.width, measured.height, 0.0, limits)
    if measured.frames > limits.frames:
        raise TooLarge(f"expected at most {limits.frames} frames, found {measured.frames}. Send a part of the clip.")
    return measured


def _declared(path: Path) -> tuple[int, int, float]:
    """(width, height, seconds) as the head of a video says, before anything is decoded; zeros of a still."""
    known = format_of(path)
    if known.kind != CLIP:
        return 0, 0, 0.0  # Pillow asks before it decodes
    try:
        with av.open(f"file:{path}", format=known.reader, options={"protocol_whitelist": "file"}) as clip:
            video = next(iter(clip.streams.video), None)
            lasts = (clip.duration or 0) / av.time_base
            return (video.width, video.height, lasts) if video else (0, 0, lasts)
    except (av.FFmpegError, ValueError):
        return 0, 0, 0.0  # `measure` says what is wrong with it


def _refuse_pixels(width: int, height: int, seconds: float, limits: Limits) -> None:
    if width * height > limits.pixels:
        raise TooLarge(f"expected at most {limits.pixels:,} pixels, found {width}x{height}. Make it smaller.")
    if seconds > limits.seconds:
        raise TooLarge(f"expected a clip of at most {limits.seconds:.0f} s, found {seconds:.0f} s. Send a part of it.")


@lru_cache(maxsize=4)
def _finder(name: str, params: CropOptions) -> FaceDetector:
    """One for each way of cutting faces: generations of several ways may answer at once."""
    return detection.build(name, params)


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 4)
