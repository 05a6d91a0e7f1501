"""Which generation answers for a workspace."""

from __future__ import annotations

from pathlib import Path

from components.errors import Refused
from components.generations.card import CARD, WEIGHTS, file_digest
from components.registry import ledger
from components.registry.ledger import Holder
from flows.workspace import Workspace


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
    from components.tracking import answering, connect

    tracking = connect(workspace.root)
    with answering(tracking):
        registered = champion(lines[0], tracking)
    if registered is None:
        raise Refused(f"'{holder.generation}' is neither in the workspace nor in the registry. Run `dvc checkout`.")
    return holder, registered.folder
