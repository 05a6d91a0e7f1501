"""What follows when the gate stays closed: a line's refused generation, and the one that learns in its place."""

from __future__ import annotations

from typing import Any

from components.generations import lineage as lineages
from components.generations.lineage import Judged
from components.generations.recipe import Recipe
from components.vocabulary import NOBODY
from flows import pipeline
from flows.pending import learnable, outcomes
from flows.workspace import Workspace, only_one


def append(workspace: Workspace, additions: lineages.Proposal) -> None:
    """Write the rows, their recipes, and what their generations are told of withdrawals."""
    from components.withdrawal import files as withdrawals  # pandas

    lineages.append(additions, workspace.lineage_file, workspace.recipes)
    for name in additions.recipes:
        withdrawals.tell_generation(workspace.data(), name, workspace.params(), additions.lineage)


def retry(workspace: Workspace, generation: str) -> str:
    """Plan the champion's heir that learns in place of a refused generation; what was planned, in words.

    Raises as `components.generations.lineage.retry` does, and `AtWork` beside a running lifecycle.
    """
    with only_one(workspace, patience_s=0):
        pipeline.complete(workspace.root)
        params, lineage = workspace.params(), workspace.lineage()
        lineages.check(lineage, workspace.recipes, workspace.data("generations"))
        known, ready = outcomes(workspace), learnable(workspace, params)
        additions = lineages.retry(params, lineage, ready, known, generation)
        append(workspace, additions)
    (recipe,) = additions.recipes.values()
    teacher = "nobody, as a founder" if recipe.row.teacher == NOBODY else f"the champion, {recipe.row.teacher}"
    other = ", ".join(differing(known.refused[generation], recipe)) or "none: its teacher is another"
    gone = ", ".join(sorted(additions.lineage.retired - lineage.retired))
    return (
        f"{recipe.generation} learns '{recipe.row.learns}' from {teacher}. Other choices: {other}.\n"
        f"Retired, and kept in the register: {gone}. Next: perennial run"
    )


def told(workspace: Workspace) -> list[str]:
    """A line for each line that waits since its youngest generation was refused."""
    lines, heads = workspace.params().lines, workspace.lineage().heads
    patient = {line: heads[line].generation for line in heads if line in lines and lines[line].waits}
    known = outcomes(workspace) if patient else Judged()
    ways = {"retry": "choose otherwise in params.yaml, then perennial run", "hold": "perennial retry {name}"}
    return [
        f"{line} waits, because {name} was refused: {ways[lines[line].after_refusal].format(name=name)}"
        for line, name in patient.items()
        if name in known.refused
    ]


def differing(before: Recipe, now: Recipe) -> list[str]:
    """``training.epochs 10 -> 30``: choices that differ between two recipes; of lists, such as the gate, the names alone."""
    old, new = _flat(before.choices), _flat(now.choices)
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return [key if isinstance(new.get(key), list) else f"{key} {old.get(key)} -> {new.get(key)}" for key in keys]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{prefix}.{key}".lstrip(".")).items()}
