"""What DVC keeps versions of: how files lie in its cache and in a workspace, how they come in, and how they go."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from components.documents import load_yaml
from components.errors import BadParams, PerennialError, StageFailed
from flows.dvc_process import last_words, must, run
from flows.pipeline import locked


def where(root: Path) -> Path:
    """Where the repository at `root` keeps its files."""
    exit_code, lines = run(root, ["cache", "dir"], 600, None)
    if exit_code:
        raise StageFailed(f"dvc cache dir failed: {last_words(lines)}")
    return root / lines[-1]


def share(root: Path, other: Path) -> None:
    """Let the repository at `root` keep its files in the cache of the one at `other`, and reuse the runs known there."""
    must(root, ["cache", "dir", "--local", os.path.relpath(where(other), root)])


def add(root: Path, target: Path) -> None:
    """Bring a folder inside the workspace under version control.

    The cache holds its files as well. Where nobody chose how (`cache.type`), they are hard links instead of a second copy
    if that is safe; of DVC's own `reflink, copy` the first costs nothing where a file system knows it. Where a copy is what
    there would be, the one that is there stays.
    """
    name, links = str(target.relative_to(root)), links_of(root)
    if links.are_safe:
        must(root, [name], program="flows.add_linked")
    else:
        must(root, ["add", *(["--no-relink"] if links.are_copies else []), name])


def expect_links(root: Path) -> None:
    """Raise BadParams where DVC could not bring back from its cache what is added now: it would be told only then."""
    links = links_of(root)
    if links.chosen and not links.chosen & links.working:
        raise BadParams(
            f"expected a cache.type that works between '{links.cache}' and '{root}' ({', '.join(sorted(links.working))}), "
            f"found {', '.join(sorted(links.chosen))}. Choose with `dvc config cache.type`."
        )


@dataclass(frozen=True)
class _Links:
    """How files of the cache can lie in a workspace."""

    cache: Path
    chosen: frozenset[str]
    """`cache.type`; empty where nobody chose."""
    working: frozenset[str]
    guarded: bool
    """Whether a read-only file is safe from this process. From root none is: it would change the cache through a hard link,
    and DVC would not see it."""

    @property
    def preferred(self) -> str:
        """The first way that works."""
        order = [kind for kind in ("reflink", "hardlink", "symlink", "copy") if kind in self.working]
        if self.chosen:
            return next((kind for kind in order if kind in self.chosen), "none")
        return "hardlink, where it is added" if self.are_safe else next(k for k in order if k in ("reflink", "copy"))

    @property
    def are_safe(self) -> bool:
        """Whether hard links are the best choice, and nobody made another."""
        return not self.chosen and "reflink" not in self.working and "hardlink" in self.working and self.guarded

    @property
    def are_copies(self) -> bool:
        """Whether DVC would put a copy of what is in its cache."""
        return (self.chosen or {"reflink", "copy"}) & self.working <= {"copy"}


def links_of(root: Path) -> _Links:
    """Tried out, since DVC takes a copy in silence where `reflink` stands first and does not work."""
    from dvc.repo import Repo
    from dvc_objects.fs import system

    with Repo(str(root)) as repo:
        chosen, cache = frozenset(repo.config["cache"].get("type") or ()), Path(repo.cache.local.path)
    cache.mkdir(parents=True, exist_ok=True)
    working = {"copy"}
    with tempfile.TemporaryDirectory(dir=cache) as there, tempfile.TemporaryDirectory(dir=root) as here:
        (probe := Path(there, "probe")).touch(0o444)
        for kind in ("reflink", "hardlink", "symlink"):
            with suppress(OSError, NotImplementedError):
                getattr(system, kind)(str(probe), str(Path(here, kind)))
                working.add(kind)
        return _Links(cache, chosen, frozenset(working), guarded=not os.access(probe, os.W_OK))


def default_remote(root: Path) -> tuple[str, bool]:
    """The remote that `dvc push` takes, empty where none is named, and whether anything was found there.

    Raises PerennialError where it cannot be looked at.
    """
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        name = str(repo.config["core"].get("remote") or "")
        if not name:
            return "", False
        try:
            store = repo.cloud.get_remote_odb(name)
            return name, bool(store.fs.exists(store.path))
        except Exception as fault:  # of any of DVC's stores
            raise PerennialError(
                f"expected DVC's remote '{name}' to answer, found: {fault}. Mend its address or its keys: "
                f"`dvc remote modify {name}`."
            ) from None


def passed_over(root: Path, target: Path, names: Iterable[str]) -> list[str]:
    """Of the files that are to lie in `target` those DVC would not version: a `.dvcignore` says so, or they lie in a
    repository of their own."""
    from dvc.repo import Repo

    files: dict[str, list[str]] = {}
    for name in names:
        folder, _, file = f"./{name}".rpartition("/")
        files.setdefault(folder, []).append(file)
    over: list[str] = []
    with Repo(str(root)) as repo:
        for folder, inside in files.items():
            ways = (target, *(target / upper for upper in reversed(Path(folder).parents)), target / folder)
            left_out = any(repo.dvcignore.is_ignored_dir(str(way)) for way in ways)
            repo.dvcignore.is_ignored_file(str(target / folder / inside[0]))  # alone finds repositories in a folder
            kept = set() if left_out else set(repo.dvcignore(str(target / folder), [], inside)[1])
            over += [f"{folder}/{file}".removeprefix("./") for file in inside if file not in kept]
    return over


def versioned(root: Path, target: Path) -> set[str]:
    """POSIX paths of the files of a folder that DVC keeps a version of."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        (stage,) = repo.stage.load_file(str(target.with_name(target.name + ".dvc")))
        return {"/".join(key) for key, _, _ in stage.outs[0].get_obj() or ()}


def import_url(root: Path, url: str, target: Path) -> None:
    """Fetch a folder of an object store and remember where it came from."""
    must(root, ["import-url", "--force", url, str(target.relative_to(root))])


def get_url(root: Path, url: str, target: Path) -> None:
    """Fetch a folder of an object store without remembering anything."""
    must(root, ["get-url", url, str(target)])


def is_unchanged(root: Path, url: str, target: Path) -> bool:
    """Whether `target` was imported from `url` and the store still lists the same objects (ETags) there."""
    from dvc.repo import Repo

    tracked = target.with_name(target.name + ".dvc")
    if not tracked.is_file():
        return False
    with Repo(str(root)) as repo:
        (stage,) = repo.stage.load_file(str(tracked))
        recorded = [dep for dep in stage.deps if dep.def_path.rstrip("/") == url.rstrip("/")]
        return bool(recorded) and not any(dep.changed_checksum() for dep in recorded)


def remove(root: Path, target: Path, *, since: float | None = None) -> None:
    """Forget a folder that was brought in by mistake, and delete it; with `since` (a time), what it brought into the cache
    after that as well."""
    brought = _digests(target) if since is not None else set()
    if target.with_name(target.name + ".dvc").is_file():
        must(root, ["remove", str(target.relative_to(root)) + ".dvc"])
    if target.is_symlink():
        target.unlink()
    elif target.is_dir():
        with _locked(root):  # a DVC whose landing was killed may still be filling it
            shutil.rmtree(target, ignore_errors=True)
    if brought:
        _purge(root, brought, lambda file: file.stat().st_mtime >= (since or 0) - 1)


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """While no DVC is at work in the repository; waits for one that is."""
    from dvc.repo import Repo

    with Repo(str(root), _wait_for_lock=True) as repo, repo.lock:
        yield


def _digests(target: Path) -> set[str]:
    """Names in the cache of a folder's files, and of its list."""
    if target.is_symlink() or not target.is_dir():
        return set()
    tracked = target.with_name(target.name + ".dvc")
    said = load_yaml(tracked.read_bytes())["outs"][0] if tracked.is_file() else {}
    return {str(said.get("md5"))} | {md5(path) for path in target.rglob("*") if path.is_file()}


def md5(path: Path) -> str:
    """Of the bytes of a file, as DVC names them."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()


def purge(root: Path, doomed: Callable[[Path], bool]) -> int:
    """Delete from the local cache every `doomed` file that nothing in the workspace is a copy of; returns how many."""
    return _purge(root, None, doomed)


def unused(root: Path, places: Iterable[Path]) -> dict[str, Path]:
    """Objects of the cache of `root` that nothing in the repositories at `places`, which share it, is or was made of.

    Raises PerennialError where the cache lies elsewhere: nobody knows here what others rest on.
    """
    from dvc.repo import Repo

    cache = where(root).resolve()
    if not cache.is_relative_to(root.resolve()):
        raise PerennialError(
            f"DVC's cache at '{cache}', which others may share. `dvc gc --workspace --projects` knows how to ask about them."
        )
    logging.getLogger("dvc").setLevel(logging.ERROR)  # it warns of what is not made yet
    used: set[str] = set()
    for place in places:
        used |= _made_of(place)
        with Repo(str(place)) as repo:
            used |= _used(repo)
    with Repo(str(root)) as repo:
        local = repo.cache.local
        return {name: Path(local.oid_to_path(name)) for name in local.all() if name not in used}


def _used(repo: Any) -> set[str]:
    """Objects that a repository is made of."""
    return {found.value for objects in repo.used_objs().values() for found in objects}


def _made_of(root: Path) -> set[str]:
    """Digests of all inputs in ``dvc.lock``: the old texts of the code among them, by which `status --why` tells."""
    return {str(dep["md5"]) for stage in locked(root).values() for dep in stage.get("deps", ()) if "md5" in dep}


def forget(root: Path, names: Iterable[str]) -> None:
    """Delete these objects from the local cache."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo, repo.lock:
        for name in names:
            repo.cache.local.delete(name)


def _purge(root: Path, among: Collection[str] | None, doomed: Callable[[Path], bool]) -> int:
    """`purge` of the files with these names, or of all."""
    from dvc.repo import Repo

    purged = 0
    with Repo(str(root)) as repo, repo.lock:
        used, cache = _used(repo), repo.cache.local
        for name in list(cache.all()) if among is None else sorted(filter(cache.exists, among)):
            if name not in used and doomed(Path(cache.oid_to_path(name))):
                cache.delete(name)
                purged += 1
    return purged
