"""Scores that other people's detectors gave to the test clips of a benchmark: ``clip,p_fake`` tables become our tables.

A clip is named as in the manifest, by its path in the archive. What is in the table and is no test clip is passed over;
test clips that the table lacks are an error, or answered with chance where the caller says so. Both are named and counted.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from components.errors import BadParams
from components.evaluation.scores import COLUMNS
from components.vocabulary import TEST

CHANCE = 0.5
CLIP, P_FAKE = "clip", "p_fake"
SHOWN = 5
WHOLE = -1  # the frame of an answer about a whole clip


@dataclass(frozen=True)
class Imported:
    """One table as read."""

    rows: pd.DataFrame
    """As of a score table, one row a clip."""
    unknown: tuple[str, ...]
    """In the table, and no test clips."""
    missing: tuple[str, ...]
    """Test clips that are not in the table."""


def read(path: Path) -> dict[str, float]:
    """Clip -> p(forged) of a CSV file; further columns are passed over.

    Raises BadParams naming every line that cannot be believed: a probability outside [0, 1], a clip that is there twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            table = csv.DictReader(lines, strict=True)
            rows, columns = list(table), table.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise BadParams(f"expected a CSV file in UTF-8 at '{path}': {fault}. Export it again.") from fault
    if not {CLIP, P_FAKE} <= set(columns):
        raise BadParams(f"expected the columns {CLIP} and {P_FAKE} in '{path}', found {', '.join(columns) or 'none'}.")
    scores: dict[str, float] = {}
    faults = []
    for line, row in enumerate(rows, start=2):
        clip, p_fake = row[CLIP] or "", _number(row[P_FAKE])
        if not 0 <= p_fake <= 1:
            faults.append(f"line {line}: {P_FAKE} '{row[P_FAKE]}' of '{clip}' where a number from 0 to 1 was expected")
        if clip in scores:
            faults.append(f"line {line}: '{clip}' for the second time")
        scores[clip] = p_fake
    if faults:
        more = f"\n  and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise BadParams(f"'{path}' cannot be believed:\n" + "\n".join(f"  {f}" for f in faults[:SHOWN]) + more)
    return scores


def joined(scores: Mapping[str, float], faces: pd.DataFrame, benchmark: str, *, chance: bool = False) -> Imported:
    """Foreign scores of the test clips of a benchmark.

    faces   rows of its face table: what our own generations are asked about
    chance  answer test clips that are missing with 0.5
    Raises BadParams where clips are missing, or none is known.
    """
    clips = faces[faces["split"] == TEST].drop_duplicates(["archive", "clip"]).assign(frame=WHOLE)
    given = clips["clip"].map(scores)
    unknown = tuple(sorted(scores.keys() - set(clips["clip"])))
    missing = tuple(sorted(clips["clip"][given.isna()]))
    if len(missing) == len(clips):
        raise BadParams(
            f"expected scores of the {len(clips)} test clips of '{benchmark}', found none of them: {named(unknown)}. Name "
            f"clips by their paths in the archive, as '{clips['clip'].iloc[0]}'."
        )
    if missing and not chance:
        raise BadParams(
            f"expected a score of each of the {len(clips)} test clips of '{benchmark}', found none of {len(missing)}: "
            f"{named(missing)}. Score them, or say --missing chance: they then count as answered with {CHANCE}."
        )
    return Imported(clips.assign(p_fake=given.fillna(CHANCE))[COLUMNS].reset_index(drop=True), unknown, missing)


def named(clips: Sequence[str]) -> str:
    """The first few in quotes, and how many more there are."""
    more = f" and {len(clips) - SHOWN} more" if len(clips) > SHOWN else ""
    return ", ".join(f"'{clip}'" for clip in clips[:SHOWN]) + more


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return math.nan
