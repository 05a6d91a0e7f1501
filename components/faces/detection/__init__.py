"""Where the faces of a frame are: one interface, four ways to know.

annotated    landmarks that came with the archive
none         the frames are face crops already
retinaface   RetinaFace-ResNet50 (retinaface-pytorch); what the field uses
yunet        YuNet (OpenCV); small, fast on a CPU
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from components.errors import UnknownName
from components.faces.table import Images
from components.params import CropOptions

NAMES = ("annotated", "none", "retinaface", "yunet")


@dataclass(frozen=True)
class Frame:
    """One frame of a clip: `clip` is the path in the manifest, `pixels` (H,W,3) uint8 RGB."""

    clip: str
    index: int
    pixels: Images


@dataclass(frozen=True)
class Face:
    """One face in a frame, in its pixels; landmarks are NaN where the frame itself is the crop."""

    box: npt.NDArray[np.float64]  # (4,) x0, y0, x1, y1
    landmarks: npt.NDArray[np.float64]  # (5, 2), in the order of vocabulary.LANDMARKS
    score: float

    @property
    def area(self) -> float:
        x0, y0, x1, y1 = self.box
        return float(max(x1 - x0, 0) * max(y1 - y0, 0))


class FaceDetector(Protocol):
    """Finds every face in frames; may be called from several threads at once."""

    @property
    def name(self) -> str: ...

    @property
    def weights_digest(self) -> str | None:
        """sha256 of the weight file; None where there is none."""

    def detect(self, frames: Sequence[Frame]) -> list[list[Face]]:
        """The faces of each frame, possibly none."""
        ...


def build(name: str, params: CropOptions, *, archive: Path | None = None) -> FaceDetector:
    """The face detector `name`; `archive` is where `annotated` finds its landmarks.

    Raises UnknownName, MissingWeights, or BadArchive where the archive brings no landmarks.
    """
    if name == "none":
        return WholeFrame()
    if name == "annotated":
        from components.faces.detection.annotated import Annotated

        return Annotated.read(archive)
    if name == "yunet":
        from components.faces.detection.yunet import YuNet

        return YuNet.from_settings(params)
    if name == "retinaface":
        from components.faces.detection.retinaface import RetinaFace

        return RetinaFace.from_settings(params)
    raise UnknownName("face detector", name, NAMES)


def largest(faces: Sequence[Face]) -> Face | None:
    """The face with the largest box; of equal ones the surer."""
    return max(faces, key=lambda face: (face.area, face.score), default=None)


def file_digest(path: Path) -> str:
    """sha256 of a weight file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class WholeFrame:
    """`none`: every frame is a face crop already, and where its landmarks lie is not known."""

    name = "none"
    weights_digest = None

    def detect(self, frames: Sequence[Frame]) -> list[list[Face]]:
        """One face a frame, as large as the frame."""
        return [[_whole(frame.pixels)] for frame in frames]


def _whole(pixels: Images) -> Face:
    height, width = pixels.shape[:2]
    return Face(np.array([0.0, 0.0, width, height]), np.full((5, 2), np.nan), 1.0)
