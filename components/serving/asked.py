"""What a generation was asked, kept without the pictures: what it answered, and how the judged face looked to it.

    asked.sqlite    one row an answer: when, which file (sha256), verdict and reason, score, probability, quality, traits

No name of a file, no picture and no caller is kept; traits (`components.evaluation.traits`) are what familiarity goes by.
Rows older than `keep_days` leave with the next that comes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from components.evaluation.population import Population
from components.serving.record import Record

KEEP_DAYS: Final = 30
_COLUMNS: Final = (
    "answered",
    "generation",
    "sha256",
    "verdict",
    "reason",
    "score",
    "probability",
    "shadow",
    "quality",
    "traits",
)
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS asked (answered TEXT NOT NULL, generation TEXT NOT NULL, sha256 TEXT NOT NULL, "
    "verdict TEXT NOT NULL, reason TEXT NOT NULL, score REAL, probability REAL, shadow TEXT NOT NULL, "
    "quality TEXT NOT NULL, traits BLOB)"
)

Traits = Mapping[str, NDArray[np.float32]]
"""By view, of one file (D,)."""


@dataclass(frozen=True)
class Asked:
    """The store in one file, which several processes may use."""

    file: Path
    keep_days: int = KEEP_DAYS

    def add(self, record: Record, traits: Traits | None = None) -> int:
        """Keep an answer, which is on the disk when this returns; its number."""
        judged = next((face for face in record.faces if face.number == record.decided_by), None)
        quality = {} if judged is None else judged.quality.model_dump()
        kept = (
            None
            if traits is None
            else save({view: np.ascontiguousarray(values, np.float32) for view, values in traits.items()})
        )
        row = (
            record.answered,
            record.champion.generation,
            record.file.sha256 or "",
            record.verdict,
            record.reason.code if record.reason else "",
            record.score,
            record.probability,
            "",
            json.dumps(quality),
            kept,
        )
        oldest = (datetime.now(UTC) - timedelta(days=self.keep_days)).isoformat()
        with self._open() as database:
            number = database.execute(f"INSERT INTO asked VALUES ({', '.join('?' * len(_COLUMNS))})", row).lastrowid  # noqa: S608 only marks
            database.execute("DELETE FROM asked WHERE answered < ?", (oldest,))
        return int(number or 0)

    def tell_shadow(self, number: int, verdict: str) -> None:
        """What the challenger said of the file of an answer."""
        with self._open() as database:
            database.execute("UPDATE asked SET shadow = ? WHERE rowid = ?", (verdict, number))

    def rows(self, generation: str, since: datetime | None = None) -> pd.DataFrame:
        """What a generation answered since a time, oldest first, without the looks of faces."""
        wanted = _COLUMNS[:-1]
        query = f"SELECT {', '.join(wanted)} FROM asked WHERE generation = ? AND answered >= ? ORDER BY answered, rowid"  # noqa: S608
        if not self.file.is_file():
            return pd.DataFrame(columns=list(wanted))
        with self._open() as database:
            return pd.DataFrame(database.execute(query, (generation, _text(since))).fetchall(), columns=list(wanted))

    def population(self, generation: str, since: datetime | None = None) -> Population | None:
        """The files with a judged face since a time, each as it was answered last; None where there is none."""
        if not self.file.is_file():
            return None
        query = (
            "SELECT sha256, score, quality, traits, MAX(rowid) FROM asked WHERE generation = ? AND answered >= ? "
            "AND traits IS NOT NULL AND score IS NOT NULL AND sha256 != '' GROUP BY sha256 ORDER BY MAX(rowid)"
        )
        with self._open() as database:
            found = [row[:4] for row in database.execute(query, (generation, _text(since)))]
        seen = [(sha256, score, json.loads(quality), _looks(traits)) for sha256, score, quality, traits in found]
        if not seen:
            return None
        views, columns = seen[-1][3].keys(), sorted({column for _, _, quality, _ in seen for column in quality})
        seen = [one for one in seen if one[3].keys() == views]
        return Population(
            tuple(sha256 for sha256, *_ in seen),
            np.array([score for _, score, *_ in seen], np.float64),
            {view: np.stack([looks[view] for *_, looks in seen]) for view in views},
            {column: np.array([_number(quality.get(column)) for _, _, quality, _ in seen]) for column in columns},
        )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.file, timeout=60)) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute(_TABLE)
            with database:
                yield database


def _text(since: datetime | None) -> str:
    """As `answered` is written, so that texts compare as times do; "" is before all."""
    return since.astimezone(UTC).isoformat() if since else ""


def _looks(kept: bytes) -> dict[str, NDArray[np.float32]]:
    try:
        return load(kept)
    except SafetensorError:
        return {}


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
