"""Near duplicates across splits, looked for before anybody learns: in archives that nothing rests on yet."""

from __future__ import annotations

from pathlib import Path

from components.errors import PerennialError
from components.faces import likeness
from components.faces.about import FACES_FILE, read_about
from components.vocabulary import FACE, FRAME
from flows.workspace import Workspace


def screen(workspace: Workspace) -> dict[str, str]:
    """Compare every archive that has faces with itself and with those before it; returns why one is refused.

    What was compared before is not compared again. Archives on which generations rest stay as they are, and so do those
    that a later version took the place of.
    """
    params, lineage, faults = workspace.params(), workspace.lineage(), dict[str, str]()
    most = params.validation.max_near_duplicates
    there = [name for name in params.archives if (workspace.data("faces", name) / FACES_FILE).is_file()]
    for name in there:
        if lineage.rests_on(name) or params.latest(name) != name:
            continue
        before = [other for other in there[: there.index(name)] if other not in params.versions(name)]
        living = [other for other in there if lineage.rests_on(other) and other not in params.versions(name)]
        tables = {other: workspace.data("faces", other) for other in dict.fromkeys([name, *before, *living])}
        from components.faces import near_duplicates  # takes a moment, and there is something to compare

        try:
            near_duplicates.bring_up_to_date(name, tables, folder_of(workspace, name), most)
        except PerennialError as fault:
            faults[name] = str(fault)
    return faults | {name: words(workspace, name) for name in refused(workspace)}


def refused(workspace: Workspace) -> list[str]:
    """Archives of which too much looks like another split, as their faces are now."""
    params, lineage = workspace.params(), workspace.lineage()
    asked = [name for name in params.archives if params.latest(name) == name and not lineage.rests_on(name)]
    return [name for name in asked if _report(workspace, name).get("passed") is False]


def words(workspace: Workspace, name: str) -> str:
    """What was found of an archive, and if that is too much what to do."""
    report = _report(workspace, name)
    most = workspace.params().validation.max_near_duplicates
    found = (
        f"{report[FACE]} of {report['clips']} clips of '{name}' show a face that looks like one of another split, "
        f"{report[FRAME]} such a frame: {folder_of(workspace, name).relative_to(workspace.root) / likeness.PAIRS_FILE}"
    )
    if report["passed"]:
        return found + "."
    return (
        f"{found} (allowed: {most:.0%} by their faces). Look at the pairs. Leave these clips out and land the rest as a later "
        f"version, withdraw the archive (perennial withdraw --archive {name}), or raise validation.max_near_duplicates."
    )


def told(workspace: Workspace) -> list[str]:
    """A line for each archive of which something looks like another split."""
    reports = {name: _report(workspace, name) for name in workspace.params().archives}
    return [words(workspace, name) for name, report in reports.items() if report.get(FACE) or report.get(FRAME)]


def folder_of(workspace: Workspace, name: str) -> Path:
    return workspace.root / "reports" / "near_duplicates" / name


def _report(workspace: Workspace, name: str) -> dict[str, object]:
    """The report of the faces that are there."""
    faces = workspace.data("faces", name)
    report = likeness.read_report(folder_of(workspace, name))
    there = bool(report) and (faces / FACES_FILE).is_file()
    return report if there and report["faces"] == read_about(faces)["digest"] else {}
