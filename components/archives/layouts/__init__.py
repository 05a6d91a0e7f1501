"""The catalogue of public layouts: one file each, its name is the layout's name.

A layout file has `FACES`, the detector its archives need unless told otherwise, and `read(root) -> list[Clip]`,
which raises BadArchive. To add a layout, add a file: nothing else changes.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

from components.archives.listing import Clip
from components.errors import BadArchive, UnknownName


def names() -> tuple[str, ...]:
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def read(layout: str, root: Path) -> list[Clip]:
    """The clips of an archive, by path; raises UnknownName for an unknown layout, BadArchive for a broken archive."""
    adapter = _adapter(layout)
    if not root.is_dir():
        raise BadArchive(f"expected an archive folder at '{root}', found none. Check the path.")
    return sorted(adapter.read(root), key=lambda clip: clip.path)


def default_faces(layout: str) -> str:
    """The face detector an archive of this layout needs: one of params.Archive.faces."""
    return str(_adapter(layout).FACES)


def _adapter(layout: str) -> ModuleType:
    if layout not in names():
        raise UnknownName("layout", layout, names())
    return importlib.import_module(f"{__name__}.{layout}")
