"""An archive lands: checked before anything changes, then copied, versioned and written into params.yaml.

A landing that fails leaves nothing behind; one that is killed can be done again: the archive counts as landed once
params.yaml names it. Two landings in one workspace take turns.

An archive never changes after it landed. Where it grew or was corrected it lands as a later version of its name, an
archive of its own (`celeb`, `celeb_v2`) that takes its place in every order: what learned the earlier one keeps it, so
that no history is raised anew, and whoever is born from now on learns the later one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from filelock import FileLock
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from components.archives import handover, layouts, leaks, manifest, versions
from components.archives.landing import files_of, stage_copy
from components.archives.listing import first, parts_of
from components.archives.media import Measured
from components.archives.report import passed
from components.archives.set_aside import LIST_FILE
from components.archives.versions import Changes
from components.errors import BadArchive, BadParams, MissingWeights, NameTaken, PerennialError, UnknownName
from components.faces import detection, weights
from components.params import Archive, Params, Withdrawal, parse
from components.settings import settings
from components.vocabulary import NOBODY, VAL
from components.withdrawal import files
from components.writing import room
from flows import cache, next_steps, pipeline, set_asides
from flows.orders import name_in
from flows.workspace import Workspace

CLOUD = ("s3://", "remote://")
ORDERS = {"sequence": ("both", "task"), "benchmarks": ("both", manifest.BENCHMARK)}
"""The orders of params.yaml, and the roles that have a place in them."""
FINDERS = ("retinaface", "yunet")
"""Face detectors that can stand in for one another, the better one first."""

Expect = Callable[[pd.DataFrame], None]


@dataclass(frozen=True)
class Landed:
    """What `land` found or did."""

    name: str
    clips: int
    digest: str
    already: bool
    validation: int
    """Of the clips."""
    steps: tuple[str, ...] = ()
    """What can be done now, in words."""
    changes: Changes | None = None
    """Of a later version: what differs from the one it takes the place of."""
    set_aside: tuple[str, ...] = ()
    """How many clips were set aside, and why, in words."""
    told: tuple[str, ...] = ()
    """What its layout has to say of it when it lands."""
    missing: int = 0
    """Files of its list that are not there."""


@dataclass(frozen=True)
class _Read:
    """What is said of an archive when it lands; the rows themselves are many, and not kept."""

    told: tuple[str, ...] = ()
    missing: int = 0


@dataclass(frozen=True)
class Options:
    """How an archive is to be landed, as far as somebody said so."""

    layout: str = ""
    role: str = ""
    faces: str = ""

    def over(self, known: Archive) -> Options:
        """These, and what is not said as it is `known`; another layout may need another face detector."""
        faces = known.faces if self.layout in ("", known.layout) else ""
        return Options(self.layout or known.layout, self.role or known.role, self.faces or faces)


def land(
    workspace: Workspace,
    name: str,
    source: str,
    *,
    layout: str = "",
    role: str = "",
    faces: str | None = None,
    link: bool = False,
    version: bool = False,
    again: bool = False,
) -> Landed:
    """Bring the archive at `source` (a folder or ``s3://…``) into the workspace under `name`.

    role     both where nothing is said
    faces    the layout's face detector where nothing is said, or another one whose weights are here
    link     leave a folder where it is: it is not copied and no version of it is kept
    version  it is a later version of what landed as `name`; what is not said is as it was
    again    land what has that name again with other options; `source` may be left out

    Raises UnknownName for a layout, BadArchive for an archive that does not have it or of which DVC would leave out files,
    NameTaken if other content has that name already, MissingWeights where no face could be found. In each case nothing
    has changed.
    """
    said = Options(layout, role, faces or "")
    with FileLock(workspace.landing_lock):
        try:
            if version:
                return _land_version(workspace, name, source, said, link=link)
            if again:
                return _land_again(workspace, name, source, said)
            known = workspace.params().archives.get(name)
            if known:
                return _landed_already(workspace, name, source, known, said.over(known))
            return _land(workspace, name, source, said, link=link)
        finally:
            handover.forget(workspace.root / handover.FOLDER)


def _land(workspace: Workspace, name: str, source: str, said: Options, *, link: bool, supersedes: str = "") -> Landed:
    params = workspace.params()
    if link and source.startswith(CLOUD):
        raise BadParams(f"expected a folder to link to, found '{source}'. Leave --link out: it is fetched.")
    at = str(Path(source).expanduser().resolve()) if link else ""
    entry = _entry(said, after=_predecessor(workspace, params), supersedes=supersedes, at=at)
    raw = params.model_dump(mode="json", exclude_unset=True)
    parse(Params, raw | {"archives": raw.get("archives", {}) | {name: entry.model_dump()}}, f"archive '{name}'")
    changes: Changes | None = None
    with _Attempt(workspace, name) as attempt:

        def expect(rows: pd.DataFrame) -> None:
            nonlocal entry, changes
            entry = _with_splits(entry, rows, params)
            changes = _changes(workspace, params, name, entry, rows)

        seen = _bring(workspace, source, name, entry, attempt, expect)
        orders = [o.model_copy(update={"archive": name}) for o in params.withdrawn if o.archive == supersedes]
        files.tell_archive(
            workspace.data(), name, params.model_copy(update={"withdrawn": (*params.withdrawn, *orders)})
        )
        weights.tell(workspace.data(), name, entry.faces)
        attempt.announce(lambda document: _announce(document, name, entry, orders))
        return _ingested(workspace, name, seen, changes=changes)


def _entry(said: Options, **more: Any) -> Archive:
    """The archive's section of params.yaml; what nobody said is chosen."""
    if not said.layout:
        raise BadParams(
            f"expected the archive's layout, found none. Name one with --layout: {', '.join(layouts.names())}."
        )
    faces = said.faces or _faces(said.layout)
    return parse(Archive, {"layout": said.layout, "role": said.role or "both", "faces": faces, **more}, "the archive")


def _faces(layout: str) -> str:
    """The face detector a layout needs, or another one that can do the same and has its weights here."""
    own = layouts.default_faces(layout)
    faults = []
    for name in (own, *FINDERS):
        try:
            detection.weights(name)
            return name
        except MissingWeights as fault:
            faults.append(str(fault))
    raise MissingWeights(
        f"{faults[0]} An archive of layout '{layout}' is of no use before its faces are found, so nothing was copied; "
        f"--faces {own} lands it all the same."
    )


def _with_splits(entry: Archive, rows: pd.DataFrame, params: Params) -> Archive:
    """Whether training sources are held out, where a later version does as the one before; and what leaks is set aside."""
    before = params.archives.get(entry.supersedes)
    needed = entry.role != manifest.BENCHMARK and VAL not in set(rows["split"])
    chosen = "hash" if needed and (not before or before.validation == "hash") else "own"
    return entry.model_copy(update={"validation": chosen, "leaks": "set_aside"})


def _predecessor(workspace: Workspace, params: Params) -> str:
    """The youngest archive that was not refused: one that is mended and landed anew holds the same files."""
    return next((name for name in reversed(params.archives) if not _was_refused(workspace, name)), NOBODY)


def _was_refused(workspace: Workspace, name: str) -> bool:
    return passed(workspace.data("validation", name)) is False


# --- the same name once more


def _landed_already(workspace: Workspace, name: str, source: str, known: Archive, wanted: Options) -> Landed:
    """The same archive again is fine; anything else under its name is not."""
    there = Options(known.layout, known.role, known.faces)
    if wanted != there:
        differing = [(key, getattr(there, key), getattr(wanted, key)) for key in ("layout", "role", "faces")]
        raise BadParams(
            f"'{name}' landed as {known.model_dump()}; expected the same, found "
            + ", ".join(f"{key} '{new}' instead of '{old}'" for key, old, new in differing if old != new)
            + ". Land it under another name; or with --again, while no generation rests on it."
        )
    _expect_what_landed(workspace, name, source)
    return _ingested(workspace, name, already=True)


def _land_version(workspace: Workspace, name: str, source: str, said: Options, *, link: bool) -> Landed:
    """Land `source` in the place of the latest version of `name`."""
    params = workspace.params()
    if name not in params.archives:
        raise UnknownName("archive", name, params.archives)
    latest = params.latest(name)
    if not Path(source).is_dir() and not source.startswith(CLOUD):
        raise BadArchive(f"expected an archive folder at '{source}', found none. Check the path.")
    if _holds(workspace, source, workspace.data("archives", latest), params.archives[latest].layout):
        return _ingested(workspace, latest, already=True)
    said = said.over(params.archives[latest])
    return _land(workspace, params.next_version(name), source, said, link=link, supersedes=latest)


def _land_again(workspace: Workspace, name: str, source: str, said: Options) -> Landed:
    """Give what landed as `name` other options, as long as nothing rests on it."""
    params = workspace.params()
    if name not in params.archives:
        raise UnknownName("archive", name, params.archives)
    if workspace.lineage().rests_on(name):
        raise BadParams(
            f"expected '{name}' to be an archive nothing rests on, found generations that learned it or are examined on it: "
            "its options stay. Land it as a later version (--version), or under another name."
        )
    if source:
        _expect_what_landed(workspace, name, source)
    known, target = params.archives[name], workspace.data("archives", name)
    wanted = said.over(known)
    later = [other for other in params.since(name) if params.archives[other].leaks == "set_aside"]
    if held := [other for other in later if workspace.lineage().rests_on(other)]:
        raise BadParams(
            f"expected nothing to rest on what landed after '{name}' either, found generations that learned {first(held)} or "
            "are examined on it: their splits were held against those of this one. Land it under another name."
        )
    entry = _entry(wanted, after=known.after, supersedes=known.supersedes, at=known.at)
    before = workspace.params_file.read_text(encoding="utf-8")

    def expect(rows: pd.DataFrame) -> None:
        nonlocal entry
        entry = _with_splits(entry, rows, params)

    try:
        seen = _read(workspace, name, target, entry, expect)
        weights.tell(workspace.data(), name, entry.faces)
        workspace.rewrite(lambda document: _announce(document, name, entry, ()))
        return _ingested(workspace, name, seen)
    except BaseException:
        workspace.restore(before)
        weights.tell(workspace.data(), name, known.faces)
        raise


def _expect_what_landed(workspace: Workspace, name: str, source: str) -> None:
    target = workspace.data("archives", name)
    if not target.is_dir():
        pipeline.checkout(workspace.root)
        workspace.link_archives()
    if not target.is_dir():
        raise BadArchive(
            f"'{name}' landed, but its files are neither in '{target}' nor in the cache: there is "
            "nothing to compare with. Fetch them with `dvc pull`."
        )
    if not _holds(workspace, source, target, workspace.params().archives[name].layout):
        raise NameTaken(
            f"expected the content that landed as '{name}', found other files in '{source}'. An archive never changes after "
            "it landed: land this one under another name, or with --version as a later version of it."
        )


def _holds(workspace: Workspace, source: str, target: Path, layout: str) -> bool:
    """Whether `source` holds what landed: byte for byte, unless the object store says that nothing was written there."""
    if not source.startswith(CLOUD):
        return _same(layout, Path(source).expanduser().resolve(), target)
    if cache.is_unchanged(workspace.root, source, target):
        return True
    with room(workspace.root / ".perennial" / "comparisons") as here:
        fetched = here / target.name
        cache.get_url(workspace.root, source, fetched)
        return _same(layout, fetched, target)


def _same(layout: str, folder: Path, target: Path) -> bool:
    """Whether both hold the same files; those of another archive beside it apart."""
    one, other = (manifest.tree_digest(root, _own(layout, parts_of(root))) for root in (folder, target))
    return one == other


def _own(layout: str, names: Collection[str]) -> Collection[str]:
    """The files that are no other archive's."""
    strangers = layouts.strangers(layout, names)
    return [name for name in names if name not in strangers] if strangers else names


def _changes(workspace: Workspace, params: Params, name: str, entry: Archive, rows: pd.DataFrame) -> Changes | None:
    """Of a later version, what it changes; raises BadArchive where a split would leak into what lives."""
    if not entry.supersedes:
        return None
    folder = workspace.data("manifests", entry.supersedes)
    if not folder.is_dir():
        pipeline.checkout(workspace.root)
    before = [manifest.read(folder / manifest.MANIFEST_FILE), manifest.read_set_aside(folder / LIST_FILE)]
    landing = params.model_copy(update={"archives": params.archives | {name: entry}})
    against, _ = leaks.before(name, workspace.data("manifests", entry.after), rows, landing)
    after = leaks.prepared(rows, entry, params, against)
    torn = versions.torn(before[0], after[0])
    lineage = workspace.lineage()
    if torn and any(lineage.rests_on(name) for name in params.versions(entry.supersedes)):
        raise BadArchive(
            f"expected every source of '{entry.supersedes}' in the split it was in, found {len(torn)} clips in another: "
            f"{first(torn)}. Generations learned from it or are examined on it: what they have seen would be asked of them. "
            "Put these back into their splits, or leave them out."
        )
    return versions.compare(pd.concat(before), pd.concat(after))


# --- bringing it


class _Attempt:
    """A landing that takes back what it did when the block fails; what lay there before it began is none of its own."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        self._workspace, self._name = workspace, name
        self._since: float | None = None
        self._params: str | None = None

    def begin(self) -> None:
        """All checks are passed: from now on files change."""
        self._since = time.time()
        self._workspace.data("archives").mkdir(parents=True, exist_ok=True)

    def announce(self, change: Callable[[CommentedMap], None]) -> None:
        """Write the archive into params.yaml: it has landed."""
        self._params = self._workspace.params_file.read_text(encoding="utf-8")
        self._workspace.rewrite(change)

    def __enter__(self) -> _Attempt:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or self._since is None:
            return
        data = self._workspace.data()
        with suppress(PerennialError, OSError):
            if self._params is not None:
                self._workspace.restore(self._params)
            self._workspace.forget_archive(self._name)
            files.forget_archive(data, self._name)
            weights.forget(data, self._name)
            cache.remove(self._workspace.root, self._workspace.data("archives", self._name), since=self._since)


def _bring(workspace: Workspace, source: str, name: str, entry: Archive, attempt: _Attempt, expect: Expect) -> _Read:
    """Put the archive where stages look for it, and its files under version control unless they stay where they are."""
    target = workspace.data("archives", name)
    if not entry.at:
        cache.expect_links(workspace.root)
    if source.startswith(CLOUD):  # what does not pass is taken away again
        attempt.begin()
        cache.remove(workspace.root, target)  # of a landing that was killed: DVC would fetch into what is there
        cache.import_url(workspace.root, source, target)
        seen = _read(workspace, name, target, entry, expect)
    else:
        folder = Path(source).expanduser().resolve()
        if folder.is_relative_to(target) or target.is_relative_to(folder):
            raise BadArchive(
                f"expected an archive outside of '{target}', where its copy will lie, found '{folder}'. Move it."
            )
        names = _own(entry.layout, files_of(folder))
        seen = _read(workspace, name, folder, entry, expect)
        _refuse_left_out(source, cache.passed_over(workspace.root, target, names))
        attempt.begin()
        if target.is_symlink() or (
            target.is_dir() and not _same(entry.layout, folder, target)
        ):  # of a landing that was killed
            cache.remove(workspace.root, target)
        if entry.at:
            target.symlink_to(folder)
            _refuse_left_out(source, cache.passed_over(workspace.root, target, names))  # a repository inside
            return seen
        stage_copy(folder, target, names)
        del names  # of a large archive
        cache.add(workspace.root, target)
    _refuse_left_out(source, parts_of(target) - cache.versioned(workspace.root, target))
    return seen


def _refuse_left_out(source: str, names: Iterable[str]) -> None:
    if left := sorted(f"'{name}'" for name in names):
        raise BadArchive(
            f"expected every file of '{source}' under version control, found {len(left)} that DVC leaves out: {first(left)}. "
            "A .dvcignore names them, or a folder .dvc makes a repository of its own of them: change the pattern, or take "
            "that out of the archive."
        )


def _read(workspace: Workspace, name: str, folder: Path, entry: Archive, expect: Expect) -> _Read:
    """Measure an archive, show `expect` its manifest, and leave what was measured to its stage."""
    seen, rows = _measured(workspace, name, folder, entry)
    expect(rows)
    del rows
    pa.default_memory_pool().release_unused()  # DVC works beside this next
    return seen


def _measured(workspace: Workspace, name: str, folder: Path, entry: Archive) -> tuple[_Read, pd.DataFrame]:
    survey = layouts.survey(entry.layout, folder).settle()
    seen, clips = _Read(tuple(survey.words()), len(survey.missing)), survey.clips
    del survey  # it holds every clip once more
    measured = dict[str, Measured]()
    rows = manifest.build(clips, folder, layout=entry.layout, role=entry.role, known=measured)
    handover.write(workspace.root / handover.FOLDER, name, measured.values())
    return seen, rows


def _ingested(
    workspace: Workspace,
    name: str,
    seen: _Read = _Read(),
    *,
    already: bool = False,
    changes: Changes | None = None,
) -> Landed:
    """Bring the manifest up to date and say what it holds."""
    pipeline.reproduce(workspace.root, f"ingest@{name}", timeout_s=settings().stage_timeout_s)
    rows = manifest.read(workspace.data("manifests", name) / manifest.MANIFEST_FILE)
    return Landed(
        name,
        len(rows),
        manifest.content_digest(rows),
        already,
        int((rows["split"] == VAL).sum()),
        next_steps.after_landing(workspace, name, rows),
        changes,
        set_asides.words_of(workspace, name),
        seen.told,
        seen.missing,
    )


def _announce(document: CommentedMap, name: str, entry: Archive, orders: Sequence[Withdrawal]) -> None:
    """Write the archive and its places in the orders into the document of params.yaml, and what is withdrawn from it.

    A later version takes the places of the one before it.
    """
    document["archives"] = document.get("archives") or CommentedMap()
    said = entry.model_dump(exclude_defaults=True)
    document["archives"][name] = line = CommentedMap(
        {
            key: value
            for key, value in entry.model_dump().items()
            if key in ("layout", "role", "faces", "after") or key in said
        }
    )
    line.fa.set_flow_style()
    name_in(document, orders)
    if entry.supersedes:
        for section in (document, *(document.get("lines") or {}).values()):
            for key in ORDERS:
                if entry.supersedes in (section.get(key) or ()):
                    section[key][section[key].index(entry.supersedes)] = name
        return
    for key, roles in ORDERS.items():
        order = document.get(key)
        if entry.role not in roles:
            if name in (order or ()):
                order.remove(name)
        elif name not in (order or ()):
            if not order:
                document[key] = CommentedSeq()
                document[key].fa.set_flow_style()
            document[key].append(name)
