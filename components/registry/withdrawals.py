"""Withdrawals in the ledger: what may no longer be learned, since when, by whose word and why, and who had seen it by then.

They stand between the promotions, one line of JSON each, and move no champion: `ledger.read` passes them over.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from components.params import Withdrawal

WITHDRAW = "withdraw"


@dataclass(frozen=True)
class Entry:
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


def append(path: Path, entry: Entry) -> bool:
    """Write `entry` unless the same was withdrawn before; True if it was written.

    Safe against another process appending at the same time and against a crash, as `ledger.append` is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if any(known.what == entry.what for known in read(path)):
            return False
        written = path.read_bytes()
        torn = written and not written.endswith(b"\n")
        line = json.dumps({"action": WITHDRAW, **asdict(entry)}, sort_keys=True)
        file.write((b"\n" if torn else b"") + line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return True


def read(path: Path) -> list[Entry]:
    """The withdrawals in order; promotions, and a line torn by a crash, are passed over."""
    if not path.is_file():
        return []
    return [entry for text in path.read_bytes().split(b"\n") if (entry := _parse(text)) is not None]


def _parse(text: bytes) -> Entry | None:
    try:
        raw = json.loads(text)
        return (
            Entry(**{key: value for key, value in raw.items() if key != "action"})
            if raw["action"] == WITHDRAW
            else None
        )
    except (ValueError, TypeError, KeyError):
        return None
