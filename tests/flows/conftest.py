"""Workspaces to land in, archives to land, an S3 server and a Prefect server of our own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from PIL import Image

from flows import pipeline
from flows.workspace import Workspace

ROOT = Path(__file__).parents[2]
PARAMS = """\
# A family of one line.
archives: {}  # what landed
sequence: []
benchmarks: []  # what is asked
lines:
  small: {detector: rsia_net, strategy: cffd}   # the only line
faces: {size_px: 64}
validation: {}
gate:
  - {rule: infra}
"""


def crops(root: Path, seed: int = 0) -> Path:
    """An archive of layout crops: two faces of each class in train and in test."""
    generator = np.random.default_rng(seed)
    rows = ["file,label,method,source,split"]
    for split in ("train", "test"):
        for label, folder, method in ((0, "real", "genuine"), (1, "fake", "swap")):
            (root / folder).mkdir(parents=True, exist_ok=True)
            for number in range(2):
                file = f"{folder}/{split}_{number}.png"
                pixels = generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / file)
                rows.append(f"{file},{label},{method},{split}_{number},{split}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return crops(tmp_path / "swaps")


@pytest.fixture(scope="session")
def crops_at() -> Callable[..., Path]:
    return crops


@pytest.fixture(scope="session")
def _fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = Workspace.create(tmp_path_factory.mktemp("fresh") / "workspace", PARAMS)
    pipeline.start(workspace.root)
    return workspace.root


@pytest.fixture
def workspace(_fresh: Path, tmp_path: Path) -> Workspace:
    """A workspace in which nothing has landed."""
    return Workspace.at(shutil.copytree(_fresh, tmp_path / "workspace", symlinks=True))


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 server of our own."""
    port = _free_port()
    log = tmp_path_factory.mktemp("s3") / "log"
    with started([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], log) as server:
        _wait_for(port, server, 60)
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch, request: Any, tmp_path: Path) -> Any:
    """A fresh bucket; boto3 and DVC find it through the environment alone."""
    config = tmp_path / "aws"
    config.touch()
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "a-key-of-the-test",
        "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(config),
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    made = boto3.resource("s3").Bucket(f"b{abs(hash(request.node.nodeid))}")
    made.create()
    return made


@pytest.fixture
def upload(bucket: Any) -> Callable[[Path, str], str]:
    """Put a folder under a prefix; returns its address."""

    def put(folder: Path, prefix: str) -> str:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                bucket.upload_file(str(path), f"{prefix}/{path.relative_to(folder).as_posix()}")
        return f"s3://{bucket.name}/{prefix}"

    return put


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prefect server, as ``prefect server start`` gives it; the address of its API."""
    port, home = _free_port(), tmp_path_factory.mktemp("prefect")
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    quick = {"PREFECT_HOME": str(home), "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "2"}
    with started(command, home / "log", quick) as server:
        _wait_for(port, server, 120)
        yield f"http://127.0.0.1:{port}/api"


@pytest.fixture
def speak_to() -> Iterator[Callable[[str | None], None]]:
    """Have this process speak to the server at an address, or to none."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with ExitStack() as stack:
        yield lambda address: stack.enter_context(temporary_settings({PREFECT_API_URL: address}))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Start ``perennial WORDS`` beside the test, with these variables; returns its log. All end with the test."""
    running: list[Any] = []

    def start(*words: str, **variables: str) -> Path:
        log = tmp_path / f"{words[0]}.log"
        context = started([sys.executable, "-m", "flows.cli", *words], log, variables)
        context.__enter__()
        running.append(context)
        return log

    yield start
    for context in reversed(running):
        context.__exit__(None, None, None)


@contextmanager
def started(
    command: list[str], log: Path, variables: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, and its end: asked first, then made to."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, **(variables or {})},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        _kill_group(process.pid)
        process.wait(20)


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, server: subprocess.Popen[bytes], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert server.poll() is None, "the server ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("the server did not answer")
