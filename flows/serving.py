"""Which generation answers for a workspace, ready to answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from components.digests import file_digest
from components.errors import Refused
from components.generations.card import CARD, WEIGHTS, read_card
from components.registry import ledger
from components.registry.ledger import Holder
from flows.workspace import Workspace

if TYPE_CHECKING:
    from components.serving.record import Champion
    from components.serving.verdicts import Examiner


def champions(workspace: Workspace) -> dict[str, str | None]:
    """Who answers for each line, as the ledger knows."""
    standing = {line: ledger.standing(workspace.ledger, line).champion for line in workspace.lineage().heads}
    return {line: holder.generation if holder else None for line, holder in standing.items()}


def champion_of(workspace: Workspace, line: str | None) -> tuple[Holder, Path]:
    """The champion of `line`, or of the one line that has one, and a folder with exactly its weights.

    They are taken from the workspace where they are still there, else from the registry. Raises Refused where no line,
    or more than one, could be meant.
    """
    lines = [line] if line else [name for name, champion in champions(workspace).items() if champion]
    if len(lines) != 1:
        found = ", ".join(lines) or "none"
        raise Refused(f"expected one line with a champion, found {found}. Name it with --line; see `perennial status`.")
    holder = ledger.standing(workspace.ledger, lines[0]).champion
    if holder is None:
        raise Refused(f"expected a champion of line '{lines[0]}', found none. See `perennial status`.")
    folder = workspace.data("generations", holder.generation)
    if (folder / CARD).is_file() and file_digest(folder / WEIGHTS) == holder.weights:
        return holder, folder
    from components.registry.catalogue import champion
    from components.tracking import connect

    registered = champion(lines[0], connect(workspace.root))
    if registered is None:
        raise Refused(f"'{holder.generation}' is neither in the workspace nor in the registry. Run `dvc checkout`.")
    return holder, registered.folder


def examiner(
    workspace: Workspace, line: str | None = None, *, faces: str | None = None, device: str = "cpu"
) -> Examiner:
    """The champion of `line`, or of the one line that has one, loaded; `faces` names another face detector than its own.

    Raises as `champion_of` and `Examiner.load` do.
    """
    from components.generations.recipe import Recipe
    from components.serving.verdicts import Examiner

    holder, folder = champion_of(workspace, line)
    params = Recipe.read(workspace.recipes / f"{holder.generation}.yaml").faces
    point = workspace.data("operating_points", holder.generation)
    told = told_of(workspace, holder, folder)
    return Examiner.load(folder, point, params, face_detector=faces, champion=told, device=device)


def told_of(workspace: Workspace, holder: Holder, folder: Path) -> Champion:
    """What a record says of a generation: its digests, what its line was taught until then, and when."""
    from components.serving.record import Taught
    from components.serving.verdicts import champion_of as by_its_files

    told, lineage = by_its_files(read_card(folder)), workspace.lineage()
    row = lineage.generations.get(holder.generation)
    if row is None:
        return told
    promoted = {said.to.generation: said.when for said in ledger.read(workspace.ledger, row.line)}
    line = lineage.of(row.line)
    taught = tuple(
        Taught(archive=lineage.generations[name].learns, generation=name, promoted=promoted.get(name))
        for name in line[: line.index(holder.generation) + 1]
    )
    return told.model_copy(update={"line": row.line, "taught": taught, "since": promoted.get(holder.generation)})
