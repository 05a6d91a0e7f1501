"""The faces of an answer as pictures, each with where the detector looked; heat compares over the whole file.

heat = Grad-CAM of the forged logit / the strongest place of any face that is shown        (S, S), 0 to 1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from components.evaluation import explain
from components.serving.looking import Seen
from components.serving.record import Face, Record
from components.serving.verdicts import Examiner

Images = npt.NDArray[np.uint8]

OF_A_FACE: Final = 4
"""Sightings that are shown: the most suspicious one, and others evenly through its time."""
FACES: Final = 12
COLD: Final = 0.02
"""Of the strongest place of the file: a face without a warmer one shows no heat that a person could see."""


@dataclass(frozen=True)
class Picture:
    """A face in one frame."""

    face: int
    """Its number in the record."""
    frame: int
    time_s: float | None
    score: float
    """What the heat explains: what the detector said of this picture."""
    image: Images
    """(S, S, 3) RGB."""
    heat: npt.NDArray[np.float32]
    """(S, S), 0 to 1; 1 is the strongest place of the file."""

    @property
    def is_cold(self) -> bool:
        return float(self.heat.max()) < COLD

    @property
    def overlay(self) -> Images:
        return explain.overlay(self.image, self.heat)

    @property
    def words(self) -> str:
        """What a person should know who looks at it."""
        if not self.is_cold:
            return f"score {self.score:.3f}"
        if self.score > 0.5:
            return f"score {self.score:.3f}, and no place of the face stands out: what speaks for forged is not local"
        return f"score {self.score:.3f}, and nothing in the face speaks for forged"


def pictures(examiner: Examiner, seen: Seen, record: Record) -> list[Picture]:
    """Of every face of a record a few sightings, the most suspicious first, then the others in the order of time."""
    shown = [(face, place) for face in record.faces[:FACES] for place in _places(face)]
    if not shown:
        return []
    images = np.stack([seen.people[face.number - 1].faces[place] for face, place in shown])
    heat = explain.heats(examiner.detector, examiner.pixels(images)).cpu().numpy()
    heat = heat / max(float(heat.max()), np.finfo(np.float32).tiny)
    sightings = [face.sightings[place] for face, place in shown]
    return [
        Picture(face.number, sighting.frame, sighting.time_s, sighting.score, image, warm)
        for (face, _), sighting, image, warm in zip(shown, sightings, images, heat, strict=True)
    ]


def most_suspicious(record: Record, found: Sequence[Picture]) -> Picture | None:
    """The picture that the verdict rests on most; of the most prominent face where nobody was judged."""
    return next((one for one in found if one.face == (record.decided_by or 1)), None)


def _places(face: Face) -> list[int]:
    scores = [sighting.score for sighting in face.sightings]
    worst = int(np.argmax(scores))
    others = [place for place in range(len(scores)) if place != worst]
    count = min(OF_A_FACE - 1, len(others))
    chosen = np.linspace(0, len(others) - 1, count).round().astype(int).tolist()
    return [worst, *(others[place] for place in chosen)]
