"""Who lives and never met a benchmark: rows of the lineage for generations that were judged before it joined.

A generation is examined on the benchmarks of its recipe, and once more, as its heir's teacher, on those of the heir. What
joins later it meets by a row here. A generation *lives* from its verdict on, whether the gate opened or not, champion or
not, until it is retired: every one of them is a row of the matrix. One that has no verdict yet is still to be examined on
its recipe's own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from components.generations.lineage import Examination, Lineage, joined


def lacking(lineage: Lineage, living: Collection[str], benchmarks: Iterable[str]) -> dict[str, list[str]]:
    """Benchmark -> the living generations that were never examined on it, oldest first; without those everyone knows."""
    met = _met(lineage, living)
    found = {benchmark: [name for name, known in met.items() if benchmark not in known] for benchmark in benchmarks}
    return {benchmark: names for benchmark, names in found.items() if names}


def extended(lineage: Lineage, lacks: dict[str, list[str]]) -> Lineage:
    """The lineage with an examination for each of these, as of `lacking`; a benchmark that is new joins the benches."""
    heads, rows = dict(lineage.heads), dict(lineage.examinations)
    for benchmark, names in lacks.items():
        for name in names:
            born, key = lineage.generations[name], f"{name}_on_{benchmark}"
            head = heads[born.line]
            rows[key] = Examination(
                generation=name,
                benchmark=benchmark,
                detector=born.detector,
                strategy=born.strategy,
                after=head.examined,
            )
            heads[born.line] = head.model_copy(update={"examined": key})
    return lineage.model_copy(
        update={"benches": joined(lineage.benches, lacks), "heads": heads, "examinations": rows},
    )


def _met(lineage: Lineage, living: Collection[str]) -> dict[str, set[str]]:
    """Living generation -> the benchmarks it was examined on, or is to be by a row that is there."""
    met = {name: set(lineage.benchmarks(row.bench)) for name, row in lineage.generations.items() if name in living}
    for name in met:
        row = lineage.generations[name]
        if row.teacher in met:
            met[row.teacher] |= set(lineage.benchmarks(row.bench))
    for examination in lineage.examinations.values():
        if examination.generation in met:
            met[examination.generation].add(examination.benchmark)
    return met
