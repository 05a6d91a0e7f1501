"""Is the candidate worse than the champion by more than we allow, or is it chance? Paired tests on clip scores.

    the fall       drop  = AUC(champion) - AUC(candidate), on the same clips
    worse          H0: drop <= margin      small p: the fall is more than `margin`, and no accident
    not worse      H0: drop >= margin      small p: non-inferiority is proven, not merely not refuted

The gate refuses on *worse* (Holm over benchmarks keeps many benchmarks from refusing a sound candidate by accident);
*not worse* is reported beside it, so that a reader sees whether a pass was earned or a benchmark is merely too small.

Clips of one source are not independent, so the source is what varies: how far each of them pulls an AUC (`pulls`) gives
variances and covariances in closed form. A p-value is bounded by no number of resamples, and has no seed.

Source   DeLong, DeLong & Clarke-Pearson 1988; Obuchowski 1997 (Biometrics 53) for clips that share a source; Holm 1979
Differs  a t distribution whose freedom is that of the sources that matter (`freedom`), in place of the normal one
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from components.evaluation.metrics import Floats, Labels
from components.vocabulary import FORGED, REAL

MIN_PER_CLASS = 2  # a variance within a class needs two sources of it
ZERO = 1e-15  # variances below are rounding of identical rankings
POWER = 0.8  # with which the smallest difference that a test could have seen would have been seen


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
    margin: float = 0.0
    error: float = 0.0
    """Standard error of the drop."""
    freedom: float = 1.0
    """Degrees of freedom of that error."""

    def smallest_fall(self, alpha: float) -> float | None:
        """The fall of AUC that a test at `alpha` would have called worse with probability POWER; None where none is."""
        if self.drop is None:
            return None
        fall = self.margin + smallest_gap(self.error, self.freedom, alpha)
        return fall if fall <= 1 else None


def pulls(labels: Labels, scores: Floats, sources: NDArray[np.intp], count: int) -> tuple[float, Floats]:
    """AUC, and how far each of `count` sources pulls it up or down, (count,), 0 for one without clips here.

    labels, scores, sources (N,): of each clip, `sources` an index below `count`. The sum of the squares estimates the
    variance of the AUC over draws of sources, the sum of the products with the pulls of other scores their covariance;
    what is averaged over tasks or runs has the average of the pulls. Raises ValueError with fewer than two sources of a
    class.
    """
    from scipy.stats import rankdata  # a second of imports, which a verdict without this test is spared

    forged, genuine = labels == FORGED, labels == REAL
    seen = [len(np.unique(sources[mine])) for mine in (forged, genuine)]
    if min(seen) < MIN_PER_CLASS:
        raise ValueError(f"needs {MIN_PER_CLASS} sources of each class, found {seen[0]} forged and {seen[1]} genuine")
    m, n = int(forged.sum()), int(genuine.sum())
    ranks = rankdata(scores)
    v10 = (ranks[forged] - rankdata(scores[forged])) / n  # of each forged clip: the share of genuine ones below it
    v01 = 1 - (ranks[genuine] - rankdata(scores[genuine])) / m
    auc, pull = float(v10.mean()), np.zeros(count)
    for mine, above, many in ((forged, v10, seen[0]), (genuine, v01, seen[1])):
        pull += np.bincount(sources[mine], above - auc, count) / len(above) * np.sqrt(many / (many - 1))
    return auc, pull


def delong(labels: Labels, a: Floats, b: Floats) -> DeLong:
    """AUCs of `a` and `b` (N,) of independent clips and their covariance S10/m + S01/n, in O(N log N).

    Raises ValueError with fewer than two clips of a class.
    """
    each = np.arange(len(labels))
    (first, of_a), (second, of_b) = (pulls(labels, scores, each, len(labels)) for scores in (a, b))
    both = np.stack([of_a, of_b])
    return DeLong((first, second), both @ both.T)


def freedom(pull: Floats) -> float:
    """Degrees of freedom of sum(pull^2) as a variance, between 1 and one less than there are sources.

    As if source s were normal of variance sigma_s^2: (sum sigma_s^2)^2 / sum sigma_s^4, which is 3 sum(pull^2)^2 /
    sum(pull^4) in what was observed (after Satterthwaite 1946). A few sources that do all the pulling leave few.
    """
    found = float((pull**2).sum() ** 2), float((pull**4).sum())
    most = max(len(pull) - 1.0, 1.0)
    return most if found[1] == 0 else float(np.clip(3 * found[0] / found[1], 1.0, most))


def smallest_gap(error: float, freedom: float, alpha: float) -> float:
    """The difference that a one-sided t test at `alpha` sees with probability POWER, given its standard error."""
    return float((stdtrit(freedom, 1 - alpha) + stdtrit(freedom, POWER)) * error)


def compare(candidate: pd.DataFrame, champion: pd.DataFrame, *, margin: float) -> Comparison:
    """Test on clips (as of `metrics.clip_scores`) both have scored whether the candidate's AUC fell by > `margin`."""
    both = candidate.merge(champion[["archive", "clip", "p_fake"]], on=["archive", "clip"], suffixes=("", "_champion"))
    labels = both["label"].to_numpy(np.int64)
    sources = pd.factorize(both["archive"].astype(str) + "\n" + both["source"].astype(str))[0]
    count = int(sources.max()) + 1 if len(both) else 0
    try:
        new, of_new = pulls(labels, both["p_fake"].to_numpy(np.float64), sources, count)
        old, of_old = pulls(labels, both["p_fake_champion"].to_numpy(np.float64), sources, count)
    except ValueError as fault:
        return Comparison(clips=len(both), reason=f"a paired test {fault}")
    fall, pull = old - new - margin, of_old - of_new
    # A further source that said the opposite would not have been counted: no fall is more certain than that allows.
    error = float(np.sqrt((pull**2).sum() + (fall / count) ** 2))
    free = freedom(pull)
    t = fall / error if error > ZERO else 0.0
    return Comparison(
        drop=old - new,
        p_worse=float(stdtr(free, -t)),
        p_not_worse=float(stdtr(free, t)),
        test="delong" if count == len(both) else "delong over sources",
        clips=len(both),
        margin=margin,
        error=max(error, 1 / count),
        freedom=free,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: max over smaller-or-equal p of (k - rank) p, at most 1."""
    order = np.argsort(np.asarray(p_values, dtype=np.float64), kind="stable")
    adjusted, floor = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        floor = max(floor, min(1.0, (len(p_values) - rank) * float(p_values[index])))
        adjusted[index] = floor
    return adjusted


def _standardised(difference: float, variance: float) -> float:
    if variance > ZERO:
        return float(difference / np.sqrt(variance))
    if abs(difference) <= ZERO:
        return 0.0
    return float(np.copysign(np.inf, difference))
