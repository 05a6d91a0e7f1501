"""The faces of an answer as pictures a page can show: each beside where the detector looked, nothing to be fetched."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from components.evaluation import explain
from components.serving.looking import Seen
from components.serving.verdicts import Answer, Examiner

MOST = 8
"""Pictures of one face: of the frames that are the most suspicious."""
SIDE_PX = 256
QUALITY = 88


@dataclass(frozen=True)
class Picture:
    """One face in one frame."""

    face: int
    """Whose it is: a number of the answer's faces."""
    frame: int
    score: float
    image: str
    """data: URI of a JPEG."""
    heat: str
    """The same under the colours of its heat map."""


def pictures(examiner: Examiner, seen: Seen, answer: Answer) -> list[Picture]:
    """Of the most suspicious frames, in the order of time."""
    if not answer.frames:
        return []
    order = sorted(range(len(answer.frames)), key=lambda number: -answer.frames[number].probability)
    shown = sorted(order[:MOST])
    heat = explain.heat_maps(examiner.detector, examiner.pixels(seen.faces[shown])).cpu().numpy()
    return [
        Picture(
            1, answer.frames[number].frame, answer.frames[number].probability,
            _uri(seen.faces[number]), _uri(explain.overlay(seen.faces[number], one)),
        )
        for number, one in zip(shown, heat, strict=True)
    ]  # fmt: skip


def _uri(pixels: npt.NDArray[np.uint8]) -> str:
    image = Image.fromarray(pixels)
    if image.width > SIDE_PX:
        image = image.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    held = io.BytesIO()
    image.save(held, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(held.getvalue()).decode()}"
