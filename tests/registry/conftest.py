"""A line of tiny generations on disk, as the stages leave them, and a tracking database made once."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from components import detectors
from components.digests import file_digest
from components.evaluation import MATRIX_FILE
from components.evaluation.scores import METRICS_FILE
from components.gates.verdict import VERDICT_FILE
from components.generations.card import CURVE, WEIGHTS
from components.generations.generation import save_generation
from components.tracking import DATABASE, Tracking, _create_database, connect

TASKS = ("deepfakes", "face2face", "faceswap")
OPTIONS = {"size": "tiny", "trunk": "small", "width": 8, "input_px": 96}


@dataclass(frozen=True)
class Born:
    """The files of one generation."""

    root: Path
    name: str
    weights: str

    @property
    def generation(self) -> Path:
        return self.root / "data/generations" / self.name

    @property
    def verdict(self) -> Path:
        return self.root / "data/verdicts" / self.name

    @property
    def scores(self) -> Path:
        return self.root / "data/scores" / self.name

    @property
    def recipe(self) -> Path:
        return self.root / "recipes" / f"{self.name}.yaml"

    @property
    def recording(self) -> dict[str, Any]:
        return {"recipe": self.recipe, "scores": self.scores, "verdict": self.verdict}

    def judge(self, *, opens: bool, champion: Born | None) -> None:
        """Write the verdict, and the matrix up to here."""
        index = int(self.name.rpartition("M")[2])
        line = self.name.rpartition("-M")[0]
        names = [f"{line}-M{i + 1}" for i in range(index)]
        self.verdict.mkdir(parents=True, exist_ok=True)
        verdict = {
            "generation": self.name,
            "line": line,
            "opens": opens,
            "founder": index == 1,
            "candidate": {"name": self.name, "weights": self.weights},
            "champion": {"name": champion.name, "weights": champion.weights} if champion else None,
            "champion_after": self.name if opens else (champion.name if champion else None),
            "rules": [
                {
                    "rule": "absolute",
                    "measured": {"auc": 0.9 if opens else 0.5},
                    "required": {"min_auc": 0.8},
                    "passed": opens,
                    "words": "AUC 0.900 is at least 0.800" if opens else "AUC 0.500 is below 0.800",
                }
            ],
        }
        matrix = {
            "line": line,
            "generations": names,
            "learns": dict(zip(names, TASKS, strict=False)),
            "benchmarks": list(TASKS),
            "cells": {name: {b: {"auc": _estimate(0.9 - 0.05 * j)} for j, b in enumerate(TASKS)} for name in names},
            "summary": {
                name: {"average_auc": {"value": 0.85, "reason": None}, "forgetting": _forgetting(i)}
                for i, name in enumerate(names)
            },
        }
        _write(self.verdict / VERDICT_FILE, verdict)
        _write(self.verdict / MATRIX_FILE, matrix)


def _estimate(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.02, "high": value + 0.02, "reason": None}


def _forgetting(index: int) -> dict[str, Any]:
    return {"value": 0.03 * index, "reason": None} if index else {"value": None, "reason": "nothing to forget yet"}


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def _birth(root: Path, index: int, line: str, seed: int, about: dict[str, Any]) -> Born:
    name, teacher = f"{line}-M{index}", f"{line}-M{index - 1}" if index > 1 else "nobody"
    folder = root / "data/generations" / name
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(seed)
    detector = detectors.build("rsia_net", detectors.options("rsia_net", OPTIONS))
    card = {
        "generation": name,
        "line": line,
        "detector": "rsia_net",
        "options": OPTIONS,
        "strategy": "cffd",
        "learns": TASKS[index - 1],
        "teacher": teacher,
        "recipe": "0" * 64,
        "faces": hashlib.sha256(TASKS[index - 1].encode()).hexdigest(),
        "memory": hashlib.sha256(b"memory").hexdigest() if index > 1 else None,
        "environment": {},
        **about,
    }
    save_generation(folder, detector, {}, card)
    (folder / CURVE).write_text("epoch,cross_entropy,distil\n0,0.7,\n1,0.5,0.2\n2,0.4,0.1\n")
    born = Born(root, name, file_digest(folder / WEIGHTS))
    born.recipe.parent.mkdir(exist_ok=True)
    recipe = {"generation": name, "row": {"line": line, "learns": TASKS[index - 1]}, "memory": {"budget": 500}}
    recipe |= {"gate": [{"rule": "absolute", "min_auc": 0.8}], "benchmarks": list(TASKS), "note": "x" * 900}
    born.recipe.write_text(yaml.safe_dump(recipe))
    born.scores.mkdir(parents=True, exist_ok=True)
    cells = {
        b: {"faces": hashlib.sha256(b.encode()).hexdigest(), "clips": 8, "forged": 4, "genuine": 4}
        | {"auc": _estimate(0.9 - 0.05 * j), "eer": {"value": None, "low": None, "high": None, "reason": "one class"}}
        for j, b in enumerate(TASKS)
    }
    _write(born.scores / METRICS_FILE, {"generation": name, "weights": born.weights, "benchmarks": cells})
    return born


Bear = Callable[..., Born]


@pytest.fixture
def bear(tmp_path: Path) -> Bear:
    """``bear(2, opens=True, champion=first)``: the files of the second generation, judged; `about` goes on its card."""

    def birth(
        index: int,
        *,
        opens: bool = True,
        champion: Born | None = None,
        line: str = "rsia",
        seed: int = 0,
        about: dict[str, Any] | None = None,
    ) -> Born:
        born = _birth(tmp_path, index, line, seed or index, about or {})
        born.judge(opens=opens, champion=champion)
        return born

    return birth


@pytest.fixture(scope="session")
def empty_books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its tables and no experiment: making one takes seconds, copying it none."""
    connect(tmp_path_factory.mktemp("first"))  # the tables are mapped once a process, with a warning `connect` knows
    folder = tmp_path_factory.mktemp("books")
    _create_database(folder / DATABASE)
    return folder / DATABASE


@pytest.fixture
def tracking(tmp_path: Path, empty_books: Path) -> Tracking:
    """Books of this test alone, in its workspace."""
    shutil.copy(empty_books, tmp_path / empty_books.name)
    return connect(tmp_path)
