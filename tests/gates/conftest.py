"""Examined generations made by formula: score tables on disk whose AUC is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.evaluation.calibration import Calibration
from components.evaluation.familiarity import Familiarity, View
from components.evaluation.operating_point import OperatingPoint
from components.evaluation.scores import COLUMNS, Scores, metrics_of
from components.faces.table import write_parquet
from components.params import EvaluationOptions

Examine = Callable[..., Scores]


def answers(benchmark: str, gap: float, clips: int, seed: int) -> pd.DataFrame:
    """`clips` clips of one face; forged ones score `gap` standard deviations higher; each clip its own source."""
    label = np.arange(clips) % 2
    noise = np.random.default_rng(seed).normal(0, 1, clips)
    return pd.DataFrame(
        {
            "archive": benchmark,
            "clip": [f"{i}.mp4" for i in range(clips)],
            "frame": 0,
            "source": [f"s{i}" for i in range(clips)],
            "identity": "",
            "method": np.where(label == 1, benchmark, "genuine"),
            "label": label,
            "p_fake": 1 / (1 + np.exp(-(noise + gap * (label - 0.5)))),
        }
    )[COLUMNS]


@pytest.fixture
def examine(tmp_path: Path) -> Examine:
    """examine("M1", {"faceswap": 3.0}) -> Scores in a folder of their own."""

    def write(
        name: str,
        gaps: Mapping[str, float | pd.DataFrame],
        *,
        folder: Path | None = None,
        weights: str | None = None,
        clips: int = 120,
        faces: str = "faces of ",
        seed: int = 0,
    ) -> Scores:
        folder = folder or tmp_path / f"scores of {name}"
        folder.mkdir(parents=True, exist_ok=True)
        options, measured, tables = EvaluationOptions(bootstrap=20), {}, {}
        for number, (benchmark, gap) in enumerate(gaps.items()):
            table = gap if isinstance(gap, pd.DataFrame) else answers(benchmark, gap, clips, 10 * seed + number)
            tables[benchmark] = folder / f"{benchmark}.parquet"
            write_parquet(table, tables[benchmark])
            measured[benchmark] = metrics_of(table, f"{faces}{benchmark}", options, 0)
        found = Scores(name, weights or f"weights of {name}", measured, tables)
        found.write(folder)
        return found

    return write


@pytest.fixture
def point_at() -> Callable[..., OperatingPoint]:
    """An operating point with this threshold; the slope of its calibration is 1 where scores are what they say."""

    def at(threshold: float, slope: float = 1.0) -> OperatingPoint:
        one = np.ones(1, np.float32)
        familiarity = Familiarity({"picture": View("mahalanobis", one, one, one[None])}, 1.0, {})
        return OperatingPoint(Calibration("temperature", slope), threshold, 0.1, {"asked": {}}, familiarity)

    return at
