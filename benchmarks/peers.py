"""Experience replay by Avalanche and by mammoth, at equal work: the same network, losses, batches and memory.

    python -m benchmarks --only peers --peers PYTHON

Neither is part of this project's environment. PYTHON is an interpreter where `import avalanche` (avalanche-lib) works, and
where mammoth's checkout is on the path, beside this project and its dependencies; one way is

    python -m venv peers && peers/bin/pip install avalanche-lib kornia
    git clone https://github.com/aimagelab/mammoth peers/mammoth
    realpath peers/mammoth .venv/lib/python3.*/site-packages > peers/lib/python3.11/site-packages/beside.pth

mammoth comes first there: its top-level folders are named utils, models and datasets, as another package is.
A peer that cannot be imported is a row that says so. Measured are the steps of a second task, half of every batch
remembered; decoded faces lie in memory for all. Nothing here holds code of theirs.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import types
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import faces, ratios
from benchmarks.ratios import ROOT, Row
from components import detectors, strategies, torchvision_ops
from components.detectors import Detection
from components.generations import training
from components.generations.training import Lesson
from components.params import TrainingOptions
from components.tasks.dataset import Batch, Faces, as_faces

SIZE_PX = 96
BATCH = 32
REMEMBERED = 96
LEARNING_RATE, WEIGHT_DECAY = 2e-4, 1e-5
PEERS = ("avalanche", "mammoth")


def rows() -> Iterator[Row]:
    """By the interpreter that `--peers` names, or by this one."""
    python = os.environ.get("PERENNIAL_BENCH_PEERS", sys.executable)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [python, "-m", "benchmarks.peers"], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    assert process.stdout is not None
    for line in process.stdout:
        yield Row(**json.loads(line))
    if process.wait():
        raise RuntimeError(f"{python} ended with {process.returncode}")


def measured(count: int = 96, pairs: int = 5) -> Iterator[Row]:
    """A row a peer."""
    torch.set_num_threads(1)
    torchvision_ops.complete()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tasks = [
            Faces.whole(
                f"task{i}", faces.written(folder / f"task{i}", faces.noise(count, SIZE_PX, i), count, name=f"task{i}")
            )
            for i in range(2)
        ]
        for task in tasks:
            task.images(np.arange(count))  # decoded once, and kept
        for peer in PEERS:
            words, baseline = f"ER beside {peer}", f"{peer}'s ER, the same batches"
            try:
                theirs = {"avalanche": _avalanche, "mammoth": _mammoth}[peer](tasks)
            except ImportError as why:
                yield ratios.missing(words, baseline, f"not installed: {why}")
                continue
            ours(tasks, folder)
            theirs()
            found = ratios.alternating(lambda: ours(tasks, folder), theirs, pairs)
            yield ratios.compared(words, baseline, found, unit="ms a step", scale=1e3)


def ours(tasks: list[Faces], folder: Path) -> float:
    """Seconds a step of the second task."""
    params = TrainingOptions(
        batch=BATCH, replayed=0.5, augment={}, learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY, faces_per_clip=1
    )
    memory = Faces("memory", tasks[0].table, np.arange(min(REMEMBERED, len(tasks[0]))), tasks[0].methods)
    strategy = strategies.build("er", strategies.options("er", {}))
    start = time.perf_counter()
    progress = training.train(
        Lesson(_student(), None, strategy, tasks[1], memory, params, epochs=1, seed=0),
        checkpoint=folder / f"{time.monotonic_ns()}.pt",
        on_step=lambda *_: None,
    )
    return (time.perf_counter() - start) / (progress.images / BATCH)


def _student() -> detectors.Detector:
    torch.manual_seed(0)
    return detectors.build("rsia_net", detectors.options("rsia_net", {"size": "tiny"})).train()


class _Shown(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Decoded faces one by one, as torch's users give them."""

    def __init__(self, task: Faces) -> None:
        self.pixels, self.targets = task.images(np.arange(len(task))), task.labels.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return as_faces(self.pixels[index : index + 1])[0], self.targets[index]


def _losses(student: detectors.Detector, found: Detection, labels: Tensor) -> Tensor:
    faces_of = found.embedding  # no loss of this detector looks at the faces themselves
    return torch.stack(list(student.losses(found, Batch.of(faces_of, labels)).values())).sum()


def _avalanche(tasks: list[Faces]) -> Callable[[], float]:
    """Seconds a step of Avalanche's `Replay`; raises ImportError."""
    with contextlib.redirect_stdout(io.StringIO()):
        benchmarks = importlib.import_module("avalanche.benchmarks")
        as_classification = importlib.import_module("avalanche.benchmarks.utils").as_classification_dataset
        replay: Any = importlib.import_module("avalanche.training").Replay
        evaluation: Any = importlib.import_module("avalanche.training.plugins").EvaluationPlugin

    def shown(task: Faces) -> Any:
        from torch.utils.data import Dataset

        data: Dataset[Any] = _Shown(task)
        return as_classification(data)

    def act() -> float:
        stream = benchmarks.benchmark_from_datasets(train=[shown(task) for task in tasks])
        student = _student()
        learner = replay(
            model=student,
            optimizer=torch.optim.Adam(student.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY),
            criterion=lambda found, labels: _losses(student, found, labels),
            mem_size=REMEMBERED, train_mb_size=BATCH // 2, train_epochs=1,  # as many again from its memory
            evaluator=evaluation(),
        )  # fmt: skip
        first, second = stream.train_stream
        with contextlib.redirect_stdout(io.StringIO()):
            learner.train(first)
            before, start = learner.clock.train_iterations, time.perf_counter()
            learner.train(second)
        return (time.perf_counter() - start) / int(learner.clock.train_iterations - before)

    return act


def _mammoth(tasks: list[Faces]) -> Callable[[], float]:
    """Seconds a step of mammoth's `Er.observe` under torch's DataLoader; raises ImportError.

    One of its data sets fetches weights when it is imported: it is passed over.
    """
    sys.modules.setdefault("datasets.seq_8vision", types.ModuleType("datasets.seq_8vision"))
    here = Path.cwd()
    try:
        er: Any = importlib.import_module("models.er").Er
    finally:
        os.chdir(here)  # importing it goes into its own folder

    arguments = Namespace(
        buffer_size=REMEMBERED, minibatch_size=BATCH // 2, lr=LEARNING_RATE, optimizer="adam", optim_wd=WEIGHT_DECAY,
        optim_mom=0, optim_nesterov=False, label_perc=1, device="cpu", seed=0, nowand=1,
    )  # fmt: skip
    about = types.SimpleNamespace(N_CLASSES=2, N_TASKS=2, SETTING="domain-il", N_CLASSES_PER_TASK=2)

    def act() -> float:
        student = _student()
        learner = er(student, lambda found, labels: _losses(student, found, labels), arguments, None, about)
        learner.to("cpu")
        took = 0.0
        for task in tasks:
            loader = torch.utils.data.DataLoader(_Shown(task), batch_size=BATCH // 2, shuffle=True)
            start = time.perf_counter()
            for pixels, labels in loader:
                learner.observe(pixels, labels, pixels)
            took = (time.perf_counter() - start) / len(loader)
        return took

    return act


if __name__ == "__main__":
    out = sys.stdout
    for row in measured():
        print(json.dumps(asdict(row)), file=out, flush=True)
