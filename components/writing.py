"""Text files that are replaced at once and for good: whoever reads finds the old one or the new one, whatever is killed."""

from __future__ import annotations

import os
from pathlib import Path


def replace_text(path: Path, text: str) -> bool:
    """Make the file at `path` say `text`; one that says so already is left alone. True if it was written."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}.fresh")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    return True
