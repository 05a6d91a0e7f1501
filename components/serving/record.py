"""The answer to one file, as `perennial score --json` prints it and the service gives it: version 1.

    Record
    ├── file              what was asked about: its digest, its kind, and what it says of its own origin
    ├── verdict, reason   genuine, forged, or cannot tell and why
    ├── faces             everybody who was seen, each with boxes, times, quality, and what was said of them
    ├── operating_point   where the threshold lies, and how often it errs on clips of the kinds that were taught
    ├── champion          who answered: digests, what it was taught and when
    ├── settings          how the faces were cut, and where it was computed
    └── limits            what this answer does not say

Its JSON schema is docs/answer.schema.json. A number that nobody knows is null, never a guess. Whatever is added later is
optional; what changes its meaning takes another version.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

VERSION: Literal[1] = 1
CANNOT_TELL: Literal["cannot tell"] = "cannot tell"
Verdict = Literal["genuine", "forged", "cannot tell"]
Why = Literal[
    "unreadable",
    "no face",
    "too small",
    "too blurred",
    "too dark",
    "profile view",
    "too few frames",
    "unfamiliar",
    "near the threshold",
]


class Part(BaseModel):
    """Frozen; a key that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Reason(Part):
    """Why nothing is said."""

    code: Why
    words: str
    """A sentence, with what was measured and what it takes."""


class Provenance(Part):
    """What the file says of its own origin (C2PA); it was asked before the detector spoke, and changes no verdict."""

    looked_for: bool
    found: bool | None
    """None where nobody looked."""
    state: str | None = None
    """Of a manifest: Valid, Trusted or Invalid, as the library that read it says."""
    made_by: str | None = None
    """The program that the manifest names; so it says."""
    words: str


class File(Part):
    """What was asked about."""

    name: str
    """As it was given."""
    sha256: str | None
    bytes: int | None
    kind: Literal["clip", "still"] | None
    frames: int | None
    """That a player shows."""
    frames_per_s: float | None
    """On average; times are counted with it."""
    provenance: Provenance


class Quality(Part):
    """How good a face is (`components.faces.quality`); null where that is not known."""

    detector_score: float | None
    face_px: float | None
    """Longer side of the face's box in the frame, pixels."""
    sharpness: float | None
    """Variance of the Laplacian, grey levels squared."""
    brightness: float | None
    """Mean grey level, 0 to 255."""
    yaw_deg: float | None
    pitch_deg: float | None
    roll_deg: float | None


class Sighting(Part):
    """A face in one frame."""

    frame: int
    time_s: float | None
    box: tuple[float, float, float, float] | None
    """x0, y0, x1, y1 in pixels of the frame; null where the file is a face crop already."""
    score: float
    """What the detector said of it, 0 to 1, not calibrated."""
    quality: Quality


class Face(Part):
    """One person through the file."""

    number: int
    """From 1, the most prominent first."""
    verdict: Verdict
    reason: Reason | None
    """Why it was left out, or nothing is said of it."""
    left_out: bool
    """It is not good enough to be judged, or of an unfamiliar kind."""
    score: float
    """Mean over its sightings."""
    probability: float | None
    """That it is forged, calibrated, at even odds; null where it was left out, or there is no operating point."""
    likelihood_ratio: float | None
    """How many times likelier this score is of forged clips than of genuine ones."""
    unfamiliarity: float | None
    """How far it lies from what was taught; above 1 it is unfamiliar."""
    quality: Quality
    """The median over its sightings."""
    from_s: float | None
    until_s: float | None
    sightings: tuple[Sighting, ...]


class Rate(Part):
    """A share of clips, with its confidence interval."""

    value: float
    low: float | None
    high: float | None


class OperatingPoint(Part):
    """Where the threshold lies, and how often it erred on validation clips."""

    calibrated: bool
    threshold: float
    """Of scores: above it a face is called forged."""
    threshold_probability: float | None
    """The same as a calibrated probability."""
    false_alarms: Rate | None
    """Genuine clips called forged."""
    misses: Rate | None
    """Forged clips called genuine."""
    clips: int | None
    """Validation clips on which that was measured."""
    words: str


class Taught(Part):
    """One thing the champion was taught."""

    archive: str
    generation: str | None
    """That learned it."""
    promoted: str | None
    """When that generation became champion: ISO 8601, UTC; null where it never did."""


class Champion(Part):
    """Who answered."""

    line: str | None
    generation: str
    since: str | None
    """When it became champion: ISO 8601, UTC."""
    weights: str
    """sha256."""
    code: str | None
    """Digest of the code that raised it."""
    detector: str
    strategy: str
    taught: tuple[Taught, ...]


class Settings(Part):
    """How faces were cut, and where it was computed."""

    face_detector: str
    profile: str
    """Digest of all that decides how a face is cut."""
    frames: int
    """Looked at in a clip, at most, evenly spaced."""
    device: str
    program: str
    """Version of perennial."""


class Record(Part):
    """The answer to one file."""

    version: Literal[1] = VERSION
    file: File
    verdict: Verdict
    reason: Reason | None
    """Of `cannot tell`."""
    score: float | None
    probability: float | None
    """That the most suspicious face is forged, calibrated, at even odds; null where there is no operating point."""
    likelihood_ratio: float | None
    decided_by: int | None
    """The number of that face."""
    faces_seen: int = Field(ge=0)
    faces_left_out: int = Field(ge=0)
    faces: tuple[Face, ...]
    operating_point: OperatingPoint
    champion: Champion
    settings: Settings
    limits: tuple[str, ...]
    """What this answer does not say, in sentences."""
    answered: str
    """ISO 8601, UTC."""
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """What the schema describes."""
        return self.model_dump(mode="json")


def schema() -> dict[str, Any]:
    """The JSON schema of a record."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"perennial/answer/{VERSION}",
        **Record.model_json_schema(mode="serialization"),
    }


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
