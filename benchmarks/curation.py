"""Choosing what to remember of 100,000 faces, against one pass over their embeddings that ranks nothing.

    python -m benchmarks.curation

The detector's part is left out: it is scoring, which `benchmarks.scoring` measures. Embeddings, probabilities of two views
and sources are drawn at random; the policy is CFFD's (hard, representative, diverse), the budget 500, the pool as large as
the task.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import faces, ratios
from benchmarks.ratios import Row
from components.faces.table import FaceTable
from components.memory import buffer
from components.memory.buffer import Candidates, Memory
from components.params import MemoryOptions
from components.vocabulary import NOBODY

FACES = 100_000
WIDTH = 128
"""Numbers an embedding has: RSIA-Net's at paper size."""


def rows(count: int = FACES, pairs: int = 3) -> Iterator[Row]:
    """One."""
    generator = np.random.default_rng(0)
    embeddings = generator.standard_normal((count, WIDTH)).astype(np.float32)
    p_forged = generator.random((2, count)).astype(np.float32)
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / NOBODY).mkdir()
        nothing = Memory.load(Path(name) / NOBODY)
        table = _table(Path(name) / "faces", count)
        candidates = Candidates("task", table, np.arange(count), p_forged, embeddings)
        options = MemoryOptions(policy="hybrid", pool=count)

        def choose() -> float:
            return ratios.seconds(lambda: buffer.kept(nothing, candidates, options, 0))

        def look() -> float:
            return ratios.seconds(lambda: [_mean_distance(embeddings[label::2]) for label in (0, 1)])

        found = ratios.alternating(choose, look, pairs)
    words = f"curation of {count:,} faces"
    yield ratios.compared(words, "distance of each to its class's mean, no more", found, unit="s")


def _mean_distance(embeddings: np.ndarray) -> float:
    return float(np.linalg.norm(embeddings - embeddings.mean(axis=0), axis=1).mean())


def _table(folder: Path, count: int) -> FaceTable:
    """Faces of one pixel, the rows of two said again: nobody looks at them."""
    table = faces.written(folder, (np.zeros((1, 1, 3), np.uint8) for _ in range(2)), 2)
    repeated = pd.concat([table.rows] * (count // 2), ignore_index=True)
    repeated["source"] = [str(i // 20) for i in range(len(repeated))]
    table.rows = repeated
    return table


if __name__ == "__main__":
    start = time.perf_counter()
    for row in rows():
        print(row)
    print(f"{time.perf_counter() - start:.1f} s in all")
