"""What people say the truth was: such answers gather as an archive in layout `crops`, for a person to look at and land.

    told/real/<sha256>.mp4   told/fake/<sha256>.png   told/labels.csv     file,label,method,source,split

Nothing of it is learned before somebody lands it: `perennial land NAME told --layout crops --faces yunet`.
"""

from __future__ import annotations

import csv
import io
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock

from components.archives.files import format_of
from components.archives.held_out import position
from components.archives.layout import TEST_SHARE
from components.archives.layouts.crops import COLUMNS, FOLDERS, INDEX
from components.texts import one_text
from components.vocabulary import FORGED, GENUINE, REAL, TEST, TRAIN
from components.writing import replace_text

Truth = Literal["genuine", "forged"]
LABELS = {"genuine": REAL, "forged": FORGED}
UNKNOWN = "unknown"
"""The method of a forgery that nobody named."""
_SUFFIXES = {
    "JPEG": ".jpg", "PNG": ".png", "BMP": ".bmp", "WEBP": ".webp", "AVIF": ".avif", "mov": ".mp4", "matroska": ".mkv",
    "avi": ".avi", "mpeg": ".mpg", "mpegts": ".ts", "asf": ".wmv", "flv": ".flv", "ogg": ".ogv",
}  # fmt: skip


@dataclass(frozen=True)
class Told:
    """What is now known of one file."""

    file: str
    """In the archive."""
    truth: Truth
    known: int
    """Files of the archive."""
    changed: bool
    """Whether the archive said something else before, or nothing."""


class Truths:
    """The archive in `folder`; a file that is told again is there once, with what was said last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._writing = FileLock(folder / ".lock")  # services of several lines tell of one archive

    def tell(self, path: Path, sha256: str, truth: Truth, *, method: str = "", source: str = "") -> Told:
        """Keep a copy of the file at `path` with its truth.

        method   how it was forged, in one word or a few; source   what must stay in one split: the person or the event
        """
        label = LABELS[truth]
        name = f"{FOLDERS[label]}/{sha256[:32]}{_SUFFIXES[format_of(path).reader]}"
        of = one_text(source)[:200] or sha256[:32]
        split = TEST if position(of) < TEST_SHARE else TRAIN
        row = (name, str(label), _method(truth, method), of, split)
        with self._writing:
            rows = self._rows()
            before = {told: said for told, said in rows.items() if Path(told).stem == sha256[:32]}
            for other in before.keys() - {name}:
                rows.pop(other)
            rows[name] = row
            target = self.folder / name
            if not target.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                draft = self.folder / f".{sha256[:32]}.partial"
                shutil.copyfile(path, draft)
                draft.replace(target)
            self._write(rows)
            for other in before.keys() - {name}:
                (self.folder / other).unlink(missing_ok=True)
        return Told(name, truth, len(rows), before != {name: row})

    def _rows(self) -> dict[str, tuple[str, ...]]:
        index = self.folder / INDEX
        if not index.is_file():
            return {}
        with index.open(newline="", encoding="utf-8") as file:
            return {row["file"]: tuple(row[column] for column in COLUMNS) for row in csv.DictReader(file)}

    def _write(self, rows: dict[str, tuple[str, ...]]) -> None:
        text = io.StringIO()
        written = csv.writer(text, lineterminator="\n")
        written.writerow(COLUMNS)
        written.writerows(rows[name] for name in sorted(rows))
        replace_text(self.folder / INDEX, text.getvalue())


def _method(truth: Truth, method: str) -> str:
    """As `crops` believes it: a genuine file has none, and a forged one none that means genuine."""
    said = one_text(method)[:100]
    if truth == "genuine":
        return GENUINE
    return UNKNOWN if said.lower() in ("", GENUINE, "real", "original", "pristine") else said
