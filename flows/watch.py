"""A new archive has landed: look at an inbox, land what is complete, say so.

The lifecycle asks the files what is pending, so an event that is lost costs a delay and one that comes twice costs
nothing. What landed is kept in ``.perennial/inbox/<name>`` (its fingerprint), so that each arrival is fetched once.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from filelock import FileLock, Timeout

from components.archives.arrivals import Arrival, said
from components.archives.landing import inbox
from components.errors import BadArchive, BadParams, OutOfReach
from components.texts import say
from components.writing import replace_text, room
from flows.land import Landed, land
from flows.workspace import Workspace

EVENT = "archive.landed"
RESOURCE = "perennial.archive."
WORKSPACE = "perennial.workspace"
PAUSE_S = 300
"""How long to wait before an arrival is tried again that failed through no fault of its own."""


def watch(workspace: Workspace, address: str, *, once: bool, every_s: float) -> None:
    """Look every so many seconds, or once; an inbox that is away for a while is waited for.

    Raises BadParams where there is none at the first look.
    """
    if not address:
        raise BadParams("expected an inbox, found none. Name a folder or s3://bucket/prefix, or set PERENNIAL_INBOX.")
    inbox(address).pending({})
    tell(f"watching '{address}'")
    watcher = InboxWatch(workspace, address)
    while True:
        watcher.round()
        if once:
            return
        time.sleep(every_s)


@dataclass
class InboxWatch:
    """What one watching process remembers; a new process starts afresh and repeats what is still wrong."""

    workspace: Workspace
    address: str
    held: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Arrival -> (fingerprint, until when it is left alone) of those that did not land."""
    told: set[str] = field(default_factory=set)
    """Faults already told."""
    unheard: list[Landed] = field(default_factory=list)
    """Landings the server has not been told of yet."""

    def round(self) -> None:
        """Land what is complete and announce it; what goes wrong is told once and tried again later."""
        try:
            for landed in self.look():
                self.unheard.append(landed)
                self.announce()
        except Exception as fault:  # a service looks again, whatever the inbox, its store or a disk raised
            self._tell_once(f"'{self.address}' could not be looked through: {said(fault)}")
        self.announce()

    def look(self) -> Iterator[Landed]:
        """Land every complete arrival not seen before; a faulty one does not stop the others.

        An arrival counts as seen once the caller has come back for the next one: if the process is killed before, it
        lands again, which changes nothing, and is announced again. One that another watcher is landing is left to it.
        """
        waiting = inbox(self.address).pending(_seen(self.workspace))
        for problem in waiting.problems:
            self._tell_once(f"'{problem.name}' cannot land: {problem.advice}")
        for arrival in waiting.arrivals:
            fingerprint, until = self.held.get(arrival.name, ("", 0.0))
            if fingerprint == arrival.fingerprint and time.monotonic() < until:
                continue
            with _alone_with(self.workspace, arrival) as alone:
                if not alone or _seen(self.workspace).get(arrival.name) == arrival.fingerprint:
                    continue
                try:
                    landed = receive(self.workspace, self.address, arrival)
                except Exception as fault:  # files of strangers: nobody can list what reading them raises
                    own = isinstance(fault, BadArchive | BadParams) and not isinstance(fault, OutOfReach)
                    pause_s = float("inf") if own else PAUSE_S  # its own fault: only a change of it helps
                    self.held[arrival.name] = arrival.fingerprint, time.monotonic() + pause_s
                    self._tell_once(f"'{arrival.name}' did not land: {said(fault)}")
                else:
                    tell(f"'{landed.name}' landed: {landed.clips} clips, content {landed.digest[:12]}")
                    for words in landed.set_aside:
                        tell(words)
                    yield landed
                    _remember(self.workspace, arrival)

    def announce(self) -> None:
        """Tell the Prefect server what landed; what it did not hear is told again at the next round."""
        if self.unheard and not server():
            self.unheard.clear()  # there is nobody to tell
        while self.unheard:
            try:
                announce(self.workspace, self.unheard[0])
            except OSError as fault:
                self._tell_once(f"the server at PREFECT_API_URL has not heard of {EVENT}, which is sent again: {fault}")
                return
            self.unheard.pop(0)

    def _tell_once(self, words: str) -> None:
        if words not in self.told:
            self.told.add(words)
            tell(words, error=True)


@contextmanager
def _alone_with(workspace: Workspace, arrival: Arrival) -> Iterator[bool]:
    """Whether no other watcher is landing this arrival; while the block runs none begins to."""
    rooms = workspace.root / ".perennial" / "arrivals"
    rooms.mkdir(parents=True, exist_ok=True)
    lock = FileLock(rooms / f"{arrival.name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def receive(workspace: Workspace, address: str, arrival: Arrival) -> Landed:
    """Fetch one arrival whole, land it, and throw the fetched copy away."""
    marker = arrival.marker
    with room(workspace.root / ".perennial" / "arrivals") as here:
        fetched = here / arrival.name
        inbox(address).fetch(arrival, fetched)
        return land(workspace, arrival.name, str(fetched), layout=marker.layout, role=marker.role, faces=marker.faces)


def announce(workspace: Workspace, landed: Landed) -> None:
    """Emit ``archive.landed``; raises OSError as `post` does."""
    resource = {"prefect.resource.id": RESOURCE + landed.name, WORKSPACE: workspace.root.name}
    post(EVENT, resource, {"digest": landed.digest, "clips": landed.clips})


def post(event: str, resource: dict[str, str], payload: dict[str, Any]) -> None:
    """Emit an event to the Prefect server of PREFECT_API_URL; raises OSError if it did not hear.

    Posted and answered, where `emit_event` would queue it in a thread and drop it if nobody listens.
    """
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.events.schemas.events import Event

    said = Event(event=event, resource=resource, payload=payload)
    try:
        with get_client(sync_client=True) as client:
            client.request("POST", "/events", json=[said.model_dump(mode="json")]).raise_for_status()
    except (httpx.HTTPError, RuntimeError) as fault:  # RuntimeError: no server answers at all
        raise OSError(str(fault) or type(fault).__name__) from fault


def server() -> str | None:
    """The Prefect server of PREFECT_API_URL, or of Prefect's own profile (`prefect config set`)."""
    from prefect.settings import get_current_settings

    return get_current_settings().api.url


def tell(words: str, *, error: bool = False) -> None:
    """One line for each thing that happens, with the time."""
    say(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr if error else sys.stdout, flush=True)


def _seen(workspace: Workspace) -> dict[str, str]:
    folder = workspace.root / ".perennial" / "inbox"
    return {path.name: path.read_text() for path in folder.glob("[!.]*")}


def _remember(workspace: Workspace, arrival: Arrival) -> None:
    replace_text(workspace.root / ".perennial" / "inbox" / arrival.name, arrival.fingerprint)
