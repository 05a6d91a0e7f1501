"""Clips of an archive that are set aside: how many, and why."""

from __future__ import annotations

from components.archives import set_aside
from flows.workspace import Workspace


def words_of(workspace: Workspace, name: str) -> tuple[str, ...]:
    """How many clips of the archive were set aside, of each reason, and the list of them; nothing where none was."""
    folder = workspace.data("manifests", name)
    words = set_aside.words_of(folder)
    file = (folder / set_aside.LIST_FILE).relative_to(workspace.root)
    return (*words, f"Each of them with its reason: {file}") if words else ()


def found(workspace: Workspace) -> dict[str, list[str]]:
    """Archive -> what was set aside of it, in words; those of which nothing was are left out."""
    said = {name: list(words_of(workspace, name)) for name in workspace.params().archives}
    return {name: words for name, words in said.items() if words}


def told(found: dict[str, list[str]]) -> list[str]:
    return [f"{name}: {line}" for name, words in found.items() for line in words]
