"""Which faces meet in a batch. Every draw is a pure function of (seed, epoch), so a killed run resumes in mid-epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from components.vocabulary import FORGED, REAL


def epoch_batches(rows: pd.DataFrame, *, size: int, faces_per_clip: int, seed: Sequence[int]) -> list[np.ndarray]:
    """Positions for one epoch, every batch half real and half forged.

    From each clip at most `faces_per_clip` faces are drawn. The smaller class is repeated until it is as long as the
    larger one, and both until the last batch is whole: every face that was drawn is seen.

    rows   face rows with ``archive``, ``clip`` and ``label``
    size   faces in a batch (even numbers split exactly)
    Returns a list of int arrays (size,); faces that do not fill a single batch make one smaller batch.
    """
    generator = np.random.default_rng(list(seed))
    shuffled = rows.iloc[generator.permutation(len(rows))]
    drawn = shuffled.groupby(["archive", "clip"], sort=False).head(faces_per_clip)
    labels = drawn["label"].to_numpy()
    positions = drawn.index.to_numpy()
    by_class = [positions[labels == label] for label in (REAL, FORGED)]
    present = [p for p in by_class if len(p)]
    longest = max(len(p) for p in present)
    steps = -(-longest * len(present) // size)
    if steps > 1:
        longest = -(-steps * size // len(present))
    order = np.stack([_repeated(p, longest, generator) for p in present], axis=1).reshape(-1)
    return [order[step * size : (step + 1) * size] for step in range(steps)]


def balanced_draw(rows: pd.DataFrame, *, size: int, seed: Sequence[int]) -> np.ndarray:
    """`size` positions of a memory: every (task, class) group equally likely, and every face within its group.

    rows   face rows with ``archive`` and ``label``
    Returns an int array (size,), drawn with replacement only where a group is smaller than its share.
    """
    generator = np.random.default_rng(list(seed))
    groups = [group.index.to_numpy() for _, group in rows.groupby(["archive", "label"], sort=True)]
    turns = generator.permutation(len(groups))[np.arange(size) % len(groups)]  # another group first at every draw
    drawn = [_repeated(groups[g], int((turns == g).sum()), generator) for g in range(len(groups))]
    return np.concatenate(drawn)


def _repeated(positions: np.ndarray, length: int, generator: np.random.Generator) -> np.ndarray:
    """`length` entries: whole shuffles of `positions` one after another, the last one cut."""
    if length == 0:
        return positions[:0]
    rounds = -(-length // len(positions))
    return np.concatenate([generator.permutation(positions) for _ in range(rounds)])[:length]
