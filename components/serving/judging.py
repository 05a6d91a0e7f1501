"""From the faces of a file to its verdict: which are good enough to be judged, and what the most suspicious one says.

A face is good enough if it is no worse than `FLOORS`, or than 99 of 100 faces that the generation was validated on, which
may be worse (of sharpness, which depends on how large faces are cut, a quarter of theirs counts); it is followed through
`FEWEST` frames of a clip; and it is of a kind that was taught. The most suspicious of those decides. Where there is none
nothing is said, for the reason of the most prominent one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.evaluation.operating_point import OperatingPoint
from components.serving import record
from components.serving.record import CANNOT_TELL, Face, Quality, Rate, Reason, Sighting, Verdict, Why

Floats = npt.NDArray[np.float64]

FEWEST = 3  # frames of a clip that show a face: what a detector takes for one in a single frame mostly is none
HALF = 0.5
UNCALIBRATED = "no operating point"


@dataclass(frozen=True)
class Floor:
    """What a face of one measure must have."""

    code: Why
    worst: float
    words: str
    above: bool = False
    """Whether `worst` is the most, and not the least."""
    of_taught: float | None = None
    """Where it is known of what was taught, this share of it in place of `worst`: what it means depends on the crop."""


FLOORS: Mapping[str, Floor] = {
    "face_px": Floor("too small", 64, "its longer side has {value:.0f} pixels, and it takes {worst:.0f}"),
    "sharpness": Floor("too blurred", 5, "its sharpness is {value:.1f}, and it takes {worst:.1f}", of_taught=0.25),
    "brightness": Floor("too dark", 40, "its mean grey level is {value:.0f} of 255, and it takes {worst:.0f}"),
    "yaw_deg": Floor("profile view", 45, "it is turned by about {value:.0f} degrees, {worst:.0f} at most", above=True),
}
"""Measured of 20 clips and 150 photographs (2026-11): the smallest face 96 px, the softest 6.7, the darkest 75, and of two
people in profile 62 to 67 degrees, where 99 of 100 others stay within 42."""


@dataclass(frozen=True)
class Point:
    """An operating point, or .5 where there is none, in the words of a record."""

    calibrated: OperatingPoint | None
    missing: str = ""
    """Why there is none."""

    @property
    def threshold(self) -> float:
        return self.calibrated.threshold if self.calibrated else HALF

    def worst(self, measure: str) -> float:
        """What a face must have of this measure."""
        floor = FLOORS[measure]
        known = (self.calibrated.found.get("quality") or {}).get(measure) if self.calibrated else None
        if not known:
            return floor.worst
        low, high = known["quantiles"]["0.01"], known["quantiles"]["0.99"]
        if floor.of_taught is not None:
            return float(low * floor.of_taught)
        return max(floor.worst, abs(low), abs(high)) if floor.above else min(floor.worst, low)

    def told(self) -> record.OperatingPoint:
        """In words and numbers."""
        if self.calibrated is None:
            words = (
                f"{self.missing[:1].upper()}{self.missing[1:]}. The threshold is one half, whose error rates nobody measured, "
                "and scores are no probabilities."
            )
            return record.OperatingPoint(
                calibrated=False,
                threshold=HALF,
                threshold_probability=None,
                false_alarms=None,
                misses=None,
                clips=None,
                words=words,
            )
        found = self.calibrated.found
        alarms, misses = (_rate(found.get(name)) for name in ("false_alarms", "misses"))
        clips = sum(one["genuine"] + one["forged"] for one in (found.get("validation") or {}).values()) or None
        rates = [f"{_share(alarms)} of genuine clips were called forged"] if alarms else []
        rates += [f"{_share(misses)} of forged ones were not"] if misses else []
        where = f"On {clips} validation clips" if clips else "On validation clips"
        return record.OperatingPoint(
            calibrated=True,
            threshold=self.threshold,
            threshold_probability=float(self.calibrated.probability(np.array([self.threshold]))[0]),
            false_alarms=alarms,
            misses=misses,
            clips=clips,
            words=f"{where} of the kinds that were taught, {' and '.join(rates)}." if rates else f"{where}.",
        )


@dataclass(frozen=True)
class Seen:
    """One person, as the detector saw them: N sightings, and how far each lies from what was taught, if that is known."""

    sightings: Sequence[Sighting]
    unfamiliarity: Floats | None


@dataclass(frozen=True)
class Judged:
    """What a record says of the faces."""

    faces: tuple[Face, ...]
    verdict: Verdict
    reason: Reason | None
    decisive: Face | None


def judge(people: Sequence[Seen], point: Point, *, is_clip: bool) -> Judged:
    """The faces, the most prominent first, each with what is said of it; and what is said of the file."""
    faces = tuple(_face(number, one, point, is_clip=is_clip) for number, one in enumerate(people, 1))
    judged = [face for face in faces if not face.left_out]
    if not judged:
        return Judged(faces, CANNOT_TELL, _of_all(faces), None)
    worst = max(judged, key=lambda face: face.score)
    return Judged(faces, worst.verdict, worst.reason, worst)


def _face(number: int, seen: Seen, point: Point, *, is_clip: bool) -> Face:
    sightings = tuple(seen.sightings)
    quality = _median([sighting.quality for sighting in sightings])
    far = None if seen.unfamiliarity is None else float(np.mean(seen.unfamiliarity))
    score = float(np.mean([sighting.score for sighting in sightings]))
    fault = _fault(quality, len(sightings), far, point, is_clip=is_clip)
    verdict, reason = (CANNOT_TELL, fault) if fault else _called(score, point)
    known = None if fault else point.calibrated
    times = [sighting.time_s for sighting in sightings]
    return Face(
        number=number,
        verdict=verdict,
        reason=reason,
        left_out=fault is not None,
        score=score,
        probability=float(known.probability(np.array([score]))[0]) if known else None,
        likelihood_ratio=float(known.likelihood_ratio(np.array([score]))[0]) if known else None,
        unfamiliarity=far,
        quality=quality,
        from_s=times[0],
        until_s=times[-1],
        sightings=sightings,
    )


def _fault(quality: Quality, frames: int, far: float | None, point: Point, *, is_clip: bool) -> Reason | None:
    """Why a face is not good enough."""
    for measure, floor in FLOORS.items():
        value, worst = getattr(quality, measure), point.worst(measure)
        if value is None:
            continue
        value = abs(value)
        if value > worst if floor.above else value < worst:
            return Reason(code=floor.code, words=floor.words.format(value=value, worst=worst))
    if is_clip and frames < FEWEST:
        return Reason(code="too few frames", words=f"{frames} of the frames looked at show it, and it takes {FEWEST}")
    if far is not None and far > 1:
        words = f"it lies {far:.2f} times as far from what was taught as clips of a taught kind rarely do"
        return Reason(code="unfamiliar", words=words)
    return None


def _called(score: float, point: Point) -> tuple[Verdict, Reason | None]:
    if point.calibrated is None:
        return _named(score > HALF), None
    (forged,) = point.calibrated.called(np.array([score]))
    if forged is None:
        words = f"its score of {score:.3g} is too near the threshold of {point.threshold:.3g}"
        return CANNOT_TELL, Reason(code="near the threshold", words=words)
    return _named(forged), None


def _named(forged: bool) -> Verdict:
    return "forged" if forged else "genuine"


def _of_all(faces: Sequence[Face]) -> Reason | None:
    """Why nobody is judged: what keeps the most prominent face from it."""
    first = faces[0].reason if faces else None
    if first is None or len(faces) == 1:
        return first
    return Reason(
        code=first.code, words=f"of {len(faces)} faces none is good enough; of the most prominent one {first.words}"
    )


def _median(qualities: Sequence[Quality]) -> Quality:
    """Of each measure, over those that are known."""
    values = {name: [getattr(one, name) for one in qualities] for name in Quality.model_fields}
    known = {name: [value for value in found if value is not None] for name, found in values.items()}
    return Quality(**{name: float(np.median(found)) if found else None for name, found in known.items()})


def _rate(raw: Mapping[str, Any] | None) -> Rate | None:
    if not raw or raw.get("value") is None:
        return None
    return Rate(value=raw["value"], low=raw.get("low"), high=raw.get("high"))


def _share(rate: Rate) -> str:
    if rate.low is None or rate.high is None:
        return f"{rate.value:.1%}"
    return f"{rate.value:.1%} [{rate.low:.1%}, {rate.high:.1%}]"
