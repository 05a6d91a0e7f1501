"""Tasks made by formula: small faces, each of one colour that no other face has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.faces.table import FaceTable, encode
from components.memory.buffer import Candidates
from components.vocabulary import GENUINE, LABELS, REAL, TRAIN

PROFILE = {"detector": "formula", "size_px": 8}
Candidate = Callable[..., Candidates]


@pytest.fixture
def candidates(tmp_path: Path) -> Candidate:
    """`candidates("swap", clips=6, faces=3)`: a task of so many clips a class, its table at tmp_path/tables/swap; of
    noisy faces some take more bytes than others."""

    def make(task: str, *, clips: int = 6, faces: int = 3, noisy: bool = False) -> Candidates:
        rows = pd.DataFrame(
            [
                {
                    "archive": task,
                    "clip": f"{label}/{clip}.mp4",
                    "frame": frame,
                    "label": label,
                    "method": GENUINE if label == REAL else task,
                    "identity": "",
                    "source": f"{clip}",
                    "split": TRAIN,
                    "landmarks": [0.0] * 10,
                    "box": [0.0] * 4,
                    "score": 1.0,
                }
                for clip in range(clips)
                for label in LABELS
                for frame in range(faces)
            ]
        )
        colours = np.random.default_rng(list(task.encode())).integers(0, 256, (len(rows), 1, 1, 3))
        images = np.broadcast_to(colours, (len(rows), 8, 8, 3)).astype(np.uint8)
        if noisy:
            images = images.copy()
            for position in range(len(rows)):
                images[position, 1 : 1 + position % 7, 1:] += np.arange(21, dtype=np.uint8).reshape(7, 3) ** 2
        table = FaceTable.write(tmp_path / "tables" / task, rows, [encode(image) for image in images], PROFILE)
        generator = np.random.default_rng(len(task))
        return Candidates(
            task, table, np.arange(len(rows)), generator.random((2, len(rows))), generator.normal(size=(len(rows), 4)),
            stability=generator.random(len(rows)),
        )  # fmt: skip

    return make
