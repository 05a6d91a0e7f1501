"""Which faces are worth remembering. Every function returns positions, best first; ties go to the smaller index."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, zip_longest

import numpy as np
from scipy.stats import rankdata


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
    by_margin = rankdata(margin(views.mean(axis=0)), method="ordinal")
    by_entropy = rankdata(-entropy(views).mean(axis=0), method="ordinal")
    if len(views) == 1:
        return np.argsort(margin(views[0]), kind="stable")
    return np.argsort(by_margin + by_entropy, kind="stable")


def herding(features: np.ndarray, count: int) -> np.ndarray:
    """Order in which the running mean of the chosen stays closest to the mean of all (iCaRL, Rebuffi et al. 2017, Alg. 4).

    features  (N, D); normalise them first
    """
    centre = features.mean(axis=0)
    chosen: list[int] = []
    total = np.zeros_like(centre)
    free = np.ones(len(features), dtype=bool)
    for k in range(1, min(count, len(features)) + 1):
        distance = np.linalg.norm(centre - (total + features) / k, axis=1)
        distance[~free] = np.inf
        best = int(np.argmin(distance))
        chosen.append(best)
        free[best] = False
        total += features[best]
    return np.array(chosen, dtype=np.int64)


def closest_to_centre(features: np.ndarray) -> np.ndarray:
    """Order by distance to the mean of all."""
    return np.argsort(np.linalg.norm(features - features.mean(axis=0), axis=1), kind="stable")


def k_centre(features: np.ndarray, seeds: Sequence[int], count: int) -> np.ndarray:
    """Farthest-first traversal from `seeds` (Gonzalez 1985): each pick is the row farthest from everything chosen.

    features  (N, D). Seeds are not returned; without seeds the first pick is the row closest to the centre.
    """
    start = list(seeds) or [int(closest_to_centre(features)[0])]
    chosen: list[int] = [] if len(seeds) else start[:count]
    nearest = np.full(len(features), np.inf)
    for seed in start:
        nearest = np.minimum(nearest, np.linalg.norm(features - features[seed], axis=1))
    nearest[start] = -np.inf
    while len(chosen) < min(count, len(features) - len(seeds)):
        best = int(np.argmax(nearest))
        chosen.append(best)
        nearest = np.minimum(nearest, np.linalg.norm(features - features[best], axis=1))
        nearest[best] = -np.inf
    return np.array(chosen, dtype=np.int64)


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
    clips: Sequence[str],
    quota: int,
    *,
    hard: float = 0.5,
    representative: float = 0.25,
) -> list[tuple[int, str]]:
    """CFFD's hybrid sampling for one (task, class): hard, representative and diverse faces, interleaved by rank.

    p_forged    (N,) or (V, N) over views
    embeddings  (N, D)
    clips       clip of each face; at most max(2, ceil(quota / clips)) faces come from one, unless the others are too few
    Returns `quota` pairs (position, reason), best first, fewer only if there are fewer faces. Cutting the list keeps
    the mixture, which is how a memory shrinks when tasks grow.
    """
    size = embeddings.shape[0]
    features = normalised(embeddings.astype(np.float64))
    cap = max(2, -(-quota // max(len(set(clips)), 1)))
    shares = {"hard": int(np.ceil(hard * quota)), "representative": int(representative * quota)}
    shares["hard"] = min(shares["hard"], quota)
    shares["representative"] = min(shares["representative"], quota - shares["hard"])
    shares["diverse"] = quota - sum(shares.values())
    reach = min(size, 4 * quota)  # orders longer than this are never read: the caps skip a few rows, not most
    taken: dict[int, str] = {}
    held: dict[str, int] = {}

    def take(order: np.ndarray, count: int, reason: str, most: int = cap) -> list[int]:
        picked: list[int] = []
        for position in order.tolist():
            if len(picked) == count:
                break
            clip = clips[position]
            if position not in taken and held.get(clip, 0) < most:
                taken[position], held[clip] = reason, held.get(clip, 0) + 1
                picked.append(position)
        return picked

    by_reason = [
        take(hardest_first(p_forged), shares["hard"], "hard"),
        take(herding(features, reach), shares["representative"], "representative"),
    ]
    by_reason.append(take(k_centre(features, list(taken), reach), shares["diverse"], "diverse"))
    mixed = [p for p in chain.from_iterable(zip_longest(*by_reason)) if p is not None]
    typical = closest_to_centre(features)
    while len(mixed) < min(quota, size):  # the cap left room: the most typical faces fill it, clips as even as can be
        cap += 1
        mixed += take(typical, min(quota, size) - len(mixed), "representative", cap)
    return [(position, taken[position]) for position in mixed]


def quotas(budget: int, groups: int) -> list[int]:
    """`budget` dealt to `groups` as equally as whole exemplars allow; earlier groups get the remainder."""
    share, rest = divmod(budget, groups)
    return [share + (g < rest) for g in range(groups)]
