"""An MLflow server that dies while a generation is recorded: one line says so, and recorded again all is there once."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.errors import PerennialError
from components.registry.record import record
from components.tracking import DATABASE, answering, connect
from tests.between import HANGING_UP, WELL, Between, between

DEATHS = (2, 9, 20, 33)
"""After how many requests."""


@pytest.fixture
def server(empty_books: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Between]:
    """Stands before a real MLflow server."""
    monkeypatch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    shutil.copy(empty_books, tmp_path / DATABASE)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{tmp_path / DATABASE}",
        "--artifacts-destination",
        str(tmp_path / "kept"),
    ]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True)
    try:
        end = time.monotonic() + 120
        while not _answers(port):
            assert process.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.1)
        with between(f"http://127.0.0.1:{port}") as before:
            yield before
    finally:
        process.terminate()
        process.wait(30)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_a_server_that_dies_while_a_generation_is_recorded_is_one_line_and_recorded_again_all_is_there_once(
    bear, server, tmp_path
):
    born, asked = bear(1), 0
    tracking = connect(tmp_path, server.address)

    def dies_after(requests: int) -> None:
        nonlocal asked
        asked = 0

        def mood(method: str, path: str) -> str:
            nonlocal asked
            asked += 1
            return WELL if asked <= requests else HANGING_UP

        server.mood = mood

    for moment in DEATHS:
        dies_after(moment)
        with pytest.raises(PerennialError, match="found nobody that answers") as caught, answering(tracking):
            record(born.generation, **born.recording, tracking=tracking)
        assert len(str(caught.value).splitlines()) == 1 and server.address in str(caught.value)
    server.mood = lambda method, path: WELL
    for _ in range(2):
        record(born.generation, **born.recording, tracking=tracking)
        runs = tracking.client.search_runs([tracking.experiment])
        assert sorted((run.info.run_name, run.info.status) for run in runs) == [
            ("rsia", "FINISHED"),
            ("rsia-M1", "FINISHED"),
        ]
        assert len(tracking.client.search_logged_models([tracking.experiment])) == 1
        assert len(tracking.client.search_model_versions()) == 1
