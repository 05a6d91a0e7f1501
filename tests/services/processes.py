"""infra/compose.yaml, its services started as processes of this machine instead of containers.

Commands and variables are read from that file. What differs: a service listens on a free port of 127.0.0.1, what lies in a
volume lies in a folder, and PostgreSQL and the store, whose images bring their own programs, are Debian's and localbucket.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "infra" / "compose.yaml"
SECRETS = {
    "POSTGRES_PASSWORD": "a-password-of-the-test",
    "STORE_ACCESS_KEY": "a-key-of-the-test",
    "STORE_SECRET_KEY": "a-secret-of-the-test",
    "PERENNIAL_KEYS": "test:a-key-of-the-test",
}
MODULES = {"python": [], "perennial": ["-m", "flows.cli"], "prefect": ["-m", "prefect"], "mlflow": ["-m", "mlflow"]}
PORTS = {"postgres": 5432, "store": 7070, "mlflow": 5000, "prefect": 4200, "serve": 8400}
VOLUMES, IMAGE = "/srv/", "/perennial/"
PATIENCE_S = 900
NOBODY = 65534
"""Who runs PostgreSQL where the tests are root's: it refuses to be root."""


def services(path: Path = COMPOSE, said: Mapping[str, str] = SECRETS) -> dict[str, Any]:
    """The services of a compose file, its variables filled in as Compose does."""

    def value(found: re.Match[str]) -> str:
        name, how, words = found.group("name", "how", "words")
        if said.get(name):
            return said[name]
        assert how == "-", f"{name} {words}"
        return str(words)

    text = re.sub(r"\$\{(?P<name>\w+):(?P<how>[-?])(?P<words>[^}]*)\}", value, path.read_text())
    return dict(yaml.safe_load(text)["services"])


def postgres_program(name: str) -> str | None:
    """Debian keeps those of a server out of PATH."""
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(installed[-1]) if installed else shutil.which(name)


class Services:
    """One set of services, their data under `place`; whoever started something stops it again."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.told = services()
        self.ports = {name: _free_port() for name in PORTS}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.tried: set[str] = set()
        """Services that were started at least once."""
        for folder in ("logs", "store", "home"):
            (place / folder).mkdir(parents=True, exist_ok=True)

    @property
    def family(self) -> Path:
        return self.place / "family"

    @property
    def store(self) -> Path:
        """Buckets are folders here, objects files."""
        return self.place / "store"

    def log(self, name: str) -> Path:
        return self.place / "logs" / f"{name}.log"

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def environment(self, name: str) -> dict[str, str]:
        """What the service's container would be told, and what keeps it out of this machine's home."""
        told = {key: self._here(str(value)) for key, value in (self.told[name].get("environment") or {}).items()}
        return {
            **os.environ,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "PERENNIAL_DEVICE": "cpu",
            "PREFECT_HOME": str(self.place / "home" / name),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            "PYTHONUNBUFFERED": "1",
            **told,
        }

    def command(self, name: str) -> list[str]:
        program, *words = self.told[name]["command"]
        return [sys.executable, *MODULES[program], *(self._here(word, name) for word in words)]

    def start(
        self, name: str, process: str = "", *, further: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start the service, under the name `process` where there is more than one of it."""
        command = {"postgres": self._postgres, "store": self._localbucket}.get(name, lambda: self.command(name))()
        environment = {**self.environment(name), **(further or {})}
        with self.log(process or name).open("ab") as log:
            started = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.place, env=environment, start_new_session=True
            )
        self.running[process or name] = started
        self.tried.add(name)
        return started

    def ready(self, *names: str) -> None:
        """Wait until these answer."""
        for name in names:
            self.until(lambda name=name: self.running[name].poll() is not None or _answers(self.ports[name]), name)
            assert self.running[name].poll() is None, self.told_by(name)

    def run(self, name: str) -> None:
        """A service that ends by itself."""
        assert self.start(name).wait(PATIENCE_S) == 0, self.told_by(name)

    def perennial(self, *words: str) -> str:
        """What ``perennial WORDS`` prints where the services of the family run."""
        command = [sys.executable, "-m", "flows.cli", *words]
        done = subprocess.run(
            command, cwd=self.place, env=self.environment("watch"), capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def kill(self, name: str) -> None:
        """``kill -9`` of everything its container would hold."""
        process = self.running.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)

    def end(self) -> None:
        """Kill whatever runs."""
        for name in list(self.running):
            self.kill(name)

    def stop(self, *names: str) -> None:
        """Ask these to end; whoever does not is made to."""
        for name in names:
            process = self.running[name]
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            self.kill(name)

    def until(self, happened: Callable[[], object], *logs: str) -> None:
        """Wait for something; what the services said is shown where it does not happen."""
        end = time.monotonic() + PATIENCE_S
        while not happened():
            assert time.monotonic() < end, "\n".join(self.told_by(name) for name in logs)
            time.sleep(0.1)

    def told_by(self, name: str) -> str:
        return f"--- {name}\n{self.log(name).read_text(errors='replace')[-3000:]}" if self.log(name).is_file() else name

    def make_postgres(self) -> None:
        """A cluster with the databases of infra/databases.sql, as the image makes it at its first start."""
        data, secret = self.place / "postgres", self.place / "password"
        secret.write_text(SECRETS["POSTGRES_PASSWORD"])
        if os.getuid() == 0:
            data.mkdir(mode=0o700)
            for path in (data, secret):
                shutil.chown(path, NOBODY, NOBODY)
        initdb = [postgres_program("initdb"), "--pgdata", str(data), "--username=postgres", "--auth=scram-sha-256"]
        said = subprocess.run(
            [*_as_nobody(), *initdb, "--no-sync", f"--pwfile={secret}"], capture_output=True, text=True, cwd="/"
        )
        assert said.returncode == 0, said.stderr
        self.start("postgres")
        self.ready("postgres")
        self.sql("psql", "--file", str(ROOT / "infra" / "databases.sql"))

    def sql(self, program: str, *words: str) -> str:
        """A client of PostgreSQL: psql, pg_dump, pg_restore."""
        where = ["--host=127.0.0.1", f"--port={self.ports['postgres']}", "--username=postgres"]
        secret = {**os.environ, "PGPASSWORD": SECRETS["POSTGRES_PASSWORD"]}
        done = subprocess.run(
            [str(postgres_program(program)), *where, *words], env=secret, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _postgres(self) -> list[str]:
        options = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "shared_buffers=32MB"]
        flags = [word for option in options for word in ("-c", option)]
        program = str(postgres_program("postgres"))
        return [*_as_nobody(), program, "-D", str(self.place / "postgres"), "-p", str(self.ports["postgres"]), *flags]

    def _localbucket(self) -> list[str]:
        where = ["--host=127.0.0.1", f"--port={self.ports['store']}"]
        return [sys.executable, "-m", "localbucket", str(self.store), *where]

    def _here(self, text: str, name: str = "") -> str:
        """What a container is told, with the addresses and folders of this machine."""
        for service, port in PORTS.items():
            text = text.replace(f"//{service}:{port}", f"//127.0.0.1:{self.ports[service]}")
            text = re.sub(rf"(?<=@|=){service}:{port}", f"127.0.0.1:{self.ports[service]}", text)
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{self.ports[service]}")
        if name in PORTS:
            text = text.replace(f"--port={PORTS[name]}", f"--port={self.ports[name]}")
        return (
            text.replace("--host=0.0.0.0", "--host=127.0.0.1")
            .replace(VOLUMES, f"{self.place}/")
            .replace(IMAGE, f"{ROOT}/")
        )


def _as_nobody() -> list[str]:
    if os.getuid():
        return []
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
