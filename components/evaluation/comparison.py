"""Is the candidate worse than the champion by more than we allow, or is it chance? Paired tests on clip scores.

    the fall       drop  = AUC(champion) - AUC(candidate), on the same clips
    worse          H0: drop <= margin      small p: the fall is more than `margin`, and no accident
    not worse      H0: drop >= margin      small p: non-inferiority is proven, not merely not refuted

The gate refuses on *worse* (Holm over benchmarks keeps many benchmarks from refusing a sound candidate by accident);
*not worse* is reported beside it, so that a reader sees whether a pass was earned or a benchmark is merely too small.

Source   DeLong, DeLong & Clarke-Pearson 1988 for independent clips; Holm 1979; percentile bootstrap over sources else
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from components.evaluation.metrics import Floats, Labels, draws, weighted
from components.vocabulary import FORGED, REAL

MIN_PER_CLASS = 2  # a variance within a class needs two clips of it
ZERO = 1e-15  # variances below are rounding of identical rankings


@dataclass(frozen=True)
class DeLong:
    """Two AUCs on the same clips, with their covariance."""

    auc: tuple[float, float]
    covariance: Floats  # (2, 2)

    @property
    def variance_of_difference(self) -> float:
        c = self.covariance
        return max(float(c[0, 0] + c[1, 1] - 2 * c[0, 1]), 0.0)

    def z(self, shift: float = 0.0) -> float:
        """(A_a - A_b + shift) / sd; 0 for identical rankings, infinite for a certain difference."""
        return _standardised(self.auc[0] - self.auc[1] + shift, self.variance_of_difference)

    @property
    def p_two_sided(self) -> float:
        return float(2 * ndtr(-abs(self.z())))

    def interval(self, which: int, confidence: float = 0.95) -> tuple[float, float]:
        """Normal interval of one of the two AUCs, cut to [0, 1]."""
        reach = float(ndtri((1 + confidence) / 2)) * float(np.sqrt(self.covariance[which, which]))
        return max(self.auc[which] - reach, 0.0), min(self.auc[which] + reach, 1.0)


@dataclass(frozen=True)
class Comparison:
    """Candidate against champion on one benchmark; every number None, with a reason, where it cannot be known."""

    drop: float | None = None
    p_worse: float | None = None
    p_not_worse: float | None = None
    test: str | None = None
    clips: int = 0
    reason: str | None = None


def delong(labels: Labels, a: Floats, b: Floats) -> DeLong:
    """AUCs of `a` and `b` (N,) and their covariance S10/m + S01/n, by midranks in O(N log N).

    Raises ValueError with fewer than two clips of a class.
    """
    from scipy.stats import rankdata  # a second of imports, which a verdict without this test is spared

    forged, genuine = labels == FORGED, labels == REAL
    m, n = int(forged.sum()), int(genuine.sum())
    if min(m, n) < MIN_PER_CLASS:
        raise ValueError(f"DeLong needs {MIN_PER_CLASS} clips of each class, found {m} forged and {n} genuine")
    v10, v01 = np.empty((2, m)), np.empty((2, n))
    for k, scores in enumerate((a, b)):
        ranks = rankdata(scores)
        v10[k] = (ranks[forged] - rankdata(scores[forged])) / n
        v01[k] = 1 - (ranks[genuine] - rankdata(scores[genuine])) / m
    first, second = v10.mean(1)
    return DeLong((float(first), float(second)), np.cov(v10) / m + np.cov(v01) / n)


def compare(candidate: pd.DataFrame, champion: pd.DataFrame, *, margin: float, bootstrap: int, seed: int) -> Comparison:
    """Test on clips (as of `metrics.clip_scores`) both have scored whether the candidate's AUC fell by > `margin`.

    DeLong where every clip is its own source; where sources are shared clips are not independent, so sources are
    resampled instead (unless `bootstrap` is 0).
    """
    both = candidate.merge(champion[["archive", "clip", "p_fake"]], on=["archive", "clip"], suffixes=("", "_champion"))
    labels = both["label"].to_numpy(np.int64)
    forged, genuine = int((labels == FORGED).sum()), int((labels == REAL).sum())
    if min(forged, genuine) < MIN_PER_CLASS:
        return Comparison(
            clips=len(both),
            reason=f"a paired test needs {MIN_PER_CLASS} clips of each class, found {forged} forged, {genuine} genuine",
        )
    new, old = both["p_fake"].to_numpy(np.float64), both["p_fake_champion"].to_numpy(np.float64)
    sources = pd.factorize(both["archive"].astype(str) + "\n" + both["source"].astype(str))[0]
    if bootstrap and sources.max() + 1 < len(both):
        return _by_bootstrap(labels, new, old, sources, margin, bootstrap, seed)
    return _by_delong(labels, new, old, margin)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: max over smaller-or-equal p of (k - rank) p, at most 1."""
    order = np.argsort(np.asarray(p_values, dtype=np.float64), kind="stable")
    adjusted, floor = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        floor = max(floor, min(1.0, (len(p_values) - rank) * float(p_values[index])))
        adjusted[index] = floor
    return adjusted


def _by_delong(labels: Labels, new: Floats, old: Floats, margin: float) -> Comparison:
    found = delong(labels, new, old)
    z = found.z(margin)  # positive: the candidate stays above champion - margin
    return Comparison(
        drop=found.auc[1] - found.auc[0],
        p_worse=float(ndtr(z)),
        p_not_worse=float(ndtr(-z)),
        test="delong",
        clips=len(labels),
    )


def _by_bootstrap(
    labels: Labels, new: Floats, old: Floats, sources: NDArray[np.intp], margin: float, bootstrap: int, seed: int
) -> Comparison:
    drops = np.concatenate(
        [weighted(labels, old, w)["auc"] - weighted(labels, new, w)["auc"] for w in draws(sources, bootstrap, seed)]
    )
    drops = drops[~np.isnan(drops)]
    if 2 * drops.size < bootstrap or not sources.max():
        return Comparison(clips=len(labels), reason="most resamples of the sources lack a class: too few sources")
    ones = np.ones((1, len(labels)))
    # The observed sample counts as one resample, so that no p-value is ever 0.
    return Comparison(
        drop=float((weighted(labels, old, ones)["auc"] - weighted(labels, new, ones)["auc"])[0]),
        p_worse=float((1 + (drops <= margin + ZERO).sum()) / (1 + drops.size)),
        p_not_worse=float((1 + (drops >= margin - ZERO).sum()) / (1 + drops.size)),
        test="bootstrap over sources",
        clips=len(labels),
    )


def _standardised(difference: float, variance: float) -> float:
    if variance > ZERO:
        return float(difference / np.sqrt(variance))
    if abs(difference) <= ZERO:
        return 0.0
    return float(np.copysign(np.inf, difference))
