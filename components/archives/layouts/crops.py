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

from components.archives.layout import Survey
from components.archives.listing import MEDIA_SUFFIXES, Clip, Faults, as_on_disk, files_under, read_labelled
from components.vocabulary import FORGED, REAL

FACES: Final = "none"
TELLS: Final = ("labels.csv",)
INDEX: Final = "labels.csv"
COLUMNS: Final = ("file", "label", "method", "source", "split")
FOLDERS: Final = {REAL: "real", FORGED: "fake"}


def survey(root: Path) -> Survey:
    faults = Faults(root, "crops")
    listing = read_labelled(root / INDEX, COLUMNS, faults)
    files = files_under(root, faults)
    seen = Survey(faults, clips=as_on_disk(listing, files), whole=True)
    for clip in seen.clips:
        if not clip.path.startswith(FOLDERS[clip.label] + "/"):
            seen.mislabelled.setdefault(f"label {clip.label} outside '{FOLDERS[clip.label]}/'", []).append(clip.path)
    notes = {name for name in files if "/" not in name and PurePosixPath(name).suffix.lower() not in MEDIA_SUFFIXES}
    listed = {clip.path for clip in seen.clips}
    masks = {clip.mask for clip in seen.clips if clip.mask}
    seen.missing = sorted((listed | masks) - files)
    if unlisted := sorted(files - listed - masks - notes):
        seen.extra["present but not listed"] = unlisted
    faults.extend("mask that is a clip itself", (f"'{name}'" for name in sorted(listed & masks)))
    return seen


def read(root: Path) -> list[Clip]:
    return survey(root).settle().clips
