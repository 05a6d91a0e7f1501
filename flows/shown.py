"""What Prefect shows of a run: a name that says what it does, tags, where to read on, and whether anything failed.

A run begins under whatever name Prefect gives it; its own follows once it is known what there is to do, and again at the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

import httpx
from prefect import runtime
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from components.errors import StageFailed
from components.gates.verdict import VERDICT_FILE
from components.writing import replace_text
from flows import index
from flows.outcome import Outcome
from flows.workspace import Workspace

LONGEST_NAME = 120
KILLED = "Its process was killed."


class SomethingFailed(StageFailed):
    """A stage of a run failed, after everything else was done; to Prefect the run failed."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__("; ".join(f"{name}: {why}" for name, why in outcome.failed.items()))
        self.outcome = outcome


def outcome_of(run: Callable[..., Outcome], workspace: Workspace, *arguments: Any) -> Outcome:
    """What a flow did in a workspace, also where it failed for a stage's sake."""
    try:
        return run(workspace.root, *arguments)
    except SomethingFailed as told:
        return told.outcome


@contextmanager
def at_work(workspace: Workspace) -> Iterator[None]:
    """Whoever holds the workspace stands in a file of it, so that a run that was killed is shown as crashed by the next."""
    file, mine = workspace.root / ".perennial" / "at_work", str(runtime.flow_run.id or "")
    if file.is_file() and mine:
        _was_killed(file.read_text(encoding="utf-8"))
    replace_text(file, mine)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _was_killed(run: str) -> None:
    """Tell the server, unless it knows how the run ended, knows no such run, or is away."""
    with suppress(ValueError, httpx.HTTPError, RuntimeError, ObjectNotFound), get_client(sync_client=True) as client:
        state = client.read_flow_run(UUID(run)).state
        if state is not None and not state.is_final():
            client.set_flow_run_state(UUID(run), Crashed(message=KILLED), force=True)


def begun(workspace: Workspace, generations: Sequence[str]) -> None:
    """Name the run after the generations it is about to raise."""
    names = ", ".join(dict.fromkeys(generations))
    _name(workspace, f"raises {names}" if names else "publishes and records")


def ended(workspace: Workspace, outcome: Outcome) -> Outcome:
    """Name the run after what it did and leave its links; raises SomethingFailed where something did."""
    _name(workspace, _in_short(outcome))
    name = workspace.root.name
    for key, (words, link) in _links(workspace).items():
        create_link_artifact(link, words, key=_key(f"{name}-{key}"), description=f"{words}, as this run left it")
    create_markdown_artifact(_in_full(outcome), key=_key(f"{name}-lifecycle"), description="what this run did")
    if outcome.failed:
        raise SomethingFailed(outcome)
    return outcome


def tags_of(workspace: Workspace) -> list[str]:
    """Of its runs. Their tasks have none: for every tag Prefect asks its server whether the task may begin, so that one that
    is away for a moment would stop stages.
    """
    return ["perennial", workspace.root.name]


def _name(workspace: Workspace, words: str) -> None:
    if runtime.flow_run.id:  # a server that is away for a moment stops no stage for the sake of a name
        with suppress(httpx.HTTPError, RuntimeError), get_client(sync_client=True) as client:
            said = f"{workspace.root.name} {words}"[:LONGEST_NAME]
            client.update_flow_run(runtime.flow_run.id, name=said, tags=tags_of(workspace))


def _links(workspace: Workspace) -> dict[str, tuple[str, str]]:
    """Key -> words and address of what is there: pages and verdicts of every line, Data Docs, MLflow's server."""
    files = {"data-docs": ("Data Docs", workspace.docs)}
    for line, head in workspace.lineage().heads.items():
        files[f"page-{line}"] = f"Page of {line}", workspace.page(line)
        verdict = workspace.data("verdicts", head.generation) / VERDICT_FILE
        files[f"verdict-{line}"] = f"Verdict on {head.generation}", verdict
    links = {key: (words, path.as_uri()) for key, (words, path) in files.items() if path.is_file()}
    tracking = index.tracking(workspace)
    return links | ({"mlflow": ("Runs in MLflow", tracking)} if tracking.startswith("http") else {})


def _key(text: str) -> str:
    """Artifacts are known by lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _in_short(outcome: Outcome) -> str:
    raised = [stage.partition("@")[2] for stage in outcome.ran if stage.startswith("judge@")]
    parts = {"raised": raised, "promoted": outcome.promoted, "failed in": list(outcome.failed)}
    said = ", ".join(f"{verb} {', '.join(names)}" for verb, names in parts.items() if names)
    return said or ("had nothing to do" if outcome.nothing_to_do else f"ran {', '.join(outcome.ran)}")


def _in_full(outcome: Outcome) -> str:
    return "\n\n".join(_paragraphs(outcome)) or "Everything is up to date."


def _paragraphs(outcome: Outcome) -> Iterator[str]:
    told = {
        "Ran": outcome.ran,
        "Planned": outcome.planned,
        "Promoted": outcome.promoted,
        "Not promoted": [f"{name}: {why}" for name, why in outcome.refused.items()],
        "Failed": [f"{name}: {why}" for name, why in outcome.failed.items()],
    }
    for title, rows in told.items():
        if rows:
            yield f"**{title}**\n" + "\n".join(f"- {row}" for row in rows)
