"""A workspace of synthetic tasks, and a detector in the catalogue that is raised in a second."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components import detectors
from components.faces.table import FaceTable, encode
from components.generations.lineage import Lineage, append, propose
from components.params import Params, parse
from components.vocabulary import GENUINE, LABELS, NOBODY, REAL, TRAIN
from components.withdrawal.files import tell_generation

CATALOGUE = Path(__file__).parent / "catalogue"
TASKS = ("swap", "mesh", "mask")


@pytest.fixture(autouse=True)
def _pinhole(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The detector `pinhole` stands in the catalogue."""
    monkeypatch.setattr(detectors, "__path__", [*detectors.__path__, str(CATALOGUE)])
    yield
    sys.modules.pop("components.detectors.pinhole", None)
    vars(detectors).pop("pinhole", None)


@pytest.fixture(autouse=True)
def _stages_leave_torch_alone(torch_as_it_was: None) -> None:
    """For every test here, since each may call a stage."""


def face_rows(task: str, clips: int, faces: int) -> pd.DataFrame:
    rows = [
        {
            "archive": task,
            "clip": f"{label}/{clip}.mp4",
            "frame": frame,
            "label": label,
            "method": GENUINE if label == REAL else task,
            "identity": "",
            "source": f"{clip}",
            "split": TRAIN,
            "landmarks": [0.0] * 10,
            "box": [0.0] * 4,
            "score": 1.0,
        }
        for label in LABELS
        for clip in range(clips)
        for frame in range(faces)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def faces(tmp_path: Path) -> Callable[..., Path]:
    """`faces("swap", clips=5, per_clip=4)`: a task's face table; its forged faces have stripes of the task's own width."""

    def make(task: str, *, clips: int = 5, per_clip: int = 4, side_px: int = 96) -> Path:
        generator = np.random.default_rng(list(task.encode()))
        rows = face_rows(task, clips, per_clip)
        stripes = np.arange(side_px) // (2 + TASKS.index(task)) % 2
        pixels = generator.integers(60, 120, (len(rows), side_px, side_px, 3))
        pixels[(rows["label"] != REAL).to_numpy()] += 60 * stripes[:, None, None]
        encoded = [encode(image) for image in pixels.astype(np.uint8)]
        folder = tmp_path / "data" / "faces" / task
        FaceTable.write(folder, rows, encoded, {"detector": "formula", "size_px": side_px})
        return folder

    return make


@pytest.fixture
def params() -> Callable[..., Params]:
    """`params(**changes)`: two lines over three tasks, quick to raise."""

    def make(**changes: Any) -> Params:
        raw: dict[str, Any] = {
            "archives": {
                name: {"layout": "lab", "after": before} for name, before in zip(TASKS, (NOBODY, *TASKS), strict=False)
            },
            "sequence": TASKS,
            "benchmarks": TASKS,
            "lines": {
                "cffd": {"detector": "pinhole", "strategy": "cffd"},
                "plain": {"detector": "pinhole", "strategy": "finetune"},
            },
            "memory": {"budget": 12},
            "training": {"founder_epochs": 2, "epochs": 2, "batch": 8, "faces_per_clip": 3, "learning_rate": 0.01},
            "gate": [{"rule": "infra"}],
        }
        return parse(Params, {**raw, **changes}, "params.yaml")

    return make


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: Callable[..., Params]) -> Callable[..., Path]:
    """`planned(**changes)`: a workspace with the recipes of all three tasks and the files that tell what is withdrawn; it
    becomes the folder we are in."""

    def make(**changes: Any) -> Path:
        for kind in ("generations", "memories"):
            (tmp_path / "data" / kind / NOBODY).mkdir(parents=True, exist_ok=True)
        chosen = params(**changes)
        proposal = propose(chosen, Lineage(), TASKS)
        append(proposal, tmp_path / "lineage.yaml", tmp_path / "recipes")
        for name in proposal.recipes:
            tell_generation(tmp_path / "data", name, chosen, proposal.lineage)
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return make
