"""What lies ready in an inbox, and bringing it in whole or not at all.

    <inbox>/<name>/…                 the archive, in one of the layouts
    <inbox>/<name>/PERENNIAL.json    written last: {"layout": "crops", "role": "both", "faces": "none"}

An arrival without the marker is still being written and is left alone. One with a bad marker is a problem of its own;
the others go on. Files come into a hidden sibling of the target, which is renamed once it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from components.archives import layouts
from components.archives.listing import is_inside
from components.archives.manifest import tree_digest
from components.errors import BadArchive, BadParams, NameTaken, PerennialError
from components.params import Name, Section, parse

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MARKER: Final = "PERENNIAL.json"

_NAME: Final = TypeAdapter(Name)
_MAX_MARKER_BYTES: Final = 64 * 1024
_CHUNK_BYTES: Final = 1 << 20


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
    """Changes when a file of it changes (names, sizes and times or ETags); cheap, unlike a digest of the bytes."""
    where: str
    """A path or an s3:// address, for people."""

    @property
    def faces(self) -> str:
        return self.marker.faces or layouts.default_faces(self.marker.layout)


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


class Inbox(Protocol):
    """A place where archives arrive."""

    def pending(self, landed: Mapping[str, str] = ...) -> Waiting:
        """Arrivals apart from those whose fingerprint is already in `landed` (name -> fingerprint)."""

    def fetch(self, arrival: Arrival, into: Path) -> None:
        """Bring the files of an arrival, without the marker, to the new folder `into`; raises BadArchive, NameTaken."""


def inbox(address: str) -> Inbox:
    """The inbox at a folder or at ``s3://bucket/prefix``; raises BadParams if there is none."""
    return S3Inbox(address) if address.startswith("s3://") else FolderInbox(Path(address))


class FolderInbox:
    """A folder."""

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise BadParams(f"expected an inbox folder at '{path}', found none. Make it, or name another inbox.")
        self._path = path

    def pending(self, landed: Mapping[str, str] = {}) -> Waiting:
        folders = sorted(path for path in self._path.iterdir() if path.is_dir() and not path.name.startswith("."))
        return _waiting(((path.name, lambda path=path: _look(path)) for path in folders), landed)

    def fetch(self, arrival: Arrival, into: Path) -> None:
        source = self._path / arrival.name
        stage_copy(source, into)
        if _fingerprint(source) != arrival.fingerprint:
            shutil.rmtree(into)
            raise BadArchive(f"'{source}' changed while it was copied. Write the marker '{MARKER}' last, then wait.")


@dataclass(frozen=True, slots=True)
class _Object:
    key: str
    path: str
    """Relative to its arrival."""
    size: int
    etag: str


class S3Inbox:
    """A prefix of a bucket; endpoint, region and credentials come from the environment as boto3 reads them."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme != "s3" or not parts.netloc:
            raise BadParams(f"expected an inbox like s3://bucket/prefix, found '{address}'.")
        self._bucket = parts.netloc
        self._prefix = parts.path.strip("/") + "/" if parts.path.strip("/") else ""

    def pending(self, landed: Mapping[str, str] = {}) -> Waiting:
        client = _s3()
        listed = sorted(self._objects(client), key=lambda found: found[0])
        arrivals = [(name, [found for _, found in group]) for name, group in groupby(listed, key=lambda found: found[0])]
        return _waiting(
            ((name, lambda name=name, objects=objects: self._look(client, name, objects)) for name, objects in arrivals),
            landed,
        )

    def fetch(self, arrival: Arrival, into: Path) -> None:
        client = _s3()
        objects = [found for name, found in self._objects(client) if name == arrival.name]
        if _fingerprint_of(objects) != arrival.fingerprint:
            raise BadArchive(f"'{arrival.where}' changed since it was listed. Write the marker '{MARKER}' last, then wait.")
        with _all_or_nothing(into) as partial:
            for found in objects:
                if found.path != MARKER:
                    self._download(client, found, partial)

    def _objects(self, client: S3Client) -> Iterator[tuple[str, _Object]]:
        """(arrival, object) of every file below the prefix; the console's empty folder objects are none."""
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        for page in _asked(pages, self._bucket):
            for entry in page.get("Contents", []):
                name, slash, path = entry["Key"].removeprefix(self._prefix).partition("/")
                if slash and not entry["Key"].endswith("/"):
                    yield name, _Object(entry["Key"], path, entry["Size"], entry["ETag"].strip('"'))

    def _look(self, client: S3Client, name: str, objects: list[_Object]) -> Arrival | None:
        marker = next((found for found in objects if found.path == MARKER), None)
        if marker is None:
            return None
        if marker.size > _MAX_MARKER_BYTES:
            raise BadArchive(f"'{marker.key}' has {marker.size} bytes; expected a short JSON object.")
        (text,) = _asked((client.get_object(Bucket=self._bucket, Key=marker.key)["Body"].read() for _ in "1"), self._bucket)
        where = f"s3://{self._bucket}/{self._prefix}{name}"
        return Arrival(_name(name), _marker(text, f"{where}/{MARKER}"), _fingerprint_of(objects), where)

    def _download(self, client: S3Client, found: _Object, partial: Path) -> None:
        if not is_inside(found.path):
            raise BadArchive(f"object '{found.key}' would leave the archive; expected a plain relative path. Rename it.")
        target = partial / found.path
        target.parent.mkdir(parents=True, exist_ok=True)
        (answer,) = _asked(
            (client.get_object(Bucket=self._bucket, Key=found.key, IfMatch=found.etag) for _ in "1"), self._bucket
        )
        digest, size = hashlib.md5(usedforsecurity=False), 0
        with target.open("xb") as file:
            for chunk in answer["Body"].iter_chunks(_CHUNK_BYTES):
                digest.update(chunk)
                size += file.write(chunk)
        is_md5 = "-" not in found.etag and answer.get("ServerSideEncryption", "AES256") == "AES256"
        if size != found.size or (is_md5 and digest.hexdigest() != found.etag):
            raise BadArchive(f"object '{found.key}' arrived damaged: {size} of {found.size} bytes. Try again.")


def stage_copy(source: Path, target: Path) -> None:
    """Copy an archive, without its marker, to the new folder `target`: whole, or not at all.

    A target with the same bytes is left as it is. Raises NameTaken if it holds others, BadArchive if `source` is no
    folder, is empty, or holds links that leave it.
    """
    files = _files(source)
    if target.resolve().is_relative_to(source.resolve()):
        raise BadArchive(f"'{target}' lies inside '{source}'; expected an archive outside the workspace's own data.")
    if not any(name != MARKER for name in files):
        raise BadArchive(f"expected an archive at '{source}', found no file. Check the path.")
    with _all_or_nothing(target) as partial:
        for name, path in files.items():
            if name != MARKER:
                copy = partial / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)


@contextmanager
def _all_or_nothing(target: Path) -> Iterator[Path]:
    """A hidden sibling that becomes `target` when the block ends well, and disappears when it does not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", suffix=".partial", dir=target.parent) as room:
        partial = Path(room) / target.name
        partial.mkdir()
        yield partial
        if target.is_dir():
            if tree_digest(partial) != tree_digest(target):
                raise NameTaken(
                    f"'{target.name}' has already landed with other files (in '{target}'). "
                    "An archive never changes: land this one under another name."
                )
        else:
            os.replace(partial, target)


def _waiting(looks: Iterable[tuple[str, Callable[[], Arrival | None]]], landed: Mapping[str, str]) -> Waiting:
    arrivals, problems = [], []
    for name, look in looks:
        try:
            arrival = look()
        except PerennialError as fault:
            problems.append(Problem(name, str(fault)))
        else:
            if arrival and landed.get(name) != arrival.fingerprint:
                arrivals.append(arrival)
    return Waiting(tuple(arrivals), tuple(problems))


def _look(folder: Path) -> Arrival | None:
    marker = folder / MARKER
    if not marker.is_file():
        return None
    if marker.is_symlink() or marker.stat().st_size > _MAX_MARKER_BYTES:
        raise BadArchive(f"expected a short JSON file at '{marker}', found a link or a long one. Write it again.")
    return Arrival(_name(folder.name), _marker(marker.read_bytes(), str(marker)), _fingerprint(folder), str(folder))


def _name(name: str) -> str:
    try:
        return str(_NAME.validate_python(name))
    except ValidationError as fault:
        raise BadArchive(f"'{name}' cannot name an archive; expected a-z, 0-9 and _. Rename the folder.") from fault


def _marker(text: bytes, where: str) -> Marker:
    try:
        raw: Any = json.loads(text)
    except ValueError as fault:
        raise BadArchive(
            f'\'{where}\' is not JSON: {fault}. Expected {{"layout": "{layouts.names()[0]}", "role": "both"}}.'
        ) from fault
    marker = parse(Marker, raw, f"'{where}'")
    layouts.default_faces(marker.layout)  # raises UnknownName
    return marker


def _files(root: Path) -> dict[str, Path]:
    """Relative POSIX path -> file, of all regular files; raises BadArchive for anything that is not one."""
    if not root.is_dir():
        raise BadArchive(f"expected an archive folder at '{root}', found none. Check the path.")
    files: dict[str, Path] = {}
    real_root = root.resolve()
    for folder, folders, names in os.walk(root):
        folders.sort()
        for path in (Path(folder, name) for name in sorted(folders + names)):
            leaves = path.is_symlink() and (path.is_dir() or not path.resolve().is_relative_to(real_root))
            if leaves or not (path.is_dir() or path.is_file()):
                raise BadArchive(
                    f"'{path}' is a link that leaves the archive, a link to a folder or no regular file. "
                    "Replace it by the file itself."
                )
            if path.is_file():
                files[path.relative_to(root).as_posix()] = path
    return dict(sorted(files.items()))


def _fingerprint(root: Path) -> str:
    facts = [(name, path.stat()) for name, path in _files(root).items()]
    return _digest([name, stat.st_size, stat.st_mtime_ns] for name, stat in facts)


def _fingerprint_of(objects: Iterable[_Object]) -> str:
    return _digest([found.path, found.size, found.etag] for found in sorted(objects, key=lambda found: found.path))


def _digest(facts: Iterable[list[str | int]]) -> str:
    return hashlib.sha256(json.dumps(list(facts)).encode()).hexdigest()


def _s3() -> S3Client:
    import boto3

    return boto3.client("s3")


def _asked[T](answers: Iterable[T], bucket: str) -> Iterator[T]:
    pass
