"""Looking at what a champion is asked: told on a page, to MLflow, and as an event that an automation can answer.

answers kept by `perennial serve` -> beside the champion's validation clips -> .perennial/asked/LINE.jsonl, page, MLflow
                                                                         \\--> population.drifted, where they drifted
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.reports.asked import write_asked
from components.serving.asked import Asked
from components.serving.watching import ALPHA, DAYS, Watched, look
from components.writing import replace_text
from flows.serving import champion_of
from flows.watch import WORKSPACE, post, server
from flows.workspace import Workspace

EVENT = "population.drifted"
RESOURCE = "perennial.line."
KEPT = 1000
"""Looks."""


def asked_of(workspace: Workspace) -> Asked:
    """What was asked of any generation of a workspace."""
    return Asked(workspace.root / ".perennial" / "asked.sqlite")


def watch(workspace: Workspace, line: str | None, *, days: float, alpha: float) -> Watched:
    """Look once, and tell everybody; the event is sent where the look before saw no drift.

    Raises Refused as `champion_of` does, OSError where a Prefect server did not hear.
    """
    from components.registry.record import tell_population
    from components.tracking import answering, connect

    champion, _ = champion_of(workspace, line)
    name = workspace.lineage().generations[champion.generation].line
    points = workspace.data("operating_points", champion.generation)
    found = look(asked_of(workspace), champion.generation, points, days=days, alpha=alpha)
    known = looks(workspace, name)
    before = bool(known) and known[-1]["drifted"] and known[-1]["generation"] == champion.generation
    kept = [*known, found.as_json()][-KEPT:]
    replace_text(_history(workspace, name), "".join(json.dumps(one, sort_keys=True) + "\n" for one in kept))
    write_page(workspace, name)
    tracking = connect(workspace.root)
    with answering(tracking):
        tell_population(champion.generation, champion.weights, found.numbers(), int(time.time()), tracking)
    if found.drift and found.drifted and not before and server():
        about = {"generation": champion.generation, "distance": found.drift.distance, "chance": found.drift.chance}
        resource = {"prefect.resource.id": RESOURCE + name, WORKSPACE: workspace.root.name}
        post(EVENT, resource, {**about, "files": found.asked["files"]})
    return found


def write_page(workspace: Workspace, line: str) -> Path:
    """The page of what a line is asked, from the looks so far; also where there was none."""
    folder = workspace.root / "reports" / "asked" / line
    write_asked(folder, line, looks(workspace, line))
    return folder


def looks(workspace: Workspace, line: str) -> list[dict[str, Any]]:
    """All looks at a line so far, oldest first; one that was cut off is none."""
    file = _history(workspace, line)
    lines = file.read_text().splitlines() if file.is_file() else []
    return [json.loads(text) for text in lines if text.endswith("}")]


def watcher(workspace: Workspace, line: str | None) -> Callable[[], dict[str, float]]:
    """What a service calls now and then: one look, told to everybody; its numbers."""
    return lambda: watch(workspace, line, days=DAYS, alpha=ALPHA).numbers()


def in_words(found: Watched) -> str:
    """One sentence, and one more where there is something to do."""
    files = f"{found.asked['files']} files were asked of {found.generation} since {found.since[:10]}"
    if found.drift is None:
        return f"{files}; whether they drifted cannot be told: {found.without}."
    numbers = f"distance {found.drift.distance:.3f}, reached by chance in {found.drift.chance:.1%}"
    if not found.drifted:
        return f"{files}; they look like the clips it was calibrated on ({numbers})."
    return f"{files}; they have drifted from what it was calibrated on ({numbers}). Land an archive of the new kind."


def _history(workspace: Workspace, line: str) -> Path:
    folder = workspace.root / ".perennial" / "asked"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{line}.jsonl"
