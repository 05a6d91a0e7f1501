"""What a clip's score is worth: a probability at even odds, how good that is, and where genuine clips are left in peace.

    score s (N,) in [0, 1]  ->  x = log s / (1 - s)  ->  temperature, Platt or isotonic  ->  p (N,), forged, at even odds

Genuine and forged clips weigh one half each, however many there are, so that p / (1 - p) is the likelihood ratio and
whoever knows how many of his clips are forged multiplies by those odds.

Source   Guo et al. 2017 (temperature); Platt 1999, with his targets; Zadrozny and Elkan 2002 (isotonic); Brümmer and du
         Preez 2006 (Cllr); Papadopoulos et al. 2002 (the rank behind the threshold); Clopper and Pearson 1934
Differs  classes weigh alike in every fit; an interval counts sources, because clips of one source are not independent
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from components.evaluation.estimate import Estimate
from components.evaluation.metrics import calibration_error
from components.vocabulary import FORGED, REAL

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Kind = Literal["temperature", "platt", "isotonic"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The plainest first: it is taken where another foretells no better."""
SMALLEST = 1e-7  # a score nearer to 0 or 1 is taken for this one: float32 says no more
FOLDS = 5
BINS = 10


@dataclass(frozen=True)
class Calibration:
    """Scores to probabilities, rising."""

    kind: Kind
    slope: float = 1.0
    """Of the log odds; of a temperature T it is 1 / T."""
    offset: float = 0.0
    steps: tuple[tuple[float, float], ...] = ()
    """Of `isotonic`: (log odds, probability), straight in between."""

    def probability(self, scores: Floats) -> Floats:
        """p (N,) of clip scores (N,): forged, at even odds."""
        from scipy.special import expit

        x = log_odds(scores)
        if self.kind != "isotonic":
            return np.asarray(expit(self.slope * x + self.offset), np.float64)
        at, p = np.array(self.steps).T
        return np.interp(x, at, p)

    def as_json(self) -> dict[str, Any]:
        if self.kind == "isotonic":
            return {"kind": self.kind, "steps": [list(step) for step in self.steps]}
        said = {"kind": self.kind, "slope": self.slope, "offset": self.offset}
        return said | ({"temperature": 1 / self.slope} if self.kind == "temperature" else {})

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Calibration:
        steps = tuple((float(x), float(p)) for x, p in raw.get("steps", ()))
        return cls(raw["kind"], raw.get("slope", 1.0), raw.get("offset", 0.0), steps)


def log_odds(scores: Floats) -> Floats:
    """x (N,) of scores (N,), never infinite."""
    s = np.clip(scores, SMALLEST, 1 - SMALLEST)
    return np.asarray(np.log(s) - np.log1p(-s), np.float64)


def score_of(x: float) -> float:
    """The score of these log odds."""
    return float(1 / (1 + math.exp(-x)))


def even(labels: Labels) -> Floats:
    """Weights (N,) with which each class that is there has an equal part of 1."""
    counts = np.bincount(labels, minlength=2)[labels]
    return np.asarray(1 / counts / len(np.unique(labels)), np.float64)


# -- the fit ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fitted:
    """A calibration, and how well each kind foretold clips of sources that it was not fitted on."""

    calibration: Calibration
    held_out: dict[str, float]
    """Cllr by kind, in bits."""
    foretold: Floats
    """p (N,) of every clip by the chosen kind, fitted without its source; what is measured of p is measured on these."""


def fitted(labels: Labels, scores: Floats, sources: NDArray[Any]) -> Fitted:
    """The kind with the highest likelihood of held-out clips, fitted on all of them. Needs two sources and both classes."""
    from sklearn.model_selection import GroupKFold

    folds = list(GroupKFold(min(FOLDS, len(np.unique(sources)))).split(scores, labels, sources))
    foretold: dict[Kind, Floats] = {}
    for kind in KINDS:
        p = np.empty(len(scores))
        fits = [fit(kind, labels[train], scores[train]) for train, _ in folds]
        for (_, held), found in zip(folds, fits, strict=True):
            p[held] = found.probability(scores[held])
        if all(found.slope > 0 for found in fits):
            foretold[kind] = p
    held_out = {str(kind): cllr(labels, p) for kind, p in foretold.items()}
    best = min(foretold, key=lambda kind: held_out[kind])
    final = fit(best, labels, scores)
    if final.slope <= 0:  # never of a temperature
        best, final = "temperature", fit("temperature", labels, scores)
    return Fitted(final, held_out, foretold[best])


def fit(kind: Kind, labels: Labels, scores: Floats) -> Calibration:
    """A calibration of one kind; the slope of `platt` may come out negative, where scores fall with forgery."""
    x, weights = log_odds(scores), even(labels)
    if kind == "isotonic":
        return _isotonic(x, labels, weights)
    forged, genuine = int((labels == FORGED).sum()), int((labels == REAL).sum())
    targets = np.where(labels == FORGED, (forged + 1) / (forged + 2), 1 / (genuine + 2))
    return _temperature(x, targets, weights) if kind == "temperature" else _platt(x, targets, weights)


def _temperature(x: Floats, targets: Floats, weights: Floats) -> Calibration:
    """The slope of the log odds, 1 / T, with T between 1/100 and 100."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_expit

    def loss(log_slope: float) -> float:
        z = math.exp(log_slope) * x
        return float(-(weights * (targets * log_expit(z) + (1 - targets) * log_expit(-z))).sum())

    found = minimize_scalar(loss, bounds=(-math.log(100), math.log(100)), method="bounded", options={"xatol": 1e-6})
    return Calibration("temperature", math.exp(float(found.x)))


def _platt(x: Floats, targets: Floats, weights: Floats) -> Calibration:
    from sklearn.linear_model import LogisticRegression

    both = np.concatenate([np.ones(len(x)), np.zeros(len(x))])
    shares = np.concatenate([weights * targets, weights * (1 - targets)])
    scale = max(float(np.abs(x).max()), 1.0)
    model = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
    model.fit(np.concatenate([x, x])[:, None] / scale, both, sample_weight=shares * len(x))
    return Calibration("platt", float(model.coef_[0, 0]) / scale, float(model.intercept_[0]))


def _isotonic(x: Floats, labels: Labels, weights: Floats) -> Calibration:
    """Never surer than the smaller class allows: one clip more would have changed it."""
    from sklearn.isotonic import IsotonicRegression

    least = 1 / (np.bincount(labels, minlength=2).min() + 2)
    model = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip")
    model.fit(x, labels == FORGED, sample_weight=weights)
    steps = zip(model.X_thresholds_.tolist(), model.y_thresholds_.tolist(), strict=True)
    return Calibration("isotonic", steps=tuple(steps))


# -- how good probabilities are ----------------------------------------------------------------------------------------


def cllr(labels: Labels, p: Floats) -> float:
    """Cost of the likelihood ratios LR = p / (1 - p), in bits; 1 of one that says nothing (p = 1/2), 0 of one that knows.

        Cllr = 1/2 ( mean over forged of log2(1 + 1 / LR)  +  mean over genuine of log2(1 + LR) )

    It is the mean surprise at the label where both classes weigh alike; NaN where one is absent.
    """
    if len(np.unique(labels)) < 2:
        return math.nan
    surprise = -np.log2(np.clip(np.where(labels == FORGED, p, 1 - p), SMALLEST, 1))
    return float((surprise[labels == FORGED].mean() + surprise[labels == REAL].mean()) / 2)


def balanced_error(labels: Labels, p: Floats) -> float:
    """ECE of p at even odds: both classes weigh alike, however many clips they have."""
    return calibration_error(labels, p, BINS, weights=even(labels))


def reliability(labels: Labels, p: Floats) -> list[dict[str, float | int]]:
    """Of each tenth of [0, 1] that has clips: how many, their mean p, and which share of them is forged, at even odds."""
    weights, index = even(labels), np.minimum((p * BINS).astype(np.int64), BINS - 1)
    rows: list[dict[str, float | int]] = []
    for number in np.unique(index):
        here = index == number
        mean, share = (float(np.average(v[here], weights=weights[here])) for v in (p, labels == FORGED))
        rows.append(
            {"low": number / BINS, "high": (number + 1) / BINS, "clips": int(here.sum()), "mean": mean, "forged": share}
        )
    return rows


# -- the threshold -----------------------------------------------------------------------------------------------------


def needed(false_alarms: float) -> int:
    """Genuine clips it takes to choose a threshold for that rate: with fewer, only one that accuses nobody would hold it."""
    return math.ceil(1 / false_alarms - 1e-9) - 1


def threshold(labels: Labels, scores: Floats, false_alarms: float) -> float:
    """A clip is called forged above it; a new genuine clip is with a chance of `false_alarms` at most.

    That holds at the k-th lowest of n genuine scores, k = ceil((n + 1)(1 - false_alarms)), and above it; the threshold lies
    half way, in log odds, from there to the next clip. Raises ValueError for fewer clips than `needed`.
    """
    genuine = np.sort(scores[labels == REAL])
    if len(genuine) < needed(false_alarms):
        raise ValueError(f"{len(genuine)} genuine clips, and it takes {needed(false_alarms)}")
    k = math.ceil((len(genuine) + 1) * (1 - false_alarms) - 1e-9)
    lowest = log_odds(genuine[k - 1 : k])[0]
    above = log_odds(scores[scores > genuine[k - 1]])
    return score_of((lowest + above.min()) / 2 if len(above) else lowest)


def margin(scores: Floats, at: float, undecided: float) -> float:
    """The log odds from the threshold within which a clip is too near to call: fewer than that share of the clips are."""
    distances = np.sort(np.abs(log_odds(scores) - log_odds(np.array([at]))))
    return float(distances[math.floor(len(distances) * undecided)])


def rate(hits: NDArray[np.bool_], sources: NDArray[Any], confidence: float) -> Estimate:
    """A share of clips, with the interval of Clopper and Pearson of as many draws as there are sources."""
    from scipy.stats import beta

    if not len(hits):
        return Estimate.undefined("no such clip")
    share, n = float(hits.mean()), len(np.unique(sources))
    x, tail = share * n, (1 - confidence) / 2
    low = 0.0 if x == 0 else float(beta.ppf(tail, x, n - x + 1))
    high = 1.0 if x == n else float(beta.ppf(1 - tail, x + 1, n - x))
    return Estimate(share, low, high)
