"""What a generation answered on every benchmark, on disk: one table of faces each, and ``metrics.json``.

BENCH.parquet   archive, clip, frame, source, identity, method, label, p_fake: one row per test face
metrics.json    the generation, its weights' digest, and per benchmark the faces' digest and every metric
validation/     the same of validation faces, where the recipe asked for them
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from components.errors import BrokenLineage
from components.evaluation.estimate import Estimate
from components.evaluation.metrics import METRICS, brier, by_method, calibration_error, clip_scores, measure
from components.params import EvaluationOptions
from components.vocabulary import FORGED, REAL
from components.writing import replace_text

COLUMNS = ["archive", "clip", "frame", "source", "identity", "method", "label", "p_fake"]
METRICS_FILE = "metrics.json"
VALIDATION = "validation"


@dataclass(frozen=True)
class Scores:
    """One generation as examined; tables are read when asked for."""

    generation: str
    weights: str
    """sha256 of the weights that answered."""
    measured: Mapping[str, Mapping[str, Any]]
    """Per benchmark what ``metrics.json`` says of it."""
    tables: Mapping[str, Path]

    @classmethod
    def read(cls, folder: Path) -> Scores:
        """The scores in `folder`; raises BrokenLineage where there are none, or a table is missing."""
        if not (folder / METRICS_FILE).is_file():
            raise BrokenLineage(
                f"expected scores at '{folder}', found no {METRICS_FILE}. Run the evaluate stage first."
            )
        raw = json.loads((folder / METRICS_FILE).read_text())
        tables = {name: folder / f"{name}.parquet" for name in raw["benchmarks"]}
        for name, path in tables.items():
            if not path.is_file():
                raise BrokenLineage(f"expected the scores on '{name}' at '{path}', found none. Run evaluate again.")
        return cls(raw["generation"], raw["weights"], raw["benchmarks"], tables)

    @classmethod
    def read_if_any(cls, folder: Path) -> Scores | None:
        return cls.read(folder) if (folder / METRICS_FILE).is_file() else None

    def estimates(self, benchmark: str) -> dict[str, Estimate]:
        """The metrics of METRICS on a benchmark; undefined ones where it was not examined there."""
        if benchmark not in self.measured:
            return dict.fromkeys(METRICS, Estimate.undefined(f"'{self.generation}' was not examined on '{benchmark}'"))
        return {name: Estimate.from_json(self.measured[benchmark][name]) for name in METRICS}

    def clips(self, benchmark: str) -> pd.DataFrame:
        """Clip scores on a benchmark, as of `metrics.clip_scores`."""
        return clip_scores(pq.read_table(self.tables[benchmark]).to_pandas())

    def joined(self, more: Scores) -> Scores:
        """These scores and those of `more`, the same weights on other benchmarks; what is here stays."""
        if more.weights != self.weights:
            raise BrokenLineage(
                f"expected more scores of '{self.generation}' by weights {self.weights[:12]}, found "
                f"{more.weights[:12]}. "
                "It was raised again after its scores were taken: judge it again, then the generation it taught."
            )
        return replace(self, measured={**more.measured, **self.measured}, tables={**more.tables, **self.tables})

    def write(self, folder: Path) -> None:
        """Copy the tables into `folder` and write ``metrics.json`` beside them."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in self.tables.items():
            if path != folder / f"{name}.parquet":
                shutil.copyfile(path, folder / f"{name}.parquet")
        content = {"generation": self.generation, "weights": self.weights, "benchmarks": self.measured}
        replace_text(folder / METRICS_FILE, json.dumps(content, indent=2, sort_keys=True) + "\n")


def metrics_of(faces: pd.DataFrame, digest: str, options: EvaluationOptions, seed: int) -> dict[str, Any]:
    """A benchmark's entry in ``metrics.json``.

    faces: the score table; digest: of the face table it comes from.
    """
    clips = clip_scores(faces)
    labels, scores = clips["label"].to_numpy("int64"), clips["p_fake"].to_numpy("float64")
    estimates = measure(clips, bootstrap=options.bootstrap, confidence=options.confidence, seed=seed)
    return {
        "faces": digest,
        "clips": len(clips),
        "forged": int((labels == FORGED).sum()),
        "genuine": int((labels == REAL).sum()),
        **{name: estimate.as_json() for name, estimate in estimates.items()},
        "calibration_error": calibration_error(labels, scores) if len(clips) else None,
        "brier": brier(labels, scores) if len(clips) else None,
        "methods": by_method(clips),
    }
