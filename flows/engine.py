"""Prefect's embedded server: started beside whatever needs none, and gone with the process it serves.

    with engine.beside() as engine_is_up:
        ...                     # meanwhile the server starts
        with engine_is_up():
            flow()              # recorded there

Prefect would start it when a flow begins, wait for it, and import the whole server into this process to do so. Here it is
a process of its own from the start, on a socket that listens already; where the settings name a server, it is that one.
It watches its parent, so a run that is killed leaves none behind; and it ends after Prefect's own threads have sent what
they still held.

    python -m flows.engine DESCRIPTOR PARENT        # what is started
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache

from components import guardian
from components.errors import PerennialError

EMBEDDED = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
"""What Prefect 3.8 tells the server it embeds: `prefect.server.api.server.SubprocessASGIServer`."""

PATIENCE_S = 10.0
"""With a server that is named."""


@contextmanager
def beside() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Start the server beside the body, unless the settings name one or forbid it; gives what waits until it answers.

    Raises PerennialError where a server is named and does not answer, now or while it is spoken to.
    """
    from prefect.client.base import ServerType, determine_server_type

    if determine_server_type() is ServerType.EPHEMERAL:
        yield _Server.of_this_process().answering
    else:
        expect_answer()
        yield _named


def expect_answer() -> str:
    """The address of the server that the settings name, empty where they name none; raises PerennialError where it is silent.

    An answer of any kind is one: who may speak to that server is Prefect's to say.
    """
    import httpx
    from prefect.settings import PREFECT_API_URL

    address = PREFECT_API_URL.value() or ""
    if address:
        try:
            httpx.get(f"{address}/health", timeout=PATIENCE_S)
        except httpx.TransportError as fault:
            raise _away(address, fault) from None
    return address


@contextmanager
def _named() -> Iterator[None]:
    from prefect.settings import PREFECT_API_URL

    with _telling_of(PREFECT_API_URL.value() or ""):
        yield


@contextmanager
def _telling_of(address: str) -> Iterator[None]:
    """A server that stops answering is one line."""
    import httpx

    try:
        yield
    except httpx.TransportError as fault:
        raise _away(address, fault) from None
    except RuntimeError as fault:
        if "Failed to reach API" not in str(fault):
            raise
        raise _away(address, fault) from None


def _away(address: str, fault: Exception) -> PerennialError:
    return PerennialError(
        f"expected a Prefect server at PREFECT_API_URL='{address}', found none that answers ({fault or type(fault).__name__}). "
        "Start it with `prefect server start`, mend the address, or unset it: a run then brings a server of its own. What was "
        "made is safe: run again."
    )


class _Server:
    """A server on a free port of this machine, until this process ends."""

    def __init__(self) -> None:
        from prefect.settings import get_current_settings

        with socket.create_server(("127.0.0.1", 0)) as listening:
            descriptor = listening.fileno()
            self.address = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flows.engine", str(descriptor), str(os.getpid())],
                env={**os.environ, **get_current_settings().to_environment_variables(exclude_unset=True), **EMBEDDED},
                pass_fds=[descriptor],
                start_new_session=True,  # an interrupt is recorded there before it ends
            )
        atexit.register(self._stop)

    @classmethod
    @cache
    def of_this_process(cls) -> _Server:
        return cls()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Wait for the server, and let Prefect speak to it; raises PerennialError where it does not start."""
        import httpx
        from prefect.settings import (
            PREFECT_API_URL,
            PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
            temporary_settings,
        )

        patience_s = PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()
        try:
            httpx.get(f"{self.address}/health", timeout=patience_s).raise_for_status()
        except httpx.HTTPError as fault:
            code = self._process.poll()
            how = (
                f"it ended with exit code {code}" if code is not None else f"no answer within {patience_s} s ({fault})"
            )
            raise PerennialError(
                f"expected Prefect's embedded server at {self.address}, found that {how}. Run again; or start one with "
                "`prefect server start` and name it in PREFECT_API_URL."
            ) from fault
        with temporary_settings({PREFECT_API_URL: self.address}), _telling_of(self.address):
            yield

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main(descriptor: int, parent: int) -> None:
    """Serve on a socket that listens, as long as the parent lives."""
    guardian.end_with_parent(parent)
    import uvicorn
    from prefect.server.api.server import create_app

    config = uvicorn.Config(create_app, factory=True, log_level="error", lifespan="on")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
