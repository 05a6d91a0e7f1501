"""The small world of forgeries made by the lab, with exact landmarks.

lab.json             {"format": 1, …}
clips.csv            file,label,method,identity,source,split,frames,mask      one line per clip; mask may be left out
clips/…              .mp4 clips and .png or .jpg stills
masks/…              which pixels were forged, frame by frame; a mask that no line names is passed over
landmarks.parquet    file, frame, landmarks (x0, y0 … x4, y4 in pixels)   at most one row per frame
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from components.archives.listing import Clip, Faults, as_on_disk, compare, files_under, read_labelled
from components.errors import BadArchive
from components.vocabulary import LANDMARKS

FACES: Final = "annotated"
TELLS: Final = ("lab.json", "clips.csv")
FORMAT: Final = 1
CARD: Final = "lab.json"
INDEX: Final = "clips.csv"
ANNOTATION: Final = "landmarks.parquet"
MASKS: Final = "masks/"
COLUMNS: Final = ("file", "label", "method", "identity", "source", "split", "frames")
NUMBERS: Final = 2 * len(LANDMARKS)


def read(root: Path) -> list[Clip]:
    _refuse_other_format(root / CARD)
    faults = Faults(root, "lab")
    clips = read_labelled(root / INDEX, COLUMNS, faults)
    faults.settle()
    files = files_under(root, faults)
    clips = as_on_disk(clips, files)
    masks = {name for name in files if name.startswith(MASKS)}
    compare(clips, files, {CARD, INDEX, ANNOTATION} | masks, faults)
    _compare_landmarks(_landmarks(root / ANNOTATION), clips, faults)
    faults.settle()
    return clips


def _refuse_other_format(card: Path) -> None:
    try:
        found = json.loads(card.read_text(encoding="utf-8"))["format"]
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise BadArchive(
            f"expected '{card}' to hold a JSON object with a 'format': {fault}. Make the archive again."
        ) from fault
    if found != FORMAT:
        raise BadArchive(f"'{card}' says format '{found}'; this version reads format {FORMAT}. Make the archive again.")


def _landmarks(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path, columns=["file", "frame", "landmarks"])
    except (OSError, ValueError, KeyError) as fault:
        raise BadArchive(
            f"expected '{path}' with the columns file, frame, landmarks: {fault}. Make the archive again."
        ) from fault


def _compare_landmarks(annotated: pd.DataFrame, clips: list[Clip], faults: Faults) -> None:
    lengths = {clip.path: clip.frames or 0 for clip in clips}
    frames = annotated["file"].map(lengths)
    known = frames.notna()
    places = "'" + annotated["file"].astype(str) + "' frame " + annotated["frame"].astype(str)
    checks = {
        "landmarks of a clip that is not listed": ~known,
        "landmarks of a frame the clip does not have": known & ~annotated["frame"].between(0, frames - 1),
        "two rows of landmarks for one frame": annotated.duplicated(["file", "frame"]),
        f"landmarks that are not {NUMBERS} finite numbers": ~annotated["landmarks"].map(_are_finite).astype(bool),
    }
    for kind, wrong in checks.items():
        faults.extend(kind, places[wrong])


def _are_finite(numbers: object) -> bool:
    try:
        values = np.asarray(numbers, dtype=np.float64)
    except (TypeError, ValueError):
        return False
    return values.shape == (NUMBERS,) and bool(np.isfinite(values).all())
