"""What the training loop costs over the same steps written out by hand, in one run, alternating.

    python benchmarks/loop.py [STEPS]

Prints milliseconds a step of both and their ratio; the hand-written loop draws the same number of faces from the same
tables, and calls the same detector and the same losses.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
from torch.optim import Adam

from components import detectors, strategies
from components.faces.table import FaceTable, encode
from components.generations import training
from components.generations.training import Lesson
from components.params import TrainingOptions
from components.tasks.dataset import Batch, Faces, as_faces

SIZE_PX = 96
FACES = 256


def table(folder: Path) -> FaceTable:
    """Random faces: the pixels do not matter here."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 255, (FACES, SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
    rows = pd.DataFrame(
        {
            "archive": "noise",
            "clip": [f"{i:04d}.png" for i in range(FACES)],
            "frame": 0,
            "label": [i % 2 for i in range(FACES)],
            "method": "noise",
            "identity": "",
            "source": [str(i) for i in range(FACES)],
            "split": "train",
            "landmarks": [np.zeros(10, np.float32)] * FACES,
            "box": [np.zeros(4, np.float32)] * FACES,
            "score": 1.0,
        }
    )
    profile = {"detector": "none", "size_px": SIZE_PX}
    return FaceTable.write(folder / "table", rows, (encode(image) for image in images), profile)


def ours(task: Faces, epochs: int, folder: Path) -> float:
    """Seconds a step of `components.generations.training.train`."""
    params = TrainingOptions(batch=32, augment={}, step_epochs=100)
    student = _student()
    strategy = strategies.build("finetune", strategies.options("finetune", {}))
    start = time.perf_counter()
    progress = training.train(
        Lesson(student, None, strategy, task, None, params, epochs=epochs, seed=0),
        checkpoint=folder / f"{time.monotonic_ns()}.pt",
        on_step=lambda *_: None,
    )
    return (time.perf_counter() - start) / (progress.images / params.batch)


def by_hand(task: Faces, epochs: int) -> float:
    """Seconds a step of the plainest loop."""
    student = _student()
    optimiser = Adam(student.parameters(), lr=2e-4, weight_decay=1e-5)
    student.train()
    steps = 0
    start = time.perf_counter()
    for _ in range(epochs):
        for chosen in np.random.permutation(FACES).reshape(-1, 32):
            faces, labels = as_faces(task.images(chosen)), torch.from_numpy(task.labels[chosen])
            total = torch.stack(list(student.losses(student(faces), Batch.of(faces, labels)).values())).sum()
            optimiser.zero_grad(set_to_none=True)
            total.backward()
            optimiser.step()
            steps += 1
    return (time.perf_counter() - start) / steps


def _student() -> detectors.Detector:
    torch.manual_seed(0)
    return detectors.build("rsia_net", detectors.options("rsia_net", {"size": "tiny"}))


def main(steps: int) -> None:
    torch.set_num_threads(1)
    epochs = max(steps // (FACES // 32), 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = Faces.whole("noise", table(folder))
        by_hand(task, 1)  # warm up: decode, allocate
        pairs = [(ours(task, epochs, folder), by_hand(task, epochs)) for _ in range(5)]
    mine, plain = (median(pair[i] for pair in pairs) * 1e3 for i in (0, 1))
    ratio = median(a / b for a, b in pairs)
    print(f"ours {mine:.1f} ms/step   by hand {plain:.1f} ms/step   ratio {ratio:.3f} (median of 5 alternating pairs)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 16)
