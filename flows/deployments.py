"""Schedules, triggers and the limit of one: the lifecycle as a Prefect deployment served by this process."""

from __future__ import annotations

import os

from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.events import DeploymentEventTrigger

from components.errors import PerennialError
from flows.lifecycle import lifecycle
from flows.watch import EVENT, RESOURCE
from flows.workspace import Workspace

PATIENCE_S = 6 * 3600
"""How long a deployed run waits for a lifecycle somebody started by hand."""


def serve(workspace: Workspace, *, cron: str) -> None:
    """Serve until interrupted: every `cron`, and whenever ``archive.landed`` is heard; a burst of events runs one by one.

    Raises PerennialError without a Prefect server: the embedded one has no scheduler.
    """
    if not os.environ.get("PREFECT_API_URL"):
        raise PerennialError(
            "expected a Prefect server in PREFECT_API_URL, found none; schedules and events need one. "
            "Start it with `prefect server start`, then set PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    lifecycle.serve(
        name=f"lifecycle-{workspace.root.name}",
        description="Raise the next generations when archives have landed.",
        cron=cron,
        parameters={"root": str(workspace.root), "patience_s": PATIENCE_S},
        triggers=[
            DeploymentEventTrigger(
                name=f"archive-landed-{workspace.root.name}",
                expect={EVENT},
                match={"prefect.resource.id": RESOURCE + "*"},
            )
        ],
        global_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
    )
