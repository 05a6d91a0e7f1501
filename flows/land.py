"""An archive lands: checked before anything changes, then copied, versioned and written into params.yaml.

Every step can be killed and done again: the archive counts as landed once params.yaml names it. Two landings in one
workspace take turns.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from components.archives import layouts, manifest
from components.archives.landing import stage_copy
from components.archives.listing import MARKER
from components.archives.report import passed
from components.errors import BadArchive, BadParams, NameTaken, PerennialError
from components.faces import weights
from components.params import Params, parse
from components.settings import settings
from components.vocabulary import NOBODY, VAL
from components.withdrawal import files
from flows import pipeline
from flows.workspace import Workspace

CLOUD = ("s3://", "remote://")


@dataclass(frozen=True)
class Landed:
    """What `land` found or did."""

    name: str
    clips: int
    digest: str
    already: bool
    validation: int
    """Of the clips."""


def land(
    workspace: Workspace,
    name: str,
    source: str,
    *,
    layout: str,
    role: str = "both",
    faces: str | None = None,
    after: str = "",
) -> Landed:
    """Bring the archive at `source` (a folder or ``s3://…``) into the workspace under `name`.

    after: the archive before it, where it is not the youngest: parts of one archive share their genuine clips, so each
    comes after what was there before the first of them. Raises UnknownName for a layout, BadArchive for an archive that
    does not have it, NameTaken if other content has that name already. In each case nothing has changed.
    """
    with FileLock(workspace.landing_lock):
        return _land(workspace, name, source, layout, role, faces or layouts.default_faces(layout), after)


def _land(workspace: Workspace, name: str, source: str, layout: str, role: str, faces: str, after: str) -> Landed:
    params = workspace.params()
    entry = _entry(workspace, params, name, layout, role, faces)
    entry["after"] = after or entry["after"]
    if name in params.archives:
        _refuse_other(workspace, name, source, params.archives[name].model_dump(), entry)
        return _ingested(workspace, name, already=True)
    target = workspace.data("archives", name)
    bring = _import if source.startswith(CLOUD) else _copy
    rows = bring(workspace, source, target, layout, role)
    if role != manifest.BENCHMARK and VAL not in set(rows["split"]):
        entry["validation"] = "hash"
    files.tell_archive(workspace.data(), name, params)
    weights.tell(workspace.data(), name, faces)
    workspace.rewrite(lambda document: _announce(document, name, entry))
    return _ingested(workspace, name, already=False)


def _entry(workspace: Workspace, params: Params, name: str, layout: str, role: str, faces: str) -> dict[str, Any]:
    """The archive's section of params.yaml; a new one is checked together with everything else there."""
    known = params.archives.get(name)
    entry = {"layout": layout, "role": role, "faces": faces}
    if known:
        return entry | {"after": known.after, "validation": known.validation}
    entry["after"] = _predecessor(workspace, params)
    raw = params.model_dump(mode="json")
    raw["archives"][name] = entry
    parse(Params, raw, f"archive '{name}'")
    return entry


def _predecessor(workspace: Workspace, params: Params) -> str:
    """The youngest archive that was not refused: one that is mended and landed anew holds the same files."""
    return next((name for name in reversed(params.archives) if not _was_refused(workspace, name)), NOBODY)


def _was_refused(workspace: Workspace, name: str) -> bool:
    return passed(workspace.data("validation", name)) is False


def _refuse_other(workspace: Workspace, name: str, source: str, known: dict[str, Any], entry: dict[str, Any]) -> None:
    """The same archive again is fine; anything else under its name is not."""
    if known != entry:
        differing = {k: (known[k], entry[k]) for k in entry if known[k] != entry[k]}
        raise BadParams(
            f"'{name}' landed as {known}; expected the same, found "
            + ", ".join(f"{k} '{new}' instead of '{old}'" for k, (old, new) in differing.items())
            + ". Land it under another name."
        )
    if not _is_what_landed(workspace, source, workspace.data("archives", name)):
        raise NameTaken(
            f"expected the content that landed as '{name}', found other files in '{source}'. "
            "An archive never changes after it landed: land this one under another name."
        )


def _is_what_landed(workspace: Workspace, source: str, target: Path) -> bool:
    """Whether `source` holds what landed: byte for byte, unless the object store says that nothing was written there."""
    if not target.is_dir():
        pipeline.checkout(workspace.root)
    if not target.is_dir():
        raise BadArchive(
            f"'{target.name}' landed, but its files are neither in '{target}' nor in the cache: there is "
            "nothing to compare with. Fetch them with `dvc pull`."
        )
    if not source.startswith(CLOUD):
        return _same(Path(source).expanduser().resolve(), target)
    if pipeline.is_unchanged(workspace.root, source, target):
        return True
    scratch = workspace.root / ".perennial" / "comparisons"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as room:
        fetched = Path(room) / target.name
        pipeline.get_url(workspace.root, source, fetched)
        return _same(fetched, target)


def _same(folder: Path, target: Path) -> bool:
    without = frozenset({MARKER})
    return manifest.tree_digest(folder, without=without) == manifest.tree_digest(target, without=without)


def _copy(workspace: Workspace, source: str, target: Path, layout: str, role: str) -> pd.DataFrame:
    """Check a folder, then copy it and add it to DVC."""
    folder = Path(source).expanduser().resolve()
    rows = _read(folder, layout, role)
    if target.is_dir() and not _same(folder, target):  # left behind by a landing that was killed
        pipeline.remove(workspace.root, target)
    stage_copy(folder, target)
    pipeline.add(workspace.root, target)
    return rows


def _import(workspace: Workspace, source: str, target: Path, layout: str, role: str) -> pd.DataFrame:
    """Let DVC fetch a prefix of an object store, then check it; what does not pass is taken away again."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        pipeline.import_url(workspace.root, source, target)
        return _read(target, layout, role)
    except PerennialError:
        pipeline.remove(workspace.root, target)
        raise


def _read(folder: Path, layout: str, role: str) -> pd.DataFrame:
    return manifest.build(layouts.read(layout, folder), folder, layout=layout, role=role)


def _ingested(workspace: Workspace, name: str, *, already: bool) -> Landed:
    """Bring the manifest up to date and say what it holds."""
    pipeline.reproduce(workspace.root, f"ingest@{name}", timeout_s=settings().stage_timeout_s)
    rows = manifest.read(workspace.data("manifests", name) / manifest.MANIFEST_FILE)
    return Landed(name, len(rows), manifest.content_digest(rows), already, int((rows["split"] == VAL).sum()))


def _announce(document: CommentedMap, name: str, entry: dict[str, Any]) -> None:
    """Write the archive, its place in the sequence and among the benchmarks into the document of params.yaml."""
    document["archives"] = document.get("archives") or CommentedMap()
    document["archives"][name] = line = CommentedMap(entry)
    line.fa.set_flow_style()
    for section, roles in (("sequence", ("both", "task")), ("benchmarks", ("both", "benchmark"))):
        if entry["role"] in roles:
            if not document.get(section):
                document[section] = CommentedSeq()
                document[section].fa.set_flow_style()
            document[section].append(name)
