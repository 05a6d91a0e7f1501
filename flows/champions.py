"""Champions change by a line in the ledger, and the registry follows: at once, or where that was cut off, later."""

from __future__ import annotations

from components.registry import ledger
from components.registry.promote import Promotion
from components.writing import replace_text
from flows.pending import settled_marker
from flows.workspace import Workspace


def settle(workspace: Workspace) -> dict[str, str]:
    """Have the registry name the champions that the ledger names, of every line; line -> champion where it did not."""
    from components.registry import promote
    from components.tracking import connect

    if not workspace.ledger.is_file():
        return {}
    moved = promote.settle(workspace.ledger, connect(workspace.root))
    replace_text(settled_marker(workspace), ledger.digest(workspace.ledger))
    return moved


def promote(workspace: Workspace, generation: str, *, override: str) -> Promotion:
    """`components.registry.promote` with the files of a workspace; other lines are settled as well."""
    from components.registry.promote import promote as _promote
    from components.tracking import connect

    settle(workspace)
    said = _promote(
        workspace.data("generations", generation),
        verdict=workspace.data("verdicts", generation),
        ledger_path=workspace.ledger,
        tracking=connect(workspace.root),
        override=override,
    )
    settle(workspace)
    return said


def rollback(workspace: Workspace, line: str, *, why: str) -> Promotion:
    """`components.registry.rollback` with the files of a workspace; a rollback that was cut off is finished."""
    from components.registry.rollback import rollback as _rollback
    from components.tracking import connect

    said = _rollback(line, ledger_path=workspace.ledger, tracking=connect(workspace.root), why=why)
    settle(workspace)
    return said
