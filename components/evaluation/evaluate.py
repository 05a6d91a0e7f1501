"""Stage evaluate: a generation is examined on every benchmark of its recipe: its row of the matrix.

    python -m components.evaluation.evaluate RECIPE GENERATION TEACHER CHAMPION CHOSEN GENERATIONS BENCH FACES SCORES

Its teacher is examined beside it on benchmarks it has never met: how blind the line was to what is new. So is the champion
where that is another one, because whoever came after it was refused, or because a person chose it: no benchmark escapes the
comparison with it. Where the recipe says `evaluation.validation`, the generation also answers for the validation split of
every benchmark, in a folder of its own, so that nobody who reads what it knows of test faces comes upon the others.
"""

from __future__ import annotations

from pathlib import Path

from components import machine, stage
from components.evaluation.add_benchmark import read_bench
from components.evaluation.benches import benchmarks
from components.evaluation.examiner import Examiner
from components.evaluation.scores import VALIDATION, Scores
from components.generations.recipe import Recipe
from components.vocabulary import NOBODY, VAL


def evaluate(
    recipe_file: Path,
    generation: Path,
    teacher: Path,
    champion: Path,
    chosen: Path,
    generations: Path,
    bench: Path,
    faces: Path,
    scores: Path,
) -> None:
    """Examine a generation.

    recipe_file recipes/<generation>.yaml
    generation  its folder
    teacher     its teacher's folder; nobody's is empty
    champion    scores of the champion when its teacher had been judged; no folder where there was none
    chosen      scores of the champion that a person chose since, if the recipe names one; nobody's are empty
    generations the folder with every generation, by name
    bench       the bench that lists its benchmarks
    faces       the folder with every archive's face table, by name
    scores      output: a table per benchmark, metrics.json; the same in teacher/ and champion/ for benchmarks new to them,
                and in validation/ for the faces that may choose
    """
    recipe = Recipe.read(recipe_file)
    machine.deterministic(recipe.training.threads, kernels=recipe.machine.deterministic)
    tables = benchmarks(recipe.benchmarks, read_bench(bench), faces, bench)
    unseen = [name for name in recipe.benchmarks if name not in recipe.teacher_benchmarks]
    examiner = Examiner(recipe, machine.device())
    examiner.examine(generation, tables, scores)
    if unseen and not recipe.row.is_founder:
        examiner.examine(teacher, {name: tables[name] for name in unseen}, scores / "teacher")
    best = Scores.read_if_any(champion if recipe.row.champion == NOBODY else chosen)
    if best and best.generation != recipe.row.teacher:
        unmet = {name: table for name, table in tables.items() if name not in best.measured}
        if unmet:
            examiner.examine(generations / best.generation, unmet, scores / "champion")
    if recipe.evaluation.validation:
        examiner.examine(generation, tables, scores / VALIDATION, split=VAL)


if __name__ == "__main__":
    stage.run(evaluate)
