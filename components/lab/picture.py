"""Pictures and how to paint on them: the few verbs every module of the lab shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]  # (H, W, 3) RGB
Floats = npt.NDArray[Any]  # float32 unless said otherwise
Points = npt.NDArray[np.float64]  # (5, 2) x, y in pixels, in the order of vocabulary.LANDMARKS
Mask = npt.NDArray[np.bool_]  # (H, W)


@dataclass(frozen=True)
class Portrait:
    """A picture of one face and where its five landmarks lie; rendered and photographed ones are alike."""

    image: Picture
    landmarks: Points
    mask: Mask | None = None
    """The pixels a forgery laid its hand on, all others keep their bytes; None where nothing was forged."""


def linear(colour: tuple[float, float, float]) -> Floats:
    """sRGB in [0, 255] -> light in [0, 1], with gamma 2."""
    return (np.asarray(colour, np.float32) / 255) ** 2


def paint(canvas: Floats, colour: Floats, alpha: Floats) -> None:
    """Lay `colour` (3,) or (H, W, 3) over `canvas` (H, W, 3) in place, where `alpha` (H, W) says."""
    canvas += alpha[..., None] * (colour - canvas)


def shade(canvas: Floats, factor: Floats) -> None:
    """Multiply the light of `canvas` (H, W, 3) in place by `factor` (H, W)."""
    canvas *= factor[..., None]


def edge(distance: Floats, softness: float) -> Floats:
    """Coverage in [0, 1] from a signed distance: 0 outside, 1 inside, a ramp `softness` wide across the border."""
    return np.clip(distance / softness + 0.5, 0, 1)


def bump(x: Floats, y: Floats, centre: tuple[float, float], sigma: tuple[float, float]) -> Floats:
    """A Gaussian hill of height 1."""
    return np.exp(-0.5 * (((x - centre[0]) / sigma[0]) ** 2 + ((y - centre[1]) / sigma[1]) ** 2))


def noise(rng: np.random.Generator, shape: tuple[int, int], grain_px: float) -> Floats:
    """Smooth noise (H, W) of zero mean and unit variance whose blobs are about `grain_px` wide."""
    small = (max(2, round(shape[0] / grain_px)), max(2, round(shape[1] / grain_px)))
    field = rng.standard_normal(small, dtype=np.float32)
    if small != shape:
        field = cv2.resize(field, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray((field - field.mean()) / (field.std() + 1e-6), np.float32)


def sample(texture: Floats, x: Floats, y: Floats, *, wrap: bool = False) -> Floats:
    """`texture` (h, w[, C]) read bilinearly at pixel coordinates `x`, `y` (H, W)."""
    border = cv2.BORDER_WRAP if wrap else cv2.BORDER_REPLICATE
    return cv2.remap(texture, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=border)
