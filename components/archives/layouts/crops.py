"""Face crops sorted into real and fake, with a list.

    real/…           stills (or clips) of genuine faces
    fake/…           forged ones
    labels.csv       file,label,method,source,split      one line per file
                     label 0 real, 1 forged; source names what must stay in one split; split train, val or test;
                     a sixth column, mask, may name a file as large as the forged one and black where nobody touched it

There need not be a val split; a licence or a note may lie beside the list. The folder says what the label says, or
the archive is refused.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Final

from components.archives.listing import MEDIA_SUFFIXES, Clip, Faults, compare, files_under, read_labelled
from components.vocabulary import FORGED, REAL

FACES: Final = "none"
INDEX: Final = "labels.csv"
COLUMNS: Final = ("file", "label", "method", "source", "split")
FOLDERS: Final = {REAL: "real", FORGED: "fake"}


def read(root: Path) -> list[Clip]:
    faults = Faults(root, "crops")
    clips = read_labelled(root / INDEX, COLUMNS, faults)
    for clip in clips:
        if not clip.path.startswith(FOLDERS[clip.label] + "/"):
            faults.add(f"label {clip.label} outside '{FOLDERS[clip.label]}/'", f"'{clip.path}'")
    faults.settle()
    files = files_under(root, faults)
    notes = {name for name in files if "/" not in name and PurePosixPath(name).suffix.lower() not in MEDIA_SUFFIXES}
    compare(clips, files, notes, faults)
    faults.settle()
    return clips
