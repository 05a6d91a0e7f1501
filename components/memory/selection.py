"""Which faces are worth remembering. Every function returns positions, best first; ties go to the smaller index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, zip_longest

import numpy as np

Ranked = list[tuple[int, str]]
"""Positions with the reason each was chosen for, best first."""
HARD, REPRESENTATIVE, DIVERSE, STABLE = "hard", "representative", "diverse", "stable"


def margin(p_forged: np.ndarray) -> np.ndarray:
    """|p_forged - p_real| = |2p - 1| of shape (N,); small where the detector hesitates."""
    return np.abs(2 * p_forged - 1)


def entropy(p_forged: np.ndarray) -> np.ndarray:
    """-p ln p - (1-p) ln(1-p) in nats, with 0 ln 0 = 0; shape as the input."""
    p = np.stack([p_forged, 1 - p_forged])
    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=0)


def hardest_first(p_forged: np.ndarray) -> np.ndarray:
    """Order by uncertainty, most uncertain first.

    p_forged  (N,) or, over V augmented views of the same faces, (V, N)

    With one view the margin and the entropy of two classes rank alike (both fall as |p - 1/2| grows), so they are one
    criterion. Over several views they differ: the margin of the mean probability, the mean of the entropies; the order
    is that of the mean of the two ranks.
    """
    views = np.atleast_2d(p_forged)
    if len(views) == 1:
        return np.argsort(margin(views[0]), kind="stable")
    by_margin, by_entropy = uncertainty_ranks(views)
    return np.argsort(by_margin + by_entropy, kind="stable")


def uncertainty_ranks(views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rank of each face by the margin of its mean probability and by its mean entropy, 1 for the most uncertain.

    views  (V, N) probabilities
    """
    by_margin, by_entropy = margin(views.mean(axis=0)), -entropy(views).mean(axis=0)
    return _ranks(by_margin), _ranks(by_entropy)


def _ranks(values: np.ndarray) -> np.ndarray:
    """1 for the least; equal values in their order."""
    ranks = np.empty(len(values), np.int64)
    ranks[np.argsort(values, kind="stable")] = np.arange(1, len(values) + 1)
    return ranks


def herding(features: np.ndarray, count: int) -> np.ndarray:
    """Order in which the running mean of the chosen stays closest to the mean of all (iCaRL, Rebuffi et al. 2017, Alg. 4).

    features  (N, D); normalise them first
    """
    return _first(count, _herd(features))


def closest_to_centre(features: np.ndarray) -> np.ndarray:
    """Order by distance to the mean of all."""
    return np.argsort(np.linalg.norm(features - features.mean(axis=0), axis=1), kind="stable")


def k_centre(features: np.ndarray, seeds: Sequence[int], count: int) -> np.ndarray:
    """Farthest-first traversal from `seeds` (Gonzalez 1985): each pick is the row farthest from everything chosen.

    features  (N, D). Seeds are not returned; without seeds the first pick is the row closest to the centre.
    """
    barred = np.zeros(len(features), dtype=bool)
    barred[list(seeds)] = True
    return _first(count, _spread(features, features[list(seeds)], barred))


def normalised(features: np.ndarray) -> np.ndarray:
    """Rows on the unit sphere; a zero row stays zero."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(norms > 0, norms, 1)


def reservoir(count: int, *, size: int, seed: Sequence[int]) -> np.ndarray:
    """`count` of `size` positions, each subset equally likely; a longer reservoir extends a shorter one."""
    return np.random.default_rng(list(seed)).permutation(size)[:count]


def hybrid(
    p_forged: np.ndarray,
    embeddings: np.ndarray,
    sources: Sequence[str],
    quota: int,
    *,
    hard: float = 0.5,
    representative: float = 0.25,
    per_source: int = 2,
    fair: np.ndarray | None = None,
) -> Ranked:
    """CFFD's hybrid sampling for one (task, class): hard, representative and diverse faces, interleaved by rank.

    p_forged    (N,) or (V, N) over views
    embeddings  (N, D)
    sources     of each face; at most max(per_source, ceil(quota / sources)) faces come from one, unless the others are
                too few: then all criteria go on with a cap that rises by one
    hard, representative  shares of the quota; the rest is diverse, and a share of 0 leaves its criterion out
    fair        positions among which representative and diverse faces are sought: those that stand for all, where N is a
                part of a larger task; default all
    Returns `quota` pairs (position, reason), best first, fewer only if there are fewer faces. Cutting the list keeps
    the mixture, which is how a memory shrinks when tasks grow.
    """
    quota = min(quota, len(embeddings))
    if quota == 0:
        return []
    features = normalised(embeddings.astype(np.float64))
    fair = np.arange(len(features)) if fair is None else fair
    hard_ones = min(quota, int(np.ceil(hard * quota - 1e-9)))  # the slack keeps .7 x 30 from being 20.999…
    typical_ones = min(quota - hard_ones, int(representative * quota + 1e-9))
    basket = _Basket(sources, cap=max(per_source, -(-quota // max(len(set(sources)), 1))))
    basket.take(HARD, hard_ones, iter(hardest_first(p_forged).tolist()))
    basket.take(REPRESENTATIVE, typical_ones, (int(fair[i]) for i in _herd(features[fair])))
    centres, barred = features[list(basket.taken)], np.isin(fair, list(basket.taken))
    spread = (int(fair[i]) for i in _spread(features[fair], centres, barred))
    basket.take(DIVERSE, quota - hard_ones - typical_ones, spread)
    return basket.filled()


def entropy_and_mean(
    p_forged: np.ndarray, embeddings: np.ndarray, quota: int, *, fair: np.ndarray | None = None
) -> Ranked:
    """DFIL's exemplars of one (task, class): one half the most uncertain, the other the nearest to the mean of all.

    p_forged, embeddings, fair  as in `hybrid`

    Source: arXiv 2309.09526; read at DeepFakeIL/DFIL @ f1188db3e347, DFIL/get_image_info.py and create_memory.py.
    Differs: distances are between normalised features, and a face that both halves want is taken once; there it counts
    twice.
    """
    quota = min(quota, len(embeddings))
    if quota == 0:
        return []
    features = normalised(embeddings.astype(np.float64))
    fair = np.arange(len(features)) if fair is None else fair
    uncertain = np.argsort(-entropy(np.atleast_2d(p_forged)).mean(axis=0), kind="stable")
    basket = _Basket([""] * len(features), cap=quota)
    basket.take(HARD, -(-quota // 2), iter(uncertain.tolist()))
    basket.take(REPRESENTATIVE, quota // 2, iter(fair[closest_to_centre(features[fair])].tolist()))
    return basket.filled()


def sparse_uniform(
    embeddings: np.ndarray, stability: np.ndarray, quota: int, *, fair: np.ndarray | None = None
) -> Ranked:
    """SUR-LID's exemplars of one (task, class): from every stretch of the way from its centre outwards the most stable face,
    and the one that looks least like that.

    embeddings  (N, D)
    stability   (N,) cosine of a face's embedding and that of its image with its parts exchanged
    fair        as in `hybrid`
    Returns `quota` pairs (position, reason), or all there are. Stretches are equally many faces long; they come in an order
    whose beginning is spread evenly too, so that a shorter memory is a sparser one.

    Source: arXiv 2411.11396; read at beautyremain/SUR-LID @ 9a7d228e43a9, detectors/utils/lid_api.py (the mode
    sparse_robust).
    Differs: the centre is the mean of normalised embeddings, where the published one is a moving average of raw ones, and
    so is what is measured from it; the last stretch is as long as the others and none is left out; the order is ours.
    """
    fair = np.arange(len(embeddings)) if fair is None else fair
    quota = min(quota, len(fair))
    if quota == 0:
        return []
    features, stable = normalised(embeddings[fair].astype(np.float64)), stability[fair]
    outwards = np.argsort(-(features @ features.mean(axis=0)), kind="stable")
    stretches = np.array_split(outwards, -(-quota // 2))
    picked: Ranked = []
    for stretch in (stretches[n] for n in _scattered(len(stretches))):
        first = stretch[np.argmax(stable[stretch])]
        picked.append((int(fair[first]), STABLE))
        others = stretch[stretch != first]
        if len(others):
            picked.append((int(fair[others[np.argmin(features[others] @ features[first])]]), DIVERSE))
    return picked[:quota]


def _scattered(count: int) -> list[int]:
    """0 … count - 1, each far from those before it (van der Corput's order in base 2)."""
    bits = max(1, (count - 1).bit_length())
    return [n for k in range(2**bits) if (n := int(f"{k:0{bits}b}"[::-1], 2)) < count]


def quotas(budget: int, groups: int) -> list[int]:
    """`budget` dealt to `groups` as equally as whole exemplars allow; earlier groups get the remainder."""
    share, rest = divmod(budget, groups)
    return [share + (g < rest) for g in range(groups)]


@dataclass
class _Wish:
    """Faces one criterion asks for, in its order; those met while their source was full wait for the cap to rise."""

    reason: str
    count: int
    order: Iterator[int]
    picked: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)

    @property
    def open(self) -> int:
        return self.count - len(self.picked)


class _Basket:
    """Faces chosen by one criterion after another, none twice, no more than `cap` of a source."""

    def __init__(self, sources: Sequence[str], cap: int) -> None:
        self.taken: dict[int, str] = {}
        self._sources = sources
        self._cap = cap
        self._held: Counter[str] = Counter()
        self._wishes: list[_Wish] = []

    def take(self, reason: str, count: int, order: Iterator[int]) -> None:
        """Up to `count` of the faces in `order`, under the cap."""
        self._wishes.append(_Wish(reason, count, order))
        self._grant(self._wishes[-1])

    def filled(self) -> Ranked:
        """All that was asked for, criteria taking turns; the cap rises until every wish is granted.

        There must be as many faces as were asked for.
        """
        while any(wish.open for wish in self._wishes):
            self._cap += 1
            for wish in self._wishes:
                self._grant(wish)
        turns = zip_longest(*(wish.picked for wish in self._wishes))
        return [(p, self.taken[p]) for p in chain.from_iterable(turns) if p is not None]

    def _grant(self, wish: _Wish) -> None:
        candidates, wish.waiting = chain(wish.waiting, wish.order), []
        while wish.open and (position := next(candidates, None)) is not None:
            source = self._sources[position]
            if position in self.taken:
                continue
            if self._held[source] < self._cap:
                self.taken[position] = wish.reason
                self._held[source] += 1
                wish.picked.append(position)
            else:
                wish.waiting.append(position)


# A matrix product finds who may be next, and only they are compared to the last bit: with 20,000 faces of 1,792 numbers a
# step takes 0.12 s in place of 3 to 5 (one busy core, 2026-11).


def _herd(features: np.ndarray) -> Iterator[int]:
    """`herding`, one position at a time."""
    features = np.asarray(features, dtype=np.float64)
    centre, total = features.mean(axis=0), np.zeros(features.shape[1])
    squares = np.einsum("nd,nd->n", features, features)
    free = np.ones(len(features), dtype=bool)
    for k in range(1, len(features) + 1):
        gap = centre - total / k
        roughly = squares / k**2 - 2 / k * (features @ gap)  # squared distance, less |gap|^2
        near = np.flatnonzero(free & (roughly <= roughly[free].min() + _slack(squares.max() / k**2 + gap @ gap)))
        best = int(near[np.argmin(np.linalg.norm(centre - (total + features[near]) / k, axis=1))])
        yield best
        free[best] = False
        total += features[best]


def _spread(features: np.ndarray, centres: np.ndarray, barred: np.ndarray) -> Iterator[int]:
    """`k_centre`, one position at a time: centres (S, D) are chosen already, rows where `barred` (N,) never will be."""
    features = np.asarray(features, dtype=np.float64)
    squares = np.einsum("nd,nd->n", features, features)
    free = ~barred
    roughly = np.full(len(features), np.inf)  # squared distance to the nearest centre
    nearest = _Nearest(features)
    for centre in centres:
        nearest.centres.append(centre)
        roughly = np.minimum(roughly, squares - 2 * (features @ centre) + centre @ centre)
    for _ in range(int(free.sum())):
        if nearest.centres:
            near = np.flatnonzero(free & (roughly >= roughly[free].max() - _slack(squares.max())))
            best = int(near[np.argmax(nearest.distance(near))])
        else:
            best = int(closest_to_centre(features)[0])
        yield best
        free[best] = False
        nearest.centres.append(features[best])
        roughly = np.minimum(roughly, squares - 2 * (features @ features[best]) + squares[best])


class _Nearest:
    """Distance of a row to its nearest centre, worked out for the rows asked about and the centres new to them."""

    def __init__(self, features: np.ndarray) -> None:
        self.centres: list[np.ndarray] = []
        self._features = features
        self._distance = np.full(len(features), np.inf)
        self._met = np.zeros(len(features), dtype=np.int64)

    def distance(self, rows: np.ndarray) -> np.ndarray:
        for number in range(self._met[rows].min(), len(self.centres)):
            new = rows[self._met[rows] == number]
            found = np.linalg.norm(self._features[new] - self.centres[number], axis=1)
            self._distance[new] = np.minimum(self._distance[new], found)
            self._met[new] = number + 1
        return self._distance[rows]


def _slack(square: float) -> float:
    """How far a rough squared distance among rows of this squared length can be from the true one, and much more."""
    return 1e-10 * square


def _first(count: int, order: Iterator[int]) -> np.ndarray:
    return np.fromiter(islice(order, count), dtype=np.int64)
