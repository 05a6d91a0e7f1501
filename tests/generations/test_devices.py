"""Training on several devices: two processes on the CPU end where one ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file

from components.evaluation.scoring import score
from components.faces.table import FaceTable
from components.generations.generation import load_classifier
from components.generations.recipe import Recipe
from components.settings import settings
from components.withdrawal.files import GENERATIONS, MEMORIES, file_of

pytestmark = [pytest.mark.slow]

ROOT = Path(__file__).parents[2]
Make = Callable[..., Path]
TRAINING = {
    "founder_epochs": 2, "epochs": 2, "batch": 8, "faces_per_clip": 3, "learning_rate": 0.001, "pairs": False,
    "schedule": "constant",
}  # fmt: skip


@pytest.fixture
def family(faces: Make, planned: Make, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Make:
    """`family("lnclip", devices=2)`: a workspace where a line of it is planned for so many devices."""
    request.addfinalizer(settings.cache_clear)

    def make(detector: str, devices: int) -> Path:
        for task in ("swap", "mesh"):
            faces(task)
        monkeypatch.setenv("PERENNIAL_DEVICES", str(devices))
        settings.cache_clear()
        return planned(
            lines={"x": {"detector": detector, "strategy": "cffd"}},
            detectors={detector: {"size": "tiny", "pretrained": ""}},
            training=TRAINING,
        )

    return make


def stage(root: Path, name: str, generation: str, kind: str, *output: str) -> list[str]:
    row = Recipe.read(root / "recipes" / f"{generation}.yaml").row
    about = generation if name == "curate" else row.teacher
    return [
        sys.executable, "-m", f"components.generations.{name}", f"recipes/{generation}.yaml",
        f"data/generations/{about}", f"data/memories/{row.teacher}", f"data/faces/{row.learns}",
        str(file_of(Path("data"), kind, generation)), f"data/{kind}/{generation}",
    ]  # fmt: skip


def run(command: list[str], root: Path) -> None:
    done = subprocess.run(command, cwd=root, env=_environment(), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def raised(root: Path) -> dict[str, Any]:
    """Weights of both generations, and the matrix: p(forged) of every face of both tasks by each."""
    found: dict[str, Any] = {}
    for generation in ("x-M1", "x-M2"):
        run(stage(root, "evolve", generation, GENERATIONS), root)
        run(stage(root, "curate", generation, MEMORIES), root)
        folder = root / "data" / "generations" / generation
        found[generation] = load_file(folder / "weights.safetensors")
        answers = load_classifier(folder)
        for task in ("swap", "mesh"):
            table = FaceTable.load(root / "data" / "faces" / task)
            found[f"{generation} on {task}"] = score(answers, table, range(len(table)), 16)
    return found


@pytest.mark.parametrize("detector", ["lnclip", pytest.param("masm", marks=pytest.mark.long)])
def test_two_processes_give_the_matrix_of_one(family: Make, detector: str) -> None:
    one, two = raised(family(detector, 1)), None
    for kind in ("generations", "memories"):
        for folder in Path("data", kind).glob("x-*"):
            folder.rename(folder.with_name("one-" + folder.name))
    for path in (Path("lineage.yaml"), *Path("recipes").glob("*")):
        path.unlink()
    two = raised(family(detector, 2))
    for name, value in one.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_allclose(two[name], value, atol=2e-3, err_msg=name)
            continue
        for key, weights in value.items():
            torch.testing.assert_close(two[name][key], weights, rtol=1e-2, atol=1e-3, msg=f"{name} {key}")
    card = Path("data/generations/x-M2/card.json").read_text()
    assert '"devices": 2' in card


def test_every_detectors_gradients_are_those_of_one_process(tmp_path: Path) -> None:
    for devices in ("1", "2", "3"):
        run([sys.executable, str(Path(__file__).with_name("gradients_of_many.py")), devices, str(tmp_path)], ROOT)
    names = [file.name.removesuffix("-1.safetensors") for file in tmp_path.glob("*-1.safetensors")]
    assert len(names) == 5
    for name in names:
        one, *others = (load_file(tmp_path / f"{name}-{devices}.safetensors") for devices in (1, 2, 3))
        assert any(key.startswith("term.") for key in one) and all(one.keys() == other.keys() for other in others)
        for other, (key, gradient) in product(others, one.items()):
            scale = max(float(gradient.abs().max()), 1e-4)  # far below that there is rounding alone
            torch.testing.assert_close(other[key] / scale, gradient / scale, rtol=1e-3, atol=1e-4, msg=f"{name} {key}")


def test_a_killed_process_is_survived_by_running_again(family: Make, tmp_path: Path) -> None:
    root = family("lnclip", 2)
    command = stage(root, "evolve", "x-M1", GENERATIONS)
    run(command, root)
    whole = (root / "data/generations/x-M1/weights.safetensors").read_bytes()
    for file in (root / "data/generations/x-M1").iterdir():
        file.unlink()
    with subprocess.Popen(command, cwd=root, env=_environment(), stderr=subprocess.PIPE) as first:
        deadline = time.monotonic() + 120
        while not list(root.glob(".perennial/checkpoints/x-M1/*.pt")):
            assert first.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        (second,) = [p for p in psutil.Process(first.pid).children() if "evolve" in " ".join(p.cmdline())]
        second.kill()
        first.wait(120)
        assert first.returncode != 0
    assert not (root / "data/generations/x-M1/weights.safetensors").exists()
    run(command, root)
    assert (root / "data/generations/x-M1/weights.safetensors").read_bytes() == whole
