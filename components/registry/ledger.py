"""The ledger: who answers for a line, since when, by whose word and why; one line of JSON per decision, never edited.

MLflow knows where an alias points now and not where it pointed before. The ledger is the memory of those moves, and
the aliases follow from it: a promotion counts once its line is on the disk, and `promote` sets the aliases right after
a crash, or on a tracking server that starts empty.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PROMOTE, ROLLBACK = "promote", "rollback"


@dataclass(frozen=True)
class Holder:
    """A generation as the ledger knows it."""

    generation: str
    weights: str
    """sha256 of its weights."""
    version: str = ""
    """Of the registered model, on the tracking server of that day."""


@dataclass(frozen=True)
class Decision:
    """One decision."""

    when: str
    """ISO 8601, UTC."""
    who: str
    action: str
    """``promote`` or ``rollback``."""
    line: str
    came_from: Holder | None
    """The champion before; None for the first."""
    to: Holder
    why: str
    verdict: str = ""
    """sha256 of the verdict it rests on."""
    override: bool = False
    """A person went on although the rules said no."""


@dataclass(frozen=True)
class Standing:
    """Who answers for a line, and who would after a rollback."""

    champion: Holder | None = None
    previous: Holder | None = None


def append(path: Path, entry: Decision) -> bool:
    """Write `entry` unless its line already stands where it leads; True if it was written."""

    def stands() -> bool:
        now = standing(path, entry.line).champion
        return now is not None and (now.generation, now.weights) == (entry.to.generation, entry.to.weights)

    return append_line(path, asdict(entry), unless=stands)


def append_line(path: Path, said: dict[str, Any], *, unless: Callable[[], bool]) -> bool:
    """Add `said` as a line of JSON unless `unless()`, asked while nobody else may write; True if it was written.

    Safe against another process appending at the same time and against a crash: a half-written last line is closed
    with a newline and from then on skipped by those who read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if unless():
            return False
        file.seek(0, os.SEEK_END)
        torn = file.tell() > 0 and not _ends_with_newline(file)
        file.write((b"\n" if torn else b"") + json.dumps(said, sort_keys=True).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return True


def read(path: Path, line: str | None = None) -> list[Decision]:
    """The decisions in order, of one line or of all; a line torn by a crash is skipped."""
    if not path.is_file():
        return []
    entries = [entry for text in path.read_bytes().split(b"\n") if (entry := _parse(text)) is not None]
    return [entry for entry in entries if line in (None, entry.line)]


def standing(path: Path, line: str) -> Standing:
    """Where the decisions so far leave a line."""
    now = Standing()
    for entry in read(path, line):
        now = Standing(champion=entry.to, previous=entry.came_from)
    return now


def promoted(path: Path, line: str, generation: str, weights: str) -> Decision | None:
    """The last promotion of exactly these weights, None if there was none."""
    for entry in reversed(read(path, line)):
        if entry.action == PROMOTE and (entry.to.generation, entry.to.weights) == (generation, weights):
            return entry
    return None


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def somebody() -> str:
    """The account this runs under; in a container without accounts, its number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _ends_with_newline(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")


def _parse(text: bytes) -> Decision | None:
    try:
        raw = json.loads(text)
        came_from = Holder(**raw["came_from"]) if raw["came_from"] else None
        return Decision(**{**raw, "came_from": came_from, "to": Holder(**raw["to"])})
    except (ValueError, TypeError, KeyError):
        return None
