"""What today's code would make otherwise: what ``dvc.lock`` says every stage was made of, beside today's digests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from components import code
from components.errors import UnknownName
from flows import cache, pipeline
from flows.pending import GENERATION_STAGES
from flows.workspace import Workspace

Recorded = dict[str, str]
"""md5 of what it was made of, by ``stages/<stage>``, ``detectors/<name>``, …"""


def outdated(workspace: Workspace) -> dict[str, list[str]]:
    """Stage instances that were made by other code, and which of ``stages/<stage>``, ``detectors/<name>``, … differ.

    A stage of 0.1 recorded no code; it differs in nothing that is known, so its list is empty.
    """
    now = {name: _md5(code.text(parts)) for name, parts in today(workspace).items()}
    found = {}
    for stage, recorded in _recorded(workspace).items():
        differing = [name for name, md5 in recorded.items() if now.get(name) != md5]
        if differing or not recorded:
            found[stage] = differing
    return found


def why(workspace: Workspace, name: str) -> list[str]:
    """Lines that tell which modules made a stage instance, or the stages of a generation, otherwise than today's would.

    Raises UnknownName for what was never made.
    """
    recorded, now = _recorded(workspace), today(workspace)
    stages = [stage for stage in (name, *(f"{stage}@{name}" for stage in GENERATION_STAGES)) if stage in recorded]
    if not stages:
        raise UnknownName("stage or generation", name, {*recorded, *workspace.lineage().generations})
    kept = cache.where(workspace.root)
    lines = []
    for stage in stages:
        told = _differences(recorded[stage], now, kept)
        lines.append(f"{stage}: " + ("today's code would make it otherwise" if told else "made by today's code"))
        lines += [f"  {line}" for line in told]
    return lines


def _differences(recorded: Recorded, today: Mapping[str, code.Parts], cache: Path) -> list[str]:
    if not recorded:
        return ["it was made by 0.1, which did not record its code"]
    old: code.Parts = {}
    new: code.Parts = {}
    lost = []
    for name, md5 in recorded.items():
        text = _cached(cache, md5)
        if text is None:
            if md5 != _md5(code.text(today.get(name, {}))):
                lost.append(f"{name} differs; in what is no longer known, because its old text is not in DVC's cache")
            continue
        old |= code.read(text)
        new |= today.get(name, {})
    return [_said(part, old, new) for part in code.differing(old, new)] + lost


def _said(part: str, old: Mapping[str, str], new: Mapping[str, str]) -> str:
    if part not in old:
        return f"{part} is new"
    return f"{part} was edited" if part in new else f"{part} is gone"


def today(workspace: Workspace) -> dict[str, code.Parts]:
    """What every stage and choice is made of now."""
    return code.parts(cache=workspace.root / code.CACHE)


def _recorded(workspace: Workspace) -> dict[str, Recorded]:
    """Stage instance -> what it was made of, as ``dvc.lock`` says; the stage `code` itself is made of no code."""
    below = f"{code.FOLDER.as_posix()}/"
    return {
        stage: {
            dep["path"].removeprefix(below): dep["md5"]
            for dep in entry.get("deps", ())
            if dep["path"].startswith(below)
        }
        for stage, entry in pipeline.locked(workspace.root).items()
        if stage != pipeline.CODE
    }


def _md5(text: str) -> str:
    """As DVC names a file's content."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _cached(cache: Path, md5: str) -> str | None:
    path = cache / "files" / "md5" / md5[:2] / md5[2:]
    return path.read_text(encoding="utf-8") if path.is_file() else None
