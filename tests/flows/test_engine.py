"""Prefect's embedded server starts beside other work, keeps what flows tell it, and ends with the process it serves."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
QUIET = {"PREFECT_LOGGING_LEVEL": "CRITICAL", "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120"}
RECORDED = """\
import sys
from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event
from flows import engine

@task(name="step")
def step():
    return 1

@flow(name="told")
def told():
    step.submit().result()
    create_markdown_artifact("done", key="said")
    emit_event("generation.promoted", resource={"prefect.resource.id": "perennial.generation.a-M1"})

for _ in range(2):
    with engine.beside() as engine_is_up, engine_is_up():
        told()
assert not any(name.startswith("prefect.server") for name in sys.modules)
"""
WAITS = """\
import time
from flows import engine
with engine.beside():
    print("started", flush=True)
    time.sleep(120)
"""


def _process(code: str, home: Path, **variables: str) -> subprocess.Popen[str]:
    environment = {**os.environ, **QUIET, "PREFECT_HOME": str(home), **variables}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_what_flows_tell_is_all_there_when_their_process_has_ended_and_their_server_with_it(tmp_path: Path) -> None:
    process = _process(RECORDED, tmp_path)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    with sqlite3.connect(tmp_path / "prefect.db") as books:
        flows = books.execute(
            "select flow.name, flow_run.state_name from flow_run join flow on flow.id = flow_run.flow_id"
        ).fetchall()
        tasks = books.execute("select state_name from task_run").fetchall()
        artifacts = books.execute("select count(*) from artifact").fetchone()
        events = books.execute("select count(*) from events where event = 'generation.promoted'").fetchone()
    assert flows == [("told", "Completed")] * 2
    assert tasks == [("Completed",)] * 2
    assert (artifacts, events) == ((2,), (2,))
    assert not [
        other for other in psutil.process_iter(["cmdline"]) if str(process.pid) in (other.info["cmdline"] or ())
    ]


def test_the_server_of_a_killed_process_ends_by_itself(tmp_path: Path) -> None:
    process = _process(WAITS, tmp_path)
    try:
        assert process.stdout is not None and process.stdout.readline() == "started\n"
        (server,) = psutil.Process(process.pid).children()
        os.kill(process.pid, signal.SIGKILL)
        end = time.monotonic() + 30
        while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < end, "the server outlives its process"
            time.sleep(0.1)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def anybody() -> Iterator[str]:
    """The address of a server that answers, and be it that nothing is there."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


@pytest.mark.parametrize("variable", ["PREFECT_API_URL", "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"])
def test_where_the_settings_name_a_server_or_forbid_one_none_is_started(
    tmp_path: Path, anybody: str, variable: str
) -> None:
    process = _process(WAITS, tmp_path, **{variable: anybody if variable == "PREFECT_API_URL" else "false"})
    try:
        assert process.stdout is not None and process.stdout.readline() == "started\n"
        assert psutil.Process(process.pid).children() == []
    finally:
        process.kill()
        process.communicate()
