"""Stage examine: a generation that was judged already meets a benchmark that joined later: one more cell of its row.

    python -m components.evaluation.examine RECIPE GENERATION BENCH FACES BEFORE EXAMINATION --benchmark NAME

It is scored as `evaluate` scores, under its own recipe. Its verdict stays what it was. Examinations of a line follow one
another, and each hands on the cells found before it: whoever reads the last one knows them all.
"""

from __future__ import annotations

from pathlib import Path

from components import machine, stage
from components.evaluation import late
from components.evaluation.add_benchmark import read_bench
from components.evaluation.benches import benchmarks
from components.evaluation.examiner import Examiner
from components.evaluation.scores import Scores
from components.generations.recipe import Recipe


def examine(
    recipe_file: Path, generation: Path, bench: Path, faces: Path, before: Path, examination: Path, *, benchmark: str
) -> None:
    """Examine a generation on one more benchmark.

    recipe_file  recipes/<generation>.yaml
    generation   its folder
    bench        the bench that lists the benchmark
    faces        the folder with every archive's face table, by name
    before       the examination before it in its line; nobody's is empty
    examination  output: the score table, metrics.json, and late.json with this cell and those before
    benchmark    its name
    """
    recipe = Recipe.read(recipe_file)
    machine.deterministic(recipe.training.threads, kernels=recipe.machine.deterministic)
    tables = benchmarks([benchmark], read_bench(bench), faces, bench)
    Examiner(recipe, machine.device()).examine(generation, tables, examination)
    found = Scores.read(examination)
    late.write(
        examination,
        [*late.read(before), late.Cell(found.generation, benchmark, found.weights, found.measured[benchmark])],
    )


if __name__ == "__main__":
    stage.run(examine)
