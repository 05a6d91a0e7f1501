"""What is still to be done in a workspace. The lifecycle asks this instead of trusting an event: events get lost or
arrive in any order, the files do not."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from components.evaluation import late
from components.faces.about import FACES_FILE
from components.gates.verdict import VERDICT_FILE
from components.generations.card import CARD, WEIGHTS, file_digest, read_card
from components.generations.lineage import Lineage, Proposal, check, propose
from components.params import Params
from components.settings import settings
from flows import pipeline
from flows.workspace import Workspace

ARCHIVE_STAGES = ("ingest", "validate", "crop")
GENERATION_STAGES = ("evolve", "curate", "evaluate", "judge")


@dataclass(frozen=True)
class Pending:
    """Everything a lifecycle would do now."""

    archives: tuple[str, ...]
    """Landed, but without faces; or with stale ones that no generation has used yet."""
    proposal: Proposal
    """Rows that `plan` would append now."""
    generations: tuple[str, ...]
    """Planned, without a verdict."""
    examinations: tuple[str, ...]
    """Asked for by `perennial examine`, without an answer."""
    pages: tuple[str, ...]
    unrecorded: tuple[str, ...]
    """Judged or examined, but not shown in the tracking server of these settings."""

    def __bool__(self) -> bool:
        todo = (self.archives, self.proposal.recipes, self.generations, self.examinations, self.pages, self.unrecorded)
        return any(todo)


def pending(workspace: Workspace) -> Pending:
    """Look at params.yaml, lineage.yaml and the files; raises BadParams or BrokenLineage before anything runs."""
    stale = _stale(workspace)
    return Pending(
        archives=faceless(workspace, stale),
        proposal=proposal(workspace),
        generations=unjudged(workspace),
        examinations=unexamined(workspace),
        pages=outdated(workspace, stale),
        unrecorded=(*unrecorded(workspace), *untold(workspace)),
    )


def faceless(workspace: Workspace, stale: set[str]) -> tuple[str, ...]:
    """Archives that landed and have no faces, or stale ones that no generation has used yet."""
    lineage = workspace.lineage()
    return tuple(name for name in workspace.params().archives if _needs_faces(workspace, name, lineage, stale))


def proposal(workspace: Workspace, waiting: Collection[str] = ()) -> Proposal:
    """The rows `plan` would append now, none over archives that are `waiting`; raises BrokenLineage if rows were edited."""
    params, lineage = workspace.params(), workspace.lineage()
    check(lineage, workspace.recipes, workspace.data("generations"))
    return propose(params, lineage, ready(workspace, params).difference(waiting))


def waiting(workspace: Workspace) -> tuple[str, ...]:
    """Archives whose faces are still to be cut, or to be cut anew: of those nobody may learn yet."""
    return faceless(workspace, _stale(workspace))


def unjudged(workspace: Workspace) -> tuple[str, ...]:
    """Generations that were planned and have no verdict."""
    return tuple(name for name in workspace.lineage().generations if not judged(workspace, name))


def unexamined(workspace: Workspace) -> tuple[str, ...]:
    """Examinations of living generations that were not made, or with weights that are gone, in order."""
    return tuple(
        key
        for key, said in workspace.lineage().examinations.items()
        if judged(workspace, said.generation) and not examined(workspace, key)
    )


def outdated(workspace: Workspace, stale: set[str]) -> tuple[str, ...]:
    """Lines whose page is missing or does not know the youngest generation."""
    heads = workspace.lineage().heads
    return tuple(line for line in heads if f"publish@{line}" in stale and _is_new(workspace, line))


def unrecorded(workspace: Workspace) -> tuple[str, ...]:
    """Generations with a verdict that the tracking server of these settings has not been shown."""
    names = workspace.lineage().generations
    return tuple(name for name in names if judged(workspace, name) and not marker(workspace, name).exists())


def untold(workspace: Workspace) -> tuple[str, ...]:
    """Examinations that were made and that the tracking server of these settings has not been shown."""
    asked = workspace.lineage().examinations
    return tuple(key for key in asked if examined(workspace, key) and not examination_marker(workspace, key).exists())


def ready(workspace: Workspace, params: Params) -> set[str]:
    """Archives whose faces are there."""
    return {name for name in params.archives if (workspace.data("faces", name) / FACES_FILE).is_file()}


def judged(workspace: Workspace, generation: str) -> bool:
    return (workspace.data("verdicts", generation) / VERDICT_FILE).is_file()


def examined(workspace: Workspace, key: str) -> bool:
    """Whether an examination was made, and it and those before it that it hands on with the weights of today."""
    cells = late.read(workspace.data("examinations", key))
    folders = [workspace.data("generations", cell.generation) for cell in cells]
    return bool(cells) and all(
        read_card(folder)["weights"] == cell.weights
        for cell, folder in zip(cells, folders, strict=True)
        if (folder / CARD).is_file()
    )


def marker(workspace: Workspace, generation: str) -> Path:
    """A file that says: this verdict of these weights is recorded in this tracking server."""
    weights, verdict = workspace.data("generations", generation), workspace.data("verdicts", generation)
    return _marker(workspace, generation, [weights / WEIGHTS, verdict / VERDICT_FILE])


def examination_marker(workspace: Workspace, key: str) -> Path:
    """A file that says: what this examination found is recorded in this tracking server."""
    return _marker(workspace, key, [workspace.data("examinations", key) / late.LATE_FILE])


def _marker(workspace: Workspace, name: str, what: Iterable[Path]) -> Path:
    where = hashlib.sha256((settings().tracking_uri or "embedded").encode()).hexdigest()[:8]
    digest = hashlib.sha256("".join(file_digest(path) for path in what).encode()).hexdigest()[:16]
    return workspace.root / ".perennial" / "recorded" / where / f"{name}-{digest}"


def _stale(workspace: Workspace) -> set[str]:
    return pipeline.stale(workspace.root) if workspace.params().archives else set()


def _needs_faces(workspace: Workspace, name: str, lineage: Lineage, stale: set[str]) -> bool:
    if not (workspace.data("faces", name) / FACES_FILE).is_file():
        return True
    return not lineage.rests_on(name) and any(f"{stage}@{name}" in stale for stage in ARCHIVE_STAGES)


def _is_new(workspace: Workspace, line: str) -> bool:
    """The page was never made, or it does not show the weights of the line's youngest generation, or its last examination."""
    lineage, page = workspace.lineage(), workspace.page(line)
    head = lineage.heads[line]
    folder, last = workspace.data("generations", head.generation), lineage.examinations.get(head.examined)
    shown = [read_card(folder)["weights"]] if (folder / CARD).is_file() else []
    shown += [f"{last.generation} on {last.benchmark}"] if last and examined(workspace, head.examined) else []
    return not page.is_file() or any(words not in page.read_text() for words in shown)
