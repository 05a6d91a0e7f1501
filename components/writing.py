"""Files that are replaced at once and for good: whoever reads finds the old one or the new one, whatever is killed, and a
power cut takes neither away."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def replacing(path: Path) -> Iterator[IO[Any]]:
    """A file of bytes to write; when the block ends well it takes the place of `path`, and otherwise it disappears."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.fresh")
    try:
        with fresh.open("wb") as file:
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


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk: a file that was synced, in a folder that was not, may be lost."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except OSError:  # no system's business but ours
        return
    try:
        os.fsync(descriptor)
    except OSError:  # a network disk that knows no such thing
        pass
    finally:
        os.close(descriptor)
