"""A small workspace on disk: two archives of random faces, a bench, three generations of a tiny detector, recipes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from components import detectors
from components.evaluation import scoring
from components.evaluation.add_benchmark import add_benchmark
from components.faces.table import FaceTable, encode
from components.generations.generation import save_generation
from components.generations.recipe import Recipe
from components.params import parse


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nobody").mkdir()
    before = tmp_path / "nobody"
    for seed, name in enumerate(("deepfakes", "faceswap")):
        write_faces(tmp_path / "faces" / name, name, seed)
        add_benchmark(tmp_path / "faces" / name, before, tmp_path / "benches" / name, name=name)
        before = tmp_path / "benches" / name
    for seed, name in enumerate(("M1", "M2", "M3")):
        write_generation(tmp_path / "generations" / name, name, seed)
    return tmp_path


@pytest.fixture
def recipe(workspace: Path) -> Callable[..., Path]:
    """Write a recipe and give its path."""

    def write(
        generation: str,
        teacher: str,
        benchmarks: list[str],
        teacher_benchmarks: list[str],
        champion: str = "nobody",
        **evaluation: object,
    ) -> Path:
        row = {"line": "rsia_net", "detector": "rsia_net", "strategy": "finetune", "learns": benchmarks[-1]}
        raw = {
            "generation": generation,
            "row": {**row, "teacher": teacher, "bench": benchmarks[-1], "champion": champion},
            "detector": {"name": "rsia_net", "options": {"size": "tiny"}},
            "strategy": {"name": "finetune"},
            "memory": {},
            "training": {},
            "evaluation": {"batch": 7, "bootstrap": 50, **evaluation},
            "gate": [],
            "seed": 0,
            "benchmarks": benchmarks,
            "teacher_benchmarks": teacher_benchmarks,
        }
        path = workspace / "recipes" / f"{generation}.yaml"
        parse(Recipe, raw, path.name).write(path)
        return path

    return write


def write_faces(folder: Path, archive: str, seed: int) -> None:
    """Eight test clips of two faces each and two training clips, forged ones brighter."""
    rng = np.random.default_rng(seed)
    rows, images = [], []
    for clip in range(10):
        for frame in range(2):
            label = clip % 2
            rows.append(
                {
                    "archive": archive,
                    "clip": f"{clip}.mp4",
                    "frame": frame,
                    "label": label,
                    "method": archive if label else "genuine",
                    "identity": "",
                    "source": f"s{clip // 2}",
                    "split": "test" if clip < 8 else "train",
                    "landmarks": np.zeros(10),
                    "box": np.zeros(4),
                    "score": 1.0,
                }
            )
            images.append(encode((rng.integers(0, 150, (64, 64, 3)) + 100 * label).astype(np.uint8)))
    FaceTable.write(folder, pd.DataFrame(rows), images, {"detector": "none"})


def write_generation(folder: Path, name: str, seed: int) -> None:
    """An untrained tiny detector, as `evolve` would leave it."""
    torch.manual_seed(seed)
    detector = detectors.build("rsia_net", detectors.options("rsia_net", {"size": "tiny"}))
    about = {"generation": name, "detector": "rsia_net", "options": {"size": "tiny"}, "strategy": "finetune"}
    save_generation(folder, detector, {}, about)


@pytest.fixture
def killed_at_the_second(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whoever asks a detector is killed at the second archive, once; what was asked, by title."""
    asked: list[str] = []
    score = scoring.score

    def killing(*args: object) -> object:
        asked.append(str(args[-1]))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return score(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(scoring, "score", killing)
    return asked
