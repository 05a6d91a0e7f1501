"""The camera: lens, sensor and compression, the same for genuine and forged pictures."""

from __future__ import annotations

import cv2
import numpy as np

from components.lab.people import Camera
from components.lab.picture import Floats, Picture


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
    grain = np.random.Generator(np.random.SFC64(seed)).standard_normal(levels.shape, dtype=np.float32)
    return np.clip(levels + sigma * grain + 0.5, 0, 255).astype(np.uint8)
