"""Face tables to measure with: noise where the pixels do not matter, rendered people where they do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from components.faces.table import FaceTable, Images, encode
from components.lab.camera import finish
from components.lab.people import life, person
from components.lab.portraits import render

PROFILE = {"detector": "none", "size_px": 0}
GRAIN = 2.0
"""Noise of the rendered faces, so that they take about the bytes that faces of FaceForensics++ take at 256 px: 57 KB."""


def written(
    folder: Path, images: Iterable[Images], count: int, *, name: str = "faces", splits: str = "train"
) -> FaceTable:
    """A table of `count` images, genuine and forged taking turns, each of a clip and a source of its own."""
    rows = pd.DataFrame(
        {
            "archive": name,
            "clip": [f"{i:06d}.png" for i in range(count)],
            "frame": 0,
            "label": [i % 2 for i in range(count)],
            "method": ["forged" if i % 2 else "genuine" for i in range(count)],
            "identity": "",
            "source": [str(i // 2) for i in range(count)],
            "split": splits,
            "landmarks": [np.zeros(10, np.float32)] * count,
            "box": [np.zeros(4, np.float32)] * count,
            "score": 1.0,
        }
    )
    return FaceTable.write(folder, rows, (encode(image) for image in images), PROFILE)


def noise(count: int, size_px: int, seed: int = 0) -> Iterable[Images]:
    """Faces that are no faces (H, W, 3)."""
    generator = np.random.default_rng(seed)
    return (generator.integers(0, 255, (size_px, size_px, 3), dtype=np.uint8) for _ in range(count))


def people(count: int, size_px: int) -> Iterable[Images]:
    """Faces of `count` inhabitants of the lab, as a camera shows them (H, W, 3)."""
    for number in range(count):
        shown = render(person(number), life(np.random.default_rng(number), 1)[0], size_px)
        yield finish(shown.image, noise=GRAIN, quality=95, seed=number)
