"""The one reader of clips and stills: what is measured when an archive lands is what is cropped and scored later.

    digest, kind, frames, size      measure(path)
    frames that are shown           shown(path)
    RGB pixels of some of them      pixels_at(path, indices)

What a file is its first bytes say (`files`). A still is one frame. The frames of a video are those a player shows: what
an edit list cuts away, and empty packets that only hold the last picture longer, are none. They are counted without
decoding where each packet is known to be a picture, which costs about as much as hashing; where one may be none, the
video is decoded to its end and its frames are counted.

Pixels are 8-bit RGB, upright and unmirrored as the camera recorded. Of 16 bits the upper 8 count; what is transparent is
laid on black.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, Final

import av
import numpy as np
import numpy.typing as npt
from av.stream import Disposition
from PIL import Image

from components.archives.files import (
    CLIP,
    HEAD_BYTES,
    IMAGE,
    UnreadableError,
    expect_regular,
    format_of,
    recognised,
)
from components.errors import advice

Images = npt.NDArray[np.uint8]

MAX_PIXELS: Final = 89_478_485  # where Pillow begins to warn of a picture made to fill the memory

_SLACK_FRAMES: Final = Fraction(3, 2)  # containers round the duration they declare
_HEAD_PACKETS: Final = 4  # pictures that cannot be shown come first: their reference was cut away
_SMALLEST_PICTURE_BYTES: Final = 16  # a placeholder of MPEG-4 has 7, a delimiter of H.264 6 to 11
_TAIL_PACKETS: Final = 2  # behind the last picture, of which the decoder makes nothing
_TELLING_CODECS: Final = frozenset({"h264"})  # a packet says whether another picture is predicted from its own
_HIDING_CODECS: Final = frozenset({"vp8"})  # some packets are pictures to predict from, never shown
_LOOSE_CONTAINERS: Final = frozenset({"mpegts", "mpeg"})  # a packet may be half a picture
_SMALL_BYTES: Final = 1 << 16
_ORIENTATION: Final = 0x0112
_TURNS: Final[dict[object, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING: Final = frozenset(_TURNS[number] for number in (5, 6, 7, 8))  # of these rows become columns

warnings.simplefilter("error", Image.DecompressionBombWarning)  # said once, as our own refusal


@dataclass(frozen=True, slots=True)
class Measured:
    """What a file is, whatever its publisher says; the size is that of the upright picture."""

    sha256: str
    kind: str
    frames: int
    width: int
    height: int


NOTHING: Final[Mapping[str, Measured]] = {}


def measure(path: Path, known: Mapping[str, Measured] = NOTHING) -> Measured:
    """Read a file to its end; raises UnreadableError. `known`: what files are, by digest, that need not be measured again."""
    with _system_faults():
        expect_regular(path)
        with path.open("rb") as opened:
            file = _held(opened)
            is_still = recognised(file.read(HEAD_BYTES)).kind == IMAGE
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest in known:
                return known[digest]
            if is_still:
                with _still(file) as image:
                    return Measured(digest, IMAGE, 1, *_upright_size(image))
        return Measured(digest, CLIP, *_counted(path))


def _held(file: io.BufferedReader) -> io.BufferedReader | io.BytesIO:
    """A small file in memory, where it is read several times at the cost of once; a large one as it is."""
    start = file.read(_SMALL_BYTES)
    if len(start) < _SMALL_BYTES:
        return io.BytesIO(start)
    file.seek(0)
    return file


def sha256_of(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def is_still(path: Path) -> bool:
    """Whether a file is a still, by its content; raises UnreadableError."""
    with _system_faults():
        return format_of(path).kind == IMAGE


def shown(path: Path) -> int:
    """Frames a player shows; raises UnreadableError where the file ends before its last one."""
    return 1 if is_still(path) else _counted(path)[0]


def pixels_at(path: Path, indices: Sequence[int]) -> Iterator[tuple[int, Images]]:
    """The frames of these ascending `indices` as (H,W,3) uint8 RGB, in one pass; raises UnreadableError telling how far it got.

    The last picture stands in for a wanted one just behind it, where a video ends in packets without a picture.
    """
    if is_still(path):
        with _system_faults(), path.open("rb") as file, _still(file) as image:
            yield 0, _still_pixels(image)
        return
    wanted = set(indices)
    last = max(wanted, default=-1)
    for reached, picture in _without_what_nobody_needs(path, sorted(wanted)):
        wanted.remove(reached)
        yield reached, _frame_pixels(picture)
    if not wanted:
        return
    reached, latest = -1, None
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        try:
            for reached, latest in enumerate(container.decode(stream)):
                if reached in wanted:
                    yield reached, _frame_pixels(latest)
                if reached >= last:
                    return
        except av.FFmpegError as fault:
            if reached < last - _TAIL_PACKETS:
                raise UnreadableError(_words(fault), f"frame {reached + 1}, frame {last} was wanted") from fault
    if latest is None or reached < last - _slack(last):
        raise UnreadableError("no more frames came", f"frame {reached + 1}, frame {last} was wanted")
    if reached not in wanted:
        yield reached, _frame_pixels(latest)


def _without_what_nobody_needs(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """The wanted pictures of a video, those that no other is predicted from passed over: a third less work, the same pixels.

    Which picture is which its time tells. Ends at the first doubt, having given what was sure.
    """
    times = _times(path)
    if not wanted or wanted[-1] >= len(times):
        return
    at, due = {times[index]: index for index in wanted}, iter(wanted)
    needed = {*at, times[0]}  # the first, which shows whether pictures are missing before it
    seen = False
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        try:
            for packet in container.demux(stream):
                stream.codec_context.skip_frame = "DEFAULT" if packet.pts in needed else "NONREF"
                for picture in packet.decode():
                    if not seen and picture.pts != times[0]:
                        return
                    seen = True
                    if (index := at.get(picture.pts)) is None:
                        continue
                    if index != next(due):
                        return
                    yield index, picture
                    if index == wanted[-1]:
                        return
        except av.FFmpegError:
            return


def _times(path: Path) -> list[int]:
    """When each picture of a video is shown, ascending, in ticks; none where a packet may be no picture or has no time."""
    times: list[int] = []
    with _opened(path) as (container, stream):
        if stream.codec_context.name not in _TELLING_CODECS or container.format.name in _LOOSE_CONTAINERS:
            return []
        try:
            for packet in container.demux(stream):
                if packet.size and not packet.is_discard:
                    if packet.pts is None or packet.size < _SMALLEST_PICTURE_BYTES:
                        return []
                    times.append(packet.pts)
        except av.FFmpegError:
            return []
    return sorted(times) if len(set(times)) == len(times) else []


def _slack(frames: int) -> int:
    """Packets without a picture at the end of a sound file, where counting took them for pictures."""
    return max(2, frames // 50)


@contextmanager
def _system_faults() -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        raise UnreadableError(advice(fault)) from fault


def _refuse_too_large(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnreadableError(
            f"it has {width}x{height} pixels, more than the {MAX_PIXELS:,} that are read: make it smaller"
        )


def _words(fault: BaseException) -> str:
    """The fault without the path, which the caller names."""
    return getattr(fault, "strerror", None) or str(fault).split(": '")[0] or type(fault).__name__


# --- stills


@contextmanager
def _still(file: IO[bytes]) -> Iterator[Image.Image]:
    """A still decoded whole; Pillow, for OpenCV paints the missing part of a truncated JPEG grey and says nothing."""
    file.seek(0)
    known = recognised(file.read(HEAD_BYTES))
    file.seek(0)
    try:
        with Image.open(file, formats=[known.reader]) as image:
            _refuse_too_large(image.width, image.height)
            if known.reader != "JPEG" and getattr(image, "n_frames", 1) > 1:
                raise UnreadableError("it is an animation: save its pictures as stills, or all of them as a video")
            image.load()
            yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as fault:
        raise UnreadableError(f"it has more than the {MAX_PIXELS:,} pixels that are read: make it smaller") from fault
    except (UnreadableError, MemoryError):
        raise
    except Exception as fault:  # readers of damaged files raise what they like
        raise UnreadableError(f"no whole image: {_words(fault)}") from fault


def _upright_size(image: Image.Image) -> tuple[int, int]:
    lies = _turn(image) in _LYING
    return (image.height, image.width) if lies else (image.width, image.height)


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION))
    except Exception:  # a damaged block of EXIF turns nothing, in viewers too
        return None


def _still_pixels(image: Image.Image) -> Images:
    turn, rgb = _turn(image), _rgb(image)
    return np.array(rgb if turn is None else rgb.transpose(turn))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    seen = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, (0, 0, 0, 255)), seen).convert("RGB")


# --- videos


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """(container, video stream), by the demuxer that the content asks for and without leave to open another file."""
    with _system_faults():
        reader = format_of(path).reader
    only_this = {"protocol_whitelist": "file"}
    try:
        container: Any = av.open(f"file:{path}", format=reader, options=only_this, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as fault:
        raise UnreadableError(f"broken or truncated video: {_words(fault)}") from fault
    with container:
        # a picture on the sleeve of a song is no video
        streams = [video for video in container.streams.video if not video.disposition & Disposition.attached_pic]
        if not streams:
            raise UnreadableError("there is no video among them", "the list of streams")
        _refuse_too_large(streams[0].width, streams[0].height)
        yield container, streams[0]


def _counted(path: Path) -> tuple[int, int, int]:
    """(frames shown, width, height) of a video."""
    frames, sure = _packets(path)
    size = _size_if_head_is_shown(path) if sure else None
    return (frames, *size) if size else _decoded(path, frames)


def _size_if_head_is_shown(path: Path) -> tuple[int, int] | None:
    """(width, height) where each of the first packets that should be shown gives a picture."""
    frames: list[Any] = []
    due = 0
    with _opened(path) as (container, stream):
        try:
            for packet in container.demux(stream):
                if packet.size:
                    frames += packet.decode()
                    due += not packet.is_discard
                if due == _HEAD_PACKETS:
                    frames += stream.codec_context.decode(None)
                    break
        except av.FFmpegError:
            return None
    return _upright_frame_size(frames[0]) if frames and len(frames) == due else None


def _packets(path: Path) -> tuple[int, bool]:
    """(packets that are shown, whether each is sure to be one picture); raises UnreadableError where the file ends early."""
    held = frames = 0
    end = Fraction(0)
    with _opened(path) as (container, stream):
        sure = stream.codec_context.name not in _HIDING_CODECS and container.format.name not in _LOOSE_CONTAINERS

        def reached() -> str:
            return f"frame {frames} of {stream.frames or 'an unknown number'}"

        try:
            for packet in container.demux():
                if packet.is_corrupt:
                    raise UnreadableError("truncated video: a packet is incomplete", reached())
                if packet.pts is not None and packet.time_base is not None:
                    end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
                if packet.stream is stream and packet.size:
                    held += 1
                    frames += not packet.is_discard
                    sure &= packet.size >= _SMALLEST_PICTURE_BYTES
        except av.FFmpegError as fault:
            raise UnreadableError(f"broken or truncated video: {_words(fault)}", reached()) from fault
        missing = Fraction(container.duration or 0, av.time_base) - end
        early = missing * (stream.average_rate or 25) > _SLACK_FRAMES
        if held != stream.frames and early and not _is_whole_riff(path):
            raise UnreadableError(f"truncated video: it ends {float(missing):.2f} s early", reached())
    return frames, sure


def _is_whole_riff(path: Path) -> bool:
    """Whether a file is an AVI whose chunks end where it ends: then its last frames are empty, which only hold a picture."""
    with path.open("rb") as file:
        at, size = 0, path.stat().st_size
        while file.seek(at) < size:
            name, length = file.read(4), int.from_bytes(file.read(4), "little")
            if name != b"RIFF":
                return False
            at += 8 + length + length % 2
    return at == size


def _decoded(path: Path, packets: int) -> tuple[int, int, int]:
    """(frames, width, height), found by decoding a video of so many packets to its end."""
    frames, size = 0, None
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        try:
            for frame in container.decode(stream):
                size = size or _upright_frame_size(frame)
                frames += 1
        except av.FFmpegError as fault:
            if frames < packets - _TAIL_PACKETS:
                raise UnreadableError(f"broken or truncated video: {_words(fault)}", f"frame {frames}") from fault
    if size is None:
        raise UnreadableError("truncated video: no frame can be decoded")
    return frames, *size


def _frame_pixels(frame: Any) -> Images:
    _refuse_too_large(frame.width, frame.height)
    if any(part.is_alpha for part in frame.format.components):
        seen = frame.to_ndarray(format="rgba").astype(np.uint16)
        pixels = ((seen[..., :3] * seen[..., 3:] + 127) // 255).astype(np.uint8)
    else:
        pixels = frame.to_ndarray(format="rgb24")
    lies, right, down = _display(frame)
    if lies:
        pixels = pixels.transpose(1, 0, 2)
    return np.ascontiguousarray(pixels[::down, ::right])


def _upright_frame_size(frame: Any) -> tuple[int, int]:
    lies, _, _ = _display(frame)
    return (frame.height, frame.width) if lies else (frame.width, frame.height)


def _display(frame: Any) -> tuple[bool, int, int]:
    """(whether rows are shown as columns, then the step along x and along y: -1 where it is mirrored).

    The matrix shows the pixel (x, y) at (a x + c y, b x + d y); what is no quarter turn is taken for the nearest one.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, 1, 1
    a, b, _, c, d = (int(entry) for entry in np.frombuffer(bytes(matrix), np.int32)[:5])
    lies = abs(b) + abs(c) > abs(a) + abs(d)
    right, down = (c, b) if lies else (a, d)
    return lies, -1 if right < 0 else 1, -1 if down < 0 else 1
