"""The page of what a line's champion was asked: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.reports.pages import fixed, write_page

SAME, OTHER = 0.1, 0.25
"""Population stability index: up to where a number is taken for the same, and from where for another."""
ROWS = 30
KNOWN: Mapping[str, str] = {
    "score": "score",
    "detector_score": "how sure the face detector was",
    "face_px": "size of the face, px",
    "sharpness": "sharpness",
    "brightness": "brightness",
    "yaw_deg": "yaw",
    "pitch_deg": "pitch",
    "roll_deg": "roll",
}


def write_asked(page: Path, line: str, history: Sequence[Mapping[str, Any]]) -> None:
    """Write ``index.html`` in the folder `page`; `history` are looks (`watching.Watched.as_json`), oldest first."""
    last = history[-1] if history else None
    write_page(
        page,
        "asked.html",
        line=line,
        last=last,
        tiles=_tiles(last) if last else [],
        stability=_stability(last) if last else [],
        history=list(reversed(history))[:ROWS],
    )


def _tiles(last: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name, value, note)."""
    asked, expected = last["asked"], last["expected"] or {}
    return [
        ("Files", str(asked["files"]), f"since {last['since'][:10]}"),
        ("With a face", _percent(asked.get("with_a_face")), "of files"),
        ("Not told", _percent(asked.get("cannot_tell")), "of files"),
        ("Expected accuracy", _percent(expected.get("accuracy")), "of answers, if nothing drifted"),
        ("Expected forged", _percent(expected.get("forged")), "of files with an answer"),
        ("Challenger agrees", _percent(asked.get("agreement")), "of files both were asked"),
    ]


def _stability(last: Mapping[str, Any]) -> list[tuple[str, float, str]]:
    """(number in words, index, what that means), the largest first."""
    found = (last["drift"] or {}).get("stability", {})
    ordered = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
    return [(KNOWN.get(name, name), index, _meaning(index)) for name, index in ordered]


def _meaning(index: float) -> str:
    return "the same" if index < SAME else "another" if index > OTHER else "somewhat different"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{fixed(100 * share, 0)} %"
