"""What is written is there whole or not at all, and for good; and what is temporary goes when its owner does.

    with replacing(path) as file: ...        # the old file or the new one, whatever is killed, and after a power cut
    with room(folder, "name") as place: ...  # a folder of this process alone, gone with the block
    with temporaries(folder): ...            # what libraries throw into TMPDIR lies in such a room
    sweep(folder)                            # what processes left behind that were killed

Who writes holds a lock on it, which the system frees when its holder is gone: that is how `sweep` tells.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

FRESH, ROOM, OWNER = ".fresh", ".partial", ".owner"
UNOWNED_S = 60.0
"""A room without an owner may be one that is just being made."""


@contextmanager
def replacing(path: Path) -> Iterator[IO[Any]]:
    """A file of bytes to write; when the block ends well it takes the place of `path`, and otherwise it disappears."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}{FRESH}")
    try:
        with fresh.open("wb") as file:
            _own(file)
            yield file
            file.flush()
            os.fsync(file.fileno())
            fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def replace_text(path: Path, text: str) -> bool:
    """Make the file at `path` say `text`; one that says so already is left alone. True if it was written."""
    if path.is_file() and path.read_bytes() == text.encode():
        return False
    with replacing(path) as file:
        file.write(text.encode())
    return True


def close_torn(file: IO[Any]) -> None:
    """End the last line of a file that is open for appending, where a crash tore it."""
    if file.seek(0, os.SEEK_END):
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
            file.flush()


def append_line(file: IO[Any], line: bytes) -> None:
    """Add a line to a file that is open for appending and reading; it is on the disk when this returns."""
    close_torn(file)
    file.write(line + b"\n")
    file.flush()
    os.fsync(file.fileno())


def sync_tree(folder: Path) -> None:
    """Have every file of a folder on the disk, and every name."""
    for place, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(Path(place, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(place))


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk: a file that was synced, in a folder that was not, may be lost."""
    with suppress(OSError):  # a network disk that knows no such thing
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def room(parent: Path, name: str = "") -> Iterator[Path]:
    """A folder in `parent` for this process alone; those with this name whose owner is gone are swept first."""
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent, name)
    while True:
        place = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=ROOM, dir=parent))
        with (place / OWNER).open("wb") as owner:
            _own(owner)
            if not (place / OWNER).exists():  # swept between the two
                continue
            try:
                yield place
            finally:
                shutil.rmtree(place, ignore_errors=True)
            return


@contextmanager
def temporaries(parent: Path) -> Iterator[None]:
    """Have this process's temporary files in a room in `parent`, and not where nobody sweeps: MLflow copies whole models."""
    with room(parent) as here:
        before, tempfile.tempdir = tempfile.tempdir, str(here)
        try:
            yield
        finally:
            tempfile.tempdir = before


def sweep(parent: Path, name: str = "") -> None:
    """Delete what processes that are gone left in `parent`: rooms and half-written files with this name, or all."""
    for left in parent.glob(f".{name or '*'}.*{ROOM}"):
        with suppress(OSError):
            if _is_abandoned(left / OWNER, left):
                shutil.rmtree(left, ignore_errors=True)
    for left in parent.glob(f".{name or '*'}.*{FRESH}"):
        with suppress(OSError):
            if _is_abandoned(left, left):
                left.unlink(missing_ok=True)


def _own(file: IO[Any]) -> None:
    with suppress(OSError):  # a network disk without locks
        fcntl.flock(file, fcntl.LOCK_EX)


def _is_abandoned(owned: Path, left: Path) -> bool:
    """Whether nobody holds the lock; where there is none, whether it is old, or of a time that the clock went back from."""
    try:
        with owned.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except BlockingIOError:
        return False
    except (FileNotFoundError, NotADirectoryError):
        return abs(time.time() - left.stat().st_mtime) > UNOWNED_S
