"""The loop. It knows no paper: it draws batches, adds up named terms, steps, and can be killed at any moment.

Every random number of a step is a pure function of (seed, epoch, step), and the checkpoint holds weights, optimiser
and the position. A killed run therefore continues in mid-epoch and, on CPU with the same number of threads, ends with
the same bytes as one that was left alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam

from components import machine
from components.detectors import Detector
from components.errors import StageFailed
from components.generations import parts
from components.generations.keeping import Keeping
from components.generations.schedule import learning_rate
from components.params import MemoryOptions, TrainingOptions
from components.progress import NOTE, OnStep
from components.strategies import Strategy
from components.tasks import loading
from components.tasks.dataset import Faces
from components.tasks.loading import Draw, Loader, Recoding
from components.tasks.sampling import Remembered, as_numbers, epoch_batches, paired_batches
from components.vocabulary import Compiled
from components.writing import replacing

if TYPE_CHECKING:
    from lightning_fabric import Fabric

CHECKPOINT_EVERY_S = 30.0
NEW, REPLAYED, TORCH = 1, 2, 3  # independent streams of random numbers
ROUNDING = 1e-9  # keeps 20 (1 - .9) from being 1.999…
UNREAD = 50  # steps whose terms may lie on the device


@dataclass
class Progress:
    """Where the training stands: mean of every named term, one row an epoch; sums of the epoch under way."""

    epoch: int = 0
    step: int = 0
    images: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    """Up to the last `settle`."""
    _unread: list[tuple[list[str], Tensor]] = field(default_factory=list, init=False, compare=False, repr=False)

    def count(self, terms: dict[str, Tensor], total: Tensor, images: int) -> None:
        """A step was taken. Its terms are read later, so that nobody waits for the device."""
        self.step += 1
        self.images += images
        self._unread.append(([*terms, "loss"], torch.stack([*terms.values(), total]).detach()))
        if len(self._unread) == UNREAD:
            self.settle()

    def means(self) -> dict[str, float]:
        self.settle()
        return {name: value / self.step for name, value in self.sums.items()}

    def settle(self) -> None:
        for names, values in self._unread:
            for name, value in zip(names, values.tolist(), strict=True):
                self.sums[name] = self.sums.get(name, 0.0) + value
        self._unread.clear()

    def close_epoch(self, told: Mapping[str, float]) -> None:
        means = self.means()
        self.epoch += 1
        self.rows.append({"epoch": self.epoch, **means, "images": self.images, **told})
        self.step, self.sums = 0, {}

    def state(self) -> dict[str, Any]:
        """What `Progress(**state)` goes on from."""
        self.settle()
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}


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
    compiled: Compiled = "no"
    validation: Faces | None = None
    """Of the task; by it the best epoch is told, where `options.patience` asks for it."""
    keeps: MemoryOptions | None = None
    """How the memory keeps its faces; some of the new ones then pass its codec too."""


def train(lesson: Lesson, *, checkpoint: Path, on_step: OnStep, engine: Fabric | None = None) -> Progress:
    """Train the student in place and return the progress with its curve.

    checkpoint  a file outside the stage's outputs; read if it exists, removed by the caller when the stage is done
    engine      device, precision, and the other processes of a training on several devices, each of which calls this
    Raises StageFailed where the device's memory is too small.
    """
    engine = engine or machine.fabric("32-true")
    try:
        return _train(lesson, checkpoint, on_step, engine)
    except torch.OutOfMemoryError as fault:
        options = lesson.options
        tried = options.micro_batch or options.batch
        raise StageFailed(
            f"expected {tried} of the {options.batch} faces of a batch to fit on {engine.device} at a time, found its memory "
            f"full. Set training.micro_batch to {max(1, tried // 2)} in params.yaml before the generation is planned: "
            "the same batch, a piece at a time. bf16 (PERENNIAL_PRECISION=bf16-mixed) halves what a face takes."
        ) from fault


def _train(lesson: Lesson, checkpoint: Path, on_step: OnStep, engine: Fabric) -> Progress:
    student, teacher, strategy, options = lesson.student, lesson.teacher, lesson.strategy, lesson.options
    student.begin_task(lesson.task.methods)
    parts.normalise_together(engine, student)
    networks = [student] if teacher is None else [student, teacher]
    for network in networks:
        network.to(engine.device)
        if engine.device.type == "cuda":
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if teacher is not None:
        teacher.eval().requires_grad_(False)
    strategy.prepare(student, teacher, lesson.task, lesson.carried)
    own = strategy.learnable()
    learning = [p for p in (*student.parameters(), *own.parameters()) if p.requires_grad]
    optimiser = Adam(
        learning,
        lr=options.learning_rate,
        weight_decay=options.weight_decay,
        fused=engine.device.type == "cuda" or None,
    )
    learner = nn.ModuleDict({"student": student, "strategy": own})
    keeping = Keeping(learner, student, options, lesson.validation)
    progress = _restore(checkpoint, learner, optimiser, keeping)
    student.train()
    saved = time.monotonic()
    loader = Loader(
        lesson.task,
        lesson.memory,
        options.augment,
        share=(engine.global_rank, engine.world_size),
        recoding=Recoding.of(lesson.keeps, options.recoded),
    )
    epochs = Epochs(lesson)
    with ExitStack() as while_learning:
        for network in networks:
            while_learning.enter_context(
                parts.in_parts(network, engine, micro_batch=options.micro_batch, compiled=lesson.compiled)
            )
        for batch in loading.batches(loader, epochs.draws(progress), engine.device):
            steps = epochs.steps(progress.epoch)
            whole = parts.whole(engine, batch)
            torch.manual_seed(_mixed(lesson.seed, progress.epoch, progress.step))
            with engine.autocast():
                terms = strategy.losses(student, teacher, whole)
            total = torch.stack(list(terms.values())).sum()
            optimiser.zero_grad(set_to_none=True)
            engine.backward(total)
            parts.agree(engine, learning)
            student.before_step()
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(options, progress.epoch + progress.step / steps)
            optimiser.step()
            strategy.after_step((progress.epoch + (progress.step + 1) / steps) / lesson.epochs)
            keeping.stepped()
            progress.count(terms, total, len(whole.labels))
            if engine.is_global_zero:
                on_step(progress, lesson.epochs, steps)
            ended = progress.step == steps
            if ended:
                keeping.epoch_ended()
                progress.close_epoch(keeping.told)
            if engine.is_global_zero and (ended or time.monotonic() - saved > CHECKPOINT_EVERY_S):
                _save(checkpoint, learner, optimiser, progress, keeping)
                saved = time.monotonic()
            if ended and keeping.out_of_patience:
                break
    keeping.finish()
    return progress


class Epochs:
    """What the steps of each epoch meet: a pure function of the seed, the epoch and the step."""

    def __init__(self, lesson: Lesson) -> None:
        self._lesson = lesson
        self._new = _new_faces(lesson.memory, lesson.options, lesson.strategy.tasks_alike or lesson.options.alike)
        by_lot = lesson.keeps is not None and lesson.keeps.policy == "reservoir_proportional"
        self._memory = None if lesson.memory is None else Remembered(lesson.memory.rows, alike=not by_lot)
        self._rows = as_numbers(lesson.task.rows)
        self._steps: dict[int, int] = {}

    def steps(self, epoch: int) -> int:
        """How many an epoch has, once its first was drawn."""
        return self._steps[epoch]

    def draws(self, since: Progress) -> Iterator[Draw]:
        """From where the training stands to its end."""
        first = since.step
        for epoch in range(since.epoch, self._lesson.epochs):
            chosen = self._new_of(epoch)
            self._steps[epoch] = len(chosen)
            for step in range(first, len(chosen)):
                yield self._draw(chosen[step], epoch, step)
            first = 0

    def _new_of(self, epoch: int) -> list[np.ndarray]:
        """One pass over the task, or as many as the steps of an epoch take."""
        options, steps = self._lesson.options, []
        wanted = None if self._lesson.teacher is None else options.epoch_steps
        draw = paired_batches if options.pairs else epoch_batches
        for number in count():
            seed = (self._lesson.seed, NEW, epoch, *((number,) if number else ()))
            steps += draw(self._rows, size=self._new, faces_per_clip=options.faces_per_clip, seed=seed)
            if wanted is None or len(steps) >= wanted:
                break
        return steps[:wanted]

    def _draw(self, new: np.ndarray, epoch: int, step: int) -> Draw:
        seed, old = self._lesson.seed, None
        if self._memory is not None:
            size = self._lesson.options.batch - self._new
            old = self._memory.draw(size=size, seed=(seed, REPLAYED, epoch, step))
        return Draw(new, old, _mixed(seed, epoch, step) + 1)


def _new_faces(memory: Faces | None, options: TrainingOptions, alike: bool) -> int:
    """Faces of the new task in a batch: an even number, so that classes split exactly, where tasks share it `alike`."""
    if memory is None:
        return options.batch
    if not alike:
        return max(1, int(options.batch * (1 - options.replayed) + ROUNDING))
    tasks = memory.rows["archive"].nunique() + 1
    return max(2, options.batch // tasks // 2 * 2)


def _mixed(*parts: int) -> int:
    """One 62-bit seed of several numbers."""
    return int(np.random.SeedSequence([TORCH, *parts]).generate_state(1, np.uint64)[0] >> 2)


def _save(path: Path, learner: nn.Module, optimiser: Adam, progress: Progress, keeping: Keeping) -> None:
    """Write the checkpoint so that a reader finds the old one or the new one, never half of one."""
    state = {
        "learner": learner.state_dict(),
        "optimiser": optimiser.state_dict(),
        "progress": progress.state(),
        "keeping": keeping.state(),
    }
    with replacing(path) as file:
        torch.save(state, file)


def _restore(path: Path, learner: nn.Module, optimiser: Adam, keeping: Keeping) -> Progress:
    if not path.is_file():
        return Progress()
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:  # torch raises what it likes for a damaged file
        aside = path.parent.with_name(f"{path.parent.name}.unreadable") / path.name
        aside.parent.mkdir(exist_ok=True)
        path.replace(aside)
        print(
            f"{NOTE}the training begins anew: its checkpoint cannot be read ({fault}); it is kept as {aside}",
            flush=True,
        )
        return Progress()
    learner.load_state_dict(state["learner"])
    optimiser.load_state_dict(state["optimiser"])
    keeping.restore(state["keeping"])
    return Progress(**state["progress"])
