"""R[generation, benchmark]: what every generation of a line knows, as data.

A cell holds the estimates of AUC, ACC, AP and EER. Columns of benchmarks that no generation learned are kept and
reported, but only learned tasks, in the order the line learned them, enter the continual metrics.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from components.errors import BrokenLineage
from components.evaluation import MATRIX_FILE, transfer
from components.evaluation.estimate import Estimate
from components.writing import replace_text

Cell = Mapping[str, Estimate]
Row = Mapping[str, Cell]

CELL_METRICS = ("auc", "acc", "ap", "eer")


@dataclass(frozen=True)
class Matrix:
    """Rows are generations in birth order, columns are benchmarks in the order they joined."""

    line: str
    learns: Mapping[str, str]
    """Generation -> the task it learned, in birth order."""
    benchmarks: tuple[str, ...]
    cells: Mapping[str, Row]
    """Measured cells only; what is absent was not measured."""

    @classmethod
    def empty(cls, line: str) -> Matrix:
        return cls(line, {}, (), {})

    @property
    def generations(self) -> tuple[str, ...]:
        return tuple(self.learns)

    def with_row(self, generation: str, task: str, row: Row) -> Matrix:
        """This matrix with a newborn at the bottom; benchmarks not seen before become columns on the right."""
        if generation in self.learns:
            raise BrokenLineage(
                f"'{generation}' already has a row in the matrix of line '{self.line}'; a generation is judged once "
                "among its own ancestors. Check the teachers in lineage.yaml."
            )
        return replace(
            self,
            learns={**self.learns, generation: task},
            benchmarks=(*self.benchmarks, *(b for b in row if b not in self.benchmarks)),
            cells={**self.cells, generation: dict(row)},
        )

    def with_cells(self, generation: str, row: Row) -> Matrix:
        """This matrix with the unmeasured cells of `generation` filled from `row`; measured ones stay."""
        known = self.cells.get(generation, {})
        return replace(
            self,
            benchmarks=(*self.benchmarks, *(b for b in row if b not in self.benchmarks)),
            cells={**self.cells, generation: {**row, **known}},
        )

    def cell(self, generation: str, benchmark: str) -> Cell:
        """What was measured, or undefined estimates that say why nothing was."""
        absent = Estimate.undefined(f"'{generation}' was not examined on '{benchmark}'")
        return self.cells.get(generation, {}).get(benchmark) or dict.fromkeys(CELL_METRICS, absent)

    def square(self, metric: str = "auc", until: str | None = None) -> transfer.Square:
        """R (T, T) of the first T generations, the last of them `until`; column j is the task row j learned."""
        names = self.generations[: self.generations.index(until) + 1] if until else self.generations
        cells = [[self.cell(g, self.learns[t])[metric].value for t in names] for g in names]
        return np.array(cells, dtype=np.float64).reshape(len(names), len(names))  # None becomes NaN

    def summary(self, generation: str) -> dict[str, Estimate]:
        """The continual metrics of the line as they stood when `generation` was born, on AUC unless named."""
        R, acc = self.square("auc", generation), self.square("acc", generation)
        variants = {f"forgetting_{name}": transfer.forgetting(R, name) for name in transfer.VARIANTS}
        return {
            "average_auc": transfer.average(R),
            "average_acc": transfer.average(acc),
            "average_incremental_auc": transfer.average_incremental(R),
            "average_incremental_acc": transfer.average_incremental(acc),
            "forgetting": transfer.forgetting(R),
            **variants,
            "forgetting_acc": transfer.forgetting(acc),
            "bwt": transfer.bwt(R),
            "bwt_all": transfer.bwt_all(R),
            "fwt": transfer.fwt(R),
            "anti_forgetting": transfer.anti_forgetting(R),
            "anti_forgetting_acc": transfer.anti_forgetting(acc),
            "plasticity": transfer.plasticity(R),
        }

    def as_json(self) -> dict[str, Any]:
        return {
            "line": self.line,
            "generations": list(self.generations),
            "learns": dict(self.learns),
            "benchmarks": list(self.benchmarks),
            "cells": {
                g: {b: {m: self.cell(g, b)[m].as_json() for m in CELL_METRICS} for b in self.benchmarks}
                for g in self.generations
            },
            "summary": {
                g: {name: {"value": e.value, "reason": e.reason} for name, e in self.summary(g).items()}
                for g in self.generations
            },
        }

    def write(self, folder: Path) -> None:
        """Write ``matrix.json`` into `folder`; a missing cell is null with a reason."""
        replace_text(folder / MATRIX_FILE, json.dumps(self.as_json(), indent=2, sort_keys=True) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Matrix:
        """The matrix in a verdicts folder; raises BrokenLineage when there is none."""
        if not (folder / MATRIX_FILE).is_file():
            raise BrokenLineage(
                f"expected the matrix of the teacher at '{folder / MATRIX_FILE}', found none. "
                f"Judge it first: `dvc repro judge@{folder.name}`."
            )
        return cls.from_json(json.loads((folder / MATRIX_FILE).read_text()))

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Matrix:
        cells = {g: dict(_measured(raw["cells"][g])) for g in raw["generations"]}
        return cls(raw["line"], {g: raw["learns"][g] for g in raw["generations"]}, tuple(raw["benchmarks"]), cells)


def _measured(row: Mapping[str, Mapping[str, Any]]) -> Iterable[tuple[str, Cell]]:
    """Cells in which anything at all is known; one without any is a cell nobody measured."""
    for benchmark, cell in row.items():
        estimates = {name: Estimate.from_json(raw) for name, raw in cell.items()}
        if any(e.value is not None for e in estimates.values()):
            yield benchmark, estimates
