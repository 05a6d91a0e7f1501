"""Bring an archive in from a folder or from S3: whole, or not at all.

Files come into a hidden sibling of the target, which is renamed once everything is there and agrees with what was
announced. Nothing is ever written over: a name that holds other bytes is taken.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, Protocol

from components import writing
from components.addresses import bucket_and_prefix
from components.archives.arrivals import Arrival, Waiting, arrival, fingerprint, look_through
from components.archives.files import is_text, spelled, troubles_with, walk
from components.archives.listing import MARKER, is_inside, is_part
from components.archives.manifest import tree_digest
from components.errors import BadArchive, BadParams, NameTaken, OutOfReach

_CHUNK_BYTES: Final = 1 << 20
_DOWNLOADS: Final = 8  # at once; below the ten connections a client keeps


class Inbox(Protocol):
    """A place where archives arrive."""

    def pending(self, landed: Mapping[str, str]) -> Waiting:
        """Arrivals apart from those that landed with the same fingerprint (name -> fingerprint)."""

    def fetch(self, arriving: Arrival, into: Path) -> None:
        """Bring the files of an arrival, without the marker, to the new folder `into`; raises BadArchive, NameTaken."""


def inbox(address: str) -> Inbox:
    """The inbox at a folder or at ``s3://bucket/prefix``; raises BadParams if there is none."""
    return S3Inbox(address) if "://" in address else FolderInbox(Path(address))


def stage_copy(source: Path, target: Path, names: Collection[str] | None = None) -> None:
    """Copy an archive without its marker, or its files with these names alone, to the new folder `target`.

    A target with the same files is left as it is. Raises NameTaken if it holds others, BadArchive if `source` is no
    folder, holds no file, or holds links that leave it.
    """
    if target.resolve().is_relative_to(source.resolve()):
        raise BadArchive(f"'{target}' lies inside '{source}'; expected an archive that does not hold its own copy.")
    names = files_of(source) if names is None else names
    if target.is_dir():
        _refuse_other(target, tree_digest(source, names))
        return
    with _all_or_nothing(target) as room:
        _copy(source, names, room)


class FolderInbox:
    """A folder."""

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise BadParams(f"expected an inbox folder at '{path}', found none. Make it, or name another inbox.")
        self._path = path

    def pending(self, landed: Mapping[str, str]) -> Waiting:
        with troubles_with(self._path):
            complete = [path.parent for path in self._path.glob(f"*/{MARKER}") if not path.parent.name.startswith(".")]
        return look_through({folder.name: partial(_look, folder) for folder in complete}, landed)

    def fetch(self, arriving: Arrival, into: Path) -> None:
        source = self._path / arriving.name
        with _all_or_nothing(into) as room:
            _copy(source, files_of(source), room)
            _refuse_changed(arriving, _fingerprint(source))


@dataclass(frozen=True, slots=True)
class Stored:
    """One object of a bucket."""

    key: str
    path: str
    """Relative to its arrival."""
    size: int
    etag: str


class S3Inbox:
    """A prefix of a bucket; endpoint, region and credentials come from the environment as boto3 reads them."""

    def __init__(self, address: str) -> None:
        self._bucket, prefix = bucket_and_prefix(address)
        self._prefix = "".join(part + "/" for part in prefix.split("/") if part)

    def pending(self, landed: Mapping[str, str]) -> Waiting:
        complete = {name: files for name, files in self._stored().items() if MARKER in files}
        return look_through({name: partial(self._look, name, files) for name, files in complete.items()}, landed)

    def fetch(self, arriving: Arrival, into: Path) -> None:
        files = self._stored().get(arriving.name, {})
        _refuse_changed(arriving, _fingerprint_of(files))
        wanted = [stored for stored in files.values() if stored.path != MARKER]
        with _all_or_nothing(into) as room, ThreadPoolExecutor(_DOWNLOADS) as pool:
            for _ in pool.map(partial(self._download, room=room), wanted):
                pass

    @cached_property
    def _client(self) -> Any:
        import boto3

        return boto3.client("s3")

    def _stored(self) -> dict[str, dict[str, Stored]]:
        """Arrival -> relative path -> object; the empty objects that consoles make for folders are none."""
        found: dict[str, dict[str, Stored]] = {}
        with _trouble_as(BadParams, f"s3://{self._bucket}/{self._prefix}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            for entry in (entry for page in pages for entry in page.get("Contents", ())):
                name, _, path = entry["Key"].removeprefix(self._prefix).partition("/")
                if path == MARKER or (is_part(path) and not path.endswith("/")):
                    stored = Stored(entry["Key"], path, entry["Size"], entry["ETag"].strip('"'))
                    found.setdefault(name, {})[path] = stored
        return found

    def _look(self, name: str, files: Mapping[str, Stored]) -> Arrival:
        marker = files[MARKER]

        def read() -> bytes:
            with self._opened(marker) as body:
                return bytes(body["Body"].read())

        where = f"s3://{self._bucket}/{self._prefix}{name}"
        return arrival(name, read, marker.size, _fingerprint_of(files), where)

    def _download(self, stored: Stored, room: Path) -> None:
        if not is_inside(stored.path):
            raise BadArchive(f"object '{stored.key}' would leave its archive; expected a plain path. Rename it.")
        target = room / stored.path
        target.parent.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.md5(usedforsecurity=False), 0
        with troubles_with(target), self._opened(stored) as answer, target.open("xb") as file:
            for chunk in answer["Body"].iter_chunks(_CHUNK_BYTES):
                digest.update(chunk)
                size += file.write(chunk)
            plain = answer.get("ServerSideEncryption", "AES256") == "AES256"
        tag_is_md5 = plain and "-" not in stored.etag  # not so for multipart uploads and other encryption
        if size != stored.size or (tag_is_md5 and digest.hexdigest() != stored.etag):
            raise OutOfReach(f"object '{stored.key}' arrived damaged, {size} of {stored.size} bytes. Land it again.")

    @contextmanager
    def _opened(self, stored: Stored) -> Iterator[Any]:
        """The object as it was listed; another version of it is refused by the server."""
        with _trouble_as(OutOfReach, f"s3://{self._bucket}/{stored.key}"):
            yield self._client.get_object(Bucket=self._bucket, Key=stored.key, IfMatch=stored.etag)


@contextmanager
def _trouble_as(error: Callable[[str], Exception], address: str) -> Iterator[None]:
    """What the server or the network says against a request becomes `error`."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as fault:
        advice = "Check the address, AWS_ENDPOINT_URL and the credentials, or wait until nobody writes there."
        raise error(f"'{address}' cannot be read: {fault}. {advice}") from fault


@contextmanager
def _all_or_nothing(target: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `target` for good when the block ends well and disappears when it does not."""
    with writing.room(target.parent, target.name) as hidden:
        room = hidden / target.name
        room.mkdir()
        yield room
        if target.is_dir():
            _refuse_other(target, tree_digest(room))
        else:
            with troubles_with(target):
                writing.sync_tree(room)
            room.replace(target)
            writing.sync_folder(target.parent)


def _refuse_other(target: Path, digest: str) -> None:
    if tree_digest(target) != digest:
        raise NameTaken(
            f"'{target.name}' has already landed with other files, in '{target}'. "
            "An archive never changes: land this one under another name."
        )


def _refuse_changed(arriving: Arrival, found: str) -> None:
    if found != arriving.fingerprint:
        raise BadArchive(
            f"'{arriving.where}' changed while it was landing. Write '{MARKER}' last, when all else is there."
        )


def _look(folder: Path) -> Arrival:
    marker = folder / MARKER
    return arrival(folder.name, marker.read_bytes, marker.stat().st_size, _fingerprint(folder), str(folder))


def _copy(source: Path, names: Iterable[str], room: Path) -> None:
    there = room
    for name in names:
        path, copy = source / name, room / name
        with troubles_with(path):
            if copy.parent != there:
                copy.parent.mkdir(parents=True, exist_ok=True)
                there = copy.parent
            shutil.copyfile(path, copy)


def files_of(root: Path) -> list[str]:
    """POSIX paths, relative to `root`, of every part of an archive that is to land.

    Raises BadArchive where there is none, and for whatever is no regular file inside `root`. What is hidden stays behind:
    of an archive that is a repository of Git or DVC, nobody asked for the history.
    """
    if not root.is_dir():
        raise BadArchive(f"expected an archive folder at '{root}', found none. Check the path.")
    real_root = root.resolve()
    files: list[str] = []
    for folder, folders, names in walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
        for path in (folder / name for name in [*folders, *names]):
            if not is_text(path.name):
                raise BadArchive(
                    f"'{spelled(path)}' has a name in another code page than UTF-8. Rename it (convmv, or mv)."
                )
            is_file = path.is_file()
            strays = path.is_symlink() and (not is_file or not path.resolve().is_relative_to(real_root))
            if strays or not (is_file or path.is_dir()):
                raise BadArchive(
                    f"'{path}' is a link out of the archive, a link to a folder, or no regular file. "
                    "Put the file itself in its place."
                )
            if is_file and is_part(name := f"{inside}{path.name}"):
                files.append(name)
    if not files:
        raise BadArchive(f"expected an archive at '{root}', found no file. Check the path.")
    return files


def _fingerprint(root: Path) -> str:
    facts = [(name, (root / name).stat()) for name in (*files_of(root), MARKER)]
    return fingerprint((name, stat.st_size, stat.st_mtime_ns) for name, stat in facts)


def _fingerprint_of(files: Mapping[str, Stored]) -> str:
    return fingerprint((stored.path, stored.size, stored.etag) for stored in files.values())
