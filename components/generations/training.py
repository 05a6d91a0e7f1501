"""The loop. It knows no paper: it draws batches, adds up named terms, steps, and can be killed at any moment.

Every random number of a step is a pure function of (seed, epoch, step), and the checkpoint holds weights, optimiser
and the position. A killed run therefore continues in mid-epoch and, on CPU with the same number of threads, ends with
the same bytes as one that was left alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Adam

from components import machine
from components.detectors import Detector
from components.generations.schedule import learning_rate
from components.params import TrainingOptions
from components.progress import OnStep
from components.strategies import Strategy
from components.tasks.augmentations import augmented
from components.tasks.dataset import Batch, Faces, joined
from components.tasks.sampling import balanced_draw, epoch_batches, paired_batches
from components.vocabulary import Precision

CHECKPOINT_EVERY_S = 30.0
NEW, REPLAYED, TORCH = 1, 2, 3  # independent streams of random numbers
ROUNDING = 1e-9  # keeps 20 (1 - .9) from being 1.999…


@dataclass
class Progress:
    """Where the training stands: mean of every named term, one row an epoch; sums of the epoch under way."""

    epoch: int = 0
    step: int = 0
    images: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Lesson:
    """All that a training rests on."""

    student: Detector
    """Learns in place."""
    teacher: Detector | None
    """M_{i-1}; None for a founder."""
    strategy: Strategy
    task: Faces
    memory: Faces | None
    """What can be replayed; None where there is nothing."""
    options: TrainingOptions
    epochs: int
    seed: int
    carried: dict[str, Tensor] = field(default_factory=dict)
    """What the teacher's strategy carried over."""
    precision: Precision = "32-true"


def train(lesson: Lesson, *, checkpoint: Path, on_step: OnStep) -> Progress:
    """Train the student in place and return the progress with its curve.

    checkpoint  a file outside the stage's outputs; read if it exists, removed by the caller when the stage is done
    """
    student, teacher, strategy, options = lesson.student, lesson.teacher, lesson.strategy, lesson.options
    engine = machine.fabric(lesson.precision)
    if teacher is not None:
        teacher.to(engine.device).eval().requires_grad_(False)
    student.begin_task(lesson.task.methods)
    student.to(engine.device)
    strategy.prepare(student, teacher, lesson.task, lesson.carried)
    optimiser = Adam(
        [p for p in student.parameters() if p.requires_grad],
        lr=options.learning_rate,
        weight_decay=options.weight_decay,
    )
    progress = _restore(checkpoint, student, optimiser)
    student.train()
    saved = time.monotonic()
    while progress.epoch < lesson.epochs:
        steps = list(_steps(lesson, progress.epoch))
        while progress.step < len(steps):
            torch.manual_seed(_mixed(lesson.seed, progress.epoch, progress.step))
            batch = _batch(lesson, *steps[progress.step], (lesson.seed, progress.epoch, progress.step))
            with engine.autocast():
                terms = strategy.losses(student, teacher, batch.to(engine.device))
            total = torch.stack(list(terms.values())).sum()
            optimiser.zero_grad(set_to_none=True)
            engine.backward(total)
            student.before_step()
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(options, progress.epoch + progress.step / len(steps))
            optimiser.step()
            _count(progress, terms, total, len(batch.labels))
            on_step(progress, lesson.epochs, len(steps))
            if time.monotonic() - saved > CHECKPOINT_EVERY_S:
                _save(checkpoint, student, optimiser, progress)
                saved = time.monotonic()
        _close_epoch(progress)
        _save(checkpoint, student, optimiser, progress)
        saved = time.monotonic()
    return progress


def _steps(lesson: Lesson, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Positions of new and of remembered faces, step by step."""
    options, memory, seed = lesson.options, lesson.memory, lesson.seed
    new = _new_faces(memory, options, lesson.strategy.tasks_alike)
    draw = paired_batches if options.pairs else epoch_batches
    batches = draw(lesson.task.rows, size=new, faces_per_clip=options.faces_per_clip, seed=(seed, NEW, epoch))
    for step, chosen in enumerate(batches):
        if memory is None:
            yield chosen, None
        else:
            yield chosen, balanced_draw(memory.rows, size=options.batch - new, seed=(seed, REPLAYED, epoch, step))


def _new_faces(memory: Faces | None, options: TrainingOptions, alike: bool) -> int:
    """Faces of the new task in a batch: an even number, so that classes split exactly, where tasks share it `alike`."""
    if memory is None:
        return options.batch
    if not alike:
        return max(1, int(options.batch * (1 - options.replayed) + ROUNDING))
    tasks = memory.rows["archive"].nunique() + 1
    return max(2, options.batch // tasks // 2 * 2)


def _batch(lesson: Lesson, new: np.ndarray, old: np.ndarray | None, seed: tuple[int, int, int]) -> Batch:
    memory = lesson.memory
    remembered = memory.batch(old, replayed=True) if memory is not None and old is not None else None
    batch = joined(lesson.task.batch(new), remembered)
    generator = torch.Generator().manual_seed(_mixed(*seed) + 1)
    return augmented(batch, lesson.options.augment, generator)


def _mixed(*parts: int) -> int:
    """One 62-bit seed of several numbers."""
    return int(np.random.SeedSequence([TORCH, *parts]).generate_state(1, np.uint64)[0] >> 2)


def _count(progress: Progress, terms: dict[str, Tensor], total: Tensor, images: int) -> None:
    progress.step += 1
    progress.images += images
    for name, term in {**terms, "loss": total}.items():
        progress.sums[name] = progress.sums.get(name, 0.0) + term.item()


def _close_epoch(progress: Progress) -> None:
    means = {name: value / progress.step for name, value in progress.sums.items()}
    progress.epoch += 1
    progress.rows.append({"epoch": progress.epoch, **means, "images": progress.images})
    progress.step, progress.sums = 0, {}


def _save(path: Path, student: Detector, optimiser: Adam, progress: Progress) -> None:
    """Write the checkpoint so that a reader finds the old one or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "student": student.state_dict(),
        "optimiser": optimiser.state_dict(),
        "progress": vars(progress),
    }
    fresh = path.with_suffix(".fresh")
    with fresh.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _restore(path: Path, student: Detector, optimiser: Adam) -> Progress:
    if not path.is_file():
        return Progress()
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    student.load_state_dict(state["student"])
    optimiser.load_state_dict(state["optimiser"])
    return Progress(**state["progress"])
