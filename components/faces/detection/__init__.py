"""Where the faces of a frame are: the catalogue of face detectors, one file each, its name is the detector's.

annotated    landmarks that came with the archive
none         the frames are face crops already
retinaface   RetinaFace-ResNet50 (retinaface-pytorch); what the field uses
yunet        YuNet (OpenCV); small, fast on a CPU

A file has `build(params, archive) -> FaceDetector`, and `weights() -> Path | None` where its weights lie.
"""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from components.errors import UnknownName
from components.faces.table import Images
from components.params import CropOptions


@dataclass(frozen=True)
class Frame:
    """One frame of a clip: `clip` is the path in the manifest, `pixels` (H,W,3) uint8 RGB."""

    clip: str
    index: int
    pixels: Images
    closely: bool = False
    """Whether small faces matter as much as large ones: it is known which face is meant, or will be."""


SAME_FACE: Final = 0.3
"""Intersection over union of two boxes of one face; annotators and detectors draw them differently."""


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

    name: str
    weights_digest: str | None
    """sha256 of the weight file; None where there is none."""
    looks: Mapping[str, object] = {}
    """Options of its own that decide where it sees faces; they belong to the profile of a table."""
    batch: int = 2
    """Frames that are best shown to it together."""
    accelerators: int = 0
    """How many it can use here; where there is none, the CPU does all."""

    def detect(self, frames: Sequence[Frame]) -> list[list[Face]]:
        """The faces of each frame, possibly none."""
        ...

    def refine(self, frame: Frame, face: Face) -> Face:  # noqa: ARG002 most have said all they know
        """A face it found in `frame` with landmarks as exact as it can tell them."""
        return face


def names() -> tuple[str, ...]:
    """Every face detector there is, by file name."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def build(name: str, params: CropOptions, *, archive: Path | None = None) -> FaceDetector:
    """The face detector `name`; `archive` is where `annotated` finds its landmarks.

    Raises UnknownName, MissingWeights, or BadArchive where the archive brings no landmarks.
    """
    found: FaceDetector = _module(name).build(params, archive)
    return found


def weights(name: str) -> Path | None:
    """The weights of face detector `name` as they lie here, fetching nothing; None where it needs none.

    Raises UnknownName, and MissingWeights where they are not here.
    """
    found: Path | None = _module(name).weights()
    return found


def _module(name: str) -> Any:
    if name not in names():
        raise UnknownName("face detector", name, names())
    return importlib.import_module(f"{__name__}.{name}")


def by_size(faces: Sequence[Face]) -> list[Face]:
    """The face with the largest box first; of equal ones the surer."""
    return sorted(faces, key=lambda face: (face.area, face.score), reverse=True)


def largest(faces: Sequence[Face]) -> Face | None:
    """The first by size."""
    return next(iter(by_size(faces)), None)


def at(faces: Sequence[Face], box: tuple[int, int, int, int]) -> Face | None:
    """The face that covers most of what it and `box` (left, top, width, height) cover together; None below `SAME_FACE`."""
    found = max(faces, key=lambda face: _shared(face, box), default=None)
    return found if found is not None and _shared(found, box) >= SAME_FACE else None


def _shared(face: Face, box: tuple[int, int, int, int]) -> float:
    """Intersection over union."""
    left, top, width, height = box
    x0, y0, x1, y1 = face.box
    across = max(min(x1, left + width) - max(x0, left), 0)
    down = max(min(y1, top + height) - max(y0, top), 0)
    return float(across * down / (face.area + width * height - across * down or 1))


def file_digest(path: Path) -> str:
    """sha256 of a weight file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shrink(pixels: Images, max_px: int) -> tuple[Images, npt.NDArray[np.float64]]:
    """The frame with no side longer than `max_px`, and what its x and y are to be multiplied by, (2,)."""
    height, width = pixels.shape[:2]
    factor = min(1.0, max_px / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = pixels if factor == 1 else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), np.array([width / size[0], height / size[1]])
