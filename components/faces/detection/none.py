"""Every frame is a face crop already, and where its landmarks lie is not known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from components.faces.detection import Face, FaceDetector, Frame
from components.faces.table import Images
from components.params import CropOptions


def build(params: CropOptions, archive: Path | None) -> WholeFrame:  # noqa: ARG001 every file of the catalogue is asked alike
    """There is nothing to set."""
    return WholeFrame()


def weights() -> None:
    """It has none."""


class WholeFrame(FaceDetector):
    """The largest face of a frame is the frame."""

    name = "none"
    weights_digest = None

    def detect(self, frames: Sequence[Frame]) -> list[list[Face]]:
        """One face a frame, as large as the frame."""
        return [[_whole(frame.pixels)] for frame in frames]


def _whole(pixels: Images) -> Face:
    height, width = pixels.shape[:2]
    return Face(np.array([0.0, 0.0, width, height]), np.full((5, 2), np.nan), 1.0)
