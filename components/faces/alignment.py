"""Five-point alignment: every face stands upright, at one size and place.

    landmarks (5,2) in the frame --similarity--> template (5,2) in the crop;  frame --warp--> crop (S,S,3)

Source    template and margin are DeepfakeBench's (SCLBD/DeepfakeBench@8a4a7bf5e966, preprocessing/preprocess.py,
          `img_align_crop`), which takes the five points of ArcFace; the fit is Umeyama, PAMI 13(4), 1991, Eq. 34-43
Differs   a face more than twice the size of the crop is first averaged down: sampling it bilinearly, as the source
          does, aliases, and a detector of forgeries would learn the aliasing
Border    black where the crop leaves the frame, as in the source; mirrored or repeated pixels would be made-up skin
Masks     of what was manipulated take the same path and are then averaged down: each value is the share of a cell of
          `MASK_CELL` px squared. Detectors predict masks on maps no finer than that, and a table with masks stays within a
          hundredth of its size (256 px faces, 2026-11: 0.4 KB beside 57)
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from components.faces.table import Images

Points = npt.NDArray[np.float64]  # (5, 2), x and y in pixels, in the order of vocabulary.LANDMARKS
Matrix = npt.NDArray[np.float64]  # (2, 3), maps (x, y, 1) of the frame to (x, y) of the crop

MASK_CELL = 4  # px of the crop

# Landmarks of an upright face in a crop 96 px wide and 112 px high.
TEMPLATE_96_X_112: Points = np.array(
    [[30.2946, 51.6963], [65.5318, 51.5014], [48.0252, 71.7366], [33.5493, 92.3655], [62.7299, 92.2041]]
)


def template(size_px: int, margin: float) -> Points:
    """Where the landmarks lie in a crop of `size_px`, whose side is `margin` times that of the tight crop; (5, 2)."""
    tight = (TEMPLATE_96_X_112 + np.array([8.0, 0.0])) * size_px / 112  # 8 px left and right make 96 x 112 a square
    border = size_px * (margin - 1) / 2
    return (tight + border) * size_px / (size_px + 2 * border)


def similarity(source: Points, target: Points) -> Matrix:
    """The rotation, uniform scale and shift that bring `source` (N,2) nearest to `target` (N,2), never a mirror image.

        min over s, R, t of  sum_i || target_i - (s R source_i + t) ||^2,  det R = 1

    Raises ValueError where the source points are one point, or not numbers.
    """
    if not np.isfinite(source).all() or np.ptp(source, axis=0).max() < 1e-3:  # px
        raise ValueError("landmarks that lie on one point, or are not numbers, fix no similarity")
    source_mean, target_mean = source.mean(0), target.mean(0)
    spread = ((source - source_mean) ** 2).sum() / len(source)
    covariance = (target - target_mean).T @ (source - source_mean) / len(source)
    u, singular, vt = np.linalg.svd(covariance)
    proper = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    scaled_rotation = (singular @ proper) / spread * (u * proper) @ vt
    return np.column_stack([scaled_rotation, target_mean - scaled_rotation @ source_mean])


def move(matrix: Matrix, points: Points) -> Points:
    """`points` (N,2) where `matrix` puts them."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def align(frame: Images, landmarks: npt.ArrayLike, size_px: int, margin: float) -> tuple[Images, Points]:
    """Crop a face: `frame` (H,W,3), its `landmarks` (5,2) -> crop (S,S,3) and the landmarks in it (5,2).

    Raises ValueError where the landmarks fix no similarity.
    """
    points = np.asarray(landmarks, np.float64).reshape(5, 2)
    matrix = similarity(points, template(size_px, margin))
    crop = _warp(frame, matrix, size_px)
    return crop, move(matrix, points)


def align_mask(mask: Images, landmarks: npt.ArrayLike, size_px: int, margin: float) -> Images:
    """What `align` shows of a frame, of its `mask` (H,W): (S/4,S/4) uint8, 255 where all was manipulated.

    Landmarks that are not numbers say that the frame is a crop already. Raises ValueError where they fix no similarity.
    """
    points = np.asarray(landmarks, np.float64).reshape(5, 2)
    if not np.isnan(points).all():
        mask = _warp(mask, similarity(points, template(size_px, margin)), size_px)
    side_px = max(1, size_px // MASK_CELL)
    return _plain(cv2.resize(mask, (side_px, side_px), interpolation=cv2.INTER_AREA))


def resize(frame: Images, size_px: int) -> Images:
    """A frame that is a crop already, (H,W,3) -> (S,S,3)."""
    if frame.shape[:2] == (size_px, size_px):
        return frame
    shrinks = min(frame.shape[:2]) >= size_px
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return _plain(cv2.resize(frame, (size_px, size_px), interpolation=how))


def _warp(frame: Images, matrix: Matrix, size_px: int) -> Images:
    scale = float(np.sqrt(np.linalg.det(matrix[:, :2])))  # crop pixels per frame pixel
    if scale < 0.5:
        frame, matrix = _shrink(frame, matrix, 2 * scale)
    warped = cv2.warpAffine(
        frame, matrix, (size_px, size_px), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(0, 0, 0)
    )
    return _plain(warped)


def _shrink(frame: Images, matrix: Matrix, factor: float) -> tuple[Images, Matrix]:
    """`frame` averaged down by `factor` < 1, and the matrix that maps the smaller frame to the same crop."""
    height, width = frame.shape[:2]
    small_size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.resize(frame, small_size, interpolation=cv2.INTER_AREA)
    stretch = np.array([width / small_size[0], height / small_size[1]])
    grow = np.diag([*stretch, 1.0])
    grow[:2, 2] = (stretch - 1) / 2  # pixel centres: x = stretch * (x' + 1/2) - 1/2
    return _plain(small), matrix @ grow


def _plain(image: Any) -> Images:
    return np.asarray(image, np.uint8)
