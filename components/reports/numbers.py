"""The numbers of a line's page for `dvc metrics` and `dvc plots`: one JSON of its youngest generation, and CSV files.

PLOTS/forgetting/TASK.csv               generation, auc       of one task, from the generation that learned it
PLOTS/matrix/GENERATION.csv             auc, benchmark        a row of the matrix
PLOTS/reliability/GENERATION.csv        said, forged          probability, and share that was forged; validation clips
PLOTS/curves/GENERATION/TERM.csv        epoch, loss           a term of the loss

DVC draws one picture a file, and lays those of two commits over one another.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from components.reports import story
from components.reports.story import Story
from components.writing import replace_text

PLOTS = ("forgetting", "matrix", "reliability", "curves")


def write(told: Story, metrics: Path, plots: Path) -> None:
    """Write the file `metrics` and the four folders of `plots`; same story, same bytes."""
    replace_text(metrics, json.dumps(_metrics(told), indent=2, sort_keys=True) + "\n")
    for folder in PLOTS:
        (plots / folder).mkdir(parents=True, exist_ok=True)
    for task in told.tasks:
        _table(plots / "forgetting", task, ("generation", "auc"), _since_learned(told, task))
    for generation in told.generations:
        row = ((told.cell(generation.name, benchmark).value, benchmark) for benchmark in told.benchmarks)
        _table(plots / "matrix", generation.name, ("auc", "benchmark"), row)
        point = generation.calibrated["point"] or {"found": {"reliability": ()}}
        bins = ((one["mean"], one["forged"]) for one in point["found"]["reliability"])
        _table(plots / "reliability", generation.name, ("said", "forged"), bins)
        for term, points in story.losses(generation).items():
            _table(plots / "curves" / generation.name, term, ("epoch", "loss"), points)


def _metrics(told: Story) -> dict[str, Any]:
    """Of the youngest generation alone, and who answers."""
    last, point = told.last, told.last.calibrated["point"]
    found: dict[str, Any] = {
        "generation": last.name,
        "champion": told.champion.name if told.champion else None,
        "opens": int(last.opens),
        "average_auc": told.summed(last.name, "average_auc").value,
        "forgetting": told.summed(last.name, "forgetting").value,
        "auc": {benchmark: told.cell(last.name, benchmark).value for benchmark in told.benchmarks},
    }
    if point:
        found |= {"threshold": point["threshold"], "cllr": point["found"]["cllr"]}
        found |= {name: last.standing.get(name) for name in ("balanced_accuracy", "calibration_error")}
    return found


def _since_learned(told: Story, task: str) -> Iterable[tuple[int, float | None]]:
    aucs = [(number, told.cell(one.name, task).value) for number, one in enumerate(told.generations, 1)]
    return aucs[[one.learns for one in told.generations].index(task) :]


def _table(folder: Path, name: str, columns: tuple[str, str], rows: Iterable[tuple[Any, Any]]) -> None:
    """A file of the rows in which nothing is missing; none where there is no such row."""
    known = [row for row in rows if None not in row]
    if known:
        folder.mkdir(parents=True, exist_ok=True)
        harmless = re.sub(r"[^\w.-]", "_", name)
        with (folder / f"{harmless}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([columns, *known])
