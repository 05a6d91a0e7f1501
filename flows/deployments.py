"""Schedules, triggers and the limit of one: the lifecycle as a Prefect deployment served by this process."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast
from uuid import UUID

import httpx
import prefect
from filelock import FileLock, Timeout
from prefect import flow, runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, StateType
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentEventTrigger
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed
from prefect.types.entrypoint import EntrypointType

from components import guardian
from components.errors import PerennialError
from flows import lifecycle as stages
from flows import shown
from flows.lifecycle import RUNNER
from flows.outcome import Outcome
from flows.watch import EVENT, RESOURCE, WORKSPACE, server, tell
from flows.workspace import Workspace

PATIENCE_S = 6 * 3600
"""How long a deployed run waits for a lifecycle somebody started by hand."""


@flow(name="lifecycle", validate_parameters=False, task_runner=RUNNER)
def lifecycle(root: str) -> Outcome:
    """The lifecycle of the workspace at `root`, telling the service's log one line for each thing that happens."""
    guardian.end_with_parent()  # the process of `perennial deploy`: killed, it leaves nobody at work
    name = runtime.flow_run.name
    tell(f"{name} looks for what is pending")
    started = time.monotonic()
    with _telling():
        outcome = stages.lifecycle_within(Path(root), PATIENCE_S)
    for generation in outcome.promoted:
        tell(f"{generation} was promoted")
    for generation, why in outcome.refused.items():
        tell(f"{generation} was not promoted: {why}")
    what = "nothing was pending" if outcome.nothing_to_do else f"{len(outcome.ran)} stages ran"
    tell(f"{name} ended after {time.monotonic() - started:.0f} s: {what}")
    return outcome


def serve(workspace: Workspace, *, cron: str) -> None:
    """Serve until interrupted: now, every `cron`, and whenever ``archive.landed`` is heard; a burst runs one by one.

    Raises PerennialError without a Prefect server: the embedded one has no scheduler.
    """
    if not server():
        raise PerennialError(
            "expected a Prefect server in PREFECT_API_URL, found none; schedules and events need one. "
            "Start it with `prefect server start`, then set PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    identity = deploy(workspace, cron=cron)
    for name in free(workspace, identity):
        tell(f"{name} was cut off; its place is free again")
    wake(identity)
    tell(f"serving '{workspace.root}' at {server()}: now, at '{cron}', and on {EVENT}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="coroutine 'Runner.astop'")  # Prefect 3.8, whenever it is told to end
        prefect.serve(_deployment(workspace, cron), print_starting_message=False)


def deploy(workspace: Workspace, *, cron: str) -> UUID:
    """Make the deployment, its schedule, trigger and limit, or bring them up to date.

    Raises PerennialError if a workspace of the same name elsewhere has it already, or no server answers.
    """
    wanted = _deployment(workspace, cron)
    try:
        with get_client(sync_client=True) as client:
            known = client.read_deployment_by_name(f"{lifecycle.name}/{wanted.name}")
    except ObjectNotFound:
        pass
    except (httpx.HTTPError, RuntimeError) as fault:
        raise PerennialError(
            f"expected a Prefect server at PREFECT_API_URL='{server()}': {fault}. "
            "Start it with `prefect server start`, or mend the address."
        ) from fault
    else:
        if known.parameters != wanted.parameters:
            raise PerennialError(
                f"deployment '{lifecycle.name}/{wanted.name}' serves '{known.parameters.get('root')}'; expected none, "
                f"or one that serves '{workspace.root}'. Rename the workspace's folder, or remove what is there with "
                f"`prefect deployment delete {lifecycle.name}/{wanted.name}`."
            )
    return cast(UUID, wanted.apply())  # outside an event loop; inside one, a coroutine


def free(workspace: Workspace, deployment: UUID) -> list[str]:
    """Release the one slot from runs whose process was killed; returns their names.

    A run holds the workspace's lock while it lives, so that a free lock shows that whatever still counts as running
    does not run. Without this they would block the next run until their lease ends (minutes; for ever if the server
    died as well and forgot the lease), and be shown as running.
    """
    alive = FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING, StateType.CANCELLING])
    try:
        with FileLock(workspace.lock, timeout=0), get_client(sync_client=True) as client:
            cut_off = client.read_flow_runs(
                deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
                flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=alive)),
            )
            for run in cut_off:
                client.set_flow_run_state(run.id, Crashed(message=shown.KILLED), force=True)
            limit = client.read_deployment(deployment).global_concurrency_limit
            if limit and limit.active_slots:
                empty = GlobalConcurrencyLimitUpdate(active_slots=0)
                client.update_global_concurrency_limit(limit.name, empty)
    except Timeout:
        return []
    return [run.name for run in cut_off]


def wake(deployment: UUID) -> None:
    """Ask for a run now: something may have landed, or been cut off, while nobody served."""
    with get_client(sync_client=True) as client:
        client.create_flow_run_from_deployment(deployment)


def _deployment(workspace: Workspace, cron: str) -> RunnerDeployment:
    name = workspace.root.name
    made = lifecycle.to_deployment(
        name=name,
        description="Raise the next generations when archives have landed.",
        cron=cron,
        paused=False,
        tags=shown.tags_of(workspace),
        parameters={"root": str(workspace.root)},
        triggers=[
            DeploymentEventTrigger(
                name=f"archive-landed-{name}",
                expect={EVENT},
                match={"prefect.resource.id": RESOURCE + "*", WORKSPACE: name},
            )
        ],
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    return cast(RunnerDeployment, made)


@contextmanager
def _telling() -> Iterator[None]:
    """One line when a stage has ended."""

    def line(name: str, word: str) -> None:
        if word in ("done", "failed"):
            tell(f"  {'✓' if word == 'done' else '✗'} {name}")

    stages.on_output.append(line)
    try:
        yield
    finally:
        stages.on_output.remove(line)
