"""Stage evolve: a student becomes the next generation by learning a task, with its teacher and its memory at hand.

python -m components.generations.evolve RECIPE TEACHER MEMORY FACES GENERATION
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import sys
from pathlib import Path

import pandas as pd
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file

from components import detectors, stage, strategies
from components.detectors import Detector
from components.errors import BrokenLineage
from components.faces.table import FaceTable
from components.generations import training
from components.generations.card import CURVE, WEIGHTS, read_card
from components.generations.generation import load_bequest, load_detector, save_generation
from components.generations.recipe import Recipe
from components.memory.buffer import Memory
from components.memory.withdrawn import without
from components.params import Memory as Policy
from components.tasks.dataset import Faces
from components.vocabulary import NOBODY

CHECKPOINTS = Path(".perennial/checkpoints")
UNSAID = Policy()


def evolve(
    recipe: Path, teacher: Path, memory: Path, faces: Path, generation: Path, *, params: Policy = UNSAID
) -> None:
    """Raise one generation.

    recipe      recipes/<generation>.yaml
    teacher     the teacher's folder; nobody's is empty, and the student starts from its detector's initialisation
    memory      the memory the teacher left; may be empty
    faces       face table of the task it learns
    generation  output: weights.safetensors, bequest.safetensors, card.json, curve.csv
    params      what params.yaml says today, of which only `withdrawn` counts, as in `curate`
    """
    plan = Recipe.read(recipe)
    training.deterministic(plan.training.threads)
    check_roles(plan, generation.name, teacher)
    old = None if plan.row.is_founder else load_detector(teacher)
    withdrawn = (*plan.memory.withdrawn, *params.withdrawn)
    table, remembered = FaceTable.load(faces), Memory.load(memory, withdrawn)
    strategy = strategies.build(plan.strategy.name, strategies.options(plan.strategy.name, plan.strategy.options))
    student = born(plan, teacher)
    left_out = [order.model_dump(exclude_defaults=True) for order in dict.fromkeys(withdrawn)]
    key = f"{plan.digest}-{table.digest}-{remembered.digest}-{read_card(teacher)['weights'] if old else None}"
    checkpoint = CHECKPOINTS / plan.generation / f"{_short(f'{key}-{left_out}')}.pt"
    met = read_card(teacher)["methods"] if old else ()
    task = without(Faces.training_split(plan.row.learns, table, met), withdrawn)
    replay = remembered.faces(task.methods) if plan.memory.policy != "nothing" else None
    with _bar() as bar:
        progress = training.train(
            student,
            old,
            strategy,
            task,
            replay,
            plan.training,
            epochs=plan.training.founder_epochs if old is None else plan.training.epochs,
            seed=plan.seed,
            bequest=load_bequest(teacher),
            checkpoint=checkpoint,
            watch=_watcher(bar, plan.generation),
        )
    generation.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(progress.rows).to_csv(generation / CURVE, index=False, float_format="%.9g", lineterminator="\n")
    save_generation(
        generation,
        student,
        strategy.bequeath(student, task, replay),
        {
            "generation": plan.generation,
            "line": plan.row.line,
            "detector": plan.detector.name,
            "options": plan.detector.options,
            "strategy": plan.strategy.name,
            "learns": plan.row.learns,
            "methods": list(task.methods),
            "teacher": plan.row.teacher,
            "teacher_weights": read_card(teacher)["weights"] if old is not None else None,
            "recipe": plan.digest,
            "faces": table.digest,
            "memory": remembered.digest,
            "withdrawn": left_out,
            "parameters": sum(p.numel() for p in student.parameters()),
            "images_seen": progress.images,
            "environment": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "device": training.device().type,
                "threads": plan.training.threads,
            },
        },
    )
    shutil.rmtree(checkpoint.parent, ignore_errors=True)


def check_roles(plan: Recipe, generation: str, teacher: Path) -> None:
    """Raise BrokenLineage unless the recipe is this generation's own and the teacher the one it names."""
    found = NOBODY if teacher.name == NOBODY else read_card(teacher)["generation"]
    if (plan.generation, plan.row.teacher) != (generation, found):
        raise BrokenLineage(
            f"expected {plan.generation} with teacher '{plan.row.teacher}', as its recipe says, found {generation} "
            f"with '{found}'. Rows of lineage.yaml are never edited: restore the row."
        )


def born(plan: Recipe, teacher: Path) -> Detector:
    """The student before its first lesson: the teacher's equal, or for a founder the detector's own initialisation."""
    torch.manual_seed(plan.seed)
    options = detectors.options(plan.detector.name, plan.detector.options)
    student = detectors.build(plan.detector.name, options, blank=not plan.row.is_founder)
    if plan.row.is_founder:
        return student
    try:
        student.load_state_dict(load_file(teacher / WEIGHTS))
    except RuntimeError as fault:
        raise BrokenLineage(
            f"expected a teacher with the weights of detector '{plan.detector.name}' and options "
            f"{plan.detector.options} for {plan.generation}, found in '{teacher}' detector "
            f"'{read_card(teacher)['detector']}' with {read_card(teacher)['options']}. "
            "A line keeps its architecture: start a new line."
        ) from fault
    return student


def _short(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), transient=True,
        disable=not sys.stdout.isatty(),
    )  # fmt: skip


def _watcher(bar: Progress, name: str) -> training.Watch:
    line = bar.add_task(name)

    def watch(progress: training.Progress, epochs: int, steps: int) -> None:
        means = "  ".join(f"{term} {value / progress.step:.3f}" for term, value in progress.sums.items())
        text = f"{name}  epoch {progress.epoch + 1}/{epochs}  {means}"
        bar.update(line, total=epochs * steps, completed=progress.epoch * steps + progress.step, description=text)
        if progress.step == steps and bar.disable:
            print(text, flush=True)

    return watch


if __name__ == "__main__":
    stage.run(evolve)
