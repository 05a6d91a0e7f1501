"""DVC's cache and what lies in the workspace, byte by byte against the digests that were written down.

DVC itself takes a file of its cache for what its name says: root writes through the write protection of a hard link, a disk
fails, and what is spoilt is checked out as if it were whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.documents import load_yaml
from components.progress import shown
from components.writing import room
from flows.cache import md5
from flows.pipeline import locked

OBJECT = re.compile(r"[0-9a-f]{32}(\.dir)?")
"""What else lies in a cache DVC began to write when it was killed, or the disk was full: `perennial gc` takes it away."""


@dataclass(frozen=True)
class Damage:
    """What is not what was written down."""

    spoilt: dict[str, Path]
    """Objects of the cache whose bytes are not those of their name -> where they lie."""
    lacking: tuple[str, ...]
    """Objects that the workspace rests on and that are neither in the cache nor in the workspace."""
    files: dict[Path, str]
    """Files of the workspace -> the digest they should have."""
    whole: dict[str, Path]
    """Objects that the cache has lost -> a file of the workspace that has the bytes."""

    def __bool__(self) -> bool:
        return any((self.spoilt, self.lacking, self.files, self.whole))


def look(root: Path) -> Damage:
    """Read every file of the cache and every file that DVC tracks, once."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        cache = repo.cache.local
        objects = {name: Path(cache.oid_to_path(name)) for name in cache.all() if OBJECT.fullmatch(name)}
    spoilt = {
        name: path for name, path in shown(objects.items(), "the cache") if md5(path) != name.removesuffix(".dir")
    }
    sound = {name: path for name, path in objects.items() if name not in spoilt}
    there = {_identity(path) for path in sound.values()}
    lacking, files, whole = set(), {}, {}
    for path, digest in shown(list(_tracked(root, sound)), "the workspace"):
        known = digest in sound
        if path.is_file():
            if _identity(path) in there:
                continue
            if md5(path) == digest:
                whole.update({} if known else {digest: path})
            else:
                files[path] = digest
        elif not known:
            lacking.add(digest)
    lacking |= {digest for digest in files.values() if digest not in sound}
    return Damage(spoilt, tuple(sorted(lacking - whole.keys())), files, whole)


@contextmanager
def mended(root: Path, found: Damage) -> Iterator[None]:
    """Take away what is spoilt, and put into the cache what lies whole in the workspace. Whatever the block, with DVC, did not
    bring back lies there again when it ends, spoilt as it was: it may be all that is left."""
    from dvc.repo import Repo
    from dvc_objects.fs.local import localfs

    with room(root / ".perennial" / "spoilt") as aside:
        taken = {path: aside / str(n) for n, path in enumerate([*found.spoilt.values(), *found.files])}
        for path, away in taken.items():
            path.replace(away)
        try:
            with Repo(str(root)) as repo, repo.lock:
                for name, path in found.whole.items():
                    repo.cache.local.add(str(path), localfs, name)
            yield
        finally:
            for path, away in taken.items():
                if not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    away.replace(path)


def _tracked(root: Path, sound: dict[str, Path]) -> Iterator[tuple[Path, str]]:
    """Every file that the workspace rests on, with its digest, as ``dvc.lock`` and the ``.dvc`` files say."""
    outs = [(root, out) for stage in locked(root).values() for out in stage.get("outs", ())]
    for tracked in root.glob("data/*/*.dvc"):
        outs += [(tracked.parent, out) for out in load_yaml(tracked.read_bytes()).get("outs", ())]
    for folder, out in outs:
        path, digest = folder / out["path"], str(out.get("md5", ""))
        if not digest:
            continue
        if not digest.endswith(".dir"):
            yield path, digest
        elif digest in sound:
            for entry in json.loads(sound[digest].read_bytes()):
                yield path / entry["relpath"], entry["md5"]
        else:
            yield path / ".dir", digest  # whose files nobody can name


def _identity(path: Path) -> tuple[int, int]:
    known = path.stat()
    return known.st_dev, known.st_ino
