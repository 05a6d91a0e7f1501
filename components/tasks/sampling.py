"""Which faces meet in a batch. Every draw is a pure function of (seed, epoch), so a killed run resumes in mid-epoch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import numpy as np
import pandas as pd

from components.vocabulary import FORGED, REAL


def as_numbers(rows: pd.DataFrame) -> pd.DataFrame:
    """What the draws of an epoch look at of face rows, names as numbers: a few bytes a row, of which the same is drawn."""
    numbers = {name: pd.factorize(rows[name])[0].astype(np.int32) for name in ("archive", "clip", "source")}
    return pd.DataFrame(numbers, index=rows.index).assign(label=rows["label"])


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


def paired_batches(rows: pd.DataFrame, *, size: int, faces_per_clip: int, seed: Sequence[int]) -> list[np.ndarray]:
    """Positions for one epoch: forged faces, each after a genuine face of its own source.

    As `epoch_batches`, but the forged faces lead: each one drawn meets a genuine face of its archive and source, taken in
    turn, or of any source where its own has none. Genuine faces of sources nobody forged are drawn as such strangers.

    rows   face rows with ``archive``, ``clip``, ``label`` and ``source``
    Returns a list of int arrays (size,), [genuine, forged, genuine, forged, …]; `size` should be even.
    """
    generator = np.random.default_rng(list(seed))
    shuffled = rows.iloc[generator.permutation(len(rows))]
    drawn = shuffled.groupby(["archive", "clip"], sort=False).head(faces_per_clip)
    genuine, forged = (drawn[drawn["label"] == label] for label in (REAL, FORGED))
    if genuine.empty or forged.empty:
        return epoch_batches(rows, size=size, faces_per_clip=faces_per_clip, seed=seed)
    own = {key: cycle(group.index) for key, group in genuine.groupby(["archive", "source"], sort=False)}
    met = set(zip(forged["archive"], forged["source"], strict=True))
    alone = [key not in met for key in zip(genuine["archive"], genuine["source"], strict=True)]
    strangers = cycle(genuine.index[alone] if any(alone) else genuine.index)
    keys = zip(forged["archive"], forged["source"], strict=True)
    partners = np.array([next(own.get(key, strangers)) for key in keys], dtype=np.int64)
    steps = -(-2 * len(forged) // size)
    turns = _repeated(np.arange(len(forged)), steps * size // 2 if steps > 1 else len(forged), generator)
    order = np.stack([partners[turns], forged.index.to_numpy()[turns]], axis=1).reshape(-1)
    return [order[step * size : (step + 1) * size] for step in range(steps)]


class Remembered:
    """A memory to draw from: its faces by (task, class), grouped once.

    rows   face rows with ``archive`` and ``label``
    alike  whether every group is drawn equally often; every face is, otherwise
    """

    def __init__(self, rows: pd.DataFrame, *, alike: bool = True) -> None:
        by_group = [group.index.to_numpy() for _, group in rows.groupby(["archive", "label"], sort=True)]
        self._groups = by_group if alike else [rows.index.to_numpy()]

    def draw(self, *, size: int, seed: Sequence[int]) -> np.ndarray:
        """`size` positions: every group equally likely, and every face within its group.

        Returns an int array (size,), drawn with replacement only where a group is smaller than its share.
        """
        generator = np.random.default_rng(list(seed))
        groups = self._groups
        turns = generator.permutation(len(groups))[np.arange(size) % len(groups)]  # another group first at every draw
        drawn = [_repeated(groups[g], int((turns == g).sum()), generator) for g in range(len(groups))]
        return np.concatenate(drawn)


def _repeated(positions: np.ndarray, length: int, generator: np.random.Generator) -> np.ndarray:
    """`length` entries: whole shuffles of `positions` one after another, the last one cut."""
    if length == 0:
        return positions[:0]
    rounds = -(-length // len(positions))
    return np.concatenate([generator.permutation(positions) for _ in range(rounds)])[:length]
