"""A part of an archive: its genuine clips, and the forged ones of some of its methods, as an archive of the same layout.

A clip keeps its path, its source, its identity and its split, so that parts of one archive agree with one another: what is a
test clip in one is no training clip of another. Tables at the root that name files in a column `file` lose the lines of clips
that are left out; every other file stays.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from components.archives import layouts
from components.archives.fragments import part_of
from components.archives.listing import MARKER, Clip
from components.errors import BadArchive, UnknownName
from components.texts import one_text
from components.vocabulary import FORGED, REAL


@dataclass(frozen=True)
class Part:
    """Where a task comes from."""

    archive: str
    methods: tuple[str, ...] = ()
    """All where none is named."""


def spelled(methods: Iterable[str], known: Collection[str]) -> list[str]:
    """The methods as the archive spells them, whatever the case of their letters; raises UnknownName."""
    by_fold = {name.casefold(): name for name in known}
    for method in methods:
        if method.casefold() not in by_fold:
            raise UnknownName("method", method, known)
    return [by_fold[method.casefold()] for method in methods]


def write(root: Path, into: Path, *, layout: str, methods: Collection[str]) -> None:
    """Make folder `into` the part of the archive at `root` that has these methods; files are linked where they can be.

    Raises UnknownName for a method it has none of, BadArchive where a layout cannot be divided like this.
    """
    clips = layouts.read(layout, root)
    wanted = set(spelled(methods, {clip.method for clip in clips if clip.label == FORGED}))
    kept = [clip for clip in clips if clip.label == REAL or clip.method in wanted]
    gone = _files(clips) - _files(kept)
    shutil.rmtree(into, ignore_errors=True)
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and name not in gone and name != MARKER:
            _bring(path, into / name)
    for path in into.glob("*.*"):
        _shorten(path, gone)
    found = layouts.read(layout, into)
    if found != sorted(kept, key=lambda clip: clip.path):
        raise BadArchive(
            f"expected {len(kept)} clips in the part of '{root}' with {', '.join(sorted(wanted))}, found {len(found)}: "
            f"archives of layout '{layout}' cannot be divided by method. Land the part as an archive of its own."
        )


def _files(clips: Iterable[Clip]) -> set[str]:
    return {name for clip in clips for name in (part_of(clip.path).file, clip.mask) if name}


def _bring(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path.resolve(), target)
    except OSError:  # another file system
        shutil.copyfile(path, target)


def _shorten(path: Path, gone: Collection[str]) -> None:
    """Take the lines of files that are gone out of a table; a link is replaced, never written through."""
    if path.suffix not in (".csv", ".parquet"):
        return
    rows = pd.read_csv(path, dtype=str, keep_default_na=False) if path.suffix == ".csv" else pd.read_parquet(path)
    if "file" not in rows:
        return
    left = rows[~rows["file"].map(one_text).isin({one_text(name) for name in gone})]
    path.unlink()
    if path.suffix == ".csv":
        left.to_csv(path, index=False)
    else:
        left.to_parquet(path, index=False)
