"""What a file is by its first bytes, and in words what keeps one from being read.

A name proves nothing: a playlist called `clip.mp4` shows the frames of other files to a library that guesses. So a
still is opened as the one format its first bytes tell, and a video by that demuxer alone; whatever is neither is
refused as what it seems to be. Formats that are left out have little use in archives of faces and a long history of
holes.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from components.errors import OF_THE_DISK, BadArchive, OutOfReach, advice
from components.texts import printable

CLIP: Final = "clip"
IMAGE: Final = "image"
HEAD_BYTES: Final = 1024
"""As many are looked at."""

_TS_PACKETS: Final = ((0, 188), (4, 192))  # where the first packet of a transport stream begins, and the next one
_AVIF: Final = frozenset({b"avif", b"avis"})
_HEIF: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})


class UnreadableError(Exception):
    """A file that is no whole still or video; says why, and how far reading got."""

    def __init__(self, why: str, reached: str = "nothing") -> None:
        super().__init__(why)
        self.reached = reached


@dataclass(frozen=True, slots=True)
class Format:
    """`kind` is CLIP or IMAGE; `reader` what PyAV or Pillow calls the format."""

    kind: str
    reader: str


_STARTS: Final = {
    b"\xff\xd8\xff": Format(IMAGE, "JPEG"),
    b"\x89PNG\r\n\x1a\n": Format(IMAGE, "PNG"),
    b"BM": Format(IMAGE, "BMP"),
    b"\x1aE\xdf\xa3": Format(CLIP, "matroska"),
    b"\x00\x00\x01\xba": Format(CLIP, "mpeg"),
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": Format(CLIP, "asf"),
    b"FLV\x01": Format(CLIP, "flv"),
    b"OggS": Format(CLIP, "ogg"),
}
_BOXES: Final = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"})  # a QuickTime file begins so
_REFUSED: Final = {
    b"GIF8": "a GIF, which is not read: save its pictures as PNG, or the animation as a video",
    b"II*\x00": "a TIFF, which is not read: save it as PNG",
    b"MM\x00*": "a TIFF, which is not read: save it as PNG",
    b"#EXTM3U": "a playlist, which shows the pictures of other files: put the video itself in its place",
    b"ffconcat": "a playlist, which shows the pictures of other files: put the video itself in its place",
    b"version https://git-lfs": "a Git LFS pointer in place of the file: `git lfs pull` in its checkout brings the file",
    b"/annex/objects": "a git-annex pointer in place of the file: `git annex get` in its checkout brings the file",
    b"<": "text of a web page or a playlist, perhaps what a server answered in place of the file: fetch it again",
}
_OF_THE_COPY: Final = OF_THE_DISK - {errno.EIO, errno.ESTALE}  # not of what is copied


def recognised(head: bytes) -> Format:
    """What a file is that begins with these bytes, at least `HEAD_BYTES` of them if it has so many; raises UnreadableError."""
    if not head:
        raise UnreadableError("the file is empty: fetch it again")
    if known := next((known for start, known in _STARTS.items() if head.startswith(start)), None):
        return known
    if head[:4] == b"RIFF" and head[8:12] in (b"WEBP", b"AVI "):
        return Format(IMAGE, "WEBP") if head[8:12] == b"WEBP" else Format(CLIP, "avi")
    if head[4:8] in _BOXES:
        return _boxed(head)
    if any(head[at : at + 1] == b"G" == head[at + step : at + step + 1] for at, step in _TS_PACKETS):
        return Format(CLIP, "mpegts")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    seems = next((words for start, words in _REFUSED.items() if text.startswith(start)), None)
    raise UnreadableError(f"it is {seems}" if seems else "it begins like no still and no video that is read here")


def expect_regular(path: Path) -> None:
    """Raise UnreadableError for what is no file: reading a pipe would wait for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise UnreadableError("it is no regular file")


def format_of(path: Path) -> Format:
    """What kind of still or video a file is; raises UnreadableError, OSError."""
    expect_regular(path)
    with path.open("rb") as file:
        return recognised(file.read(HEAD_BYTES))


def spelled(name: str | os.PathLike[str]) -> str:
    """A name as it can be printed (`texts.printable`)."""
    return printable(os.fspath(name))


def is_text(name: str) -> bool:
    """Whether a file name is UTF-8; one in another code page can stand in no list."""
    return name.isprintable() or not any("\udc80" <= one <= "\udcff" for one in name)


@contextmanager
def troubles_with(path: Path) -> Iterator[None]:
    """What the system says against reading or writing `path` becomes BadArchive with the file and advice;
    what is no fault of the file becomes OutOfReach."""
    try:
        yield
    except OSError as fault:
        named = (fault.filename2 if fault.errno in _OF_THE_COPY else None) or fault.filename or path
        where = spelled(named) if isinstance(named, (str, os.PathLike)) else spelled(path)
        error = OutOfReach if fault.errno in OF_THE_DISK else BadArchive
        raise error(f"'{where}' cannot be read or written: {advice(fault)}.") from fault


def walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """`os.walk`, where a folder that cannot be read is BadArchive in place of an empty one; `folders` may be changed."""

    def refuse(fault: OSError) -> None:
        raise fault

    with troubles_with(root):
        for folder, folders, names in os.walk(root, onerror=refuse):
            yield Path(folder), folders, names


def _boxed(head: bytes) -> Format:
    """A file of the QuickTime family: a video, an AVIF, or a HEIC, which no library kept here puts together."""
    if head[4:8] != b"ftyp":
        return Format(CLIP, "mov")
    names = head[8 : min(int.from_bytes(head[:4], "big"), HEAD_BYTES)]
    brands = [names[at : at + 4] for at in range(0, len(names), 4)]
    if brands and brands[0] in _AVIF | _HEIF:
        if _AVIF & set(brands):
            return Format(IMAGE, "AVIF")
        raise UnreadableError("it is a HEIC photograph, which is not read here: save it as JPEG or PNG")
    return Format(CLIP, "mov")
