"""The only door to DVC: which stages are stale, run one of them, bring data under version control.

DVC is started as a subprocess: a stage that is killed, runs out of memory or out of time cannot take the flow along.
A flow that is killed takes its stages along: every stage watches the process named in PERENNIAL_GUARDIAN.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from components import code, guardian
from components.documents import load_yaml
from components.errors import OUT_OF_MEMORY, BadParams, PerennialError, StageFailed
from components.settings import SILENCE
from components.writing import replace_text
from flows import stopping
from flows.workspace import Workspace

T = TypeVar("T")
Listener = Callable[[str], None]
NOISE = (
    *("ERROR: failed to reproduce", "Running stage", "> ", "WARNING:", "To track the changes", "To enable auto"),
    *("Updating lock file", "Generating lock file", "Use `dvc push`"),
)
IGNORED = "# DVC looks for dvc.yaml everywhere else\n/.perennial/\n/mlartifacts/\n"
IGNORED_IN_0_2 = IGNORED.replace("/.", ".").replace("/ml", "ml")
"""It left out folders of these names inside archives as well."""
CODE = "code"
"""The stage that writes digests of the code, and the remote where it finds the package."""
CODE_DEPENDENCY = f"remote://{CODE}/components"
ADVICE = "run-perennial-status-here-first"
VERSIONED = """\
# Choices, wiring, the family register and the ledger are git's; archives and what was made of them are DVC's.
/.dvc/cache
/.dvc/config.local
/.dvc/tmp
/.perennial/
/answers/
/data/*/?*
!/data/*/nobody/
!/data/archives/*.dvc
!/data/weights/*
!/data/withdrawals/*
/mlartifacts/
/mlflow.db*
/reports/
/told/
*.fresh
*.partial
"""
"""What git leaves out of a workspace. Not ``/data/*/*``: dulwich, whom DVC asks, takes that for ``data/archives/`` itself,
and DVC then knows of no archive."""
CONFIG = f"""\
[core]
    no_scm = True
    autostage = false
    analytics = false
['remote "{CODE}"']
    url = ../{ADVICE}
"""
"""Of a workspace. In a clone, nothing is there until a `perennial` command was run: DVC's own message gives the advice."""
DVC = "dvc"
BUSY = ("is busy", "Unable to acquire lock", "is being blocked", "dvc.lock' validation failed")
"""The last: DVC writes that file in place, and whoever reads it meanwhile meets a part of it."""
KILLED = re.compile(r"^ERROR: failed to reproduce .* exited with -9$")
"""What DVC says when the stage got a SIGKILL, such as the one by which a system short of memory helps itself."""
BY_WHOM = f"by somebody, or because memory was short: then {OUT_OF_MEMORY}."
UNFETCHED = ("ERROR:", "WARNING: Some of the cache files do not exist", "No remote")
"""How DVC begins to say that it could not fetch everything; its exit code is 0 where the remote lacks it too, or is none."""
PATIENCE_S = 20.0
_at_work: set[subprocess.Popen[str]] = set()
_given_up = threading.Event()


class Busy(StageFailed):
    """Another DVC process holds a file this stage needs; trying again later helps."""


class GivenUp(StageFailed):
    """Somebody told the run to stop: the stage did not fail."""


def reproduce(
    root: Path,
    stage: str,
    *,
    timeout_s: float,
    listen: Listener | None = None,
    force: bool = False,
    environment: Mapping[str, str] | None = None,
) -> bool:
    """Bring one stage instance up to date, or with `force` run it whatever its state; returns whether it ran.

    `environment`: variables for this stage alone, such as the devices it may see.
    Raises Busy where another process holds its files, GivenUp where the run was told to stop, StageFailed with the stage's
    own last words otherwise.
    """
    if _given_up.is_set():
        raise GivenUp(f"the run was stopped before stage {stage} began. Run again to go on.")
    how = ["--single-item", "--force"] if force else ["--single-item"]
    command = ["--wait-for-lock", "repro", *how, stage]
    began = False

    def hear(line: str) -> None:
        nonlocal began
        began = began or line.startswith("Running stage")
        if listen:
            listen(line)

    exit_code, lines = _dvc(root, command, timeout_s, hear, is_stage=True, environment=environment)
    if exit_code == 0:
        return began
    if _given_up.is_set():
        raise GivenUp(f"stage {stage} was stopped. Run again to go on.")
    if _is_busy(lines):
        raise Busy(f"stage {stage} waits for another DVC process: {lines[-1] if lines else ''}")
    if any(KILLED.search(line) for line in lines):
        raise StageFailed(f"stage {stage} was killed {BY_WHOM}")
    raise StageFailed(f"stage {stage} failed: {_last_words(lines)}")


@contextmanager
def stoppable() -> Iterator[None]:
    """An interrupt or a SIGTERM kills what DVC does and begins no other stage, which threads would go on with."""
    _given_up.clear()
    try:
        yield
    except Exception:
        raise
    except BaseException:
        stopping.soon()
        _given_up.set()
        for process in list(_at_work):
            _kill(process)
        raise


def stale(root: Path, stages: Collection[str] = ()) -> set[str]:
    """Stage instances, of these or of all, whose inputs, command or outputs are not what ``dvc.lock`` says.

    A stage of a flow that was killed a moment ago is given `PATIENCE_S` to let go of its files.
    """
    status = _patiently(lambda: _status(root, stages), PATIENCE_S)
    return {stage.rpartition("dvc.yaml:")[2] or stage for stage in status}


def _status(root: Path, stages: Collection[str]) -> dict[str, Any]:
    exit_code, lines = _dvc(root, ["status", "--json", *stages], 600, None)
    if exit_code:
        raise (Busy if _is_busy(lines) else StageFailed)(f"dvc status failed: {_last_words(lines)}")
    found: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    return found


def checkout(root: Path) -> None:
    """Put back what the cache has and the workspace lacks; what was never made is no error.

    A cache that was put elsewhere after `perennial init` lacks the digests of the code, and DVC would put back nothing.
    """
    arguments = ["checkout", "--quiet", "--allow-missing"]
    exit_code, _ = _dvc(root, arguments, 24 * 3600, None)
    if exit_code and code.is_current(root / code.FOLDER, code.parts(cache=root / code.CACHE)):
        _dvc(root, ["commit", "--quiet", "--force", CODE], 600, None)
        _dvc(root, arguments, 24 * 3600, None)


def bring_back(root: Path) -> str:
    """Fetch from the remote what the cache lacks and check everything out; why not all could be fetched, in DVC's words."""
    _, lines = _dvc(root, ["--wait-for-lock", "fetch"], 24 * 3600, None)
    checkout(root)
    return "; ".join(line.removeprefix("ERROR: ") for line in lines if line.startswith(UNFETCHED))


def complete(root: Path) -> None:
    """`checkout`, if anything is lacking that stages made: to look costs less than to start DVC."""
    if not all((root / out["path"]).exists() for stage in locked(root).values() for out in stage.get("outs", ())):
        checkout(root)


def locked(root: Path) -> dict[str, Any]:
    """What ``dvc.lock`` says of every stage that was made."""
    lock = root / "dvc.lock"
    said = load_yaml(lock.read_bytes()) if lock.is_file() else None
    return (said or {}).get("stages") or {}


def start(root: Path) -> None:
    """Make `root` a DVC repository unless it is one."""
    if not (root / ".dvc").is_dir():
        _must(root, ["init", "--no-scm", "--quiet"])
        (root / ".dvc" / "config").write_text(CONFIG)
        (root / ".dvcignore").write_text(IGNORED)
    if root.resolve() != code.ROOT:
        _complete_lines(root / ".gitignore", VERSIONED)
    refresh(root)


def use_git(root: Path) -> None:
    """Let DVC use git where the workspace lies in a repository that does not ignore it, and git leave out what is DVC's.

    Whether it does is said in ``.dvc/config.local``: a copy of the workspace may lie elsewhere. A ``.gitignore`` that is
    there stays as it is.
    """
    if not (root / ".gitignore").is_file():
        replace_text(root / ".gitignore", VERSIONED)
    local = root / ".dvc" / "config.local"
    said = "no_scm = false" in local.read_text(encoding="utf-8") if local.is_file() else False
    if said != (found := in_git(root)):
        how = ["core.no_scm", "false"] if found else ["--unset", "core.no_scm"]
        _must(root, ["config", "--local", *how])


def in_git(root: Path) -> bool:
    """Whether git would keep what lies there; asked of git only below the top of a repository."""
    if (root / ".git").exists():
        return True
    if not any((parent / ".git").exists() for parent in root.resolve().parents):
        return False
    with suppress(OSError):  # no git here
        asked = subprocess.run(["git", "check-ignore", "--quiet", str(root)], cwd=root, capture_output=True)
        return asked.returncode == 1
    return False


def _complete_lines(file: Path, text: str) -> None:
    """Have every line of `text` in the file; one that somebody wrote keeps what it says."""
    said = file.read_text(encoding="utf-8") if file.is_file() else ""
    missing = [line for line in text.splitlines() if line not in said.splitlines()]
    if missing:
        replace_text(file, said + ("\n" if said and not said.endswith("\n") else "") + "\n".join(missing) + "\n")


def refresh(root: Path, *, patience_s: float = 0) -> None:
    """Write today's digests into ``data/code`` unless they are there, and where the package lies, which moves.

    While a stage is at work the files stay as they are, because it rests on them; `patience_s` is how long to wait for
    it. Raises PerennialError where the workspace is wired as 0.1 did.
    """
    if not (root / ".dvc").is_dir():
        return
    if is_old(root):
        raise PerennialError(
            f"expected '{root}' to be wired as this version does, found the wiring of an older version. "
            "`perennial upgrade` mends the workspace; nothing is raised again."
        )
    Workspace(root).complete()
    if (ignored := root / ".dvcignore").is_file() and ignored.read_text(encoding="utf-8") == IGNORED_IN_0_2:
        replace_text(ignored, IGNORED)
    _point_to_the_package(root)
    if root.resolve() != code.ROOT:
        use_git(root)
    if not code.is_current(root / code.FOLDER, code.parts(cache=root / code.CACHE)):
        with suppress(Busy):
            _patiently(lambda: reproduce(root, CODE, timeout_s=600), patience_s)


def is_old(root: Path) -> bool:
    """Whether the workspace is wired as 0.1 did: its stages depend on source files."""
    lock = root / "dvc.lock"
    wired = CODE_DEPENDENCY in (root / "dvc.yaml").read_text(encoding="utf-8")
    return not wired or (lock.is_file() and "- path: components/" in lock.read_text(encoding="utf-8"))


def name_remote(root: Path) -> None:
    """Name the remote where the stage `code` finds the package, as a new workspace does; other settings stay."""
    if root.resolve() != code.ROOT:
        _must(root, ["remote", "add", "--quiet", "--force", CODE, ADVICE])
    _point_to_the_package(root)


def adopt(root: Path, renamed: Mapping[str, str], changed: Collection[str]) -> int:
    """Let what was made stand for what today's wiring would make; returns how many stage instances do.

    ``dvc.lock`` keeps what it says of inputs and outputs. It takes up today's commands, the inputs it did not know, and
    the outputs in `changed` as they are now, wherever they are inputs too, also those of stages that never ran. `renamed`:
    stages by their names before.
    """
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.WARNING)  # it reports every entry it writes
    _rename_stages(root / "dvc.lock", renamed)
    reproduce(root, CODE, timeout_s=600)
    with Repo(str(root)) as repo, repo.lock:
        made = [
            stage
            for stage in repo.index.stages
            if not stage.is_data_source
            and stage.name != CODE
            and any(out.hash_info or out.def_path in changed for out in stage.outs)
        ]
        for stage in [one for one in made if any((out.metric or out.plot) and not out.hash_info for out in one.outs)]:
            made.remove(stage)  # an older version wrote no numbers: it is made anew
            stage.dvcfile._lockfile.remove_stage(stage)
        today = {}
        for output in (out for stage in made for out in stage.outs if out.def_path in changed or not out.hash_info):
            before = output.hash_info
            folder = Path(output.fs_path)
            if not before and not any(folder.glob("*")):  # what an older version did not write
                folder.mkdir(parents=True, exist_ok=True)
                (folder / ".gitkeep").touch()
            output.save()
            output.commit()
            today[output.def_path] = (before, output)
        for stage in made:
            for dep in stage.deps:
                before, output = today.get(dep.def_path, (None, None))
                if not dep.hash_info:
                    dep.save()
                elif output is not None and dep.hash_info == before:
                    dep.hash_info, dep.meta = output.hash_info, output.meta
            stage.dump(update_pipeline=False)
    return len(made)


def commit_moved(root: Path, output: str) -> None:
    """Note that an output lies in another form than its stage made it in; whatever was made of it stands."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo, repo.lock:
        stages = [stage for stage in repo.index.stages if not getattr(stage, "cmd_changed", False)]
        (maker, moved) = next((stage, out) for stage in stages for out in stage.outs if out.def_path == output)
        before = moved.hash_info
        moved.save()
        moved.commit()
        maker.dump(update_pipeline=False)
        for stage in stages:
            if rests := [dep for dep in stage.deps if dep.def_path == output and dep.hash_info == before]:
                for dep in rests:
                    dep.hash_info, dep.meta = moved.hash_info, moved.meta
                stage.dump(update_pipeline=False)


def _rename_stages(lock: Path, renamed: Mapping[str, str]) -> None:
    if not lock.is_file():
        return
    text = lock.read_text(encoding="utf-8")
    for old, new in renamed.items():
        text = re.sub(rf"^  {old}@", f"  {new}@", text, flags=re.MULTILINE)
    lock.write_text(text, encoding="utf-8")


def _point_to_the_package(root: Path) -> None:
    """Name the package's folder in ``.dvc/config.local``, which no version control keeps; a checkout has its own."""
    local = root / ".dvc" / "config.local"
    said = local.read_text(encoding="utf-8") if local.is_file() else ""
    if root.resolve() != code.ROOT and f"url = {code.ROOT}" not in map(str.strip, said.splitlines()):
        _must(root, ["remote", "add", "--quiet", "--force", "--local", CODE, str(code.ROOT)])


def cache_folder(root: Path) -> Path:
    """Where the repository at `root` keeps its files."""
    exit_code, lines = _dvc(root, ["cache", "dir"], 600, None)
    if exit_code:
        raise StageFailed(f"dvc cache dir failed: {_last_words(lines)}")
    return root / lines[-1]


def share_cache(root: Path, other: Path) -> None:
    """Let the repository at `root` keep its files in the cache of the one at `other`, and reuse the runs known there."""
    _must(root, ["cache", "dir", "--local", os.path.relpath(cache_folder(other), root)])


def add(root: Path, target: Path) -> None:
    """Bring a folder inside the workspace under version control.

    The cache holds its files as well. Where nobody chose how (`cache.type`), they are hard links instead of a second copy
    if that is safe; of DVC's own `reflink, copy` the first costs nothing where a file system knows it. Where a copy is what
    there would be, the one that is there stays.
    """
    name, links = str(target.relative_to(root)), links_of(root)
    if links.are_safe:
        _must(root, [name], program="flows.add_linked")
    else:
        _must(root, ["add", *(["--no-relink"] if links.are_copies else []), name])


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
    _must(root, ["import-url", "--force", url, str(target.relative_to(root))])


def get_url(root: Path, url: str, target: Path) -> None:
    """Fetch a folder of an object store without remembering anything."""
    _must(root, ["get-url", url, str(target)])


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
        _must(root, ["remove", str(target.relative_to(root)) + ".dvc"])
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
    return {str(said.get("md5"))} | {_md5(path) for path in target.rglob("*") if path.is_file()}


def _md5(path: Path) -> str:
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

    cache = cache_folder(root).resolve()
    if not cache.is_relative_to(root.resolve()):
        raise PerennialError(
            f"DVC's cache at '{cache}', which others may share. `dvc gc --workspace --projects` knows how to ask about them."
        )
    logging.getLogger("dvc").setLevel(logging.ERROR)  # it warns of what is not made yet
    used: set[str] = set()
    for place in places:
        used |= _made_of(place)
        with Repo(str(place)) as repo:
            used |= {found.value for objects in repo.used_objs().values() for found in objects}
    with Repo(str(root)) as repo:
        local = repo.cache.local
        return {name: Path(local.oid_to_path(name)) for name in local.all() if name not in used}


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
        used = {found.value for objects in repo.used_objs().values() for found in objects}
        cache = repo.cache.local
        for name in list(cache.all()) if among is None else sorted(filter(cache.exists, among)):
            if name not in used and doomed(Path(cache.oid_to_path(name))):
                cache.delete(name)
                purged += 1
    return purged


def _patiently(act: Callable[[], T], patience_s: float) -> T:
    """What `act` gives, asked again for so long while another DVC process holds its files; raises Busy after that."""
    waited_until = time.monotonic() + patience_s
    while True:
        try:
            return act()
        except Busy:
            if time.monotonic() >= waited_until:
                raise
            time.sleep(1)


def _is_busy(lines: Iterable[str]) -> bool:
    return any(sign in line for line in lines for sign in BUSY)


def _must(root: Path, arguments: list[str], *, program: str = DVC) -> None:
    waiting = [] if arguments[0] == "init" or program != DVC else ["--wait-for-lock"]
    exit_code, lines = _dvc(root, [*waiting, *arguments], 24 * 3600, None, program=program)
    if exit_code:
        raise StageFailed(f"dvc {arguments[0]} failed: {_last_words(lines)}")


def _dvc(
    root: Path,
    arguments: list[str],
    timeout_s: float,
    listen: Listener | None,
    *,
    is_stage: bool = False,
    environment: Mapping[str, str] | None = None,
    program: str = DVC,
) -> tuple[int, list[str]]:
    """Run dvc in a process group of its own; past the time limit, and where it was given up, the group is killed."""
    lines: deque[str] = deque(maxlen=400)
    late = threading.Event()

    def call_time() -> None:
        late.set()
        _kill(process)

    with subprocess.Popen(
        guardian.command(program, *arguments),
        cwd=root,
        env=_environment() | dict(environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        timer = threading.Timer(timeout_s, call_time)
        timer.start()
        try:
            _at_work.add(process)
            if is_stage and _given_up.is_set():  # since it was asked for
                _kill(process)
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.rstrip())
                if listen:
                    listen(line.rstrip())
            exit_code = process.wait()
        except BaseException:
            _kill(process)
            raise
        finally:
            _at_work.discard(process)
            timer.cancel()
    if exit_code == -signal.SIGKILL:
        why = f"because it ran for longer than {timeout_s:.0f} s" if late.is_set() else BY_WHOM
        lines.append(f"killed {why}")
    return exit_code, list(lines)


def _kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def _environment() -> dict[str, str]:
    """The stages' environment: our python first, silence, and whom to outlive: nobody."""
    bin_folder = str(Path(sys.executable).parent)
    return {
        **SILENCE,
        **os.environ,
        "PATH": bin_folder + os.pathsep + os.environ.get("PATH", ""),
        "PERENNIAL_GUARDIAN": str(os.getpid()),
        "PYTHONUNBUFFERED": "1",
    }


def _last_words(lines: Iterable[str]) -> str:
    """The stage's own error if it gave one, else the end of what was printed."""
    said = [line for line in lines if line.strip()]
    own = [line for line in said if not line.startswith(NOISE)]
    return "\n".join((own or said)[-12:]) or "it printed nothing"
