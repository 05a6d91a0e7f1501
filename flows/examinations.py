"""Who would be examined on what joined late: what `perennial examine` asks, and what `status` says of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from components.errors import BadParams, PerennialError, UnknownName
from components.generations import lineage as lineages
from components.generations.examinations import lacking
from flows import pipeline
from flows.pending import judged, ready, unexamined, untold, waiting
from flows.workspace import Workspace, only_one

Lacks = dict[str, list[str]]
"""Benchmark -> the living generations that were never examined on it, oldest first."""


def never_examined(workspace: Workspace, lines: Collection[str] = ()) -> Lacks:
    """What living generations of these lines, or of all, never met of the benchmarks whose faces are there; not the retired.

    Benchmarks are those of params.yaml, and those that some generation was examined on.
    """
    params, lineage = workspace.params(), workspace.lineage()
    there = ready(workspace, params)
    known = [name for name in dict.fromkeys([*lineage.benches, *params.benchmarks]) if name in there]
    rows = lineage.generations.items()
    there_still = [name for name, row in rows if (not lines or row.line in lines) and name not in lineage.retired]
    living = [name for name in there_still if judged(workspace, name)]
    return lacking(lineage, living, known)


def pending(workspace: Workspace, benchmarks: Sequence[str] = (), lines: Sequence[str] = ()) -> bool:
    """Whether there is anything to examine, or to tell of; asked while no lifecycle is at work there. Raises as `plan`."""
    with only_one(workspace, patience_s=0):
        pipeline.complete(workspace.root)
        return bool(plan(workspace, benchmarks, lines) or unexamined(workspace) or untold(workspace))


def plan(workspace: Workspace, benchmarks: Sequence[str] = (), lines: Sequence[str] = ()) -> Lacks:
    """Who would be examined on what, nothing written.

    Raises UnknownName, BadParams for an archive that is no benchmark, BrokenLineage where rows were edited, and
    PerennialError where a benchmark that was named has no faces.
    """
    lineage = workspace.lineage()
    lineages.check(lineage, workspace.recipes, workspace.data("generations"))
    for line in lines:
        if line not in lineage.heads:
            raise UnknownName("line", line, lineage.heads)
    unfinished = waiting(workspace)
    for name in benchmarks:
        _expect_benchmark(workspace, name, unfinished)
    found = never_examined(workspace, lines)
    return {name: who for name, who in found.items() if name in (benchmarks or found) and name not in unfinished}


def told(lacks: Lacks) -> list[str]:
    """A line for every benchmark that living generations never met."""
    return [
        f"{len(names)} generation{'s were' if len(names) > 1 else ' was'} never examined on '{benchmark}': "
        "perennial examine"
        for benchmark, names in lacks.items()
    ]


def _expect_benchmark(workspace: Workspace, name: str, unfinished: Collection[str]) -> None:
    params, lineage = workspace.params(), workspace.lineage()
    if name not in params.archives:
        raise UnknownName("benchmark", name, {*params.benchmarks, *lineage.benches})
    if name not in params.benchmarks and name not in lineage.benches:
        raise BadParams(
            f"expected '{name}' among `benchmarks` in params.yaml, found {', '.join(params.benchmarks) or 'none'}. "
            "Add it there: every new generation is then examined on it too."
        )
    if name in unfinished:
        raise PerennialError(
            f"expected the faces of benchmark '{name}' as today's archive gives them, found them still to be cut. "
            "`perennial run` cuts them."
        )
