"""Look at one file: its digest, its size in pixels, its frames; tell a truncated or broken file from a whole one.

A still is decoded. A video whose container declares its number of frames is read packet by packet, which costs about
as much as hashing it, and must hold that many; one that declares none is decoded to its end and must reach the
duration it claims.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
from av.container import InputContainer
from PIL import Image, UnidentifiedImageError

from components.archives.listing import IMAGE_SUFFIXES

CLIP: Final = "clip"
IMAGE: Final = "image"

_CHUNK_BYTES: Final = 1 << 20
_SLACK_FRAMES: Final = Fraction(3, 2)  # containers round the duration they declare


class UnreadableError(Exception):
    """A file that is no whole still or video; says why."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a file is, whatever its publisher says."""

    sha256: str
    kind: str
    frames: int
    width: int
    height: int


def measure(path: Path) -> Measured:
    """Read a file to its end; raises UnreadableError."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        content = path.read_bytes()
        return Measured(hashlib.sha256(content).hexdigest(), IMAGE, 1, *_still_size(content))
    return Measured(sha256_of(path), CLIP, *_video_size(path))


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _still_size(content: bytes) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            return image.width, image.height
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as fault:
        raise UnreadableError(f"no whole image: {_words(fault)}") from fault


def _video_size(path: Path) -> tuple[int, int, int]:
    """(frames, width, height)."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UnreadableError("no video stream")
            declared = container.streams.video[0].frames
            width, height = _first_frame_size(container)
        frames = _packets(path) if declared else _decoded_frames(path)
    except (av.FFmpegError, OSError, ValueError) as fault:
        raise UnreadableError(f"broken or truncated video: {_words(fault)}") from fault
    if declared and frames != declared:
        raise UnreadableError(f"truncated video: {declared} frames declared, {frames} there")
    return frames, width, height


def _first_frame_size(container: InputContainer) -> tuple[int, int]:
    for frame in container.decode(video=0):
        return frame.width, frame.height
    raise UnreadableError("truncated video: no frame can be decoded")


def _packets(path: Path) -> int:
    """Frames the file holds."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    for packet in packets:
        _refuse_incomplete(packet)
    return len(packets)


def _decoded_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate = stream.average_rate or Fraction(25)
        frames, end = 0, Fraction(0)
        for packet in container.demux():
            _refuse_incomplete(packet)
            if packet.pts is not None and packet.time_base is not None:
                end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
            if packet.stream is stream:
                frames += len(packet.decode())
        claimed = Fraction(container.duration or 0, av.time_base)
    if claimed - end > _SLACK_FRAMES / rate:
        raise UnreadableError(f"truncated video: {float(claimed):.2f} s declared, {float(end):.2f} s there")
    return frames


def _refuse_incomplete(packet: av.Packet) -> None:
    if packet.is_corrupt:
        raise UnreadableError("truncated video: a packet is incomplete")


def _words(fault: BaseException) -> str:
    """The fault without the path, which the caller names."""
    return getattr(fault, "strerror", None) or str(fault).split(": '")[0] or type(fault).__name__
