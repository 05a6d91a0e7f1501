"""What Prefect shows of a run: that it failed, what it did, whose it is, and where to read on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.land import land
from flows.outcome import Outcome
from flows.shown import KILLED, SomethingFailed, _in_full, _in_short

ROOT = Path(__file__).parents[2]
FEW = "validation: {min_per_class: 50}"
"""More than there are: the stage `validate` fails."""


def one_that_was_killed(workspace):
    """A run that the server takes for one at work in the workspace."""
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.states import Running

    with get_client(sync_client=True) as client:
        run = client.create_flow_run(flow(lambda: None, name="lifecycle"), state=Running())
    (workspace.root / ".perennial" / "at_work").write_text(str(run.id))
    return run.id


@pytest.mark.slow
def test_a_run_with_a_failed_stage_is_a_failed_run_that_says_which_and_links_what_there_is_to_read(
    workspace, archive, prefect_server, speak_to
):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags

    land(workspace, "swaps", str(archive), layout="crops")
    workspace.params_file.write_text(workspace.params_file.read_text().replace("validation: {}", FEW))
    speak_to(prefect_server)
    killed = one_that_was_killed(workspace)
    environment = {**os.environ, "PREFECT_API_URL": prefect_server}
    command = [sys.executable, "-m", "flows.cli", "run", "-C", str(workspace.root)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr

    mine = FlowRunFilter(tags=FlowRunFilterTags(all_=["perennial", workspace.root.name]))
    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs(flow_run_filter=mine)
        artifacts = {found.key: str(found.data) for found in client.read_artifacts() if found.flow_run_id == run.id}
        before = client.read_flow_run(killed)
    assert run.state.is_failed() and "validate@swaps" in run.state.message
    assert before.state.is_crashed() and before.state.message == KILLED
    assert not (workspace.root / ".perennial" / "at_work").exists()
    assert run.name == f"{workspace.root.name} failed in validate@swaps"
    assert workspace.docs.as_uri() in artifacts[f"{workspace.root.name}-data-docs"]
    assert "validate@swaps" in artifacts[f"{workspace.root.name}-lifecycle"]


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Outcome(), "had nothing to do"),
        (Outcome(ran=["publish@small"]), "ran publish@small"),
        (Outcome(ran=["evolve@a-M2", "judge@a-M2"], promoted=["a-M2"]), "raised a-M2, promoted a-M2"),
        (Outcome(ran=["judge@a-M2"], failed={"crop@b": "no face"}), "raised a-M2, failed in crop@b"),
    ],
)
def test_a_run_is_named_after_what_it_did(outcome, said):
    assert _in_short(outcome) == said


def test_what_failed_is_said_in_full_and_in_the_error():
    outcome = Outcome(ran=["crop@a"], failed={"crop@b": "no face"})
    assert "- crop@b: no face" in _in_full(outcome)
    assert str(SomethingFailed(outcome)) == "crop@b: no face"
    assert _in_full(Outcome()) == "Everything is up to date."
