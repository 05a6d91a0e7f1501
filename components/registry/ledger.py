"""The ledger: who answers for a line, since when, by whose word and why; one line of JSON per decision, never edited.

MLflow knows where an alias points now and not where it pointed before. The ledger is the memory of those moves, and
the aliases follow from it: a promotion counts once its line is on the disk, and `promote.settle` sets the aliases right
after a crash, or on a tracking server that starts empty.

Every line names, as ``before``, the sha256 of all bytes before it, so that no earlier line can be changed, put in or taken
out unseen (`broken_at`). Lines of before 0.3 have no such word; the first that has one seals them. How far it went stands
beside it in ``ledger.head``, so that an end that is lost or changed is seen as well: keep both under version control. Whoever
may write both leaves no trace.
"""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components import writing
from components.errors import BrokenLineage, Refused

PROMOTE, ROLLBACK = "promote", "rollback"
BEFORE = "before"


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
    """Write `entry` unless its line already stands where it leads; True if it was written.

    Raises Refused where another than `entry.came_from` is the champion: somebody moved it since the decision was made.
    """

    def stands() -> bool:
        now = standing(path, entry.line).champion
        if _same(now, entry.to):
            return True
        if not _same(now, entry.came_from):
            raise Refused(
                f"expected {_named(entry.came_from)} as the champion of '{entry.line}', found {_named(now)}: it was moved "
                f"while '{entry.to.generation}' was looked at. See `perennial history`, and ask again."
            )
        return False

    return append_line(path, asdict(entry), unless=stands)


def _same(one: Holder | None, other: Holder | None) -> bool:
    return (one and (one.generation, one.weights)) == (other and (other.generation, other.weights))


def _named(holder: Holder | None) -> str:
    return f"'{holder.generation}'" if holder else "nobody"


def append_line(path: Path, said: dict[str, Any], *, unless: Callable[[], bool]) -> bool:
    """Add `said` as a line of JSON unless `unless()`, asked while nobody else may write; True if it was written.

    Raises BrokenLineage where the end of what was there is lost.
    Safe against another process appending at the same time and against a crash: a half-written last line is closed
    with a newline and from then on skipped by those who read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if file.tell():
            expect_its_end(path)  # or the loss would be written over
        if unless():
            return False
        writing.close_torn(file)
        file.seek(0)
        before = hashlib.file_digest(file, "sha256").hexdigest()
        writing.append_line(file, json.dumps({BEFORE: before, **said}, sort_keys=True).encode())
        file.seek(0)
        now = hashlib.file_digest(file, "sha256").hexdigest()
        writing.replace_text(head(path), json.dumps({"bytes": file.tell(), "sha256": now}) + "\n")
    return True


def head(path: Path) -> Path:
    """The file that says how far the ledger at `path` went. After a crash it may be behind, and is never ahead."""
    return path.with_suffix(".head")


def broken_at(path: Path) -> int:
    """The number of the first line of which something before it was changed, put in or taken out; 0 where none is."""
    seen, sealed = hashlib.sha256(), False
    for number, text in enumerate(path.read_bytes().split(b"\n") if path.is_file() else [], 1):
        try:
            before = json.loads(text).get(BEFORE)
        except (ValueError, AttributeError):
            before = None  # torn by a crash, or the empty end
        if before is not None and before != seen.hexdigest():
            return number
        if before is None and sealed and parse(text) is not None:
            return number  # since the first seal every line has one
        sealed = sealed or before is not None
        seen.update(text + b"\n")
    return 0


def expect_unbroken(path: Path) -> None:
    """Raise BrokenLineage where a line was changed, put in or taken out, and where the end was cut off."""
    if number := broken_at(path):
        raise BrokenLineage(
            f"expected a chain of lines in '{path}', found that line {number} follows others than those it was written after. "
            "Restore the file from your version control or a backup; nothing else tells who was champion when."
        )
    expect_its_end(path)


def expect_its_end(path: Path) -> None:
    """Raise BrokenLineage unless the ledger begins with all that its head knows; one of an older version has no head."""
    if not head(path).is_file():
        return
    known = json.loads(head(path).read_bytes())
    written = path.read_bytes()[: known["bytes"]] if path.is_file() else b""
    if hashlib.sha256(written).hexdigest() != known["sha256"]:
        raise BrokenLineage(
            f"expected the {known['bytes']} bytes in '{path}' that '{head(path).name}' knows, found that something at its end "
            "was cut off or changed. Restore both files from your version control or a backup; where there is none, delete "
            f"'{head(path)}', and what is left goes on."
        )


def read(path: Path, line: str | None = None) -> list[Decision]:
    """The decisions in order, of one line or of all; a line torn by a crash is skipped."""
    if not path.is_file():
        return []
    entries = [entry for text in path.read_bytes().split(b"\n") if (entry := parse(text)) is not None]
    return [entry for entry in entries if line in (None, entry.line)]


def standing(path: Path, line: str) -> Standing:
    """Where the decisions so far leave a line."""
    now = Standing()
    for entry in read(path, line):
        now = Standing(champion=entry.to, previous=entry.came_from)
    return now


def standings(path: Path) -> dict[str, Standing]:
    """Where the decisions so far leave every line they name."""
    return {line: standing(path, line) for line in dict.fromkeys(entry.line for entry in read(path))}


def promoted(path: Path, line: str, generation: str, weights: str) -> Decision | None:
    """The last promotion of exactly these weights, None if there was none."""
    for entry in reversed(read(path, line)):
        if entry.action == PROMOTE and (entry.to.generation, entry.to.weights) == (generation, weights):
            return entry
    return None


def digest(path: Path) -> str:
    """Changes with every move of a champion, and with nothing else."""
    return hashlib.sha256(repr(read(path)).encode()).hexdigest()


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def somebody() -> str:
    """The account this runs under; in a container without accounts, its number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def parse(text: bytes) -> Decision | None:
    """A line of the ledger; None for one that is no decision, or torn."""
    try:
        raw = json.loads(text)
        raw.pop(BEFORE, None)
        came_from = Holder(**raw["came_from"]) if raw["came_from"] else None
        return Decision(**{**raw, "came_from": came_from, "to": Holder(**raw["to"])})
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
