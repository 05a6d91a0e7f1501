"""The camera: lens, sensor and compression, the same for genuine and forged pictures."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from components.lab.people import Camera
from components.lab.picture import Floats, Picture

_SHIFTS = 97  # places along each axis from which a picture's grain may be cut


def shoot(radiance: Floats, camera: Camera, noise_seed: int) -> Picture:
    """A file's pixels (H, W, 3) uint8 from linear light (H, W, 3) in [0, 1]: blur, noise, compression.

    Linear here means gamma 2, so that the tone curve is a square root.
    """
    levels = np.sqrt(np.clip(radiance, 0, 1)) * 255
    sigma = camera.blur * radiance.shape[0] / 160
    levels = cv2.GaussianBlur(levels, (0, 0), sigma)
    return compress(_noisy(levels, camera.noise, noise_seed), camera.quality)


def finish(image: Picture, *, noise: float, quality: int, seed: int) -> Picture:
    """The last camera and the last file every published picture goes through, genuine or forged.

    Both classes share it, so that neither noise nor compression betrays a forgery.
    """
    return compress(_noisy(image.astype(np.float32), noise, seed), quality)


def compress(image: Picture, quality: int) -> Picture:
    """`image` after one JPEG round trip."""
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None  # we have just encoded it
    return np.ascontiguousarray(decoded[..., ::-1])


def _noisy(levels: Floats, sigma: float, seed: int) -> Picture:
    rows, columns = levels.shape[:2]
    grain = _grain(rows + _SHIFTS, columns + _SHIFTS)
    down, right = np.random.default_rng(seed).integers(_SHIFTS, size=2)
    noise = grain[down : down + rows, right : right + columns]
    return np.clip(levels + sigma * noise + 0.5, 0, 255).astype(np.uint8)


@lru_cache(maxsize=16)
def _grain(rows: int, columns: int) -> Floats:
    """White noise (rows, columns, 3), drawn once; every picture cuts its own place out of it."""
    return np.random.default_rng(0).standard_normal((rows, columns, 3), dtype=np.float32)
