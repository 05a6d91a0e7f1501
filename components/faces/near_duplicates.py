"""Pictures of one archive that look like pictures of another split: of its own, or of an archive that was there before.

What was learned should not be asked in other words: re-encoded, resized or re-lit copies have other bytes and often another
source, but nearly the same perceptual hash (`hashes`). Frames of one clip, and a forgery and the face it was made from, look
alike by nature; they count only where they are in two splits.

Faces decide. Frames are reported: people filmed in one studio share most of a frame, and a room is no face.

Index    multi-index hashing (Norouzi et al., CVPR 2012) in Faiss, 11 parts of 23 bits, of which two may differ each: exact up
         to 32 bits. A million random hashes take 16 s to build and 940 MiB, and 0.7 ms a query on one core; comparing with
         all of them 5.2 ms (2026-11).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from components.faces.about import read_about
from components.faces.hashes import BITS, packed, read
from components.faces.likeness import PAIRS_FILE, REPORT_FILE, read_report
from components.vocabulary import FACE, FRAME
from components.writing import replace_text

RADIUS: Final = 30
"""Bits that may differ."""

_PARTS, _PART_BITS, _FLIPS = 11, 23, 2  # exact up to _PARTS * (_FLIPS + 1) - 1 bits
_FEW: Final = 20_000  # hashes with which it is faster to compare all
_QUERIES: Final = 10_000  # at once
_COLUMNS: Final = ("kind", "bits", "clip", "frame", "split", "archive", "other_clip", "other_frame", "other_split")


@dataclass(frozen=True)
class Found:
    """What one archive shares with other splits."""

    clips: int
    pairs: pd.DataFrame
    """kind, bits, clip, frame, split, and archive, other_clip, other_frame, other_split of what it looks like."""

    def count(self, kind: str) -> int:
        """Clips of which a picture looks like one of another split."""
        return int(self.pairs.loc[self.pairs["kind"] == kind, "clip"].nunique())


def compare(name: str, tables: Mapping[str, Path]) -> Found:
    """The archive `name` with itself and with every other one of `tables`, the folders of their faces."""
    own = read(tables[name])
    found = [_near(own, read(folder), other) for other, folder in tables.items()]
    pairs = pd.concat(found).sort_values(["kind", "bits", "clip", "archive"], ignore_index=True)
    return Found(own["clip"].nunique(), pairs)


def bring_up_to_date(name: str, tables: Mapping[str, Path], folder: Path, most: float) -> None:
    """Write what `compare` finds to `folder`, unless it lies there; a share above `most`, by their faces, is refused."""
    digests = {other: str(read_about(faces)["digest"]) for other, faces in tables.items()}
    said = json.dumps([name, RADIUS, most, sorted(digests.items())])
    key = hashlib.sha256(said.encode()).hexdigest()
    if read_report(folder).get("key") == key:
        return
    found = compare(name, tables)
    counts = {kind: found.count(kind) for kind in (FACE, FRAME)}
    passed = counts[FACE] <= most * found.clips
    report = {"key": key, "faces": digests[name], "clips": found.clips, **counts, "passed": passed}
    folder.mkdir(parents=True, exist_ok=True)
    replace_text(folder / PAIRS_FILE, found.pairs.to_csv(index=False))
    replace_text(folder / REPORT_FILE, json.dumps(report, indent=2, sort_keys=True) + "\n")


class Index:
    """Hashes (N, 32) among which those near to others are found."""

    def __init__(self, hashes: npt.NDArray[np.uint8]) -> None:
        import faiss  # takes a moment, and only here

        self._index: Any = faiss.IndexBinaryFlat(BITS)
        if len(hashes) > _FEW:
            self._index = faiss.IndexBinaryMultiHash(BITS, _PARTS, _PART_BITS)
            self._index.nflip = _FLIPS
        self._index.add(np.ascontiguousarray(hashes))

    def near(
        self, queries: npt.NDArray[np.uint8]
    ) -> Iterable[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """(query, hash, bits that differ) of every pair within `RADIUS`, some queries at a time."""
        for start in range(0, len(queries), _QUERIES):
            part = np.ascontiguousarray(queries[start : start + _QUERIES])
            limits, bits, hashes = self._index.range_search(part, RADIUS + 1)
            found = (limits[1:] - limits[:-1]).astype(np.int64)
            query = start + np.repeat(np.arange(len(part)), found)
            yield query, hashes.astype(np.int64), bits.astype(np.int64)


def _near(own: pd.DataFrame, others: pd.DataFrame, archive: str) -> pd.DataFrame:
    """The nearest picture of another split in `others` of every clip of `own`."""
    found = []
    for kind in (FACE, FRAME):
        mine, theirs = (rows[rows["kind"] == kind].reset_index(drop=True) for rows in (own, others))
        if mine.empty or theirs.empty:
            continue
        index, split = Index(packed(theirs["hash"])), theirs["split"].to_numpy()
        for query, other, bits in index.near(packed(mine["hash"])):
            apart = mine["split"].to_numpy()[query] != split[other]
            found.append(_rows(mine.iloc[query[apart]], theirs.iloc[other[apart]], bits[apart], archive))
    rows = pd.concat(found) if found else pd.DataFrame(columns=[*_COLUMNS])
    return rows.sort_values(["kind", "clip", "bits", "frame", "other_clip"]).drop_duplicates(["kind", "clip"])


def _rows(mine: pd.DataFrame, theirs: pd.DataFrame, bits: npt.NDArray[np.int64], archive: str) -> pd.DataFrame:
    named = {f"other_{column}": theirs[column].to_numpy() for column in ("clip", "frame", "split")}
    rows = mine[["kind", "clip", "frame", "split"]].assign(bits=bits, archive=archive, **named)
    return rows[[*_COLUMNS]]
