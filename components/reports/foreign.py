"""Foreign scores as lines of a study: one folder a label, a score table a task, written like the scores of a generation.

Only the end of such a line is known, so what was forgotten on the way is undefined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from components.evaluation.foreign import Imported
from components.evaluation.scores import Scores, metrics_of
from components.faces.table import write_parquet
from components.params import EvaluationOptions
from components.reports.study import Run, RunKey

OWN_WEIGHTS = ""  # nobody here knows them


def write(folder: Path, label: str, tables: Mapping[str, Imported], digests: Mapping[str, str]) -> None:
    """Add the tables of some tasks to those of a label, in place of older ones; `digests` are of the tasks' faces."""
    before = Scores.read_if_any(folder)
    folder.mkdir(parents=True, exist_ok=True)
    measured = dict(before.measured) if before else {}
    for task, imported in tables.items():
        write_parquet(imported.rows, folder / f"{task}.parquet")
        counts = {"unknown": len(imported.unknown), "missing": len(imported.missing)}
        measured[task] = metrics_of(imported.rows, digests[task], EvaluationOptions(), seed=0) | counts
    Scores(label, OWN_WEIGHTS, measured, {}).write(folder)


def read_runs(folder: Path, tasks: Sequence[str], seed: int) -> list[Run]:
    """A run of every label under `folder` that answered about a task; `seed` is the run of ours it is compared with."""
    every = [Scores.read(path) for path in sorted(folder.glob("*/")) if path.is_dir()]
    return [_run(scores, tuple(tasks), seed) for scores in every if any(task in scores.tables for task in tasks)]


def _run(scores: Scores, tasks: tuple[str, ...], seed: int) -> Run:
    squares = {}
    for metric in ("auc", "acc"):
        last = [scores.estimates(task)[metric].value for task in tasks]
        squares[metric] = np.vstack([np.full((len(tasks) - 1, len(tasks)), np.nan), np.array([last], dtype=np.float64)])
    entry, names = RunKey(scores.generation, scores.generation, seed), (scores.generation,)
    images = exemplars = memory_bytes = stored_bytes = seconds = None
    return Run(
        entry, names, tasks, squares["auc"], squares["acc"], scores,
        images, exemplars, memory_bytes, stored_bytes, seconds,
    )  # fmt: skip
