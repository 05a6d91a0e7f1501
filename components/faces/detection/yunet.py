"""YuNet (Wu et al., Machine Intelligence Research 2023) through OpenCV; 11 ms for a 512 px frame on one core.

Its "right eye" is the person's own, hence the left one in the image: the order of vocabulary.LANDMARKS.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from components.errors import MissingWeights
from components.faces.detection import Face, Frame, file_digest, shrink
from components.faces.table import Images
from components.params import CropOptions
from components.settings import settings

OVERLAP = 0.3  # boxes that overlap more are one face: OpenCV's default
CANDIDATES = 5000  # boxes kept before that: OpenCV's default


def build(params: CropOptions, archive: Path | None) -> YuNet:  # noqa: ARG001 every file of the catalogue is asked alike
    """With the weights PERENNIAL_YUNET_WEIGHTS points to; raises MissingWeights."""
    return YuNet(weights(), min_score=params.min_score, max_input_px=params.max_input_px)


class YuNet:
    """Frames one by one; the network of OpenCV belongs to one thread, so every thread has its own."""

    name = "yunet"

    def __init__(self, weights: Path, *, min_score: float, max_input_px: int) -> None:
        self.weights_digest: str | None = file_digest(weights)
        self._weights = weights
        self._min_score = min_score
        self._max_input_px = max_input_px
        self._local = threading.local()
        self._network()  # a file that is no YuNet is reported here, not in the middle of an archive

    def detect(self, frames: Sequence[Frame]) -> list[list[Face]]:
        """Every face of each frame with a score of at least `min_score`."""
        return [self._faces(frame.pixels) for frame in frames]

    def _faces(self, pixels: Images) -> list[Face]:
        image, stretch = shrink(pixels, self._max_input_px)
        network = self._network()
        network.setInputSize((image.shape[1], image.shape[0]))
        rows = network.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]  # x, y, w, h, five points, score
        return [] if rows is None else [_face(row.astype(np.float64), stretch) for row in rows]

    def _network(self) -> Any:
        if not hasattr(self._local, "network"):
            self._local.network = _load(self._weights, self._min_score)
        return self._local.network


def weights() -> Path:
    """The file PERENNIAL_YUNET_WEIGHTS points to; raises MissingWeights."""
    path = settings().yunet_weights
    if path is None or not path.is_file():
        raise MissingWeights(
            "face detector 'yunet' expected face_detection_yunet.onnx (about 230 kB) at PERENNIAL_YUNET_WEIGHTS, "
            f"found {'no such variable' if path is None else f'no file at {str(path)!r}'}. "
            "Fetch face_detection_yunet_2023mar.onnx or a later one from the OpenCV model zoo (opencv/opencv_zoo, "
            "models/face_detection_yunet) and set the variable to where it lies, or choose another face detector."
        )
    return path


def _face(row: npt.NDArray[np.float64], stretch: npt.NDArray[np.float64]) -> Face:
    corner, size = row[:2] * stretch, row[2:4] * stretch
    return Face(np.concatenate([corner, corner + size]), row[4:14].reshape(5, 2) * stretch, float(row[14]))


def _load(weights: Path, min_score: float) -> Any:
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # it warns of a target nobody chose
    try:
        return cv2.FaceDetectorYN.create(str(weights), "", (320, 320), min_score, OVERLAP, CANDIDATES)
    except cv2.error as fault:
        raise MissingWeights(
            f"expected the ONNX file of YuNet at '{weights}', found something OpenCV cannot "
            f"read as such ({fault.err}). "
            "Fetch it again and point PERENNIAL_YUNET_WEIGHTS to it."
        ) from fault
    finally:
        cv2.utils.logging.setLogLevel(before)
