"""What was answered, kept so that nothing can be taken out or changed unseen: one line of JSON each, chained by hashes.

    answers/2026-11-27.jsonl     {"when": …, "kind": "answer", …, "previous": sha256 of the line before}

A day is a file, and its first line goes on from the last of the day before. What is older than the log is kept for leaves by
whole days, and a line says so; so a log that begins in the middle is explained, and one with a gap is not.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from components.texts import printable
from components.writing import append_line

ANSWER, SHADOW, RETENTION = "answer", "shadow", "retention"
_TAIL_BYTES = 1 << 20
NAME_CHARACTERS = 255


@dataclass(frozen=True)
class Kept:
    """One line: where it stands, and what it says."""

    file: str
    number: int
    said: dict[str, Any]


class AnswerLog:
    """A log that one or more processes of one machine append to."""

    def __init__(self, folder: Path, keep_days: int = 0) -> None:
        """`keep_days`: for how long, 0 for ever."""
        self.folder, self._keep_days = folder, keep_days
        self._writing = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def append(self, said: dict[str, Any]) -> None:
        """Write it down for good: it is on the disk when this returns."""
        with self._alone():
            self._write(said)

    def sweep(self) -> list[str]:
        """Delete the days that are past being kept, and say so in the log; returns their names."""
        if not self._keep_days:
            return []
        with self._alone():
            first = (datetime.now(UTC) - timedelta(days=self._keep_days)).strftime("%Y-%m-%d")
            gone = [file for file in _files(self.folder)[:-1] if file.stem < first]
            if gone:
                last = _last_hash(gone[-1])
                names = [file.name for file in gone]
                self._write({"kind": RETENTION, "deleted": names, "last": last, "kept_days": self._keep_days})
                for file in gone:
                    file.unlink()
                return names
        return []

    def _write(self, said: dict[str, Any]) -> None:
        now = datetime.now(UTC)
        files = _files(self.folder)
        previous = _last_hash(files[-1]) if files else ""
        path = self.folder / f"{now:%Y-%m-%d}.jsonl"
        if files and files[-1].name > path.name:
            path = files[-1]  # a clock that was set back begins no day before the last
        line = json.dumps(
            {"when": now.isoformat(timespec="milliseconds"), **said, "previous": previous}, sort_keys=True
        )
        with path.open("a+b") as file:
            append_line(file, line.encode())

    def _alone(self) -> _Alone:
        return _Alone(self._writing, self.folder / ".lock")


class _Alone:
    """Nobody else writes: no thread and no process."""

    def __init__(self, lock: threading.Lock, path: Path) -> None:
        self._lock, self._path = lock, path

    def __enter__(self) -> None:
        self._lock.acquire()
        self._file = self._path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._lock.release()


def read(folder: Path) -> Iterator[Kept]:
    """Every line in order; one torn by a crash is passed over."""
    for file in _files(folder):
        for number, text in enumerate(file.read_bytes().split(b"\n"), start=1):
            said = _parsed(text)
            if said is not None:
                yield Kept(file.name, number, said)


def faults(folder: Path) -> list[str]:
    """Where the chain is broken, in words; nothing where every line stands as it was written."""
    found: list[str] = []
    begins: str | None = None
    expected: str | None = None
    explained = {""}
    for file in _files(folder):
        for number, text in enumerate(file.read_bytes().split(b"\n"), start=1):
            said = _parsed(text)
            if said is None:
                continue
            previous = str(said.get("previous"))
            if expected is None:
                begins = previous
            elif previous != expected:
                found.append(f"{file.name}:{number} does not follow from the line before: one was changed or taken out")
            expected = _hash(text)
            if said.get("kind") == RETENTION:
                explained.add(str(said.get("last")))
    if begins is not None and begins not in explained:
        found.append("the log begins in the middle, and no line says that older days were deleted")
    return found


def spelled(name: str) -> str:
    """A caller's name of a file as it may be shown and kept: its last part, without control characters, not too long."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return printable(last)[:NAME_CHARACTERS] or "unnamed"


def recalled(answers: Iterable[dict[str, Any]]) -> Iterator[str]:
    """A line an answer of the log: when, what was said, of which file, to whom."""
    for said in answers:
        if said["kind"] == SHADOW:
            told, where = said, f"in the shadow of {said['id'][:8]}"
        else:
            told = said["answer"]
            file = told["file"]
            where = f"{(file['sha256'] or '')[:12]:12}  {spelled(file['name'])}  ({printable(said['caller'])})"
        number = told["score"] if told["probability"] is None else told["probability"]
        yield f"{said['when']}  {told['verdict']:11}  {_number(number)}  {where}"


def _number(probability: float | None) -> str:
    return "    –" if probability is None else f"{probability:.3f}"


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jsonl"))


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _last_hash(path: Path) -> str:
    """Of the last whole line of a file."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        lines = file.read().split(b"\n")
    return next((_hash(line) for line in reversed(lines) if _parsed(line) is not None), "")


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(text)
    except ValueError:
        return None
    return said if isinstance(said, dict) and "previous" in said else None
