"""YuNet (Wu et al., Machine Intelligence Research 2023) through OpenCV.

Its "right eye" is the person's own, hence the left one in the image: the order of vocabulary.LANDMARKS.

Size     A face is found where it measures 16 px in what the network sees: at 320, 640, 960, 1280 px a frame's longer side
         that is a twentieth, 1/40, 1/60, 1/80 of it. Time grows with the area: 6, 23, 53, 95 ms of one core (16:9). So a
         frame is looked at small, `faces.detect_px`, and at twice that as long as no face of `SURE_PX` is seen there, up to
         `faces.max_input_px`. Photographs pasted into 1920x1080, 52 people, share found (2026-11):

             face, px      24    32    48    64    96   160
             at 320       .00   .00   .02   .10   .90  1.00
             at 640       .00   .27   .96  1.00  1.00  1.00
             at 960       .58   .96  1.00  1.00  1.00  1.00
             at 1280      .94  1.00  1.00  1.00  1.00  1.00

Landmarks depend on the size at which a face is seen: of one face at 640 and at 1280 px they differ by 9 % of the distance
         of the eyes, and neither is nearer to the truth. So each face is looked at again, at full resolution and of one size,
         and its mirror image beside it, from a place that does not depend on how it was found: places are few (`STEP`), each
         look tells the next one's, and it rests where one comes again. Looks from nearer by lead there: they go by the
         landmarks, which tell a place better than a box. Whether a face was found at 320 or at 1280 px first, its landmarks
         then are the same ones for all of 999 faces (20 real clips, 50 frames each; with two looks and no rest for 98 of 100,
         with one look, by boxes, for 91); the worst of the five lies 6 % from the median of many views, that of the whole frame
         11 to 13 %. At 1280 px hands and drawings were taken for further faces, at 320 none was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from components.digests import file_digest
from components.errors import MissingWeights
from components.faces.detection import Face, FaceDetector, Frame, shrink
from components.faces.table import Images
from components.params import CropOptions
from components.settings import settings

OVERLAP = 0.3  # boxes that overlap more are one face: OpenCV's default
CANDIDATES = 5000  # boxes kept before that: OpenCV's default
SURE_PX = 24  # every face was found that was as large there, of photographs in the table above
VIEW_SCORE = 0.3  # there is a face: only where is asked
BOX_A_SPAN = 2.2  # how large a box is beside the distance of the eyes, or that from between them to the mouth
STEP = 0.25  # of a face: how far apart the places are from which one is seen
OTHER_SIDE = (1, 0, 2, 4, 3)  # landmarks in a mirror

_LOADING = threading.Lock()  # the level of OpenCV's messages is everybody's

Point = npt.NDArray[np.float64]  # (2,)
Place = tuple[Point, float]
"""Centre and size of what is looked at, in pixels of the frame."""
Part = tuple[Images, Point, Point]
"""A part of a frame, where it begins, and how many of the frame's pixels one of its own is, in x and y."""


@dataclass(frozen=True)
class View:
    """A small square in which one face is looked at, and how large the face is there, in pixels."""

    side_px: int
    face_px: int

    @property
    def middle(self) -> float:
        return (self.side_px - 1) / 2


NEARER, NEAREST = View(96, 60), View(128, 80)
MOST_LOOKS = 6  # in each: one or two lead to rest but for a face in a thousand


def build(params: CropOptions, archive: Path | None) -> YuNet:  # noqa: ARG001 every file of the catalogue is asked alike
    """With the weights PERENNIAL_YUNET_WEIGHTS points to; raises MissingWeights."""
    return YuNet(weights(), min_score=params.min_score, max_input_px=params.max_input_px, detect_px=params.detect_px)


class YuNet(FaceDetector):
    """Frames one by one; the networks of OpenCV belong to one thread, so every thread has its own."""

    name = "yunet"

    def __init__(self, weights: Path, *, min_score: float, max_input_px: int, detect_px: int = 320) -> None:
        self.weights_digest = file_digest(weights)
        self.looks = {"detect_px": detect_px}
        self._weights = weights
        self._min_score = min_score
        self._max_input_px = max_input_px
        self._detect_px = detect_px
        self._local = threading.local()
        self._network("frames", min_score)  # a file that is no YuNet is reported here, not in the middle of an archive

    def detect(self, frames: Sequence[Frame]) -> list[list[Face]]:
        """Every face of each frame with a score of at least `min_score`, but for small ones beside a large one."""
        return [self._looked(frame) for frame in frames]

    def refine(self, frame: Frame, face: Face) -> Face:
        """The landmarks as they are seen in `NEAREST`; as they are where the face is not seen there."""
        nearer = _at_rest(face, _between_landmarks, partial(self._seen_nearer, frame))
        nearest = nearer and _at_rest(nearer, _around, partial(self._seen_nearest, frame))
        return Face(nearest.box, nearest.landmarks, face.score) if nearest else face

    def _seen_nearer(self, frame: Frame, place: Place, face: Face) -> Face | None:
        return self._seen(_shown(frame.pixels, place, NEARER), NEARER, place, face)

    def _seen_nearest(self, frame: Frame, place: Place, face: Face) -> Face | None:
        """The mean of what is seen there and in its mirror image."""
        shown = _shown(_averaged(frame.pixels, place), place, NEAREST)
        both = (self._seen(shown, NEAREST, place, face, mirrored=mirrored) for mirrored in (False, True))
        seen = [one for one in both if one is not None]
        if not seen:
            return None
        box, landmarks = (np.mean([getattr(one, what) for one in seen], axis=0) for what in ("box", "landmarks"))
        return Face(box, landmarks, face.score)

    def _looked(self, frame: Frame) -> list[Face]:
        full_px = min(self._max_input_px, max(frame.pixels.shape[:2]))
        size_px = full_px if frame.closely else min(self._detect_px, full_px)
        while True:
            image, stretch = shrink(frame.pixels, size_px)
            faces = self._faces("frames", image, self._min_score)
            if size_px >= full_px or any(np.ptp(face.box.reshape(2, 2), axis=0).max() >= SURE_PX for face in faces):
                return [Face(face.box * np.tile(stretch, 2), face.landmarks * stretch, face.score) for face in faces]
            size_px *= 2

    def _seen(self, shown: Images, view: View, place: Place, face: Face, *, mirrored: bool = False) -> Face | None:
        """`face` as it is seen in what a view of `place` shows, in pixels of the frame; None where it is not."""
        found = self._faces(view, np.ascontiguousarray(shown[:, ::-1]) if mirrored else shown, VIEW_SCORE)
        if mirrored:
            found = [_mirrored(one, view) for one in found]
        centre, size = place
        back = [_moved(one, size / view.face_px, centre - view.middle * size / view.face_px) for one in found]
        nearest = min(back, key=lambda one: _apart(one, face), default=None)
        return nearest if nearest is not None and _apart(nearest, face) < size / 2 else None

    def _faces(self, where: str | View, image: Images, min_score: float) -> list[Face]:
        network = self._network(where, min_score)
        size = (image.shape[1], image.shape[0])
        if network.getInputSize() != size:
            network.setInputSize(size)
        rows = network.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]  # x, y, w, h, five points, score
        return [] if rows is None else [_face(row.astype(np.float64)) for row in rows]

    def _network(self, where: str | View, min_score: float) -> Any:
        """One for frames and one for each view: a network that is shown another size is set up anew."""
        mine: dict[str | View, Any] = self._local.__dict__.setdefault("networks", {})
        if where not in mine:
            mine[where] = _load(self._weights, min_score)
        return mine[where]


def _shown(pixels: Images | Part, place: Place, view: View) -> Images:
    """The small square around a place, of a frame or of a part of it."""
    part, low, stretch = pixels if isinstance(pixels, tuple) else (pixels, np.zeros(2), np.ones(2))
    centre, size = place
    plain = view.face_px / size
    scale = plain * stretch
    matrix = np.column_stack([np.diag(scale), view.middle - plain * (centre - low) + (scale - plain) / 2])
    return np.asarray(cv2.warpAffine(part, matrix, (view.side_px, view.side_px), flags=cv2.INTER_LINEAR), np.uint8)


def _averaged(pixels: Images, place: Place) -> Part:
    """What is around a place, averaged down where its face is more than twice as large as in `NEAREST`."""
    centre, size = place
    low, high = (np.clip(np.round(centre + side * size), 0, pixels.shape[1::-1]).astype(int) for side in (-1, 1))
    part = pixels[low[1] : high[1], low[0] : high[0]]
    if size <= 2 * NEAREST.face_px or 0 in part.shape:
        return pixels, np.zeros(2), np.ones(2)
    small, stretch = shrink(part, round(max(part.shape[:2]) * 2 * NEAREST.face_px / size))
    return small, low.astype(np.float64), stretch


def _around(face: Face) -> Place:
    low, high = face.box.reshape(2, 2)
    return (low + high) / 2, float(np.sqrt(np.maximum(np.prod(high - low), 1.0)))


def _between_landmarks(face: Face) -> Place:
    """Between eyes and mouth, as large as a box there is, by whichever of a face's two spans is seen less foreshortened."""
    right, left, _, *corners = face.landmarks
    eyes, mouth = (right + left) / 2, np.mean(corners, axis=0)
    span = max(np.hypot(*(left - right)), np.hypot(*(mouth - eyes)))
    return (eyes + mouth) / 2, float(max(BOX_A_SPAN * span, 1.0))


def _at_rest(face: Face, place_of: Callable[[Face], Place], look: Callable[[Place, Face], Face | None]) -> Face | None:
    """The face as it is seen from the place to which looking leads; None where it is not seen.

    Each look tells the place of the next, until one comes again. Of places that lead to one another it is the least, so that
    it does not matter with which the looking began.
    """
    seen: dict[tuple[float, ...], Face] = {}
    while (at := _numbers(place := _settled(place_of(face)))) not in seen:
        if (found := look(place, face)) is None:
            return None
        seen[at] = face = found
        if len(seen) == MOST_LOOKS:
            return found
    around = list(seen)
    return seen[min(around[around.index(at) :])]


def _numbers(place: Place) -> tuple[float, ...]:
    return (place[1], *(float(number) for number in place[0]))


def _settled(place: Place) -> Place:
    """The nearest of few places, so that a face that was found a little to the side is seen from the same."""
    centre, size = place
    size = float(2 ** (np.round(2 * np.log2(size)) / 2))
    step = STEP * size
    return np.round(centre / step) * step, size


def _apart(one: Face, other: Face) -> float:
    """Pixels between the centres of two faces."""
    return float(np.hypot(*(_around(one)[0] - _around(other)[0])))


def _moved(face: Face, scale: float, shift: Point) -> Face:
    return Face(face.box * scale + np.tile(shift, 2), face.landmarks * scale + shift, face.score)


def _mirrored(face: Face, view: View) -> Face:
    """A face of the mirror image of a view, in the view."""
    x0, y0, x1, y1 = face.box
    edge = 2 * view.middle
    landmarks = face.landmarks[list(OTHER_SIDE)] * [-1, 1] + [edge, 0]
    return Face(np.array([edge - x1, y0, edge - x0, y1]), landmarks, face.score)


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


def _face(row: npt.NDArray[np.float64]) -> Face:
    return Face(np.concatenate([row[:2], row[:2] + row[2:4]]), row[4:14].reshape(5, 2), float(row[14]))


def _load(weights: Path, min_score: float) -> Any:
    with _LOADING:
        before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # it warns of a target nobody chose
        try:
            return _created(weights, min_score)
        finally:
            cv2.utils.logging.setLogLevel(before)


def _created(weights: Path, min_score: float) -> Any:
    try:
        return cv2.FaceDetectorYN.create(str(weights), "", (320, 320), min_score, OVERLAP, CANDIDATES)
    except cv2.error as fault:
        raise MissingWeights(
            f"expected the ONNX file of YuNet at '{weights}', found something OpenCV cannot "
            f"read as such ({fault.err}). "
            "Fetch it again and point PERENNIAL_YUNET_WEIGHTS to it."
        ) from fault
