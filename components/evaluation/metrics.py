"""How well clips were told apart: video-level AUROC, ACC, AP, EER, false alarms, calibration, with intervals.

A clip is ``(archive, clip)``; its score is the mean of the forged probability over its faces. Intervals come from a
bootstrap over *sources*: clips cut from one source video are not independent, so they are drawn together.

Source   science.md 7; EER after GenD `src/metrics.py` (interpolated), never DeepfakeBench's nearest ROC point
Differs  DeepfakeBench groups faces by folder name alone, which merges clips of different methods; we never do

scikit-learn is imported where a metric is computed: pages and verdicts read these tables without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.errors import BadArchive
from components.evaluation.estimate import Estimate
from components.vocabulary import FORGED, GENUINE, REAL

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Metric = Callable[[Labels, Floats], float]

METRICS = ("auc", "acc", "ap", "eer", "false_alarms")
THRESHOLD = 0.5  # a clip is called forged when its score is above it
BINS = 15  # of the calibration error
CELLS_AT_ONCE = 4_000_000  # resamples x clips held in memory at a time


def clip_scores(faces: pd.DataFrame) -> pd.DataFrame:
    """One row per clip, in order of first appearance: archive, clip, source, method, label, p_fake (mean), faces.

    faces: rows with archive, clip, source, method, label, p_fake. Raises BadArchive for a clip with two labels.
    """
    grouped = faces.groupby(["archive", "clip"], sort=False)
    torn = faces[grouped["label"].transform("nunique") > 1]
    if len(torn):
        raise BadArchive(
            f"every face of a clip has one label; those of '{torn['clip'].iloc[0]}' in '{torn['archive'].iloc[0]}' "
            "have both. Mend the labels of the archive and land it again."
        )
    clips = grouped.agg(
        source=("source", "first"),
        method=("method", "first"),
        label=("label", "first"),
        p_fake=("p_fake", "mean"),
        faces=("p_fake", "size"),
    )
    return clips.reset_index()


def measure(clips: pd.DataFrame, *, bootstrap: int, confidence: float, seed: int) -> dict[str, Estimate]:
    """Every metric of METRICS over `clips` (as of `clip_scores`), each with its bootstrap interval over sources."""
    labels, scores = _arrays(clips)
    found = {name: point(name, labels, scores) for name in METRICS}
    if not len(clips):
        return found
    sources = pd.factorize(clips["archive"].astype(str) + "\n" + clips["source"].astype(str))[0]
    drawn = {name: np.empty(0) for name in METRICS}
    if bootstrap and sources.max() > 0:
        drawn = resampled(labels, scores, sources, bootstrap, seed)
    return {name: _with_interval(found[name], drawn[name], bootstrap, confidence) for name in METRICS}


def point(name: str, labels: Labels, scores: Floats) -> Estimate:
    """The metric called `name`, without an interval; undefined when a class it needs is absent."""
    genuine, forged = int((labels == REAL).sum()), int((labels == FORGED).sum())
    if genuine + forged == 0:
        return Estimate.undefined("no clip was scored")
    if genuine == 0 and name != "acc":
        return Estimate.undefined("no genuine clip was scored")
    if forged == 0 and name not in ("acc", "false_alarms"):
        return Estimate.undefined("no forged clip was scored")
    return Estimate(_POINTS[name](labels, scores))


def by_method(clips: pd.DataFrame) -> dict[str, dict[str, float | int | None]]:
    """AUC of each forgery method against all genuine clips, and how many clips it has."""
    labels, scores = _arrays(clips)
    methods = clips["method"].to_numpy()
    table: dict[str, dict[str, float | int | None]] = {}
    for method in sorted(set(methods[labels == FORGED]) - {GENUINE}):
        mine = (labels == REAL) | (methods == method)
        table[method] = {"auc": point("auc", labels[mine], scores[mine]).value, "clips": int((methods == method).sum())}
    return table


# -- the metrics; labels (N,) 0 real 1 forged, scores (N,) forged probability --------------------------------------


def auc(labels: Labels, scores: Floats) -> float:
    """Chance that a forged clip scores above a genuine one, ties counting one half."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels, scores))


def accuracy(labels: Labels, scores: Floats) -> float:
    """Share of clips called right at THRESHOLD."""
    return float(((scores > THRESHOLD) == (labels == FORGED)).mean())


def average_precision(labels: Labels, scores: Floats) -> float:
    """AP of the forged class: sum over thresholds of (R_k - R_{k-1}) P_k."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(labels, scores))


def equal_error_rate(labels: Labels, scores: Floats) -> float:
    """Where the piecewise-linear ROC curve, vertical pieces included, meets TPR = 1 - FPR.

    FPR - FNR climbs from -1 to 1 along the curve, so the meeting point always exists and is found in closed form;
    there is no root finder to fail, and on an exact ROC point the answer is that point (the nearest-point value).
    """
    from sklearn.metrics import roc_curve

    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    return float(_crossing(fpr[None], tpr[None])[0])


def false_alarm_rate(labels: Labels, scores: Floats) -> float:
    """Share of genuine clips called forged at THRESHOLD."""
    return float((scores[labels == REAL] > THRESHOLD).mean())


def calibration_error(labels: Labels, scores: Floats, bins: int = BINS, weights: Floats | None = None) -> float:
    """ECE of the forged probability: sum over bins of (n_k / n) |mean p - share forged|; p = 1 is in the last bin.

    With `weights` (N,) clips do not count alike.
    """
    each = np.ones(len(scores)) if weights is None else weights
    index = np.minimum((scores * bins).astype(np.int64), bins - 1)
    gaps = np.abs(np.bincount(index, scores * each, bins) - np.bincount(index, (labels == FORGED) * each, bins))
    return float(gaps.sum() / each.sum())


def brier(labels: Labels, scores: Floats) -> float:
    """Mean squared distance of the forged probability to the label."""
    return float(((scores - (labels == FORGED)) ** 2).mean())


_POINTS: dict[str, Metric] = {
    "auc": auc,
    "acc": accuracy,
    "ap": average_precision,
    "eer": equal_error_rate,
    "false_alarms": false_alarm_rate,
}


# -- bootstrap over sources -----------------------------------------------------------------------------------------


def draws(sources: NDArray[np.intp], resamples: int, seed: int) -> Iterator[Floats]:
    """Clip weights (b, N) of `resamples` draws of sources with replacement, some rows at a time.

    sources: index of each clip's source. A clip weighs as often as its source was drawn.
    """
    generator = np.random.default_rng(seed)
    count = int(sources.max()) + 1
    rows = max(1, CELLS_AT_ONCE // max(count, len(sources)))
    for start in range(0, resamples, rows):
        b = min(rows, resamples - start)
        picks = generator.integers(count, size=(b, count)) + count * np.arange(b)[:, None]
        times = np.bincount(picks.ravel(), minlength=b * count).reshape(b, count)
        yield times[:, sources].astype(np.float64)


def resampled(
    labels: Labels, scores: Floats, sources: NDArray[np.intp], resamples: int, seed: int
) -> dict[str, Floats]:
    """Every metric on every resample: name -> (B,), NaN where a draw left out a class the metric needs."""
    parts = [weighted(labels, scores, weights) for weights in draws(sources, resamples, seed)]
    return {name: np.concatenate([part[name] for part in parts]) for name in METRICS}


def weighted(labels: Labels, scores: Floats, weights: Floats) -> dict[str, Floats]:
    """Every metric under each row of `weights` (B, N): name -> (B,). One sort serves all resamples."""
    forged, genuine = _by_falling_score(labels, scores, weights)  # (B, K), K distinct scores
    hits, alarms = forged.cumsum(1), genuine.cumsum(1)
    called_forged = scores > THRESHOLD
    right = weights @ (called_forged == (labels == FORGED))
    wrongly = weights @ (called_forged & (labels == REAL))
    # A draw without one of the classes divides by zero: NaN there is the answer, not a fault.
    with np.errstate(invalid="ignore", divide="ignore"):
        tpr, fpr = hits / hits[:, -1:], alarms / alarms[:, -1:]
        below = alarms[:, -1:] - alarms + genuine / 2
        precision = np.where(hits + alarms > 0, hits / (hits + alarms), 0.0)
        found = {
            "auc": (forged * below).sum(1) / (hits[:, -1] * alarms[:, -1]),
            "acc": right / weights.sum(1),
            "ap": (forged * precision).sum(1) / hits[:, -1],
            "false_alarms": wrongly / alarms[:, -1],
        }
        origin = np.zeros((len(weights), 1))
        found["eer"] = _crossing(np.hstack([origin, fpr]), np.hstack([origin, tpr]))
    found["ap"][alarms[:, -1] == 0] = np.nan  # without genuine clips AP is 1 whatever the detector says
    return found


def _by_falling_score(labels: Labels, scores: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Weight of forged and of genuine clips at each distinct score, highest first: twice (B, K)."""
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])
    columns = weights[:, order]
    is_forged = labels[order] == FORGED
    return (
        np.add.reduceat(columns * is_forged, starts, axis=1),
        np.add.reduceat(columns * ~is_forged, starts, axis=1),
    )


def _crossing(fpr: Floats, tpr: Floats) -> Floats:
    """FPR where each curve, (B, K) from (0, 0) to (1, 1), meets TPR = 1 - FPR; NaN curves give NaN."""
    gap = fpr + tpr - 1  # FPR - FNR, rising from -1 to 1
    after = np.maximum((gap >= 0).argmax(1), 1)[:, None]
    f0, f1 = (np.take_along_axis(fpr, k, 1)[:, 0] for k in (after - 1, after))
    g0, g1 = (np.take_along_axis(gap, k, 1)[:, 0] for k in (after - 1, after))
    meeting = f0 + (f1 - f0) * -g0 / (g1 - g0)
    return np.clip(meeting, f0, f1)  # between both, but for rounding


def _with_interval(found: Estimate, drawn: Floats, bootstrap: int, confidence: float) -> Estimate:
    """`found` with the percentile interval of the defined resamples in `drawn`."""
    if found.value is None:
        return found
    if bootstrap == 0:
        return Estimate(found.value, reason="no interval: no resamples were asked for")
    if not drawn.size:
        return Estimate(found.value, reason="no interval: all clips come from one source")
    defined = drawn[~np.isnan(drawn)]
    if 2 * defined.size < drawn.size:
        return Estimate(found.value, reason="no interval: most resamples of the sources lack a class")
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Estimate(found.value, float(low), float(high))


def _arrays(clips: pd.DataFrame) -> tuple[Labels, Floats]:
    return clips["label"].to_numpy(np.int64), clips["p_fake"].to_numpy(np.float64)
