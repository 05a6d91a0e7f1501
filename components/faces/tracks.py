"""Which faces of a clip are one person's: faces of its sampled frames, joined into tracks.

    apart = min(moved + grown, FAR) + unlike        two sightings are one person's where it is below `SAME_PERSON`
    moved   distance of the centres over the mean size of the two faces
    grown   |log| of the ratio of the sizes
    unlike  1 - correlation of what the aligned faces look like, 4 x 4 cells of colour; 0 where there is none

Sampled frames lie a third of a second apart or twenty seconds, with a cut of the camera between them perhaps. So where a
face is counts only up to `FAR`: the same person may be anywhere, and somebody else in the same place. Of neighbouring
samples of 20 real clips 95 % are .28 moved + .10 grown + .46 unlike or less, in the median .09 + .02 + .05; faces of
different clips are unlike by .68 in the median, by .27 or more in 95 % (2026-11). Each pair is decided in the order of
how near it is; whoever scores a clip sees its tracks as whoever crops it does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

FAR: Final = 0.6
SAME_PERSON: Final = 0.8
REMEMBERED: Final = 3
"""The last sightings of a track, of which the most alike counts: a head turns away and back."""
CELLS: Final = 4


@dataclass(frozen=True)
class Sighting:
    """A face in a frame: its `box` (x0, y0, x1, y1) in pixels, and its `looks` (see `looks_of`), None where unknown."""

    box: Numbers
    looks: Numbers | None = None

    @property
    def size(self) -> float:
        """The side of a square as large as the box, in pixels."""
        return float(np.sqrt(np.maximum(np.prod(self.box[2:] - self.box[:2]), 1.0)))

    @property
    def centre(self) -> Numbers:
        return (self.box[:2] + self.box[2:]) / 2


@dataclass(frozen=True)
class Track:
    """One person through a clip."""

    faces: Mapping[int, int]
    """Number of the frame among those that were seen -> number of the face in it."""
    prominence: float
    """Sum of the areas of the faces, in pixels of the frames."""


def follow(seen: Sequence[Sequence[Sighting]]) -> list[Track]:
    """The tracks of a clip's frames, each with the faces seen in it, in their order; the most prominent track first."""
    tracks: list[dict[int, int]] = []
    for frame, faces in enumerate(seen):
        for number, joined in enumerate(_joined(tracks, seen, faces)):
            if joined is None:
                tracks.append({frame: number})
            else:
                tracks[joined][frame] = number
    found = [Track(faces, sum(seen[frame][number].size ** 2 for frame, number in faces.items())) for faces in tracks]
    return sorted(found, key=lambda track: -track.prominence)  # of equal ones that which began first


def looks_of(face: npt.NDArray[np.uint8]) -> Numbers | None:
    """What an aligned face (H,W,3) looks like, whatever its brightness and contrast: (48,), of length 1; None of a blank."""
    cells = cv2.resize(face, (CELLS, CELLS), interpolation=cv2.INTER_AREA).astype(np.float64).ravel()
    cells -= cells.mean()
    length = float(np.linalg.norm(cells))
    return np.asarray(cells / length) if length > 1 else None


def _joined(
    tracks: Sequence[Mapping[int, int]], seen: Sequence[Sequence[Sighting]], faces: Sequence[Sighting]
) -> list[int | None]:
    """The track each face of a frame goes on with, None for a new one."""
    pairs = []
    for place, track in enumerate(tracks):
        last = [seen[frame][number] for frame, number in list(track.items())[-REMEMBERED:]]
        pairs += [(_apart(last, face), place, number) for number, face in enumerate(faces)]
    joined: list[int | None] = [None] * len(faces)
    for apart, place, number in sorted(pairs):
        if apart < SAME_PERSON and place not in joined and joined[number] is None:
            joined[number] = place
    return joined


def _apart(last: Sequence[Sighting], face: Sighting) -> float:
    """How unlikely a face is to be that of a track with these last sightings."""
    before = last[-1]
    moved = float(np.hypot(*(face.centre - before.centre))) / float(np.sqrt(face.size * before.size))
    grown = abs(float(np.log(face.size / before.size)))
    return min(moved + grown, FAR) + min(_unlike(one, face) for one in last)


def _unlike(one: Sighting, other: Sighting) -> float:
    if one.looks is None or other.looks is None:
        return 0.0
    return 1.0 - float(one.looks @ other.looks)
