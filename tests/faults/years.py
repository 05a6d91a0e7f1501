"""A workspace in service for years, told in minutes: every service is a process, and at random moments one is killed.

    python -m tests.faults.years --kills 30 --seed 14 --at .perennial/years

    store         an S3 endpoint: the inbox, MLflow's artifacts and DVC's remote
    books         an MLflow server whose artifacts lie in the store
    prefect       a Prefect server
    deploy        `perennial deploy`
    watch, other  `perennial watch s3://inbox`, twice
    push          `dvc push`, whenever a generation was recorded

One archive after the other arrives; the next one lands while the last one is learned. At moments drawn from the seed a
process, drawn from all that live, gets a SIGKILL: alone, with its children, or the whole machine at once. Whoever is gone
is started again, as a service manager does. After the last kill, when all that arrived is learned, recorded and pushed,
`Life.findings` says what is otherwise than in a workspace that raised the same archives in peace.

What was done stands in ``diary.jsonl``: stopped, and be it by a SIGKILL, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import psutil
import yaml
from boto3.exceptions import S3UploadFailedError
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from filelock import FileLock, Timeout

from components.lab.archive import render_archive
from components.registry import ledger
from components.tracking import connect
from flows import pipeline
from flows.workspace import Workspace

ROOT = Path(__file__).parents[2]
MARK = "PERENNIAL_TESTS_LIFE"
"""A variable that every process of a life has, and nobody else."""
BUCKETS = ("inbox", "books", "remote")
FAMILIES = ("identity_swap", "reenactment", "mesh_swap")
PEOPLE = 6
"""In an archive."""
PER_ARCHIVE = 10
"""Kills of a life that has an archive more than it would have without them, at least."""
PAUSES_S = (0.0, 20.0)
"""From when all are at work again to the next kill."""
WAYS = {"alone": 5, "with its children": 4, "everything": 1}
"""How a process is killed, and how often."""
PATIENCE_S = 120.0
GRACE_S = 15.0
"""Within which what a killed process had started ends by itself."""
SECRET = "of-the-test"
PARAMS = """\
archives: {}
lines:
  cffd: {detector: rsia_net, strategy: cffd}
faces: {size_px: 96, frames: 2}
validation: {min_per_class: 2}
detectors:
  rsia_net: {size: tiny, trunk: small, width: 8, input_px: 96}
memory: {budget: 8}
training: {founder_epochs: 16, epochs: 8, batch: 4, faces_per_clip: 2}
evaluation: {bootstrap: 50}
gate:
  - {rule: absolute, min_auc: 0.0}
  - {rule: infra}
"""


@dataclass
class Service:
    """A process that is started again when it has ended."""

    name: str
    command: list[str]
    port: int = 0
    """Where it answers; our own answer nowhere."""
    word: str = ""
    """What our own say when they are at work."""
    process: psutil.Popen | None = None
    begun: float = 0.0
    log: Path = Path()
    said_before: int = 0
    """Bytes of its log when it was started last."""

    @property
    def lives(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def is_at_work(self) -> bool:
        if not self.lives:
            return False
        return self.answers if self.port else self.word in self.log.read_text()[self.said_before :]

    @property
    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@dataclass
class Life:
    """What happens at `place`, a folder of its own."""

    place: Path
    kills: int
    seed: int
    services: list[Service] = field(default_factory=list)
    pushing: tuple[psutil.Popen, int] | None = None

    # -- what is known of it ------------------------------------------------------------------------------------------

    @cached_property
    def about(self) -> dict[str, Any]:
        """Its name and its ports, the same whenever it goes on."""
        file = self.place / "life.json"
        if not file.is_file():
            ports = _free_ports(3)
            said = {"name": uuid.uuid4().hex, "store": ports[0], "books": ports[1], "prefect": ports[2]}
            file.write_text(json.dumps(said))
        known: dict[str, Any] = json.loads(file.read_text())
        return known

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.place / "family")

    @property
    def peace(self) -> Workspace:
        return Workspace(self.place / "peace")

    @property
    def temporary(self) -> Path:
        """TMPDIR of whatever is ours."""
        return self.place / "tmp"

    def diary(self, did: str) -> list[dict[str, Any]]:
        file = self.place / "diary.jsonl"
        lines = file.read_text().splitlines() if file.is_file() else []
        return [entry for line in lines if line.endswith("}") and (entry := json.loads(line))["did"] == did]

    def note(self, did: str, **what: Any) -> None:
        entry = {"at": time.strftime("%H:%M:%S"), "did": did, **what}
        with (self.place / "diary.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")
        print(*(value for value in entry.values()), flush=True)

    @property
    def variables(self) -> dict[str, str]:
        def at(what: str) -> str:
            return f"http://127.0.0.1:{self.about[what]}"

        return {
            **os.environ,
            MARK: self.about["name"],
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "PERENNIAL_DEVICE": "cpu",
            "PERENNIAL_WORKERS": "2",
            "PERENNIAL_TRACKING_URI": at("books"),
            "PREFECT_API_URL": at("prefect") + "/api",
            "PREFECT_HOME": str(self.place / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "2",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_S3_ENDPOINT_URL": at("store"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DVC_SITE_CACHE_DIR": str(self.place / "dvc"),
            "DVC_GLOBAL_CONFIG_DIR": str(self.place / "dvc-global"),
            "AWS_ENDPOINT_URL": at("store"),
            "AWS_ACCESS_KEY_ID": "life",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def archives(self) -> list[str]:
        """Those that arrived."""
        return [entry["archive"] for entry in self.diary("delivered")]

    @property
    def recorded(self) -> set[str]:
        """Generations that are in MLflow and in the registry."""
        marks = (self.workspace.root / ".perennial" / "recorded").glob("*/*")
        return {mark.name.rpartition("-")[0] for mark in marks}

    @property
    def pushed(self) -> int:
        return max((entry["generations"] for entry in self.diary("pushed")), default=0)

    @property
    def struck(self) -> int:
        return len(self.diary("killed"))

    @property
    def has_ended(self) -> bool:
        """Whether a driver has seen it through."""
        return bool(self.diary("over") and self.diary("stopped"))

    @property
    def is_over(self) -> bool:
        """All kills are done, and all that arrived is learned, recorded and pushed by processes that rest now."""
        done = self.struck >= self.kills and len(self.archives) == len(self.recorded) == self.pushed
        return done and not self.pushing and self._rests

    @property
    def _rests(self) -> bool:
        try:
            with FileLock(self.workspace.lock, timeout=0):
                return True
        except Timeout:
            return False

    # -- how it goes --------------------------------------------------------------------------------------------------

    def live(self) -> None:
        """Begin, or go on, until it is over; every process has ended then."""
        self._begin()
        end = time.monotonic() + 900 + 120 * (self.kills - self.struck)
        try:
            strike, pause_s = self._next()
            while not self.is_over:
                before = time.monotonic()
                assert time.monotonic() < end, f"it does not come to an end; see the logs in '{self.place}'"
                self._tend()
                self._deliver()
                self._push()
                if self.struck < self.kills and pause_s <= 0:
                    strike()
                    strike, pause_s = self._next()
                time.sleep(0.3)
                pause_s -= _since(before) if all(service.is_at_work for service in self.services) else 0
            self.note("over", faults=self._look_inside())
        finally:
            self._stop()

    def _begin(self) -> None:
        for folder in (self.place, self.temporary, self.place / "store", *(self.place / "store" / b for b in BUCKETS)):
            folder.mkdir(parents=True, exist_ok=True)
        for left in self.processes():
            _kill(left)
        self._found(self.workspace)
        self._tell_remote()

        def served(name: str, *words: str) -> Service:
            port = self.about[name]
            return Service(name, self._module(*words, "--host", "127.0.0.1", "--port", str(port)), port=port)

        def own(name: str, word: str, *words: str) -> Service:
            return Service(name, self._own(*words), word=word)

        looks = ("watch", "s3://inbox", "--every", "1")
        self.services = [
            served("store", "localbucket", str(self.place / "store")),
            served("books", "mlflow", "server", *self._books),
            served("prefect", "prefect", "server", "start"),
            own("deploy", "serving '", "deploy", "--cron", "* * * * *"),
            own("watch", "watching '", *looks),
            own("other", "watching '", *looks),
        ]
        for service in self.services[:3]:  # who makes a database does not let that be cut off
            self._start(service)
        self._until(lambda: all(service.answers for service in self.services[:3]), "the services do not answer")

    def _found(self, workspace: Workspace) -> None:
        if not (workspace.root / ".dvc" / "config").is_file():
            Workspace.create(workspace.root, PARAMS)
            pipeline.start(workspace.root)

    def _tell_remote(self) -> None:
        config = self.workspace.root / ".dvc" / "config"
        if "s3://remote" not in config.read_text():
            self._say(["-m", "dvc", "remote", "add", "--default", "store", "s3://remote"])
            self._say(
                ["-m", "dvc", "remote", "modify", "store", "endpointurl", f"http://127.0.0.1:{self.about['store']}"]
            )

    @property
    def _books(self) -> list[str]:
        return [
            "--backend-store-uri",
            f"sqlite:///{self.place}/books.db",
            "--artifacts-destination",
            "s3://books/kept",
            "--workers",
            "1",
        ]

    def _module(self, *words: str) -> list[str]:
        return [sys.executable, "-m", *words]

    def _own(self, *words: str) -> list[str]:
        return self._module("flows.cli", *words, "-C", str(self.workspace.root))

    def _say(self, words: Sequence[str]) -> str:
        """What a command of this life prints; it must end well."""
        done = subprocess.run(
            [sys.executable, *words], cwd=self.workspace.root, env=self.variables, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _start(self, service: Service) -> None:
        service.begun, service.log = time.monotonic(), self.place / f"{service.name}.log"
        service.said_before = len(service.log.read_text()) if service.log.is_file() else 0
        temporary = self.place / "private" / service.name if service.port else None
        if (
            temporary
        ):  # what others leave in theirs when they are killed goes with the place, as systemd's PrivateTmp does
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        service.process = self._spawn(service.name, service.command, ROOT, temporary)

    def _spawn(self, name: str, command: list[str], cwd: Path, temporary: Path | None = None) -> psutil.Popen:
        variables = self.variables | ({"TMPDIR": str(temporary)} if temporary else {})
        with (self.place / f"{name}.log").open("ab") as log:
            return psutil.Popen(command, cwd=cwd, env=variables, stdout=log, stderr=log, start_new_session=True)

    def _tend(self) -> None:
        """Start whoever is gone, a second after it was; of a foreign service first end what is left."""
        for service in self.services:
            alive = service.lives and (not service.port or service.answers or _since(service.begun) < PATIENCE_S)
            if alive or _since(service.begun) < 1:
                continue
            if service.process and service.port:
                _kill_group(service.process.pid)
            self._start(service)

    def _deliver(self) -> None:
        """The next archive arrives while the last one is learned."""
        number = len(self.archives)
        if number and not any(row.learns == f"a{number}" for row in self.workspace.lineage().generations.values()):
            return
        if number > self.kills // PER_ARCHIVE and self.struck >= self.kills:
            return
        folder, name = self._rendered(number + 1), f"a{number + 1}"
        with suppress(BotoCoreError, ClientError, S3UploadFailedError):  # the store is away: again in a moment
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                self._bucket.upload_file(str(path), f"{name}/{path.relative_to(folder).as_posix()}")
            self._bucket.put_object(Key=f"{name}/PERENNIAL.json", Body=b'{"layout": "lab"}')
            self.note("delivered", archive=name)

    def _rendered(self, number: int) -> Path:
        folder = self.place / "archives" / f"a{number}"
        if not (folder / "lab.json").is_file():
            about = {"clips_per_person": 1, "frames": 2, "size_px": 112, "seed": number}
            family = FAMILIES[number % len(FAMILIES)]
            render_archive(folder, families=[family], people=PEOPLE, first_person=PEOPLE * number, **about)
        return folder

    @cached_property
    def _bucket(self) -> Any:
        brief = Config(connect_timeout=2, read_timeout=10, retries={"max_attempts": 1})
        keys = {"aws_access_key_id": "life", "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
        store = boto3.resource("s3", endpoint_url=f"http://127.0.0.1:{self.about['store']}", config=brief, **keys)
        return store.Bucket("inbox")

    def _push(self) -> None:
        if self.pushing is None:
            if len(self.recorded) > self.pushed:
                command = self._module("dvc", "--wait-for-lock", "push")
                self.pushing = self._spawn("push", command, self.workspace.root), len(self.recorded)
        elif self.pushing[0].poll() is not None:
            process, generations = self.pushing
            self.pushing = None
            if process.returncode == 0:
                self.note("pushed", generations=generations)

    # -- who is killed ------------------------------------------------------------------------------------------------

    def processes(self) -> list[psutil.Process]:
        """All that live, by what they do."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.environ().get(MARK) == self.about["name"] and process.status() != psutil.STATUS_ZOMBIE:
                    found.append((_told(process), process.pid, process))
        return [process for _, _, process in sorted(found)]

    def _next(self) -> tuple[Callable[[], None], float]:
        """The next kill, and how long all are at work until then."""
        number = self.struck + 1
        chance = random.Random(f"{self.seed} {number}")
        pause, whom = chance.uniform(*PAUSES_S), chance.random()
        (how,) = chance.choices(list(WAYS), list(WAYS.values()))

        def strike() -> None:
            living = self.processes()
            victim = living[int(whom * len(living))]
            children = _children(victim) if how == "with its children" else []
            told = _told(victim)
            for process in living if how == "everything" else [*children, victim]:
                _kill(process)
            self.note(
                "killed", number=number, whom=told if how != "everything" else f"{len(living)} processes", how=how
            )

        return strike, pause

    # -- how it ends --------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        """Everybody is asked to end; who does not is what `findings` tells of."""
        for service in reversed(self.services):
            if service.lives and service.process:
                service.process.terminate()
        for service in self.services:
            if service.process:
                with suppress(psutil.TimeoutExpired):
                    service.process.wait(GRACE_S)
        end = time.monotonic() + GRACE_S
        while self.processes() and time.monotonic() < end:
            time.sleep(0.2)
        left = [_told(process) for process in self.processes()]
        self.note("stopped", left=left)
        for process in self.processes():
            _kill(process)

    def _look_inside(self) -> list[str]:
        """What can only be asked while the services answer."""
        faults = []
        for words in (["run"], ["verify"], ["history", "--verify"]):  # `run` sweeps, and has nothing else to do
            command = [sys.executable, "-m", "flows.cli", *words, "-C", str(self.workspace.root)]
            done = subprocess.run(command, cwd=ROOT, env=self.variables, capture_output=True, text=True)
            if done.returncode:
                faults.append(f"`perennial {' '.join(words)}` says: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        tracking = connect(self.workspace.root, f"http://127.0.0.1:{self.about['books']}")
        wanted = [f"cffd-M{number}" for number in range(1, len(self.archives) + 1)]
        versions = tracking.client.search_model_versions("name = 'perennial-cffd'")
        named = sorted(version.tags["perennial.generation"] for version in versions)
        if named != sorted(wanted):
            faults.append(f"expected one version of each of {wanted}, found {named}")
        runs = [(run.info.run_name, run.info.status) for run in tracking.client.search_runs([tracking.experiment])]
        if sorted(runs) != sorted((name, "FINISHED") for name in ("cffd", *wanted)):
            faults.append(f"expected one finished run of the line and of each generation, found {sorted(runs)}")
        champion = tracking.client.get_model_version_by_alias("perennial-cffd", "champion").tags["perennial.generation"]
        if champion != wanted[-1]:
            faults.append(f"expected {wanted[-1]} as champion, found {champion}")
        return faults

    def findings(self) -> list[str]:
        """What is otherwise than in a workspace that was left alone; call it when the life is over."""
        self._raise_in_peace()
        self.workspace.sweep()  # as the next lifecycle begins
        faults = [fault for entry in self.diary("over") for fault in entry["faults"]]
        faults += [f"still at work: {told}" for entry in self.diary("stopped") for told in entry["left"]]
        faults += [f"left over: {path}" for path in self._left_over()]
        for what, of in {"outputs": _outs, "lineage": _lineage, "promotions": _promotions}.items():
            one, other = of(self.workspace), of(self.peace)
            if one != other:
                differing = sorted(key for key in {*one, *other} if one.get(key) != other.get(key))
                faults.append(f"other {what} than in peace: {', '.join(differing)}")
        return faults

    def _raise_in_peace(self) -> None:
        self._found(self.peace)
        alone = {
            name: value
            for name, value in self.variables.items()
            if name not in ("PREFECT_API_URL", "PERENNIAL_TRACKING_URI")
        }
        for number in range(1, len(self.archives) + 1):
            land = ["land", f"a{number}", str(self._rendered(number)), "--layout", "lab"]
            for words in (land, ["run"]):
                command = [sys.executable, "-m", "flows.cli", *words, "-C", str(self.peace.root)]
                done = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True)
                assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"

    def _left_over(self) -> Iterator[str]:
        for path in self.temporary.rglob("*"):
            if not path.is_dir():
                yield str(path.relative_to(self.place))
        root = self.workspace.root
        hidden = root / ".perennial"
        for pattern in ("**/.*.partial", "**/.*.fresh", "**/*.tmp"):
            yield from (str(path.relative_to(self.place)) for path in root.glob(pattern))
        for folder in ("arrivals", "comparisons", "checkpoints", "spoilt", "tmp"):
            for path in (hidden / folder).rglob("*"):
                if path.is_file() and path.suffix != ".lock":
                    yield str(path.relative_to(self.place))

    def _until(self, happened: Callable[[], bool], otherwise: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not happened():
            assert time.monotonic() < end, f"{otherwise}; see the logs in '{self.place}'"
            time.sleep(0.2)


def _outs(workspace: Workspace) -> dict[str, Any]:
    found = {
        f"{name} {out['path']}": out["md5"]
        for name, stage in pipeline.locked(workspace.root).items()
        for out in stage["outs"]
    }
    for tracked in workspace.root.glob("data/archives/*.dvc"):
        found[tracked.name] = yaml.safe_load(tracked.read_text())["outs"][0]["md5"]
    return found


def _lineage(workspace: Workspace) -> dict[str, Any]:
    files = [workspace.lineage_file, *workspace.recipes.glob("*.yaml")]
    return {path.name: path.read_bytes() for path in files}


def _promotions(workspace: Workspace) -> dict[str, Any]:
    moves = ledger.read(workspace.ledger)
    return {f"move {number}": (e.line, e.action, e.to.generation, e.to.weights) for number, e in enumerate(moves, 1)}


def _told(process: psutil.Process) -> str:
    """What a process does, in short."""
    words = " ".join(process.cmdline()[1:])
    words = re.sub(r"-m components\.guardian \d+ ", "", re.sub(r"/\S*/", "", words)).removeprefix("-m ")
    return f"{words[:90]}"


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.Error):
        process.kill()


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _since(moment: float) -> float:
    return time.monotonic() - moment


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=14)
    parser.add_argument("--at", type=Path, default=Path(".perennial/years"), help="Where it lives.")
    asked = parser.parse_args()
    life = Life(asked.at.resolve(), asked.kills, asked.seed)
    if not life.has_ended:
        life.live()
    faults = life.findings()
    print("\n".join(faults) or "Everything is as in peace.")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
