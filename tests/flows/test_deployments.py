"""The service: what the Prefect server is told, who may serve, and a new generation with no hands."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components.errors import PerennialError
from components.lab.archive import render_archive
from flows import pipeline
from flows.workspace import Workspace

SMALL = """\
archives: {}
lines:
  small: {detector: rsia_net, strategy: cffd}
faces: {size_px: 96, frames: 2}
validation: {min_per_class: 2}
detectors:
  rsia_net: {size: tiny, trunk: small, width: 8, input_px: 96}
memory: {budget: 8}
training: {founder_epochs: 2, epochs: 1, batch: 8, faces_per_clip: 2}
evaluation: {bootstrap: 50}
gate:
  - {rule: absolute, min_auc: 0.0}
  - {rule: infra}
"""


@pytest.fixture
def family(workspace: Workspace, request: Any) -> Workspace:
    """A workspace whose name no other test's deployment has."""
    return Workspace.at(workspace.root.rename(workspace.root.with_name(f"family{abs(hash(request.node.nodeid))}")))


@pytest.fixture
def server(prefect_server: str, speak_to: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of the server, which is also the one this process and those it starts speak to."""
    from prefect.client.orchestration import get_client

    monkeypatch.setenv("PREFECT_API_URL", prefect_server)
    speak_to(prefect_server)
    with get_client(sync_client=True) as client:
        yield client


def test_without_a_server_it_is_told_how_to_start_one(workspace, speak_to):
    from flows.deployments import serve

    speak_to(None)
    with pytest.raises(PerennialError, match="prefect server start"):
        serve(workspace, cron="0 3 * * *")


def test_a_server_that_does_not_answer_is_named(workspace, speak_to):
    from flows.deployments import deploy

    speak_to("http://127.0.0.1:9/api")
    with pytest.raises(PerennialError, match="expected a Prefect server at PREFECT_API_URL='http://127"):
        deploy(workspace, cron="0 3 * * *")


@pytest.mark.slow
def test_the_server_knows_the_schedule_the_trigger_and_the_limit_of_one(family, server):
    from flows.deployments import deploy

    identity = deploy(family, cron="0 3 * * *")
    assert deploy(family, cron="30 4 * * *") == identity  # brought up to date, not made twice
    known = server.read_deployment(identity)
    assert known.name == family.root.name
    assert not known.paused
    assert [schedule.schedule.cron for schedule in known.schedules] == ["30 4 * * *"]
    assert known.global_concurrency_limit.limit == 1
    assert known.concurrency_options.collision_strategy.value == "ENQUEUE"
    (automation,) = [a for a in _automations(server) if a["actions"][0]["deployment_id"] == str(identity)]
    assert automation["trigger"]["expect"] == ["archive.landed"]
    assert automation["enabled"]
    _until(lambda: any(run.auto_scheduled for run in server.read_flow_runs()), 60, "the schedule begins nothing")


@pytest.mark.slow
def test_a_workspace_of_the_same_name_elsewhere_is_not_pushed_aside(family, server, tmp_path):
    from flows.deployments import deploy

    deploy(family, cron="0 3 * * *")
    other = Workspace.at(shutil.copytree(family.root, tmp_path / "elsewhere" / family.root.name, symlinks=True))
    with pytest.raises(PerennialError, match="prefect deployment delete"):
        deploy(other, cron="0 3 * * *")


@pytest.mark.slow
def test_a_run_whose_process_was_killed_gives_its_slot_back(family, server):
    from filelock import FileLock
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
    from prefect.states import Running

    from flows.deployments import deploy, free

    identity = deploy(family, cron="0 3 * * *")
    run = server.create_flow_run_from_deployment(identity)
    server.set_flow_run_state(run.id, Running(), force=True)
    with FileLock(family.lock):
        assert free(family, identity) == []  # somebody is at work
    limit = server.read_deployment(identity).global_concurrency_limit
    server.update_global_concurrency_limit(limit.name, GlobalConcurrencyLimitUpdate(active_slots=1))
    assert free(family, identity) == [run.name]
    assert server.read_deployment(identity).global_concurrency_limit.active_slots == 0
    assert server.read_flow_run(run.id).state.is_crashed()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_archives_dropped_in_an_inbox_become_generations_with_no_hands(tmp_path, server, service):
    workspace = Workspace.create(tmp_path / "family", SMALL)
    pipeline.start(workspace.root)
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    served = service("deploy", "-C", str(workspace.root))
    service("watch", str(inbox), "--every", "1", "-C", str(workspace.root))
    for seed, (name, family) in enumerate({"first": "identity_swap", "second": "reenactment"}.items()):
        _render(inbox / name, family, seed)
    _until(lambda: _recorded(workspace) == ["small-M1", "small-M2"], 300, served)
    _until(lambda: not _at_work(server), 60, served)

    for generation in ("small-M1", "small-M2"):
        verdict = json.loads((workspace.data("verdicts", generation) / "verdict.json").read_text())
        assert verdict["generation"] == generation
    from components.tracking import connect

    assert len(connect(workspace.root).client.search_model_versions("name='perennial-small'")) == 2
    told = served.read_text()
    for stage in ("evolve@small-M1", "evolve@small-M2", "crop@first", "crop@second"):
        assert told.count(f"✓ {stage}") == 1, told
    began = [line for line in told.splitlines() if re.search("looks for what|ended after", line)]
    assert all(("looks" in a) and ("ended" in b) for a, b in zip(began[::2], began[1::2], strict=True)), told


def _render(folder: Path, family: str, seed: int) -> None:
    """An archive of six people, and at last its marker."""
    render_archive(
        folder,
        families=[family],
        people=6,
        clips_per_person=1,
        frames=2,
        size_px=112,
        seed=seed,
        first_person=6 * seed,
    )
    (folder / "PERENNIAL.json").write_text('{"layout": "lab"}')


def _recorded(workspace: Workspace) -> list[str]:
    marks = (workspace.root / ".perennial" / "recorded").glob("*/*")
    return sorted(mark.name.rpartition("-")[0] for mark in marks)


def _at_work(server: Any) -> bool:
    """Whether any run has not ended yet, those that the schedule means to start some day apart."""
    return any(not run.state.is_final() and not run.auto_scheduled for run in server.read_flow_runs())


def _automations(server: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.request("POST", "/automations/filter", json={}).json()
    return found


def _until(happened: Callable[[], bool], seconds: float, log: Path | str) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, log if isinstance(log, str) else log.read_text()[-4000:]
        time.sleep(1)
