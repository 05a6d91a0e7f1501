"""A new archive has landed: look at an inbox, land what is complete, say so. The lifecycle asks the files what is
pending, so an event that is lost costs a delay and an event that comes twice costs nothing."""

from __future__ import annotations

import shutil
import sys
import time

from prefect.events import emit_event

from components.archives.landing import open_inbox
from components.errors import BadArchive, BadParams, PerennialError
from flows.land import Landed, land
from flows.workspace import Workspace

EVENT = "archive.landed"


def watch(workspace: Workspace, inbox: str, *, once: bool, every_s: float) -> None:
    """Look every so many seconds, or once."""
    if not inbox:
        raise BadParams("expected an inbox, found none. Name a folder or s3://bucket/prefix, or set PERENNIAL_INBOX.")
    while True:
        look(workspace, inbox)
        if once:
            return
        time.sleep(every_s)


def look(workspace: Workspace, inbox: str) -> list[Landed]:
    """Land every complete arrival that has not landed yet; a faulty one is reported and the others go on."""
    landed = []
    for arrival in open_inbox(inbox).pending():
        if arrival.name in workspace.params().archives:
            continue
        try:
            landed.append(receive(workspace, arrival))
        except (BadArchive, BadParams) as fault:
            print(f"{arrival.name} in '{inbox}' did not land: {fault}", file=sys.stderr)
    return landed


def receive(workspace: Workspace, arrival: object) -> Landed:
    raise NotImplementedError


def announce(landed: Landed) -> None:
    """Emit ``archive.landed``; without a Prefect server it goes nowhere, and nothing depends on it."""
    emit_event(
        EVENT,
        resource={"prefect.resource.id": f"perennial.archive.{landed.name}"},
        payload={"digest": landed.digest, "clips": landed.clips},
    )


_ = (shutil, PerennialError)
