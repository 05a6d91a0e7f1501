"""How a generation is examined: its test faces (or validation faces) scored, each finished table kept, metrics taken.

Scoring is the slow part, so each finished table is kept in ``.perennial/scores`` under the digests of all that shaped
it: an examination that was killed goes on where it stopped, and ends with the same bytes. Whichever stage asks
(`evaluate`, `examine`), the same weights on the same faces in the same manner are scored once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from components import code, detectors, strategies
from components.detectors import Detector
from components.evaluation import scoring
from components.evaluation.scores import COLUMNS, Scores, metrics_of
from components.faces.table import FaceTable, write_parquet
from components.generations.card import read_card
from components.generations.generation import load_classifier
from components.generations.recipe import Recipe
from components.vocabulary import TEST

KEPT = Path(".perennial/scores")


@dataclass(frozen=True)
class Examiner:
    """Scores a generation under one recipe on one device."""

    recipe: Recipe
    device: torch.device

    def examine(self, generation: Path, tables: Mapping[str, FaceTable], scores: Path, *, split: str = TEST) -> None:
        """Write the score table of every benchmark, of the faces of one split, then ``metrics.json``."""
        card, detector = read_card(generation), load_classifier(generation, self.device)
        scores.mkdir(parents=True, exist_ok=True)
        measured = {}
        for benchmark, table in tables.items():
            title = f"{card['generation']} on {benchmark if split == TEST else f'{benchmark} ({split})'}"
            kept = self.answered(card, detector, table, title, split=split)
            shutil.copyfile(kept, scores / f"{benchmark}.parquet")
            answers = pq.read_table(kept).to_pandas()
            measured[benchmark] = metrics_of(answers, table.digest, self.recipe.evaluation, self.recipe.seed)
            auc = measured[benchmark]["auc"]
            found = auc["reason"] if auc["value"] is None else f"AUC {auc['value']:.3f}"
            print(f"{title}: {found}", flush=True)
        Scores(card["generation"], card["weights"], measured, {}).write(scores)

    def answered(
        self, card: Mapping[str, Any], detector: Detector, table: FaceTable, title: str, *, split: str
    ) -> Path:
        """The file with the score table of the faces of one split; who asks again finds it there."""
        kept = KEPT / card["weights"] / table.digest / split / f"{self._manner(card)}.parquet"
        rows = _rows(table, split)
        if not _is_whole(kept, len(rows)):
            self._score(detector, table, rows, title, kept)
        return kept

    def _score(self, detector: Detector, table: FaceTable, rows: np.ndarray, title: str, kept: Path) -> None:
        p_fake = scoring.score(detector, table, rows, self.recipe.evaluation.batch, self.device, title)
        answers = table.rows[COLUMNS[:-1]].iloc[rows].assign(p_fake=p_fake)
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_name(f"{kept.name}.{os.getpid()}")
        write_parquet(answers, partial)
        partial.replace(kept)

    def _manner(self, card: Mapping[str, object]) -> str:
        """Digest of what besides weights and faces shapes the answers: options, carry-over, batch, device, and the code."""
        recipe = self.recipe
        who = [card[key] for key in ("detector", "options", "strategy", "carry_over")]
        options = [recipe.evaluation.batch, recipe.training.threads, recipe.machine.deterministic]
        at_work = made_of(str(card["detector"]), str(card["strategy"]))
        said = [*who, *options, self.device.type, torch.__version__, at_work]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


@cache
def made_of(detector: str, strategy: str) -> str:
    """Digest of the code that answers: this module's closure and those of the choices, whatever stage is at work."""
    modules = (__name__, f"{detectors.__name__}.{detector}", f"{strategies.__name__}.{strategy}")
    return code.digest(code.closure(module, cache=code.CACHE) for module in modules)


def _rows(table: FaceTable, split: str) -> np.ndarray:
    return np.flatnonzero((table.rows["split"] == split).to_numpy())


def _is_whole(kept: Path, faces: int) -> bool:
    """Whether `kept` is a finished table of so many faces; an unreadable file is scored again."""
    try:
        return bool(pq.read_metadata(kept).num_rows == faces)
    except (OSError, pa.ArrowException):
        return False
