"""Withdrawals in the ledger: what may no longer be learned, since when, by whose word and why, and who had seen it by then.

They stand between the promotions, one line of JSON each, and move no champion: `ledger.read` passes them over.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from components.params import Withdrawal
from components.registry.ledger import BEFORE, Decision, append_line, now, parse, somebody

WITHDRAW = "withdraw"


@dataclass(frozen=True)
class Note:
    """One withdrawal."""

    when: str
    """ISO 8601, UTC."""
    who: str
    what: dict[str, Any]
    """A `params.Withdrawal`, or ``{"archive": NAME}`` for an archive that was taken out whole."""
    why: str
    saw: dict[str, dict[str, int]] = field(default_factory=dict)
    """Generation -> how many of the withdrawn faces it learned, replayed and kept."""

    @property
    def words(self) -> str:
        """`source 's17' of 'celeb'`, or `archive 'celeb'`."""
        whole = set(self.what) == {"archive"}
        return f"archive '{self.what['archive']}'" if whole else Withdrawal.model_validate(self.what).words


def note(path: Path, what: dict[str, Any], why: str, saw: dict[str, dict[str, int]] | None = None) -> bool:
    """Write down that `what` is withdrawn now, by whoever runs this; True unless it was written down before."""
    return append(path, Note(now(), somebody(), what, why, saw or {}))


def append(path: Path, entry: Note) -> bool:
    """Write `entry` unless the same was withdrawn before; True if it was written."""

    def is_known() -> bool:
        return any(known.what == entry.what for known in read(path))

    return append_line(path, {"action": WITHDRAW, **asdict(entry)}, unless=is_known)


def told(path: Path, line: str | None = None) -> list[Decision | Note]:
    """The whole ledger in the order of its lines, which no clock changes; of one line its promotions alone."""
    texts = path.read_bytes().split(b"\n") if path.is_file() else []
    entries = [entry for text in texts if (entry := parse(text) or _parse(text)) is not None]
    return [entry for entry in entries if line is None or (isinstance(entry, Decision) and entry.line == line)]


def read(path: Path) -> list[Note]:
    """The withdrawals in order; promotions, and a line torn by a crash, are passed over."""
    if not path.is_file():
        return []
    return [entry for text in path.read_bytes().split(b"\n") if (entry := _parse(text)) is not None]


def _parse(text: bytes) -> Note | None:
    try:
        raw = json.loads(text)
        return (
            Note(**{key: value for key, value in raw.items() if key not in ("action", BEFORE)})
            if raw["action"] == WITHDRAW
            else None
        )
    except (ValueError, TypeError, KeyError):
        return None
