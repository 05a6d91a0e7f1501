"""What the training loop costs over the same steps written out by hand, in one run, alternating.

    python -m benchmarks.loop [STEPS]

The hand-written loop draws the same number of faces from the same tables, and calls the same detector and the same losses.
Two networks: the tiny RSIA-Net, whose step is so short that every cost beside it shows, and one with two MobileNetV2 trunks.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim import Adam

from benchmarks import faces, ratios
from benchmarks.ratios import Row
from components import detectors, machine, strategies
from components.generations import training
from components.generations.training import Lesson
from components.params import TrainingOptions
from components.tasks.dataset import Batch, Faces, as_faces

SIZE_PX = 96
FACES = 512  # an epoch of 16 steps, at whose end a checkpoint is written
BATCH = 32
NETWORKS: dict[str, dict[str, Any]] = {
    "tiny RSIA-Net": {"size": "tiny"},
    "RSIA-Net on MobileNetV2": {"size": "tiny", "trunk": "mobilenetv2_100"},
}


def ours(task: Faces, network: dict[str, Any], epochs: int, folder: Path) -> float:
    """Seconds a step of `components.generations.training.train`."""
    params = TrainingOptions(batch=BATCH, augment={}, step_epochs=100)
    student = _student(network)
    strategy = strategies.build("finetune", strategies.options("finetune", {}))
    start = time.perf_counter()
    progress = training.train(
        Lesson(student, None, strategy, task, None, params, epochs=epochs, seed=0),
        checkpoint=folder / f"{time.monotonic_ns()}.pt",
        on_step=lambda *_: None,
    )
    return (time.perf_counter() - start) / (progress.images / params.batch)


def by_hand(task: Faces, network: dict[str, Any], epochs: int) -> float:
    """Seconds a step of the plainest loop."""
    student = _student(network)
    optimiser = Adam(student.parameters(), lr=2e-4, weight_decay=1e-5)
    student.train()
    steps = 0
    start = time.perf_counter()
    for _ in range(epochs):
        for chosen in np.random.permutation(len(task)).reshape(-1, BATCH):
            pixels, labels = as_faces(task.images(chosen)), torch.from_numpy(task.labels[chosen])
            total = torch.stack(list(student.losses(student(pixels), Batch.of(pixels, labels)).values())).sum()
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(total)
            optimiser.step()
            steps += 1
    return (time.perf_counter() - start) / steps


def _student(network: dict[str, Any]) -> detectors.Detector:
    torch.manual_seed(0)
    return detectors.build("rsia_net", detectors.options("rsia_net", network))


def rows(steps: int = 24, pairs: int = 5, count: int = FACES) -> Iterator[Row]:
    """One for each network; the larger takes a third of the steps."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = Faces.whole("noise", faces.written(folder / "table", faces.noise(count, SIZE_PX), count))
        for number, (words, network) in enumerate(NETWORKS.items()):
            epochs = max(steps // (1 + 2 * number) // (count // BATCH), 1)
            by_hand(task, network, 1)  # warm up: decode, allocate, import
            machine.fabric("32-true")

            def mine(network: dict[str, Any] = network, epochs: int = epochs) -> float:
                return ours(task, network, epochs, folder)

            def plain(network: dict[str, Any] = network, epochs: int = epochs) -> float:
                return by_hand(task, network, epochs)

            found = ratios.alternating(mine, plain, pairs)
            yield ratios.compared(
                f"training loop, {words}", "the same steps by hand", found, unit="ms a step", scale=1e3
            )


if __name__ == "__main__":
    for row in rows(int(sys.argv[1]) if len(sys.argv) > 1 else 24):
        print(row)
