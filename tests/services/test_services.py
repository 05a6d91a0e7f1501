"""The services of infra/compose.yaml, started as processes, killed at work, and had again from a backup."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from components.registry import ledger

from .conftest import PARAMS
from .processes import Services, services
from .test_files import template_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
KEY = {"Authorization": "Bearer a-key-of-the-test"}


@pytest.fixture(scope="module")
def raised(services_at, pictures, drop) -> Services:
    """One archive landed and was learned, while every service was killed once and started again."""
    services: Services = services_at()
    services.make_postgres()
    services.start("store")
    services.ready("store")
    services.run("buckets")
    for name in ("mlflow", "prefect"):
        services.start(name)
    services.run("family")
    (services.family / "params.yaml").write_text(PARAMS)
    services.ready("mlflow", "prefect")
    for name in ("watch", "deploy"):
        services.start(name)

    drop(services, "first", pictures(1))
    services.until(lambda: (services.family / ".perennial" / "arrivals").exists(), "watch")
    again(services, "watch")
    services.until(lambda: traces(services, ".perennial/checkpoints/small-M1/*.pt"), "watch", "deploy", "prefect")
    for name in ("store", "postgres", "mlflow", "prefect"):
        again(services, name)
    services.until(lambda: list(services.store.glob("artifacts/**/*.safetensors")), "deploy", "mlflow", "prefect")
    again(services, "mlflow")
    again(services, "deploy")
    services.until(lambda: recorded(services) == ["small-M1"], "deploy", "mlflow", "prefect")
    return services


@pytest.fixture(scope="module")
def answered(raised, pictures) -> Any:
    """What the service said of a picture."""
    return ask(raised, pictures(1))


@pytest.fixture(scope="module")
def relayed(raised, answered, pictures, drop) -> Services:
    """A second archive was learned by two workers of a pool, both at once; the one at work was killed."""
    services = raised
    services.stop("deploy")
    for worker in ("worker-1", "worker-2"):
        services.start("worker", worker)
    services.until(lambda: services.start("pool").wait(120) == 0, "pool", "worker-1")
    allow_two(services)
    run_now(services)
    drop(services, "second", pictures(2))
    services.until(lambda: traces(services, ".perennial/checkpoints/small-M2/*.pt"), "watch", "worker-1", "worker-2")
    (busy,) = (name for name in ("worker-1", "worker-2") if at_work(services.running[name].pid))
    services.kill(busy)
    services.until(lambda: recorded(services) == ["small-M1", "small-M2"], "worker-1", "worker-2", "prefect")
    return services


@pytest.fixture(scope="module")
def restored(relayed, services_at) -> Services:
    """What docs/service.md says of a backup, and of the way back from it: into an empty place, on other ports."""
    old: Services = relayed
    old.stop("watch", "serve", *(name for name in ("worker-1", "worker-2") if name in old.running))
    backup = old.place / "backup"
    backup.mkdir()
    for database in ("mlflow", "prefect"):
        old.sql("pg_dump", "--format=custom", f"--file={backup / database}", database)
    for folder in ("store", "family"):
        shutil.copytree(old.place / folder, backup / folder, symlinks=True)
    old.end()

    new: Services = services_at()
    new.make_postgres()
    for database in ("mlflow", "prefect"):
        new.sql("pg_restore", f"--dbname={database}", str(backup / database))
    for folder in ("store", "family"):
        shutil.copytree(backup / folder, new.place / folder, symlinks=True, dirs_exist_ok=True)
    new.start("store")
    new.ready("store")
    new.start("mlflow")
    new.ready("mlflow")
    return new


def test_what_lands_is_raised_and_promoted_once_though_every_service_is_killed(raised):
    books = Books.of(raised)
    assert books.versions == ["small-M1"]
    assert books.champion == "small-M1"
    assert books.runs == {"small": "FINISHED", "small-M1": "FINISHED"}
    assert promotions(raised) == ["small-M1"]


def test_the_champion_answers_over_http_and_again_after_it_was_killed(raised, answered, pictures):
    again(raised, "serve")
    assert answered["champion"] == "small-M1"
    assert ask(raised, pictures(1)) == answered


def test_two_workers_on_one_workspace_double_nothing_and_one_goes_on_where_the_other_was_killed(relayed):
    books = Books.of(relayed)
    assert books.versions == ["small-M1", "small-M2"]
    assert books.champion == "small-M2"
    assert books.runs == {"small": "FINISHED", "small-M1": "FINISHED", "small-M2": "FINISHED"}
    assert promotions(relayed) == ["small-M1", "small-M2"]
    assert ledger.broken_at(relayed.family / "ledger.jsonl") == 0


def test_a_run_whose_worker_was_killed_is_shown_as_crashed_by_the_next(relayed):
    runs = prefect(relayed, "POST", "/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["CRASHED"]}}}})
    assert "Its process was killed." in {run["state"]["message"] for run in runs if run["work_queue_name"]}


def test_prefect_shows_runs_by_what_they_did_and_where_to_read_on(raised):
    (run, *_) = prefect(raised, "POST", "/flow_runs/filter", {"flow_runs": {"name": {"like_": "promoted small-M1"}}})
    assert run["state_type"] == "COMPLETED" and set(run["tags"]) == {"perennial", "family"}
    told = {artifact["key"]: str(artifact["data"]) for artifact in prefect(raised, "POST", "/artifacts/filter", {})}
    for key, path in {
        "family-page-small": "reports/lines/small/index.html",
        "family-verdict-small": "data/verdicts/small-M1/verdict.json",
        "family-data-docs": "reports/data_docs/index.html",
    }.items():
        assert (raised.family / path).as_uri() in told[key]
    assert raised.address("mlflow") in told["family-mlflow"]


def test_a_run_outlives_the_servers(raised):
    crashed = prefect(raised, "POST", "/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["CRASHED"]}}}})
    assert {run["state"]["message"] for run in crashed} <= {"Its process was killed."}  # that of `deploy`, by us


def test_what_is_scheduled_will_begin(raised):
    assert prefect(raised, "POST", "/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}})


def test_the_server_takes_every_deployment_of_the_pools(relayed):
    for kind in ("docker", "kubernetes"):
        pool = {"name": f"perennial-{kind}", "type": kind, "base_job_template": template_of(kind)}
        prefect(relayed, "POST", "/work_pools/", pool)
    relayed.told["all"] = {**relayed.told["pool"], "command": [*relayed.told["pool"]["command"][:-1], "--all"]}
    relayed.run("all")
    known = prefect(relayed, "POST", "/deployments/filter", {})
    assert {"process", "docker", "kubernetes"} <= {deployment["name"] for deployment in known}


def test_every_service_of_the_compose_file_was_started(relayed):
    assert relayed.tried >= services().keys()


def test_a_backup_restored_into_an_empty_place_answers_as_before(restored, pictures, relayed):
    assert Books.of(restored).champion == "small-M2"
    told = json.loads(restored.perennial("status", "--json"))
    assert told["lines"]["small"]["champion"] == "small-M2"
    before = json.loads((restored.family / "data/generations/small-M2/card.json").read_text())["weights"]
    shutil.rmtree(restored.family / "data" / "generations" / "small-M2")  # the registry answers instead
    said = json.loads(restored.perennial("score", "--json", str(a_picture(pictures(1)))))
    assert (said["champion"], said["answers"][0]["champion"]["weights"]) == ("small-M2", before)


@dataclass(frozen=True)
class Books:
    """What MLflow's server knows."""

    versions: list[str]
    """Generations, a version each."""
    champion: str
    runs: dict[str, str]
    """Name -> how it stands; no name comes twice."""

    @classmethod
    def of(cls, services: Services) -> Books:
        from mlflow import MlflowClient

        from components.registry.catalogue import CHAMPION, GENERATION_TAG, model_name

        client = MlflowClient(services.address("mlflow"), services.address("mlflow"))
        versions = client.search_model_versions(f"name = '{model_name('small')}'")
        experiment = client.get_experiment_by_name("perennial")
        runs = client.search_runs([experiment.experiment_id])
        named = {run.info.run_name: run.info.status for run in runs}
        assert len(named) == len(runs)
        return cls(
            sorted(version.tags[GENERATION_TAG] for version in versions),
            client.get_model_version_by_alias(model_name("small"), CHAMPION).tags[GENERATION_TAG],
            named,
        )


def again(services: Services, name: str) -> None:
    """Killed and started, as a container that is told to restart."""
    services.kill(name)
    services.start(name)
    if name in services.ports:
        services.ready(name)


def traces(services: Services, pattern: str) -> list[Path]:
    return list(services.family.glob(pattern))


def recorded(services: Services) -> list[str]:
    return sorted(mark.name.rpartition("-")[0] for mark in traces(services, ".perennial/recorded/*/*"))


def promotions(services: Services) -> list[str]:
    return [said.to.generation for said in ledger.read(services.family / "ledger.jsonl")]


def a_picture(archive: Path) -> Path:
    return archive / "fake" / "test_0.png"


def ask(services: Services, archive: Path) -> dict[str, Any]:
    if "serve" not in services.running:
        services.start("serve")
        services.ready("serve")
    file = {"file": a_picture(archive).read_bytes()}
    said = httpx.post(f"{services.address('serve')}/v1/score", files=file, headers=KEY, timeout=60)
    assert said.status_code == 200, said.text
    answer = said.json()["answer"]
    return {"champion": answer["champion"]["generation"], "faces": answer["faces"], "verdict": answer["verdict"]}


def prefect(services: Services, method: str, path: str, said: dict[str, Any] | None = None) -> Any:
    answer = httpx.request(method, f"{services.address('prefect')}/api{path}", json=said, timeout=60).raise_for_status()
    return answer.json() if answer.content else None


def allow_two(services: Services) -> None:
    """Take the server's limit of one away: what is left is the workspace's own lock."""
    limit = prefect(services, "GET", "/deployments/name/lifecycle/process")["global_concurrency_limit"]
    prefect(services, "PATCH", f"/v2/concurrency_limits/{limit['id']}", {"limit": 2})


def run_now(services: Services) -> None:
    deployment = prefect(services, "GET", "/deployments/name/lifecycle/process")["id"]
    prefect(services, "POST", f"/deployments/{deployment}/create_flow_run", {})


def at_work(worker: int) -> bool:
    """Whether a stage runs under this worker."""
    for one in psutil.Process(worker).children(recursive=True):
        with suppress(psutil.Error):  # it has ended
            if "components.generations.evolve" in one.cmdline():
                return True
    return False
