"""What a single pass over a large task keeps in sight: of each class a fair sample and its most uncertain faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.memory import selection


@dataclass(frozen=True)
class Sight:
    """Faces as the detector saw them.

    positions   (N,) ascending
    p_forged    (V, N) over views
    embeddings  (N, D)
    stability   (N,), see `buffer.Candidates`; NaN where nobody asked
    """

    positions: np.ndarray
    p_forged: np.ndarray
    embeddings: np.ndarray
    stability: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    def where(self, chosen: np.ndarray) -> Sight:
        return Sight(self.positions[chosen], self.p_forged[:, chosen], self.embeddings[chosen], self.stability[chosen])

    @classmethod
    def joined(cls, parts: Sequence[Sight]) -> Sight:
        """All faces of the parts, each once, by position."""
        positions, first = np.unique(np.concatenate([part.positions for part in parts]), return_index=True)
        p_forged = np.concatenate([part.p_forged for part in parts], axis=1)[:, first]
        embeddings = np.concatenate([part.embeddings for part in parts])[first]
        return cls(positions, p_forged, embeddings, np.concatenate([part.stability for part in parts])[first])


class Pool:
    """A class of a task, shown in batches; holds fewer than 4 `limit` faces and a batch, however many are shown.

    A class within the limit is held whole. Of a larger one stay
      fair   `limit` faces drawn before anything was seen of them, each subset equally likely: they stand for all
      hard   the `limit` with the smallest margin and the `limit` with the largest entropy, whether fair or not
    """

    def __init__(self, offered: np.ndarray, *, limit: int, seed: Sequence[int]) -> None:
        """`offered` (N,) are the positions of the class, ascending."""
        self._limit = limit
        self._whole = len(offered) <= limit
        self.fair = offered[np.sort(selection.reservoir(limit, size=len(offered), seed=seed))]
        self._fair: list[Sight] = []
        self._hard: list[Sight] = []

    def __len__(self) -> int:
        return sum(len(part) for part in (*self._fair, *self._hard))

    def show(self, batch: Sight) -> None:
        """The next faces; positions ascend from batch to batch."""
        self._fair.append(batch.where(np.isin(batch.positions, self.fair)))
        if not self._whole:
            self._hard.append(batch)
            if sum(len(part) for part in self._hard) > 3 * self._limit:
                self._hard = [self._hardest()]

    def sight(self) -> Sight:
        """All that is held, each face once."""
        return Sight.joined([*self._fair, *([self._hardest()] if self._hard else [])])

    def _hardest(self) -> Sight:
        together = Sight.joined(self._hard)
        by_margin, by_entropy = selection.uncertainty_ranks(together.p_forged)
        return together.where((by_margin <= self._limit) | (by_entropy <= self._limit))
