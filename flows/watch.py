"""A new archive has landed: look at an inbox, land what is complete, say so.

The lifecycle asks the files what is pending, so an event that is lost costs a delay and one that comes twice costs
nothing. What was seen of an arrival is kept in ``.perennial/inbox/<name>`` (its fingerprint), so that each is fetched
once, whether it landed or was refused.
"""

from __future__ import annotations

import os
import shutil
import sys
import time

from components.archives.landing import Arrival, inbox
from components.errors import BadParams, PerennialError
from flows.land import Landed, land
from flows.workspace import Workspace

EVENT = "archive.landed"
RESOURCE = "perennial.archive."


def watch(workspace: Workspace, address: str, *, once: bool, every_s: float) -> None:
    """Look every so many seconds, or once."""
    if not address:
        raise BadParams("expected an inbox, found none. Name a folder or s3://bucket/prefix, or set PERENNIAL_INBOX.")
    said: set[str] = set()
    while True:
        for landed in look(workspace, address, said):
            print(f"'{landed.name}' landed: {landed.clips} clips, content {landed.digest[:12]}", flush=True)
            announce(landed)
        if once:
            return
        time.sleep(every_s)


def look(workspace: Workspace, address: str, said: set[str]) -> list[Landed]:
    """Land every complete arrival not seen before; a faulty one is reported once (`said`) and the others go on."""
    waiting = inbox(address).pending(_seen(workspace))
    landed = []
    for problem in waiting.problems:
        _report(f"{problem.name} in '{address}' cannot land: {problem.advice}", said)
    for arrival in waiting.arrivals:
        try:
            landed.append(receive(workspace, address, arrival))
        except PerennialError as fault:
            _report(f"{arrival.name} in '{address}' did not land: {fault}", said)
        else:
            _remember(workspace, arrival)
    return landed


def receive(workspace: Workspace, address: str, arrival: Arrival) -> Landed:
    """Fetch one arrival whole, land it, and throw the fetched copy away."""
    room = workspace.root / ".perennial" / "arrivals" / arrival.name
    shutil.rmtree(room, ignore_errors=True)
    inbox(address).fetch(arrival, room)
    try:
        marker = arrival.marker
        return land(workspace, arrival.name, str(room), layout=marker.layout, role=marker.role, faces=arrival.faces)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def announce(landed: Landed) -> None:
    """Emit ``archive.landed`` to the Prefect server of PREFECT_API_URL; without one there is nobody to tell."""
    if not os.environ.get("PREFECT_API_URL"):
        return
    from prefect.events import emit_event

    emit_event(
        EVENT,
        resource={"prefect.resource.id": RESOURCE + landed.name},
        payload={"digest": landed.digest, "clips": landed.clips},
    )


def _seen(workspace: Workspace) -> dict[str, str]:
    folder = workspace.root / ".perennial" / "inbox"
    return {path.name: path.read_text() for path in folder.glob("*")}


def _remember(workspace: Workspace, arrival: Arrival) -> None:
    folder = workspace.root / ".perennial" / "inbox"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / arrival.name).write_text(arrival.fingerprint)


def _report(words: str, said: set[str]) -> None:
    if words not in said:
        said.add(words)
        print(words, file=sys.stderr, flush=True)
