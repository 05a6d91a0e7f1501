"""Stage evolve: a student becomes the next generation by learning a task, with its teacher and its memory at hand.

python -m components.generations.evolve RECIPE TEACHER MEMORY FACES WITHDRAWN GENERATION
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file

from components import code, detectors, machine, orders, progress, stage, strategies
from components.detectors import Detector
from components.errors import BrokenLineage
from components.faces.table import FaceTable
from components.generations import training
from components.generations.card import CURVE, WEIGHTS, read_card
from components.generations.generation import load_carry_over, load_detector, save_generation
from components.generations.recipe import Recipe
from components.generations.training import Lesson
from components.memory.buffer import Memory
from components.params import Absolute, Rule
from components.settings import settings
from components.tasks import few
from components.tasks.dataset import Faces
from components.vocabulary import NOBODY
from components.writing import replace_text, sync_tree

CHECKPOINTS = Path(".perennial/checkpoints")


def evolve(
    recipe_file: Path,
    teacher: Path,
    memory: Path,
    faces: Path,
    withdrawn_file: Path,
    generation: Path,
    *,
    made_of: str = "",
) -> None:
    """Raise one generation.

    recipe_file     recipes/<generation>.yaml
    teacher         the teacher's folder; nobody's is empty, and the student starts from its detector's initialisation
    memory          the memory the teacher left; may be empty
    faces           face table of the task it learns
    withdrawn_file  what is neither learned nor replayed
    generation      output: weights.safetensors, carry_over.safetensors, card.json, curve.csv
    made_of         digest of the code that is at work
    """
    recipe = Recipe.read(recipe_file)
    engine = machine.fabric(recipe.machine.precision, recipe.machine.devices)
    machine.deterministic(recipe.training.threads, kernels=recipe.machine.deterministic)
    check_roles(recipe, generation.name, teacher)
    old = None if recipe.row.is_founder else load_detector(teacher)
    withdrawn = (*recipe.memory.withdrawn, *orders.read(withdrawn_file))
    table = FaceTable.load(faces, shared_bytes=settings().decoded_bytes)
    remembered = Memory.load(memory, withdrawn)
    strategy = strategies.build(recipe.strategy.name, strategies.options(recipe.strategy.name, recipe.strategy.options))
    student = initial_student(recipe, teacher)
    left_out = [order.model_dump(exclude_defaults=True) for order in dict.fromkeys(withdrawn)]
    key = f"{recipe.digest}-{table.digest}-{remembered.digest}-{read_card(teacher)['weights'] if old else None}"
    checkpoint = CHECKPOINTS / recipe.generation / f"{_short(f'{key}-{left_out}-{made_of}')}.pt"
    met = read_card(teacher)["methods"] if old else ()
    task = Faces.training_split(recipe.row.learns, table, met).without(withdrawn)
    task = few.learned(task, recipe.training, founder=recipe.row.is_founder)
    replay = remembered.faces(task.methods) if recipe.memory.policy != "nothing" else None
    options = recipe.training
    lesson = Lesson(
        student, old, strategy, task, replay, options,
        epochs=options.founder_epochs if old is None else options.epochs,
        seed=recipe.seed,
        carried=load_carry_over(teacher),
        compiled=recipe.machine.compile,
        validation=Faces.validation_split(recipe.row.learns, table) if options.patience is not None else None,
        keeps=recipe.memory,
    )  # fmt: skip
    with progress.learning(recipe.generation) as on_step:
        learned = training.train(lesson, checkpoint=checkpoint, on_step=on_step, engine=engine)
    if not engine.is_global_zero:
        return
    if words := foretold(recipe.gate, learned.rows):
        print(f"{progress.NOTE}{words}", flush=True)
    generation.mkdir(parents=True, exist_ok=True)
    curve = pd.DataFrame(learned.rows).to_csv(index=False, float_format="%.9g", lineterminator="\n")
    replace_text(generation / CURVE, curve)
    save_generation(
        generation,
        student,
        strategy.carry_over(student, task, replay),
        {
            "generation": recipe.generation,
            "line": recipe.row.line,
            "detector": recipe.detector.name,
            "options": recipe.detector.options,
            "strategy": recipe.strategy.name,
            "learns": recipe.row.learns,
            "methods": list(task.methods),
            "teacher": recipe.row.teacher,
            "teacher_weights": read_card(teacher)["weights"] if old is not None else None,
            "recipe": recipe.digest,
            "faces": table.digest,
            "profiles": profiles(teacher, table.profile),
            "memory": remembered.digest,
            "withdrawn": left_out,
            "parameters": sum(p.numel() for p in student.parameters()),
            "images_seen": learned.images,
            "code": {"digest": made_of or None, "commit": code.commit()},
            "environment": {
                **recipe.machine.model_dump(),
                "device": machine.device().type,
                "threads": recipe.training.threads,
                "versions": machine.versions(),
            },
        },
    )
    sync_tree(generation)  # before what it could be made of again is gone
    shutil.rmtree(checkpoint.parent, ignore_errors=True)


def check_roles(recipe: Recipe, generation: str, teacher: Path) -> None:
    """Raise BrokenLineage unless the recipe is this generation's own and the teacher the one it names."""
    found = NOBODY if teacher.name == NOBODY else read_card(teacher)["generation"]
    if (recipe.generation, recipe.row.teacher) != (generation, found):
        raise BrokenLineage(
            f"expected {recipe.generation} with teacher '{recipe.row.teacher}', as its recipe says, found {generation} "
            f"with '{found}'. Rows of lineage.yaml are never edited: restore the row."
        )


def foretold(gate: Sequence[Rule], rows: Sequence[Mapping[str, float]]) -> str:
    """Words where the gate will probably stay closed, by the validation faces of the best epoch; empty where nothing says so.

    The gate asks about clips of the test split, which are told apart somewhat better than single faces.
    """
    asked = max((rule.min_auc for rule in gate if isinstance(rule, Absolute)), default=0.0)
    seen = [row["validation_auc"] for row in rows if "validation_auc" in row]
    if not seen or max(seen) >= asked:
        return ""
    return (
        f"the gate will probably stay closed: AUC of validation faces was {max(seen):.3f} at best, after "
        f"{seen.index(max(seen)) + 1} of {len(seen)} epochs, and {asked:.3f} is asked of clips"
    )


def profiles(teacher: Path, profile: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How the faces of everything the line was taught were cut, oldest first, each once."""
    before = [] if teacher.name == NOBODY else read_card(teacher).get("profiles", [])
    known = {old["hash"]: old for old in [*before, dict(profile)]}
    return list(known.values())


def initial_student(recipe: Recipe, teacher: Path) -> Detector:
    """The student before its first lesson: the teacher's equal, or for a founder the detector's own initialisation."""
    torch.manual_seed(recipe.seed)
    options = detectors.options(recipe.detector.name, recipe.detector.options)
    student = detectors.build(recipe.detector.name, options, blank=not recipe.row.is_founder)
    if recipe.row.is_founder:
        return student
    try:
        student.load_state_dict(load_file(teacher / WEIGHTS))
    except RuntimeError as fault:
        raise BrokenLineage(
            f"expected a teacher with the weights of detector '{recipe.detector.name}' and options "
            f"{recipe.detector.options} for {recipe.generation}, found in '{teacher}' detector "
            f"'{read_card(teacher)['detector']}' with {read_card(teacher)['options']}. "
            "A line keeps its architecture: start a new line."
        ) from fault
    return student


def _short(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


if __name__ == "__main__":
    stage.run(evolve)
