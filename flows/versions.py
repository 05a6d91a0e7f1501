"""Who learned which version of an archive."""

from __future__ import annotations

from flows.workspace import Workspace


def learned(workspace: Workspace) -> dict[str, dict[str, list[str]]]:
    """First version -> its versions in the order they came -> the generations that learned each; of one version: nothing."""
    params, rows = workspace.params(), workspace.lineage().generations
    latest = [name for name in params.archives if params.latest(name) == name and params.archives[name].supersedes]
    chains = [params.versions(name)[::-1] for name in latest]
    return {
        chain[0]: {version: [name for name, row in rows.items() if row.learns == version] for version in chain}
        for chain in chains
    }


def told(found: dict[str, dict[str, list[str]]]) -> list[str]:
    """A line for each archive of several versions."""
    return [
        f"Versions of {first}: "
        + "; ".join(f"{version} learned by {', '.join(who) or 'nobody yet'}" for version, who in versions.items())
        + f". New generations learn {list(versions)[-1]}."
        for first, versions in found.items()
    ]
