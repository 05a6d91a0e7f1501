"""Give a line back to the champion before: one ledger line, two aliases changing places."""

from __future__ import annotations

from pathlib import Path

from components.errors import Refused
from components.registry import catalogue, ledger
from components.registry.ledger import Decision
from components.registry.promote import Promotion, follow_ledger, smoke
from components.tracking import Tracking


def rollback(line: str, *, ledger_path: Path, tracking: Tracking, why: str, who: str = "") -> Promotion:
    """Make the previous champion of a line the champion again; doing it twice returns to where it started.

    A rollback that was cut off is finished, and is the one that was asked for. Raises Refused when there is nobody to go
    back to, and when the previous champion's weights are no longer registered; it is loaded and asked once before the
    aliases move.
    """
    unfinished = follow_ledger(line, ledger_path, tracking)
    last, now = next(reversed(ledger.read(ledger_path, line)), None), ledger.standing(ledger_path, line)
    if unfinished and last and last.action == ledger.ROLLBACK and last.came_from:
        words = f"'{last.to.generation}' is the champion of '{line}' again: the rollback of {last.when} is finished now"
        return Promotion(line, last.to.generation, last.came_from.generation, moved=True, words=words)
    if now.champion is None or now.previous is None:
        found = f"'{now.champion.generation}' and nobody before it" if now.champion else "nobody was ever promoted"
        raise Refused(f"expected a previous champion of line '{line}', found {found}. There is nothing to go back to.")
    version = catalogue.version_of(line, now.previous.generation, now.previous.weights, tracking)
    if version is None:
        raise Refused(
            f"expected '{now.previous.generation}', weights {now.previous.weights[:12]}, in the registered model "
            f"'{catalogue.model_name(line)}', found none. Record it first: `perennial run`."
        )
    smoke(version, tracking)
    entry = Decision(
        when=ledger.now(),
        who=who or ledger.somebody(),
        action=ledger.ROLLBACK,
        line=line,
        came_from=now.champion,
        to=now.previous,
        why=why,
    )
    ledger.append(ledger_path, entry)
    follow_ledger(line, ledger_path, tracking)
    words = f"'{now.previous.generation}' is the champion of '{line}' again, '{now.champion.generation}' stepped back"
    return Promotion(line, now.previous.generation, now.champion.generation, moved=True, words=words)
