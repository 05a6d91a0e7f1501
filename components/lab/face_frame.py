"""The face frame: a unit square in which every face's five landmarks lie (nearly) at the same places.

Forgeries work in it, so that a photograph with five landmarks from a detector is forged exactly like a rendered one.
"""

from __future__ import annotations

import cv2
import numpy as np

from components.lab.picture import Floats, Picture, Points, Portrait

TEMPLATE: Points = np.array([[0.36, 0.40], [0.64, 0.40], [0.50, 0.555], [0.39, 0.70], [0.61, 0.70]])
# Brows to chin, ear to ear: what a face swapper replaces
OVAL = ((0.50, 0.545), (0.265, 0.325))


def to_frame(portrait: Portrait, side_px: int) -> Floats:
    """(2, 3) similarity from pixels of `portrait` to a face frame of `side_px` pixels, least squares over landmarks."""
    return similarity(portrait.landmarks, TEMPLATE * side_px)


def side_of(portrait: Portrait) -> float:
    """Side of the face frame in pixels of `portrait`."""
    matrix = to_frame(portrait, 1)
    return float(1 / np.hypot(matrix[0, 0], matrix[1, 0]))


def similarity(source: Points, target: Points) -> Floats:
    """(2, 3) scale, rotation and shift that carry `source` (N, 2) to `target` with the least squared error.

    With points as complex numbers the answer is one ratio: a = <s, t> / <s, s> after removing the means.
    """
    s = source[:, 0] + 1j * source[:, 1]
    t = target[:, 0] + 1j * target[:, 1]
    a = np.vdot(s - s.mean(), t - t.mean()) / np.vdot(s - s.mean(), s - s.mean()).real
    shift = t.mean() - a * s.mean()
    return np.array([[a.real, -a.imag, shift.real], [a.imag, a.real, shift.imag]])


def warped(image: Floats, matrix: Floats, shape: tuple[int, int]) -> Floats:
    """`image` carried by `matrix` (2, 3) onto a canvas of `shape` (rows, columns), borders mirrored."""
    return cv2.warpAffine(image, matrix, shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def frame_coordinates(portrait: Portrait) -> tuple[Floats, Floats]:
    """Where in the face frame each pixel of `portrait` lies: x (H, W), y (H, W)."""
    (a, b, c), (d, e, f) = to_frame(portrait, 1).tolist()
    rows, columns = portrait.image.shape[:2]
    x, y = np.arange(columns, dtype=np.float32)[None, :], np.arange(rows, dtype=np.float32)[:, None]
    return a * x + b * y + c, d * x + e * y + f


def oval(portrait: Portrait, softness: float) -> Floats:
    """Coverage (H, W) of the face's oval, fading over `softness` of the face frame, inwards only."""
    x, y = frame_coordinates(portrait)
    (centre_x, centre_y), (half_x, half_y) = OVAL
    radius = np.sqrt(((x - centre_x) / half_x) ** 2 + ((y - centre_y) / half_y) ** 2)
    return np.clip((1 - radius) * half_x / softness, 0, 1)


def recoloured(image: Floats, like: Picture, where: Floats, strength: float) -> Floats:
    """`image` (H, W, 3) with mean and spread of each channel moved towards those of `like` inside `where` (H, W)."""
    weight = where / max(float(where.sum()), 1e-6)
    target = like.astype(np.float32)
    mean, wanted = (np.einsum("hw,hwc->c", weight, picture) for picture in (image, target))
    spread = np.sqrt(np.einsum("hw,hwc->c", weight, (image - mean) ** 2)) + 1e-3
    aim = np.sqrt(np.einsum("hw,hwc->c", weight, (target - wanted) ** 2)) + 1e-3
    gain = np.clip(1 + strength * (aim / spread - 1), 0.4, 2.5)
    return ((image - mean) * gain + mean + strength * (wanted - mean)).astype(np.float32)


def levels(image: Floats) -> Picture:
    """Floats back to uint8."""
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


def blended(under: Picture, over: Floats, alpha: Floats) -> Picture:
    """`over` (H, W, 3) upon `under` where `alpha` (H, W) says; pixels with alpha 0 keep their bytes."""
    base = under.astype(np.float32)
    return levels(base + alpha[..., None] * (over - base))


def sharpened(image: Picture | Floats, amount: float) -> Floats:
    """Unsharp masking over about one pixel, (H, W, 3) float32."""
    levels_of = image.astype(np.float32)
    return np.asarray(levels_of + amount * (levels_of - cv2.GaussianBlur(levels_of, (0, 0), 0.9)), np.float32)
