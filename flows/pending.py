"""What is still to be done in a workspace. The lifecycle asks this instead of trusting an event: events get lost or
arrive in any order, the files do not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components import code
from components.archives.report import passed
from components.digests import file_digest
from components.evaluation import late
from components.faces.about import FACES_FILE
from components.gates.verdict import VERDICT_FILE, verdict_if_any
from components.generations import lineage as lineages
from components.generations.card import CARD, read_card
from components.generations.lineage import Judged, Lineage, Proposal, check, propose
from components.generations.recipe import Recipe
from components.params import Params
from components.registry import ledger
from components.settings import settings
from components.writing import replace_text
from flows import near_duplicates, pipeline
from flows.workspace import Workspace, only_one

ARCHIVE_STAGES = ("ingest", "validate", "crop", "gauge")
GENERATION_STAGES = ("evolve", "curate", "evaluate", "calibrate", "judge")


@dataclass(frozen=True)
class Pending:
    """Everything a lifecycle would do now."""

    archives: tuple[str, ...]
    """Landed, but without faces; or with stale ones that no generation has used yet."""
    proposal: Proposal
    """Rows that `plan` would append now."""
    generations: tuple[str, ...]
    """Planned, without a verdict, and not retired."""
    examinations: tuple[str, ...]
    """Asked for by `perennial examine`, without an answer."""
    pages: tuple[str, ...]
    unrecorded: tuple[str, ...]
    """Judged or examined, but not shown in the tracking server of these settings."""
    unsettled: bool
    """The ledger moved champions since a lifecycle saw the registry name them."""

    def __bool__(self) -> bool:
        todo = (self.archives, self.proposal.recipes, self.generations, self.examinations, self.pages, self.unrecorded)
        return any(todo) or self.unsettled


def look(workspace: Workspace) -> Pending:
    """`pending` while no lifecycle is at work there, with whatever the cache has put back first.

    Raises PerennialError where a lifecycle is running.
    """
    with only_one(workspace, patience_s=0):
        workspace.sweep()
        pipeline.complete(workspace.root)
        return pending(workspace)


def pending(workspace: Workspace) -> Pending:
    """Look at params.yaml, lineage.yaml and the files; raises BadParams or BrokenLineage before anything runs."""
    stale_now = stale(workspace)
    return Pending(
        archives=faceless(workspace, stale_now),
        proposal=proposal(workspace),
        generations=unjudged(workspace),
        examinations=unexamined(workspace),
        pages=outdated(workspace, stale_now),
        unrecorded=(*unrecorded(workspace), *untold(workspace)),
        unsettled=unsettled(workspace),
    )


def stale(workspace: Workspace) -> set[str]:
    """Of the stages whose state decides what is to be done, those that DVC calls stale; where none does, it is not asked.

    Most need no answer: faces that a generation learned from stay, and so does a page that shows the youngest.
    """
    asked = [f"{stage}@{name}" for name in _unused(workspace) for stage in ARCHIVE_STAGES]
    asked += [f"publish@{line}" for line in _behind(workspace)]
    return pipeline.stale(workspace.root, asked) if asked else set()


def faceless(workspace: Workspace, stale: set[str]) -> tuple[str, ...]:
    """Archives that landed and have no faces, or stale ones that no generation has used yet."""
    params = workspace.params()
    there = ready(workspace, params)
    doubtful = {n for n in _unused(workspace) if any(f"{stage}@{n}" in stale for stage in ARCHIVE_STAGES)}
    return tuple(name for name in params.archives if name not in there or name in doubtful)


def proposal(workspace: Workspace, waiting: Collection[str] = ()) -> Proposal:
    """The rows `plan` would append now, none over archives that are `waiting`; raises BrokenLineage if rows were edited."""
    params, lineage = workspace.params(), workspace.lineage()
    check(lineage, workspace.recipes, workspace.data("generations"))
    _check_choices(workspace, params)
    waits = any(line.waits for line in params.lines.values())
    known = outcomes(workspace) if waits else Judged(reseated=reseated(workspace, lineage))
    return propose(params, lineage, learnable(workspace, params) - {*waiting}, known, checked=True)


def learnable(workspace: Workspace, params: Params) -> set[str]:
    """`ready`, but for what looks like another archive."""
    return ready(workspace, params).difference(near_duplicates.refused(workspace))


def outcomes(workspace: Workspace) -> Judged:
    """What the gate said of every generation, and what people did about it."""
    decisions = ledger.read(workspace.ledger)
    champions = {entry.line: entry.to.generation for entry in decisions}
    stepped_back = {
        entry.came_from.generation for entry in decisions if entry.action == ledger.ROLLBACK and entry.came_from
    }
    accepted, refused, lineage = set(champions.values()), {}, workspace.lineage()
    for name, row in lineage.generations.items():
        said = verdict_if_any(workspace.data("verdicts", name))
        if said is None or name == champions.get(row.line):
            continue
        if said.get("opens") and name not in stepped_back:
            accepted.add(name)
        else:
            refused[name] = Recipe.read(workspace.recipes / f"{name}.yaml")
    return Judged(frozenset(accepted), refused, champions, reseated(workspace, lineage))


def reseated(workspace: Workspace, lineage: Lineage) -> dict[str, str]:
    """Of heads and champions: who answers for the line, where that is another than the verdict on them left as champion.

    A rollback does that, and an `--override` of a closed gate. Whoever is still to be promoted is no such case.
    """
    decisions = ledger.read(workspace.ledger)
    was_promoted = {entry.to.generation for entry in decisions if entry.action == ledger.PROMOTE}

    def said(name: str) -> Mapping[str, Any]:
        return verdict_if_any(workspace.data("verdicts", name)) or {}

    def is_coming(name: str | None, champion: str) -> bool:
        """Judged against the champion of today, or against one who is coming, and promoted as soon as it is recorded."""
        if name is None or name in was_promoted:
            return False
        before = (said(name).get("champion") or {}).get("name")
        return before == champion or is_coming(before, champion)

    found = {}
    for line, champion in {entry.line: entry.to.generation for entry in decisions}.items():
        for teacher in {champion, *([lineage.heads[line].generation] if line in lineage.heads else [])}:
            if not (verdict := said(teacher)) or verdict.get("champion_after") == champion:
                continue
            if not is_coming(verdict.get("champion_after"), champion):
                found[teacher] = champion
    return found


def waiting(workspace: Workspace) -> tuple[str, ...]:
    """Archives whose faces are still to be cut, or to be cut anew: of those nobody may learn yet."""
    return faceless(workspace, stale(workspace))


def unjudged(workspace: Workspace) -> tuple[str, ...]:
    """Generations that were planned and have no verdict; whoever is retired needs none any more."""
    lineage = workspace.lineage()
    return tuple(name for name in lineage.generations if name not in lineage.retired and not judged(workspace, name))


def unexamined(workspace: Workspace) -> tuple[str, ...]:
    """Examinations of living generations that were not made, or with weights that are gone, in order."""
    return tuple(
        key
        for key, said in workspace.lineage().examinations.items()
        if judged(workspace, said.generation) and not examined(workspace, key)
    )


def outdated(workspace: Workspace, stale: set[str]) -> tuple[str, ...]:
    """Lines whose page is missing or does not know the youngest generation."""
    return tuple(line for line in _behind(workspace) if f"publish@{line}" in stale)


def unrecorded(workspace: Workspace, but_for: Collection[str] = ()) -> tuple[str, ...]:
    """Generations with a verdict that the tracking server of these settings has not been shown; `but_for`: those at work."""
    names = [name for name in workspace.lineage().generations if name not in but_for]
    return tuple(name for name in names if judged(workspace, name) and not marker(workspace, name).exists())


def untold(workspace: Workspace) -> tuple[str, ...]:
    """Examinations that were made and that the tracking server of these settings has not been shown."""
    asked = workspace.lineage().examinations
    return tuple(key for key in asked if examined(workspace, key) and not examination_marker(workspace, key).exists())


def unsettled(workspace: Workspace) -> bool:
    """Whether the ledger says something of champions that no lifecycle saw the registry follow."""
    if not workspace.ledger.is_file():
        return False
    said = settled_marker(workspace)
    return not said.is_file() or said.read_text() != ledger.digest(workspace.ledger)


def settled_marker(workspace: Workspace) -> Path:
    """A file that holds the digest of the moves which the tracking server of these settings has followed."""
    return workspace.root / ".perennial" / "settled" / _tracked_at()


def ready(workspace: Workspace, params: Params) -> set[str]:
    """Archives whose faces are there, but for those that drift too far to be learned, which holds until they are."""
    there = {name for name in params.archives if (workspace.data("faces", name) / FACES_FILE).is_file()}
    far = {name for name in there if passed(workspace.data("drift", name)) is False}
    return there - {name for name in far if not workspace.lineage().rests_on(name)}


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
    weights = str(read_card(workspace.data("generations", generation))["weights"])
    return _marker(workspace, generation, [weights, file_digest(workspace.data("verdicts", generation) / VERDICT_FILE)])


def examination_marker(workspace: Workspace, key: str) -> Path:
    """A file that says: what this examination found is recorded in this tracking server."""
    return _marker(workspace, key, [file_digest(workspace.data("examinations", key) / late.LATE_FILE)])


def _marker(workspace: Workspace, name: str, what: Iterable[str]) -> Path:
    digest = hashlib.sha256("".join(what).encode()).hexdigest()[:16]
    return workspace.root / ".perennial" / "recorded" / _tracked_at() / f"{name}-{digest}"


def _tracked_at() -> str:
    """The tracking server of these settings, in eight letters."""
    return hashlib.sha256((settings().tracking_uri or "embedded").encode()).hexdigest()[:8]


def _unused(workspace: Workspace) -> list[str]:
    """Archives with faces that nothing rests on: they are cut anew where they are stale."""
    lineage, params = workspace.lineage(), workspace.params()
    there = ready(workspace, params)
    return [name for name in params.archives if name in there and not lineage.rests_on(name)]


def _behind(workspace: Workspace) -> list[str]:
    """Lines whose page was never made, or does not show the youngest generation or its last examination."""
    return [line for line in workspace.lineage().heads if _is_new(workspace, line)]


def _check_choices(workspace: Workspace, params: Params) -> None:
    """Raise BadParams where a choice cannot be followed, unless today's code has passed the same choices before.

    To look at a detector's options is to import it, and torch.
    """
    by = (*code.parts(cache=workspace.root / code.CACHE).values(), file_digest(Path(lineages.__file__)))
    said = json.dumps([params.model_dump(mode="json", exclude_unset=True), *by], sort_keys=True)
    digest, passed = hashlib.sha256(said.encode()).hexdigest(), workspace.root / ".perennial" / "choices"
    if not passed.is_file() or passed.read_text() != digest:
        lineages.check_choices(params)
        replace_text(passed, digest)


def _is_new(workspace: Workspace, line: str) -> bool:
    """The page was never made, or it does not show the weights of the line's youngest generation, or its last examination."""
    lineage, page = workspace.lineage(), workspace.page(line)
    head = lineage.heads[line]
    folder, last = workspace.data("generations", head.generation), lineage.examinations.get(head.examined)
    shown = [read_card(folder)["weights"]] if (folder / CARD).is_file() else []
    shown += [f"{last.generation} on {last.benchmark}"] if last and examined(workspace, head.examined) else []
    if not page.is_file() or not workspace.metrics(line).is_file():
        return True
    text = page.read_text()
    return any(words not in text for words in shown)
