"""What is seen in a file before any network of ours is asked: what file it is, and everybody's faces. Needs no torch.

file -> digest, frames, provenance -> people: faces (N, S, S, 3) with frames, boxes and landmarks
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.archives import media
from components.archives.files import UnreadableError, advice, expect_regular
from components.errors import BadArchive, NoFaceFound
from components.faces import frames, quality
from components.faces.detection import FaceDetector
from components.faces.extraction import Person, people_of
from components.params import CropOptions
from components.serving import provenance
from components.serving.record import File, Provenance, Quality, Reason
from components.texts import printable


@dataclass(frozen=True)
class Seen:
    """A file, and who is seen in it, the most prominent first; nobody where there is a reason."""

    file: File
    people: tuple[Person, ...]
    reason: Reason | None
    """Why there is no face."""
    seconds: float


def look(path: Path, face_detector: FaceDetector, params: CropOptions, name: str = "") -> Seen:
    """What is seen in a file, whatever befalls it; `name` is what it is called, where that is not its path."""
    start = time.perf_counter()
    about = File(
        name=_text(name or str(path)),
        sha256=None,
        bytes=None,
        kind=None,
        frames=None,
        frames_per_s=None,
        provenance=Provenance(looked_for=False, found=None, words="The file could not be read."),
    )
    people: tuple[Person, ...] = ()
    reason = None
    try:
        expect_regular(path)
        about = about.model_copy(update={"sha256": media.sha256_of(path), "bytes": path.stat().st_size})
        about = about.model_copy(update={"provenance": provenance.read(path)})
        is_still = media.is_still(path)
        facts = {
            "kind": "still" if is_still else "clip",
            "frames": frames.length(path),
            "frames_per_s": media.rate(path),
        }
        about = about.model_copy(update=facts)
        people = tuple(people_of(path, face_detector, params, about.frames))
    except NoFaceFound:
        words = f"'{face_detector.name}' found none in the frames looked at: is one visible, upright and large enough?"
        reason = Reason(code="no face", words=words)
    except (UnreadableError, BadArchive, OSError) as fault:
        words = advice(fault) if isinstance(fault, OSError) else str(fault)
        reason = Reason(code="unreadable", words=printable(words))
    return Seen(about, people, reason, time.perf_counter() - start)


def qualities(person: Person) -> list[Quality]:
    """Of each of a person's faces."""
    return [
        Quality(
            detector_score=_known(score),
            **{name: _known(value) for name, value in quality.measure(face, landmarks, box).items()},
        )
        for face, landmarks, box, score in zip(person.faces, person.landmarks, person.boxes, person.scores, strict=True)
    ]


def box_of(person: Person, place: int) -> tuple[float, float, float, float] | None:
    """Where one of its faces lies in the frame; None where the frame is the crop."""
    if np.isnan(person.landmarks[place]).all():
        return None
    x0, y0, x1, y1 = (round(float(edge), 1) for edge in person.boxes[place])
    return x0, y0, x1, y1


def _text(name: str) -> str:
    """As it is; bytes in another code page than UTF-8 as \\x.., because JSON holds none."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _known(value: float) -> float | None:
    return round(float(value), 3) if math.isfinite(value) else None
