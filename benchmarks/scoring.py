"""Scoring a table against the longer of its two halves, decoding and the network: 1.0 where they overlap wholly.

python -m benchmarks.scoring

One thread for the network and what is left of the machine for decoding. On a machine of one core nothing can overlap, and the
ratio is that of the sum to the longer half.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch

from benchmarks import faces, ratios
from benchmarks.ratios import Row
from components import detectors
from components.evaluation.scoring import score
from components.faces.table import FaceTable
from components.tasks.dataset import as_faces

SIZE_PX = 256
BATCH = 64
DETECTOR = {"size": "tiny"}


def rows(count: int = 512, pairs: int = 5) -> Iterator[Row]:
    """One: a tiny network asked about lossless faces of 256 px, where either half takes its share."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    detector = detectors.build("rsia_net", detectors.options("rsia_net", DETECTOR)).eval()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "faces"
        few = list(faces.people(min(count, 64), SIZE_PX))
        faces.written(folder, (few[i % len(few)] for i in range(count)), count)
        table = FaceTable.load(folder, cache_bytes=0)
        everything = np.arange(count)
        pixels = as_faces(table.images(everything[:BATCH]))

        def decode() -> None:
            for start in range(0, count, BATCH):
                as_faces(table.images(everything[start : start + BATCH]))

        def answer() -> None:
            with torch.inference_mode():
                for _ in range(0, count, BATCH):
                    detector(pixels)

        answer()
        taken = []
        for _ in range(pairs):
            whole = ratios.seconds(lambda: score(detector, table, everything, BATCH))
            taken.append((whole, ratios.seconds(decode), ratios.seconds(answer)))
    ratio = median(whole / max(halves) for whole, *halves in taken)
    whole, decoding, network = (median(one[i] for one in taken) for i in range(3))
    numbers = (
        f"{count / whole:.0f} faces/s; decoding alone {count / decoding:.0f}, the network alone {count / network:.0f}; "
        f"median of {pairs}"
    )
    yield Row("scoring a table", "the longer of decoding and the network", ratio, "lower", numbers)


if __name__ == "__main__":
    for row in rows():
        print(row)
