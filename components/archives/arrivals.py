"""What an inbox holds: archives that are complete, and those that cannot be landed as they are.

    <inbox>/<name>/…                 the archive, in one of the layouts
    <inbox>/<name>/PERENNIAL.json    written last: {"layout": "crops", "role": "both", "faces": "none"}

An arrival without the marker is still being written and is left alone. One with a bad marker is a problem of its own;
the others go on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import TypeAdapter, ValidationError

from components.archives import layouts
from components.archives.listing import MARKER
from components.errors import BadArchive, PerennialError
from components.params import ArchiveName, Name, Section, parse
from components.vocabulary import NOBODY

_MAX_MARKER_BYTES: Final = 64 * 1024
_NAME: Final = TypeAdapter[str](ArchiveName)


class Marker(Section):
    """The completion marker: how the archive is to be landed."""

    layout: Name
    role: Literal["both", "task", "benchmark"] = "both"
    faces: Literal["none", "annotated", "yunet", "retinaface"] | None = None
    """None: what the layout needs."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An archive that is complete and waits to be landed."""

    name: str
    marker: Marker
    fingerprint: str
    """Changes when a file changes (names, sizes, and times or ETags); cheap, unlike a digest of the bytes."""
    where: str
    """A path or an s3:// address, for people."""


@dataclass(frozen=True, slots=True)
class Problem:
    """An arrival that cannot be landed as it is."""

    name: str
    advice: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """What an inbox holds that has not landed yet."""

    arrivals: tuple[Arrival, ...]
    problems: tuple[Problem, ...]


def look_through(looks: Mapping[str, Callable[[], Arrival]], landed: Mapping[str, str]) -> Waiting:
    """Look at each arrival by itself: what is wrong with one, whatever it is, is a problem of that one.

    `landed` maps names to the fingerprints they landed with; an arrival that has not changed since is left out.
    """
    arrivals, problems = [], []
    for name, look in sorted(looks.items()):
        try:
            arrival = look()
        except Exception as fault:  # files of strangers: nobody can list what reading them raises
            problems.append(Problem(name, said(fault)))
        else:
            if landed.get(name) != arrival.fingerprint:
                arrivals.append(arrival)
    return Waiting(tuple(arrivals), tuple(problems))


def said(fault: Exception) -> str:
    """A fault in words: its advice, or what nobody foresaw."""
    if isinstance(fault, PerennialError):
        return str(fault)
    return f"{type(fault).__name__}: {fault}. Look at its files, mend them, and write '{MARKER}' again."


def arrival(name: str, marker: Callable[[], bytes], marker_bytes: int, fingerprint: str, where: str) -> Arrival:
    """Check the name and the marker, which is read only if it is short; raises BadArchive, BadParams, UnknownName."""
    try:
        _NAME.validate_python(name)
    except ValidationError as fault:
        raise BadArchive(
            f"'{name}' cannot name an archive; expected a-z, 0-9 and _, and not '{NOBODY}'. Rename '{where}'."
        ) from fault
    if marker_bytes > _MAX_MARKER_BYTES:
        raise BadArchive(f"'{where}/{MARKER}' has {marker_bytes} bytes; expected a short JSON object. Write it again.")
    return Arrival(name, parse_marker(marker(), f"{where}/{MARKER}"), fingerprint, where)


def parse_marker(text: bytes, where: str) -> Marker:
    """A marker's content; raises BadArchive, BadParams (with every fault) or UnknownName."""
    try:
        raw: Any = json.loads(text)
    except (ValueError, RecursionError) as fault:
        example = json.dumps({"layout": layouts.names()[0], "role": "both"})
        raise BadArchive(f"'{where}' is not JSON: {fault}. Expected something like {example}.") from fault
    marker = parse(Marker, raw, f"'{where}'")
    layouts.default_faces(marker.layout)  # the layout exists
    return marker


def fingerprint(facts: Iterable[tuple[str, int, str | int]]) -> str:
    """One name for (relative path, size, time or ETag) of every file."""
    return hashlib.sha256(json.dumps(sorted(facts)).encode()).hexdigest()
