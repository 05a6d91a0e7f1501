"""Things that can happen to a part of any picture, whatever it shows: what the small tower learns to notice and to place.

None of them forges a face. They know no landmarks, lay no person's pixels upon another, and use no code of the lab's
forgeries; what they share with those is what every manipulation of pixels leaves: lost or added sharpness, other noise,
other colours, seams, bent lines, doubled edges, periodic patterns, blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np

from components.lab.camera import compress
from components.lab.face_frame import levels
from components.lab.picture import Floats, Picture

Disturbance = Callable[[Floats, np.random.Generator], Floats]

UNTOUCHED = 0.4  # share of pictures to which nothing happens
WHOLE = 0.35  # share of disturbances that take the whole picture
TWICE = 0.3  # share of disturbed pictures to which two things happen


@dataclass(frozen=True)
class Disturbed:
    """A picture (H, W, 3) and, by kind, where it was disturbed: (H, W) in [0, 1]."""

    image: Picture
    where: dict[str, Floats]


def disturb(image: Picture, rng: np.random.Generator) -> Disturbed:
    """`image` after nothing, one or two kinds of disturbance, each in a region of its own."""
    if rng.random() < UNTOUCHED:
        return Disturbed(image, {})
    changed: Floats = image.astype(np.float32)
    where: dict[str, Floats] = {}
    for kind in rng.choice(list(KINDS), size=2 if rng.random() < TWICE else 1, replace=False).tolist():
        place = region(image.shape[0], rng)
        changed = changed + place[..., None] * (KINDS[kind](changed, rng) - changed)
        where[kind] = place
    return Disturbed(levels(changed), where)


def region(side_px: int, rng: np.random.Generator) -> Floats:
    """The whole picture, or an ellipse, a rectangle or a polygon near its middle; hard or soft. (S, S) in [0, 1]."""
    if rng.random() < WHOLE:
        return np.ones((side_px, side_px), np.float32)
    x, y = rng.uniform(0.3, 0.7) * side_px, rng.uniform(0.3, 0.75) * side_px
    half_x, half_y = rng.uniform(0.12, 0.35, 2) * side_px
    angle_deg, shape = rng.uniform(-30, 30), rng.integers(3)
    mask = np.zeros((side_px, side_px), np.uint8)
    if shape == 0:
        cv2.ellipse(mask, ((x, y), (2 * half_x, 2 * half_y), angle_deg), 255, -1, cv2.LINE_AA)
    else:
        corners = _polygon(x, y, half_x, half_y, rng)
        if shape == 1:
            corners = cv2.boxPoints(((x, y), (2 * half_x, 2 * half_y), angle_deg / 2))
        cv2.fillPoly(mask, [np.asarray(corners).astype(np.int32)], 255, cv2.LINE_AA)
    coverage = mask.astype(np.float32) / 255
    softness_px = rng.choice([0, 0, 1.5, 3, 6])
    return np.asarray(cv2.GaussianBlur(coverage, (0, 0), softness_px)) if softness_px else coverage


def _polygon(x: float, y: float, half_x: float, half_y: float, rng: np.random.Generator) -> Floats:
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(5, 12)))
    radii = rng.uniform(0.8, 1.2, len(angles))
    return np.stack([x + half_x * radii * np.cos(angles), y + half_y * radii * np.sin(angles)], axis=1)


def soften(image: Floats, rng: np.random.Generator) -> Floats:
    """Blurred, or made smaller and larger again."""
    if rng.random() < 0.4:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 1.8)))
    rows, columns = image.shape[:2]
    factor = rng.uniform(1.3, 3.5)
    small = cv2.resize(image, (round(columns / factor), round(rows / factor)), interpolation=cv2.INTER_AREA)
    back = rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST], p=[0.45, 0.4, 0.15])
    return np.asarray(cv2.resize(small, (columns, rows), interpolation=int(back)))


def sharpen(image: Floats, rng: np.random.Generator) -> Floats:
    """Unsharp masking."""
    return image + rng.uniform(0.5, 1.6) * (image - cv2.GaussianBlur(image, (0, 0), rng.uniform(0.7, 1.3)))


def grain(image: Floats, rng: np.random.Generator) -> Floats:
    """More noise, or the noise that was there taken out by a median."""
    if rng.random() < 0.5:
        return image + rng.uniform(2.5, 7) * rng.standard_normal(image.shape, dtype=np.float32)
    return cv2.medianBlur(levels(image), 3).astype(np.float32)


def tint(image: Floats, rng: np.random.Generator) -> Floats:
    """Another contrast, brightness and cast of colour."""
    cast = 1 + rng.uniform(0.07, 0.2) * rng.uniform(-1, 1, 3).astype(np.float32)
    return ((image - 128) * rng.uniform(0.85, 1.15) + 128) * cast + rng.uniform(-8, 8)


def shift(image: Floats, rng: np.random.Generator) -> Floats:
    """The same picture a few pixels off, slightly turned and scaled: within a region, a seam."""
    rows, columns = image.shape[:2]
    centre = (columns * rng.uniform(0.3, 0.7), rows * rng.uniform(0.3, 0.7))
    matrix = cv2.getRotationMatrix2D(centre, rng.uniform(-5, 5), rng.uniform(0.94, 1.07))
    angle, length_px = rng.uniform(0, 2 * np.pi), rng.uniform(1.5, 5)
    matrix[:, 2] += length_px * np.cos(angle), length_px * np.sin(angle)
    return np.asarray(
        cv2.warpAffine(image, matrix, (columns, rows), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    )


def ghost(image: Floats, rng: np.random.Generator) -> Floats:
    """The picture doubled."""
    return image + rng.uniform(0.3, 0.65) * (shift(image, rng) - image)


def bend(image: Floats, rng: np.random.Generator) -> Floats:
    """Moved by a random field, smooth or in steps."""
    rows, columns = image.shape[:2]
    cell_px = int(rng.integers(3, 40))
    reach_px = rng.uniform(0.5, 1.5) if cell_px < 12 else rng.uniform(1.5, 4)
    field = rng.standard_normal((max(3, rows // cell_px), max(3, columns // cell_px), 2), dtype=np.float32)
    how = (cv2.INTER_CUBIC, cv2.INTER_LINEAR, cv2.INTER_NEAREST)[rng.integers(3)]
    field = cv2.resize(np.asarray(field * np.float32(reach_px)), (columns, rows), interpolation=how)
    y, x = np.indices((rows, columns), dtype=np.float32)
    return np.asarray(
        cv2.remap(image, x + field[..., 0], y + field[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    )


def lattice(image: Floats, rng: np.random.Generator) -> Floats:
    """A tile of 2 to 8 pixels, random or a single dot, repeated over the picture as light or as gain."""
    rows, columns = image.shape[:2]
    period_px = int(rng.integers(2, 9))
    tile = rng.standard_normal((period_px, period_px), dtype=np.float32)
    if rng.random() < 0.5:
        tile = np.zeros_like(tile)
        tile[0, 0] = rng.choice([-1, 1])
    tile = (tile - tile.mean()) / (tile.std() + 1e-6)
    pattern = np.tile(tile, (rows // period_px + 1, columns // period_px + 1))[:rows, :columns, None]
    strength = rng.uniform(0.01, 0.05)
    return image * (1 + strength * pattern) if rng.random() < 0.7 else image + 128 * strength * pattern


def blocks(image: Floats, rng: np.random.Generator) -> Floats:
    """Compressed hard."""
    return compress(levels(image), int(rng.integers(15, 50))).astype(np.float32)


KINDS: Mapping[str, Disturbance] = MappingProxyType(
    {f.__name__: f for f in (soften, sharpen, grain, tint, shift, ghost, bend, lattice, blocks)}
)
