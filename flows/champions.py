"""Champions change by a line in the ledger, and the registry follows: at once, or where that was cut off, later."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from components.errors import PerennialError
from components.registry import ledger
from components.texts import say
from components.writing import replace_text
from flows import index
from flows.pending import settled_marker, unsettled
from flows.workspace import Workspace

if TYPE_CHECKING:
    from components.registry.promote import Promotion


def settle(workspace: Workspace) -> dict[str, str]:
    """Have the registry name the champions that the ledger names, of every line; line -> champion where it did not."""
    from components.registry import promote
    from components.tracking import answering, connect

    if not workspace.ledger.is_file():
        return {}
    ledger.expect_its_end(workspace.ledger)  # or the registry would go back to a champion of before
    tracking = connect(workspace.root)
    with answering(tracking):
        moved = promote.settle(workspace.ledger, tracking)
    replace_text(settled_marker(workspace), ledger.digest(workspace.ledger))
    return moved


def settle_at_start(workspace: Workspace) -> None:
    """What a service does first: `settle`, unless there is nothing to do; books that are away keep nobody from serving."""
    if not unsettled(workspace):
        return
    try:
        for line, champion in settle(workspace).items():
            say(f"the registry names {champion} again as the champion of '{line}', as the ledger does")
    except PerennialError as fault:
        say(f"the registry was not compared with the ledger: {fault}", file=sys.stderr)


def promote(workspace: Workspace, generation: str, *, override: str) -> Promotion:
    """`components.registry.promote` with the files of a workspace; other lines are settled as well."""
    from components.registry.promote import promote as _promote
    from components.tracking import answering, connect

    settle(workspace)
    tracking = connect(workspace.root)
    with answering(tracking):
        said = _promote(
            workspace.data("generations", generation),
            verdict=workspace.data("verdicts", generation),
            ledger_path=workspace.ledger,
            tracking=tracking,
            override=override,
        )
    settle(workspace)
    index.write(workspace)
    return said


def rollback(workspace: Workspace, line: str, *, why: str) -> Promotion:
    """`components.registry.rollback` with the files of a workspace; a rollback that was cut off is finished."""
    from components.registry.rollback import rollback as _rollback
    from components.tracking import answering, connect

    tracking = connect(workspace.root)
    with answering(tracking):
        said = _rollback(line, ledger_path=workspace.ledger, tracking=tracking, why=why)
    settle(workspace)
    index.write(workspace)
    return said
