"""The first page of a workspace: its lines, who answers for each, and where everything else is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.reports import PAGE_FILE
from components.reports.pages import render
from components.writing import replace_text


def write_index(reports: Path, name: str, status: Mapping[str, Any], tracking: str) -> Path:
    """Write ``index.html`` in the folder `reports`; returns it. What is not there is not linked.

    name      of the workspace
    status    its lines, as `terminal.status_json` gives them
    tracking  the address of MLflow's page, or how to start one
    """
    page = reports / PAGE_FILE
    lines = [_line(reports, name, line) for name, line in status["lines"].items()]
    said = render(
        "index.html",
        name=name,
        lines=lines,
        tracking=tracking,
        studies=_studies(reports),
        docs=_there(reports, "data_docs"),
    )
    replace_text(page, said)
    return page


def _line(reports: Path, name: str, line: Mapping[str, Any]) -> dict[str, Any]:
    """The champion with its own numbers, or without one the youngest with its own."""
    generations: Sequence[Mapping[str, Any]] = line["generations"]
    last = generations[-1]
    shown = next((one for one in generations if one["name"] == line["champion"]), last)
    return {
        "name": name,
        "champion": line["champion"],
        "shown": shown,
        "last": last,
        "state": {True: "opened", False: "stayed closed", None: "was not asked yet"}[last["opens"]],
        "generations": len(generations),
        "page": _there(reports, "lines", name),
        "asked": _there(reports, "asked", name),
    }


def _there(reports: Path, *folders: str) -> str:
    """The address of a page from the index; empty where there is none."""
    return "/".join((*folders, PAGE_FILE)) if reports.joinpath(*folders, PAGE_FILE).is_file() else ""


def _studies(reports: Path) -> list[tuple[str, str]]:
    """(name and split, address) of every table that was told."""
    tables = sorted((reports / "studies").glob("*/*/table.md"))
    return [
        (" · ".join(one.parent.relative_to(reports / "studies").parts), one.relative_to(reports).as_posix())
        for one in tables
    ]
