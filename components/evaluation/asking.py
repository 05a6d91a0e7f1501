"""A generation is asked about faces that do not judge it: their scores, what they look like to it, and worse ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components import machine
from components.detectors import Detector
from components.evaluation import ladder, traits
from components.evaluation.examiner import Examiner
from components.faces.table import FaceTable
from components.generations.card import read_card
from components.generations.generation import load_classifier
from components.generations.recipe import Recipe
from components.vocabulary import VAL


@dataclass(frozen=True)
class Asking:
    """One generation, loaded, on the device of the settings."""

    card: dict[str, Any]
    detector: Detector
    examiner: Examiner

    @classmethod
    def of(cls, recipe: Recipe, generation: Path) -> Asking:
        """As its recipe computes."""
        machine.deterministic(recipe.training.threads, kernels=recipe.machine.deterministic)
        device = machine.device()
        return cls(read_card(generation), load_classifier(generation, device), Examiner(recipe, device))

    def answers(self, name: str, table: FaceTable) -> pd.DataFrame:
        """Score table of the validation faces of an archive; what was answered before is not asked again."""
        title = f"{self.card['generation']} on {name} ({VAL})"
        return pq.read_table(self.examiner.answered(self.card, self.detector, table, title, split=VAL)).to_pandas()

    def look(self, name: str, table: FaceTable, rows: NDArray[np.intp]) -> traits.Traits:
        """What these rows of a table look like."""
        return traits.seen(self.detector, table, rows, *self._how, f"{self.card['generation']} looks at {name}")

    def ladder(self, name: str, table: FaceTable) -> dict[str, Any]:
        """What is left where test faces of an archive are made worse."""
        return ladder.climb(self.detector, table, *self._how, f"{self.card['generation']} on the ladder of {name}")

    @property
    def _how(self) -> tuple[int, Any]:
        return self.examiner.recipe.evaluation.batch, self.examiner.device
