"""The files of one generation, read once and found to belong together."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.errors import BrokenLineage
from components.generations.card import CARD, CURVE, WEIGHTS, file_digest, read_card


@dataclass(frozen=True)
class Birth:
    """A generation with its recipe, scores and verdict."""

    folder: Path
    recipe: dict[str, Any]
    scores: Path
    verdict: Path
    card: dict[str, Any]
    metrics: dict[str, Any]
    judged: dict[str, Any]
    matrix: dict[str, Any]
    digest: str

    @property
    def name(self) -> str:
        return str(self.card["generation"])

    @property
    def line(self) -> str:
        return str(self.card["line"])

    @property
    def index(self) -> int:
        """1 for the founder."""
        return int(self.matrix["generations"].index(self.name)) + 1


def read_birth(folder: Path, recipe: Path, scores: Path, verdict: Path) -> Birth:
    """Read them; raises BrokenLineage where one is missing or speaks of other weights."""
    card = read_card(folder)
    for path in (folder / WEIGHTS, folder / CURVE, recipe, scores / "metrics.json", verdict / "verdict.json"):
        if not path.is_file():
            raise BrokenLineage(
                f"expected '{path}' of generation '{card['generation']}', found none. Run the lifecycle."
            )
    weights = file_digest(folder / WEIGHTS)
    judged = json.loads((verdict / "verdict.json").read_text())
    metrics = json.loads((scores / "metrics.json").read_text())
    for where, said in (
        (f"{folder / CARD}", card["weights"]),
        (f"{scores / 'metrics.json'}", metrics["weights"]),
        (f"{verdict / 'verdict.json'}", judged["candidate"]["weights"]),
    ):
        if said != weights:
            raise BrokenLineage(
                f"expected '{where}' to speak of weights {weights[:12]}, found {said[:12]}. "
                "A stage has not been run since the generation was raised: run the lifecycle."
            )
    return Birth(
        folder=folder,
        recipe=yaml.safe_load(recipe.read_text()),
        scores=scores,
        verdict=verdict,
        card=card,
        metrics=metrics,
        judged=judged,
        matrix=json.loads((verdict / "matrix.json").read_text()),
        digest=_digest(weights, scores, verdict),
    )


def _digest(weights: str, scores: Path, verdict: Path) -> str:
    """sha256 over the weights, every score and the verdict: what a run is made from."""
    files = [path for path in scores.rglob("*") if path.is_file() and path.name != ".gitignore"]
    lines = [f"{path.relative_to(scores).as_posix()} {file_digest(path)}" for path in files]
    lines += [f"{name} {file_digest(verdict / name)}" for name in ("verdict.json", "matrix.json")]
    return hashlib.sha256("\n".join([weights, *sorted(lines)]).encode()).hexdigest()
