"""The catalogue of public layouts: one file each, its name is the layout's name.

A layout file has `LAYOUT`, the archive as data (`components.archives.layout`), or where rules of names cannot say it
`FACES`, the detector its archives need unless told otherwise, and `read(root) -> list[Clip]`, which raises BadArchive; it
may have `survey(root)` to tell what is missing. To add a layout, add a file: nothing else changes.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Collection
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Final

from components.archives.layout import Layout, Survey, place_of
from components.archives.layout import strangers as _strangers
from components.archives.layout import survey as _survey
from components.archives.listing import MARKER, Clip, Faults
from components.errors import BadArchive, PerennialError, UnknownName

LOOKED_AT: Final = 20_000  # files of a tree before it is recognised by them


def names() -> tuple[str, ...]:
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def read(layout: str, root: Path) -> list[Clip]:
    """The clips of an archive, by path; raises UnknownName for an unknown layout, BadArchive for a broken archive."""
    return survey(layout, root).settle().clips


def survey(layout: str, root: Path) -> Survey:
    """What is there, missing, extra and mislabelled; `settle` refuses what cannot land. Raises as `read` does."""
    adapter = _adapter(layout)
    if not root.is_dir():
        raise BadArchive(f"expected an archive folder at '{root}', found none. Check the path.")
    try:
        looked = adapter.survey(root) if hasattr(adapter, "survey") else _looked(adapter, layout, root)
    except (PerennialError, MemoryError):
        raise
    except Exception as fault:  # lists of strangers: nobody can name all that reading them raises
        raise BadArchive(
            f"expected lists of layout '{layout}' in '{root}', found what cannot be read: {type(fault).__name__}: {fault}. "
            "Fetch them again, or mend them."
        ) from fault
    looked.clips.sort(key=lambda clip: clip.path)
    return looked


def default_faces(layout: str) -> str:
    """The face detector an archive of this layout needs: one of params.Archive.faces."""
    declared = declared_by(layout)
    return declared.faces if declared else str(_adapter(layout).FACES)


def declared_by(layout: str) -> Layout | None:
    """The layout as data; None where it is a function."""
    found = getattr(_adapter(layout), "LAYOUT", None)
    return found if isinstance(found, Layout) else None


def tree(layout: str) -> str:
    """The expected tree and what is peculiar to it, in the words of its file."""
    return (_adapter(layout).__doc__ or "").strip()


def spanning(layout: str, name: str) -> str:
    """The name of a source or a person in every archive: `ffpp:033`; "" where it means something in its own alone."""
    declared = declared_by(layout)
    if ":" in name or not name:
        return name
    return f"{declared.namespace}:{name}" if declared and declared.namespace else ""


def strangers(layout: str, files: Collection[str]) -> set[str]:
    """Of the files of an archive those of another one that lies in the same tree: DFD beside FaceForensics++."""
    declared = declared_by(layout)
    return _strangers(declared, files) if declared else set()


def recognise(root: Path) -> dict[str, int]:
    """Layouts that fit the names of an archive's files, with how many of them they take for clips; the best first."""
    files = _some_files(root)
    fits = {name: _fits(name, files) for name in names()}
    return dict(sorted(((name, count) for name, count in fits.items() if count), key=lambda fit: (-fit[1], fit[0])))


def _looked(adapter: ModuleType, name: str, root: Path) -> Survey:
    if isinstance(declared := getattr(adapter, "LAYOUT", None), Layout):
        return _survey(declared, name, root)
    return Survey(Faults(root, name), clips=adapter.read(root))


def _fits(name: str, files: list[str]) -> int:
    adapter = _adapter(name)
    if isinstance(declared := getattr(adapter, "LAYOUT", None), Layout):
        return place_of(declared, files)
    return len(files) - 1 if set(getattr(adapter, "TELLS", ("",))) <= set(files) else 0


def _some_files(root: Path) -> list[str]:
    found: list[str] = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(folder, name).relative_to(root).as_posix() for name in files if name != MARKER]
        if len(found) > LOOKED_AT:
            break
    return found


@cache  # looking for files takes longer than what is asked of a layout a million times
def _adapter(layout: str) -> ModuleType:
    if layout not in names():
        raise UnknownName("layout", layout, names())
    return importlib.import_module(f"{__name__}.{layout}")
