"""The files of one generation, from its card to its verdict, found together. They lie in three folders and a recipe:

data/generations/NAME  recipes/NAME.yaml   what it is and of what: weights, card, curve
data/scores/NAME                           what it answered: metrics, one table a benchmark
data/verdicts/NAME                         what the gate said of it, and the matrix up to it
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from components.digests import file_digest
from components.documents import load_yaml
from components.errors import BrokenLineage
from components.evaluation import MATRIX_FILE
from components.evaluation.point_files import POINT_FILE, told
from components.evaluation.scores import METRICS_FILE
from components.gates.verdict import VERDICT_FILE
from components.generations.card import CARD, CURVE, WEIGHTS, code_digest, read_card


@dataclass(frozen=True)
class GenerationFiles:
    """Where they are. Each is read once, when it is asked for; BrokenLineage where it is missing."""

    folder: Path
    scores: Path
    """Folder of its scores."""
    judged: Path
    """Folder of its verdict."""
    recipe_file: Path | None = None
    """None where nobody asks for the recipe."""

    @cached_property
    def card(self) -> dict[str, Any]:
        return read_card(self.folder)

    @cached_property
    def recipe(self) -> dict[str, Any]:
        assert self.recipe_file is not None
        recipe: dict[str, Any] = load_yaml(_there(self.recipe_file).read_bytes())
        return recipe

    @cached_property
    def metrics(self) -> dict[str, Any]:
        return _read(self.scores / METRICS_FILE)

    @cached_property
    def verdict(self) -> dict[str, Any]:
        return _read(self.judged / VERDICT_FILE)

    @cached_property
    def matrix(self) -> dict[str, Any]:
        return _read(self.judged / MATRIX_FILE)

    @cached_property
    def calibrated(self) -> dict[str, Any]:
        """What its verdict folder says of its operating point and of the ladder, or why there is no point."""
        return told(self.judged)

    @property
    def standing(self) -> dict[str, Any]:
        """How it does at its threshold on what it was taught; empty where it has none."""
        return dict(self.verdict.get("standing") or {})

    @cached_property
    def curve(self) -> tuple[dict[str, float], ...]:
        """The rows of ``curve.csv``, by column; what is empty or not finite is left out. No row without the file."""
        path = self.folder / CURVE
        if not path.is_file():
            return ()
        with path.open(newline="") as file:
            return tuple(dict(_numbers(row)) for row in csv.DictReader(file))

    @property
    def name(self) -> str:
        return str(self.card["generation"])

    @property
    def short(self) -> str:
        """``M3`` of ``rsia_net-M3``."""
        return self.name.rpartition("-")[2]

    @property
    def line(self) -> str:
        return str(self.card["line"])

    @property
    def learns(self) -> str:
        return str(self.card["learns"])

    @property
    def weights(self) -> str:
        """sha256 of its weights, as its card has it."""
        return str(self.card["weights"])

    @property
    def code(self) -> str | None:
        """Digest of the code that raised it; None before 0.2."""
        return code_digest(self.card)

    @property
    def opens(self) -> bool:
        """Whether the gate opened for it."""
        return bool(self.verdict["opens"])

    @property
    def index(self) -> int:
        """The number in its name: 1 for the first that was born in its line."""
        return int(self.short.removeprefix("M"))

    @cached_property
    def digest(self) -> str:
        """sha256 over the weights, every score, the verdict and the operating point."""
        files = [path for path in self.scores.rglob("*") if path.is_file() and path.name != ".gitignore"]
        lines = [f"{path.relative_to(self.scores).as_posix()} {file_digest(path)}" for path in files]
        said = [VERDICT_FILE, MATRIX_FILE, *([POINT_FILE] if (self.judged / POINT_FILE).is_file() else [])]
        lines += [f"{name} {file_digest(self.judged / name)}" for name in said]
        return hashlib.sha256("\n".join([self.weights, *sorted(lines)]).encode()).hexdigest()

    def expect_judged(self) -> None:
        """Raise BrokenLineage unless the verdict is on the weights of the card."""
        self._expect(self.weights, {self.judged / VERDICT_FILE: self.verdict["candidate"]["weights"]})

    def expect_examined(self) -> None:
        """Raise BrokenLineage unless scores and verdict are of the weights of the card."""
        self._expect(self.weights, {self.scores / METRICS_FILE: self.metrics["weights"]})
        self.expect_judged()

    def expect_whole(self) -> None:
        """Raise BrokenLineage unless every file is there and speaks of the weights on disk."""
        recipe = [self.recipe_file] if self.recipe_file else []
        for path in (self.folder / WEIGHTS, self.folder / CURVE, self.judged / MATRIX_FILE, *recipe):
            _there(path)
        said = {self.folder / CARD: self.weights, self.scores / METRICS_FILE: self.metrics["weights"]}
        self._expect(file_digest(self.folder / WEIGHTS), said)
        self.expect_judged()

    def _expect(self, weights: str, said: Mapping[Path, str]) -> None:
        for path, found in said.items():
            if found != weights:
                raise BrokenLineage(
                    f"expected '{path}' to speak of weights {weights[:12]}, found {found[:12]}. "
                    "A stage has not been run since the generation was raised: run the lifecycle."
                )


def _there(path: Path) -> Path:
    if not path.is_file():
        raise BrokenLineage(f"expected '{path}', found none. Run the lifecycle, or fetch it with `dvc pull`.")
    return path


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_there(path).read_text())
    return content


def _numbers(row: Mapping[str, str | None]) -> Iterator[tuple[str, float]]:
    for name, text in row.items():
        try:
            value = float(text or "")
        except ValueError:
            continue
        if math.isfinite(value):
            yield name, value
