"""Which generation answers for a workspace."""

from __future__ import annotations

from components.errors import Refused
from components.registry import ledger
from components.registry.catalogue import Champion, champion
from components.tracking import Tracking
from flows.workspace import Workspace


def champion_of(workspace: Workspace, line: str | None, tracking: Tracking) -> Champion:
    """The champion of `line`, or of the one line that has one; raises Refused where that is nobody, or not one."""
    lines = [line] if line else [n for n in workspace.lineage().lines if ledger.standing(workspace.ledger, n).champion]
    if len(lines) != 1:
        found = ", ".join(lines) or "none"
        raise Refused(f"expected one line with a champion, found {found}. Name one with --line; see `perennial status`.")
    found_champion = champion(lines[0], tracking)
    if found_champion is None:
        raise Refused(f"expected a champion of line '{lines[0]}', found none. See `perennial status` and `promote`.")
    return found_champion
