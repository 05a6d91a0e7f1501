"""Landmarks that came with the archive: ``landmarks.parquet`` beside its clips.

One row per face: file (the clip's path in the manifest), frame, landmarks (x0, y0, ... x4, y4 in pixels of the frame).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from components.errors import BadArchive
from components.faces.detection import Face, FaceDetector, Frame
from components.params import CropOptions

FILE = "landmarks.parquet"
Key = tuple[str, int]  # clip and frame index


def build(params: CropOptions, archive: Path | None) -> Annotated:  # noqa: ARG001 every file of the catalogue is asked alike
    """With the landmarks of the archive in this folder; raises BadArchive where it brings none."""
    return Annotated.read(archive)


def weights() -> None:
    """It has none."""


class Annotated(FaceDetector):
    """Looks landmarks up instead of finding them; a frame without a row has no face."""

    name = "annotated"
    weights_digest = None

    def __init__(self, landmarks: Mapping[Key, Sequence[npt.NDArray[np.float64]]]) -> None:
        self._landmarks = landmarks

    @classmethod
    def read(cls, archive: Path | None) -> Annotated:
        """The landmarks of the archive in this folder; raises BadArchive where it brings none."""
        if archive is None or not (archive / FILE).is_file():
            place = f"in '{archive}', found none" if archive else "beside the clip, and no archive was named"
            raise BadArchive(f"face detector 'annotated' expected {FILE} {place}. Choose yunet or retinaface instead.")
        return cls(_read(archive / FILE))

    def detect(self, frames: Sequence[Frame]) -> list[list[Face]]:
        """The annotated faces of each frame."""
        return [[_face(points) for points in self._landmarks.get((f.clip, f.index), ())] for f in frames]


def _face(landmarks: npt.NDArray[np.float64]) -> Face:
    """The box reaches as far around the landmarks as they reach themselves: nobody annotated one."""
    low, high = landmarks.min(0), landmarks.max(0)
    reach = (high - low) / 2
    return Face(np.concatenate([low - reach, high + reach]), landmarks, 1.0)


def _read(path: Path) -> dict[Key, list[npt.NDArray[np.float64]]]:
    try:
        table = pq.read_table(path, columns=["file", "frame", "landmarks"])
        files, indices = table["file"].to_pylist(), table["frame"].to_pylist()
        points = np.array(table["landmarks"].to_pylist(), np.float64).reshape(len(files), 5, 2)
    except (ValueError, TypeError, OSError, pa.ArrowException) as fault:
        raise BadArchive(
            f"expected columns file, frame and landmarks (10 numbers a row) in '{path}', found {fault}. Annotate again."
        ) from fault
    if not np.isfinite(points).all():
        raise BadArchive(f"expected finite landmarks in '{path}', found NaN or infinity. Leave those frames out.")
    found: dict[Key, list[npt.NDArray[np.float64]]] = defaultdict(list)
    for file, index, five in zip(files, indices, points, strict=True):
        found[str(file), int(index)].append(five)
    return dict(found)
