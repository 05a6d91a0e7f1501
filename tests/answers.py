"""Answers as a service gives them, for what is kept of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from components.serving.record import (
    Champion,
    Face,
    File,
    OperatingPoint,
    Provenance,
    Quality,
    Reason,
    Record,
    Settings,
)


def record(
    number: int, probability: float | None = 0.9, *, verdict: str = "forged", code: str = "", days_ago: float = 0
) -> Record:
    """An answer to a file of its own."""
    quality = Quality(
        detector_score=0.9,
        face_px=100.0 + number % 7,
        sharpness=None,
        brightness=90.0,
        yaw_deg=0.0,
        pitch_deg=0.0,
        roll_deg=0.0,
    )
    face = Face(
        number=1, verdict=verdict, reason=None, left_out=False, score=probability or 0.5, probability=probability,
        likelihood_ratio=None, unfamiliarity=0.2, quality=quality, from_s=None, until_s=None, sightings=(),
    )  # fmt: skip
    seen = probability is not None
    return Record(
        file=File(
            name="evidence/secret.mp4", sha256=f"{number:064x}", bytes=1, kind="still", frames=1, frames_per_s=None,
            provenance=Provenance(looked_for=False, found=None, words="nobody looked"),
        ),
        verdict=verdict,
        reason=Reason(code=code, words="so it is") if code else None,
        score=probability, probability=probability, likelihood_ratio=None, decided_by=1 if seen else None,
        faces_seen=int(seen), faces_left_out=0, faces=(face,) if seen else (),
        operating_point=OperatingPoint(
            calibrated=True, threshold=0.5, threshold_probability=0.5, false_alarms=None, misses=None, clips=None, words=""
        ),
        champion=Champion(
            line="a", generation="a-M1", since=None, weights="0" * 64, code=None, detector="rsia_net", strategy="cffd",
            taught=(),
        ),
        settings=Settings(face_detector="none", profile="p", frames=32, device="cpu", program="0"),
        limits=(), answered=(datetime.now(UTC) - timedelta(days=days_ago)).isoformat(), seconds=0.1,
    )  # fmt: skip


def traits(seed: int, shift: float = 0.0) -> dict[str, np.ndarray]:
    values = np.random.default_rng(seed).normal(shift, 1, 6).astype(np.float32)
    return {"picture": values[:3], "embedding": values[3:]}
