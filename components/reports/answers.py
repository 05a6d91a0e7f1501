"""What the documents of an answer say, in words, tables and pictures; page and PDF show the same.

Names come from outside: they are shown as words (`texts.printable`).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import PurePath
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from components.evaluation import explain
from components.serving.pictures import Picture
from components.serving.record import CANNOT_TELL, Face, Quality, Record
from components.texts import printable

Images = npt.NDArray[np.uint8]

SIDE_PX: Final = 320
BAR_PX: Final = (12, 256)
SERIES: Final = 8
"""Colours of lines in the style of the pages."""
MEASURES: Final = {
    "face_px": ("size", "{:.0f} px"),
    "sharpness": ("sharpness", "{:.0f}"),
    "brightness": ("brightness", "{:.0f} of 255"),
    "yaw_deg": ("turned", "{:z.0f}°"),
    "pitch_deg": ("raised", "{:z.0f}°"),
    "detector_score": ("sure it is a face", "{:.2f}"),
}


def number_of(said: Record) -> str:
    """Probability where there is one, else the score."""
    if said.probability is not None:
        return f"{said.probability:.1%}"
    return "–" if said.score is None else f"score {said.score:.3f}"


def ratio(value: float | None) -> str:
    """`19 times likelier if forged`."""
    if value is None:
        return "–"
    return (
        f"{_times(value)} likelier if forged" if value >= 1 else f"{_times(1 / max(value, 1e-12))} likelier if genuine"
    )


def pill(verdict: str) -> str:
    return {"forged": "closed", "genuine": "open"}.get(verdict, "skip")


def title(said: Record) -> str:
    """The file's own name; the whole path stands at the end."""
    return printable(PurePath(said.file.name).name)


def headline(said: Record) -> str:
    """The verdict in a sentence."""
    if said.verdict == CANNOT_TELL:
        words = said.reason.words if said.reason else ""
        return f"Nothing can be told. {words[:1].upper()}{words[1:]}".rstrip(".") + "."
    who = f"face {said.decided_by}" if said.faces_seen > 1 else "the face"
    how = f"a score of {said.score:.3f}"
    if said.probability is not None:
        how = f"a calibrated probability of {said.probability:.1%} that it is forged"
    return f"{said.champion.generation} calls {who} {said.verdict}, with {how}."


def measured(quality: Quality) -> list[tuple[str, str]]:
    """What is known of the quality of a face, in words."""
    values = ((words, form, getattr(quality, name)) for name, (words, form) in MEASURES.items())
    return [(words, form.format(value)) for words, form, value in values if value is not None]


def facts(said: Record) -> list[tuple[str, str]]:
    """Digests and settings, as they stand at the end of a document."""
    file, champion, settings = said.file, said.champion, said.settings
    taught = "; ".join(
        one.archive + (f" ({one.generation}, champion since {one.promoted})" if one.promoted else "")
        for one in champion.taught
    )
    since = f"champion since {champion.since}" if champion.since else "in no ledger as champion"
    size = f"{file.bytes:,} bytes" if file.bytes is not None else "unknown"
    frames = f", {file.frames} frames" if file.frames and file.frames > 1 else ""
    rows = [
        ("file", printable(file.name)),
        ("its SHA-256", file.sha256 or "it could not be read"),
        ("what it is", f"{file.kind or 'unknown'}, {size}{frames}"),
        ("origin", printable(file.provenance.words)),
        ("answered by", f"{champion.generation} ({champion.detector}, {champion.strategy}), {since}"),
        ("its weights", champion.weights),
        ("its code", champion.code or "unknown"),
        ("it was taught", taught or "nobody knows what"),
        ("faces", f"found by {settings.face_detector}, {settings.frames} frames of a clip at most, profile {settings.profile}"),
        ("computed", f"{said.answered}, in {said.seconds:.2f} s on {settings.device}, by perennial {settings.program}"),
    ]  # fmt: skip
    return rows


@dataclass(frozen=True)
class Line:
    """A face through the clip, in the box of the timeline."""

    number: int
    colour: int
    points: tuple[tuple[float, float], ...]
    """(share of the clip's length, score)."""


def timeline(said: Record) -> list[Line]:
    """Scores over time of a clip; nothing of a still."""
    frames = said.file.frames or 0
    if said.file.kind != "clip" or frames < 2:
        return []
    return [
        Line(
            face.number,
            (face.number - 1) % SERIES + 1,
            tuple((sighting.frame / (frames - 1), sighting.score) for sighting in face.sightings),
        )
        for face in said.faces
    ]


def length_s(said: Record) -> float | None:
    """How long the clip is."""
    return said.file.frames / said.file.frames_per_s if said.file.frames and said.file.frames_per_s else None


def jpeg(pixels: Images, side_px: int = SIDE_PX) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(scaled(pixels, side_px)).save(sink, "JPEG", quality=88)
    return sink.getvalue()


@cache
def heat_scale() -> bytes:
    """PNG of the colours of heat, from 0 on the left to 1, over grey."""
    height, width = BAR_PX
    ramp = np.repeat(np.linspace(0, 1, width, dtype=np.float32)[None], height, axis=0)
    sink = io.BytesIO()
    Image.fromarray(explain.overlay(np.full((height, width, 3), 128, np.uint8), ramp)).save(sink, "PNG")
    return sink.getvalue()


def sections(said: Record, pictures: Sequence[Picture]) -> dict[str, Any]:
    """What the template of the page is told."""
    return {
        "said": said,
        "name": title(said),
        "verdict": said.verdict,
        "pill": pill(said.verdict),
        "headline": printable(headline(said)),
        "tiles": tiles(said),
        "lines": timeline(said),
        "length_s": length_s(said),
        "faces": [_face(face, pictures) for face in said.faces],
        "scale": heat_scale(),
        "facts": facts(said),
        "limits": [printable(words) for words in said.limits],
    }


def tiles(said: Record) -> list[dict[str, str]]:
    point = said.operating_point
    told = [{"name": "verdict", "value": said.verdict, "note": said.reason.code if said.reason else ""}]
    if said.score is not None:
        note = "calibrated, at even odds" if said.probability is not None else "of 0 to 1, no probability"
        told.append({"name": "forged", "value": number_of(said), "note": note})
        if said.likelihood_ratio is not None:
            told.append(
                {
                    "name": "likelihood ratio",
                    "value": _figures(said.likelihood_ratio),
                    "note": ratio(said.likelihood_ratio),
                }
            )
    alarms = (
        f"{point.false_alarms.value:.1%} of genuine clips lie above" if point.false_alarms else "error rates unknown"
    )
    at = f"{point.threshold_probability:.1%}" if point.threshold_probability is not None else f"{point.threshold:.3f}"
    told.append({"name": "threshold", "value": at, "note": alarms})
    left_out = f"{said.faces_left_out} left out" if said.faces_left_out else "none left out"
    told.append(
        {"name": "faces", "value": str(said.faces_seen), "note": left_out if said.faces_seen else "none was found"}
    )
    return told


def _face(face: Face, pictures: Sequence[Picture]) -> dict[str, Any]:
    shown = [one for one in pictures if one.face == face.number]
    return {
        "number": face.number,
        "colour": (face.number - 1) % SERIES + 1,
        "verdict": face.verdict,
        "pill": pill(face.verdict),
        "said": words_of(face),
        "quality": measured(face.quality),
        "pictures": [
            {"image": jpeg(one.image), "overlay": jpeg(one.overlay), "when": when(one), "words": one.words} for one in shown
        ],
    }  # fmt: skip


def words_of(face: Face) -> str:
    """What is said of a face, in a line."""
    seen = f"seen in {len(face.sightings)} frame{'s' if len(face.sightings) > 1 else ''}"
    if face.from_s is not None and face.until_s is not None and len(face.sightings) > 1:
        seen += f", {face.from_s:.1f} to {face.until_s:.1f} s"
    if face.left_out and face.reason:
        return f"left out, {face.reason.code}: {face.reason.words}; {seen}"
    number = f"probability {face.probability:.1%}" if face.probability is not None else f"score {face.score:.3f}"
    reason = f", {face.reason.words}" if face.reason else ""
    return f"{number}{reason}; {seen}"


def when(picture: Picture) -> str:
    """`2.4 s, frame 60`."""
    return f"frame {picture.frame}" if picture.time_s is None else f"{picture.time_s:.1f} s, frame {picture.frame}"


def scaled(pixels: Images, side_px: int) -> Images:
    """A square picture (N, N, 3) as large as is asked for."""
    image = Image.fromarray(pixels)
    return np.asarray(image if image.width == side_px else image.resize((side_px, side_px), Image.Resampling.BICUBIC))


def _times(value: float) -> str:
    return f"{_figures(value)} times"


def _figures(value: float) -> str:
    """Two figures, and all of those before the point; beyond a million it is only said that it is."""
    if value > 1e6:
        return "over a million"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
