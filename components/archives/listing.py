"""What a layout adapter hands over: one `Clip` per file, or one BadArchive naming everything that is wrong.

Adapters never guess. They read the index the publisher wrote, compare it with the files that lie there, and collect
every disagreement in `Faults`; a path from an index is believed only if it stays inside the archive.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from components.archives.files import UnreadableError, format_of, is_text, spelled, troubles_with, walk
from components.errors import BadArchive
from components.texts import one_text, printable
from components.vocabulary import FORGED, GENUINE, LABELS, REAL, SPLITS

VIDEO_SUFFIXES: Final = frozenset(
    {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".3gp", ".ts", ".mts", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv"}
)
IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".avif"})
MEDIA_SUFFIXES: Final = VIDEO_SUFFIXES | IMAGE_SUFFIXES
"""What a clip may be called; what it is its content says (`files`)."""
LIKELY_SUFFIXES: Final = MEDIA_SUFFIXES | {".gif", ".tif", ".tiff", ".heic", ".heif", ".jp2", ".jxl"}
"""The last ones are refused, with words: one that is passed over in silence would count as examined."""
MARKER: Final = "PERENNIAL.json"
"""Written last into an arrival, when all else is there; no part of the archive."""
MASK: Final = "mask"
"""The column of an index that names the mask of a forged clip; an index may do without."""

_SHOWN: Final = 5  # rows or files a message names before it only counts
_LABEL_TEXTS: Final = frozenset(str(label) for label in LABELS)
_DRIVE: Final = re.compile("[A-Za-z]:")  # of Windows
_NOWHERE: Final = frozenset({"", ".", ".."})  # parts of a path that is absolute, not plain, or leads elsewhere
_REAL_METHODS: Final = frozenset({"", GENUINE, "real", "original", "pristine"})


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip as its publisher describes it; nothing here was measured."""

    path: str
    """POSIX, relative to the archive."""
    label: int
    method: str
    identity: str
    """Who is seen; "" if unknown."""
    source: str
    """Clips of one source must stay in one split."""
    split: str
    frames: int | None = None
    """As the index declares it; None if it does not."""
    mask: str = ""
    """A file that shows, frame by frame, which pixels were manipulated: POSIX, relative to the archive; "" if none."""


class Faults:
    """Everything wrong with an archive, said at once: kind of fault -> the rows or files that have it."""

    def __init__(self, root: Path, layout: str) -> None:
        self._where = f"'{root}' does not have the layout '{layout}'"
        self._kinds: dict[str, list[str]] = {}

    def add(self, kind: str, place: str) -> None:
        self._kinds.setdefault(kind, []).append(place)

    def extend(self, kind: str, places: Iterable[str]) -> None:
        for place in places:
            self.add(kind, place)

    @property
    def kinds(self) -> Mapping[str, list[str]]:
        """Kind of fault -> the rows or files that have it."""
        return self._kinds

    def settle(self) -> None:
        """Raise BadArchive if there is any fault."""
        if self._kinds:
            lines = [f"  {kind} ({len(places)}): {first(places)}" for kind, places in self._kinds.items()]
            raise BadArchive("\n".join([self._where + ":", *lines, "Mend these and land the archive again."]))


class Row(dict[str, str]):
    """Column -> field, and where the row stands in its file."""

    line = 0


def read_table(path: Path, columns: tuple[str, ...], optional: tuple[str, ...] = ()) -> list[Row]:
    """Rows of a CSV file with exactly these columns, and perhaps some optional ones; raises BadArchive.

    Lines without any field that says something are passed over, as spreadsheets leave them. Fields are `one_text`.
    """
    if not path.is_file():
        raise BadArchive(
            f"expected the list '{path.name}' in '{path.parent}', found none. "
            f"Write it with the columns {', '.join(columns)}."
        )
    try:
        with troubles_with(path), path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.reader(lines, strict=True)
            read = ((reader.line_num, [one_text(field) for field in row]) for row in reader)
            said = [(line, row) for line, row in read if any(row)]
    except (csv.Error, UnicodeDecodeError) as fault:
        raise BadArchive(f"'{path}' is not a CSV file in UTF-8: {fault}. Export it again.") from fault
    (_, header), *rows = said or [(0, [])]
    if sorted(header) != sorted({*columns, *(set(header) & set(optional))}):
        perhaps = f", and perhaps {', '.join(optional)}" if optional else ""
        raise BadArchive(
            f"'{path}' has the columns {', '.join(header) or '(none)'}; "
            f"expected {', '.join(columns)}{perhaps}. Rename, add or drop columns."
        )
    ragged = [f"line {line}" for line, row in rows if len(row) != len(header)]
    if ragged:
        raise BadArchive(f"'{path}' has lines with another number of fields ({len(ragged)}): {first(ragged)}.")
    if not rows:
        raise BadArchive(f"'{path}' lists no file; expected one line per file.")
    table = []
    for line, row in rows:
        table.append(Row(zip(header, row, strict=True)))
        table[-1].line = line
    return table


def read_labelled(index: Path, columns: tuple[str, ...], faults: Faults) -> list[Clip]:
    """The rows of an index as clips: file, label, method, source, split, and where there are any identity, frames, mask.

    Rows that cannot be believed are added to `faults` and left out.
    """
    clips: list[Clip] = []
    seen: set[str] = set()
    for row in read_table(index, columns, (MASK,)):
        wrong = list(_wrong_with(row, seen))
        for kind in wrong:
            faults.add(kind, f"{index.name}:{row.line} '{row['file']}'")
        seen.add(row["file"])
        if not wrong:
            clips.append(_clip(row))
    return clips


def as_on_disk(clips: Iterable[Clip], files: Iterable[str]) -> list[Clip]:
    """The clips and masks under the names their files have on the disk, which may be another form of the same text."""
    spelled_as = {one_text(name): name for name in files}
    return [
        replace(clip, path=spelled_as.get(clip.path, clip.path), mask=spelled_as.get(clip.mask, clip.mask))
        for clip in clips
    ]


def compare(clips: Collection[Clip], files: set[str], notes: set[str], faults: Faults) -> None:
    """Every clip and mask has its file and every file its clip; `notes` are the files of the layout itself."""
    listed = {clip.path for clip in clips}
    masks = {clip.mask for clip in clips if clip.mask}
    faults.extend("listed but missing", (f"'{name}'" for name in sorted((listed | masks) - files)))
    faults.extend("present but not listed", (f"'{name}'" for name in sorted(files - listed - masks - notes)))
    faults.extend("mask that is a clip itself", (f"'{name}'" for name in sorted(listed & masks)))


def _wrong_with(row: dict[str, str], seen: set[str]) -> Iterable[str]:
    if not is_inside(row["file"]):
        yield "path that is not plain, relative and inside the archive"
    elif PurePosixPath(row["file"]).suffix.lower() not in MEDIA_SUFFIXES:
        yield f"neither a video ({_spell(VIDEO_SUFFIXES)}) nor a still ({_spell(IMAGE_SUFFIXES)})"
    if row["file"] in seen:
        yield "listed twice"
    if row["label"] not in _LABEL_TEXTS:
        yield f"label '{row['label']}' where 0 (real) or 1 (forged) was expected"
    elif _method(row) is None:
        yield f"label {row['label']} contradicts method '{row['method']}'"
    if row["split"] not in SPLITS:
        yield f"split '{row['split']}' where {', '.join(SPLITS)} was expected"
    if not row["source"]:
        yield "no source (the name of what must stay in one split)"
    if not row.get("frames", "1").isascii() or not row.get("frames", "1").isdigit():
        yield f"frames '{row['frames']}' where a whole number was expected"
    if row.get(MASK):
        yield from _wrong_with_mask(row)


def _wrong_with_mask(row: dict[str, str]) -> Iterable[str]:
    if not is_inside(row[MASK]):
        yield f"mask '{row[MASK]}' whose path is not plain, relative and inside the archive"
    elif PurePosixPath(row[MASK]).suffix.lower() not in MEDIA_SUFFIXES:
        yield f"mask '{row[MASK]}' that is neither a video nor a still"
    if row["label"] == str(REAL):
        yield "mask of a genuine clip, of which nothing was manipulated"


def _clip(row: dict[str, str]) -> Clip:
    return Clip(
        path=row["file"],
        label=int(row["label"]),
        method=_method(row) or "",
        identity=row.get("identity", ""),
        source=row["source"],
        split=row["split"],
        frames=int(row["frames"]) if "frames" in row else None,
        mask=row.get(MASK, ""),
    )


def _method(row: dict[str, str]) -> str | None:
    """The method as we keep it, GENUINE for a real clip; None where it contradicts the label."""
    says_real = row["method"] in _REAL_METHODS
    if int(row["label"]) == FORGED:
        return None if says_real else row["method"]
    return GENUINE if says_real else None


def _spell(suffixes: frozenset[str]) -> str:
    return " ".join(sorted(suffixes))


def looks_like_media(path: Path) -> bool:
    """Whether a person would expect a file to be read here, by its name or its content."""
    if path.suffix.lower() in LIKELY_SUFFIXES:
        return True
    try:
        return bool(format_of(path))
    except (UnreadableError, OSError):
        return False


def is_inside(name: str) -> bool:
    """Whether a path from an index is plain, relative and cannot leave its root."""
    plain = "\\" not in name and "\0" not in name and not _DRIVE.match(name)
    return plain and _NOWHERE.isdisjoint(name.split("/"))


def is_part(name: str) -> bool:
    """Whether the file at a relative POSIX path is part of its archive: what is hidden (.git, .dvc) and the marker are not."""
    return name != MARKER and not any(part.startswith(".") for part in name.split("/"))


def files_under(root: Path, faults: Faults) -> set[str]:
    """POSIX paths of all files of an archive; a link to nothing is a fault.

    Links that leave the root are DVC's own (`cache.type symlink`): others are refused when an archive lands.
    """
    if not root.is_dir():
        raise BadArchive(f"expected an archive folder at '{root}', found none. Check the path.")
    found = parts_of(root)
    with troubles_with(root):
        lost = [f"'{spelled(name)}'" for name in sorted(found) if not (root / name).exists()]
    faults.extend("link to nothing", lost)
    odd = (f"'{spelled(name)}'" for name in sorted(found) if not is_text(name))
    faults.extend("name in another code page than UTF-8: rename it", odd)
    faults.extend("two names that are one text: rename or delete one", _same_texts(found))
    return found


def _same_texts(names: Iterable[str]) -> Iterable[str]:
    seen: dict[str, str] = {}
    for name in sorted(names):
        other = seen.setdefault(one_text(name), name)
        if other != name:
            yield f"{other!r} and {name!r}"


def parts_of(root: Path) -> set[str]:
    """POSIX paths of all files and links that are part of the archive at `root`."""
    found: set[str] = set()
    for folder, folders, names in walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = folder.relative_to(root)
        found |= {f"{here.as_posix()}/{name}" if here.parts else name for name in names}
    return {name for name in found if is_part(name)}


def first(places: Sequence[str]) -> str:
    """The first few of `places`, and how many more there are."""
    more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
    return ", ".join(map(printable, places[:_SHOWN])) + more
