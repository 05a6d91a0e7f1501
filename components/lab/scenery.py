"""What stands behind and below the head: a room or a street out of focus, a neck, clothes."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from components.lab.head import Head
from components.lab.picture import Floats, edge, linear, noise, paint, shade


@lru_cache(maxsize=64)
def scene(seed: int, size_px: int) -> Floats:
    """A background (H, W, 3) in linear light; the same seed is the same place."""
    rng = np.random.default_rng([seed, 2])
    base = rng.uniform(0.06, 0.55) * (1 + 0.12 * rng.standard_normal(3))
    other = rng.uniform(0.05, 0.6) * (1 + 0.12 * rng.standard_normal(3))
    slant = rng.uniform(-1, 1, 2)
    axis = np.linspace(-1, 1, size_px, dtype=np.float32)
    blend = np.clip(0.5 + 0.35 * (slant[0] * axis[None, :] + slant[1] * axis[:, None]), 0, 1)
    place = (base + blend[..., None] * (other - base)).astype(np.float32)
    (_wall, _shelves, _lights, _foliage)[int(rng.integers(4))](place, rng)
    blurred = cv2.GaussianBlur(place, (0, 0), rng.uniform(0.008, 0.035) * size_px)
    return np.clip(blurred, 0.004, 0.95)


def _wall(place: Floats, rng: np.random.Generator) -> None:
    shade(place, 1 + 0.10 * noise(rng, place.shape[:2], 0.2 * place.shape[0]))
    left, top = rng.uniform(-0.1, 0.7, 2) * place.shape[0]
    width, height = rng.uniform(0.15, 0.4, 2) * place.shape[0]
    picture = place[max(0, int(top)) : int(top + height), max(0, int(left)) : int(left + width)]
    picture[...] = rng.uniform(0.5, 1.0, 3) * rng.uniform(0.05, 0.6)


def _shelves(place: Floats, rng: np.random.Generator) -> None:
    side = place.shape[0]
    rows = int(rng.integers(2, 5))
    for row in range(rows):
        top, x = int(row * side / rows), 0
        while x < side:
            width = int(rng.uniform(0.03, 0.09) * side) + 1
            low = top + int(rng.uniform(0.02, 0.10) * side)
            book = rng.uniform(0.35, 1.6) * rng.uniform(0.75, 1.25, 3)
            place[low : top + int(0.92 * side / rows), x : x + width] *= book
            x += width + 1


def _lights(place: Floats, rng: np.random.Generator) -> None:
    side = place.shape[0]
    place *= 0.5
    for _ in range(int(rng.integers(8, 22))):
        x, y = (rng.uniform(0, side, 2)).astype(int).tolist()
        spot = np.zeros_like(place)
        radius = int(rng.uniform(0.02, 0.07) * side) + 1
        cv2.circle(spot, (x, y), radius, (rng.uniform(0.2, 0.9) * rng.uniform(0.6, 1, 3)).tolist(), -1)
        place += 0.6 * spot


def _foliage(place: Floats, rng: np.random.Generator) -> None:
    leaves = noise(rng, place.shape[:2], 0.05 * place.shape[0]) + noise(rng, place.shape[:2], 0.15 * place.shape[0])
    place *= np.clip(0.8 + 0.3 * leaves, 0.2, 2.0)[..., None] * np.array([0.92, 1.04, 0.75], np.float32)


def draw_body(radiance: Floats, head: Head) -> None:
    """Neck, shoulders and clothes onto `radiance` (H, W, 3) in place."""
    person, light = head.person, head.moment.light
    first = int(max(0.0, head.moment.pose.y * head.size_px + 0.3 * head.px_per_unit))  # nothing grows above the chin
    radiance, x, y = radiance[first:], head.body_x[first:], head.body_y[first:]
    lean = 0.06 * float(head.turn[0, 2])
    side = np.abs(x - lean * np.clip(1.3 - y, 0, 1))
    slant = 0.35 * float(np.sin(np.radians(light.azimuth_deg)))
    lit = light.ambient + light.key * (0.55 + slant * np.clip(x, -1, 1))
    tint = np.array(light.tint, np.float32)
    flesh = np.ones_like(radiance) * linear(person.skin) * tint
    under_chin = 0.45 + 0.55 * np.clip((y - 0.92) / 0.42, 0, 1)
    shade(flesh, lit * under_chin * (1 - 0.45 * np.clip(side / 0.5, 0, 1) ** 3))
    neck = edge(0.56 * person.half_width + 0.25 * np.clip(y - 1.05, 0, 1) ** 1.5 - side, 1.5 * head.pixel)
    paint(radiance, flesh, neck * edge(y - 0.4, 0.1))
    slope = 1.12 + 0.34 * np.clip(side - 0.32, 0, None) ** 0.85
    cloth = np.ones_like(radiance) * linear(person.top) * tint
    shade(cloth, lit * (1 + person.stripes * np.sign(np.sin(26 * y))))
    shade(cloth, 1 - 0.3 * np.exp(-(((y - slope) / 0.08) ** 2)))
    opening = np.sqrt((side / 0.36) ** 2 + (np.clip(y - 1.05, 0, None) / (0.1 + person.neckline)) ** 2)
    paint(radiance, cloth, edge(y - slope, 1.5 * head.pixel) * edge(opening - 1, 4 * head.pixel))
