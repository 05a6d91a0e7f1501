"""What a generation's answers are worth: one threshold for everybody, its error rates, and whom it does not know.

    point = OperatingPoint.read(folder)
    point.probability(scores)           forged, at even odds; the likelihood ratio is p / (1 - p)
    point.called(scores)                True forged, False genuine, None too near to call
    point.unfamiliarity(traits)         how far faces lie from what was taught; a clip whose mean is above 1 is unfamiliar

    operating_point.json        what is said of it, or why there is none; and the ladder, where somebody asked for it
    familiarity.safetensors     what taught faces look like (`components.evaluation.familiarity`)

Reading it takes neither torch nor scikit-learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from components.errors import BrokenLineage
from components.evaluation.calibration import Calibration, Floats, balanced_error, log_odds
from components.evaluation.familiarity import Familiarity
from components.evaluation.point_files import FAMILIARITY_FILE, POINT_FILE, told, write
from components.vocabulary import FORGED, REAL


@dataclass(frozen=True)
class OperatingPoint:
    """How one generation is to be read. Scores are those of clips: the mean forged probability over their faces."""

    calibration: Calibration
    threshold: float
    """A clip that scores above it is called forged."""
    margin: float
    """In log odds: a clip nearer to the threshold is too near to call."""
    found: Mapping[str, Any]
    """What was measured on validation clips: error rates, Cllr, reliability, quality."""
    familiarity: Familiarity | None = None
    """None where only the JSON was read."""

    def probability(self, scores: Floats) -> Floats:
        """p (N,): forged, at even odds."""
        return self.calibration.probability(np.asarray(scores, np.float64))

    def likelihood_ratio(self, scores: Floats) -> Floats:
        """How many times likelier (N,) these scores are of forged clips than of genuine ones."""
        p = self.probability(scores)
        return np.asarray(p / np.maximum(1 - p, np.finfo(np.float64).tiny), np.float64)

    def forged(self, scores: Floats) -> NDArray[np.bool_]:
        """(N,), by the threshold alone: what error rates are counted of."""
        return np.asarray(scores, np.float64) > self.threshold

    def called(self, scores: Floats) -> list[bool | None]:
        """Forged, genuine, or too near to call."""
        scores = np.asarray(scores, np.float64)
        near = np.abs(log_odds(scores) - log_odds(np.array([self.threshold]))) < self.margin
        return [None if close else bool(forged) for close, forged in zip(near, self.forged(scores), strict=True)]

    def unfamiliarity(self, traits: Mapping[str, NDArray[np.float32]]) -> Floats:
        """(N,) of faces, traits (N, D) by view (`components.evaluation.traits`); 1 is the limit of a clip's mean.

        Raises BrokenLineage where the point was read without its statistics.
        """
        if self.familiarity is None:
            raise BrokenLineage(
                f"expected {FAMILIARITY_FILE} beside {POINT_FILE}, found none. Take both from data/operating_points."
            )
        return self.familiarity.distance(traits) / self.familiarity.limit

    @classmethod
    def read(cls, folder: Path) -> OperatingPoint:
        """The point in `folder`; raises BrokenLineage where there is none, and says why."""
        said = told(folder)
        if said.get("point") is None:
            raise BrokenLineage(f"expected an operating point in '{folder}', found none: {said['reason']}.")
        raw = said["point"]
        path = folder / FAMILIARITY_FILE
        familiarity = Familiarity.of(raw["familiarity"], load_file(path)) if path.is_file() else None
        calibration = Calibration.from_json(raw["calibration"])
        return cls(calibration, raw["threshold"], raw["margin"], raw["found"], familiarity)

    @classmethod
    def read_if_any(cls, folder: Path) -> OperatingPoint | None:
        return cls.read(folder) if told(folder).get("point") else None

    def write(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Write both files; `about` is said beside the point."""
        assert self.familiarity is not None
        point = {
            "calibration": self.calibration.as_json(),
            "threshold": self.threshold,
            "margin": self.margin,
            "found": self.found,
            "familiarity": self.familiarity.as_json(),
        }
        write(folder, {**about, "point": point, "reason": None})
        arrays = {name: np.ascontiguousarray(array) for name, array in self.familiarity.arrays.items()}
        save_file(arrays, folder / FAMILIARITY_FILE)


@dataclass(frozen=True)
class Standing:
    """How a generation does at its threshold, on test clips."""

    accuracy: float | None
    """Share of all clips called right."""
    balanced_accuracy: float | None
    """Mean of the shares of forged and of genuine clips called right, over all benchmarks together."""
    calibration_error: float | None
    """ECE of the probability at even odds, over all benchmarks together."""
    false_alarms: Mapping[str, float | None]
    """By benchmark, the share of genuine clips called forged."""
    misses: Mapping[str, float | None]
    """By benchmark, the share of forged clips called genuine."""

    @classmethod
    def of(cls, point: OperatingPoint, clips: Mapping[str, pd.DataFrame]) -> Standing:
        """From the clip scores of each benchmark (`metrics.clip_scores`); None where a class is missing."""
        alarms = {name: _share(point, table, REAL) for name, table in clips.items()}
        missed = {name: _share(point, table, FORGED) for name, table in clips.items()}
        misses = {name: None if hit is None else 1 - hit for name, hit in missed.items()}
        if not clips:
            return cls(None, None, None, alarms, misses)
        together = pd.concat(clips.values())
        labels, scores = together["label"].to_numpy(np.int64), together["p_fake"].to_numpy(np.float64)
        accused, caught = _share(point, together, REAL), _share(point, together, FORGED)
        right = float((point.forged(scores) == (labels == FORGED)).mean()) if len(labels) else None
        if accused is None or caught is None:
            return cls(right, None, None, alarms, misses)
        error = balanced_error(labels, point.probability(scores))
        return cls(right, (caught + 1 - accused) / 2, error, alarms, misses)

    def as_json(self) -> dict[str, Any]:
        return {
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "calibration_error": self.calibration_error,
            "false_alarms": dict(self.false_alarms),
            "misses": dict(self.misses),
        }


def _share(point: OperatingPoint, clips: pd.DataFrame, label: int) -> float | None:
    """Which share of the clips of one class is called forged."""
    scores = clips.loc[clips["label"] == label, "p_fake"].to_numpy(np.float64)
    return float(point.forged(scores).mean()) if len(scores) else None
