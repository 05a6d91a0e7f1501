"""infra/: what a container engine, a Prefect server and an operator are told is well formed, and holds no secret."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import compose_spec
import jsonschema
import pytest
import yaml

from .processes import COMPOSE, ROOT, SECRETS, services

INFRA = ROOT / "infra"
POOLS = {"perennial": "process", "perennial-docker": "docker", "perennial-kubernetes": "kubernetes"}


def test_the_compose_file_follows_the_specification():
    told = compose_spec.PyCompose.from_json(json.dumps(yaml.safe_load(COMPOSE.read_text())))
    told.validate()
    assert {"postgres", "store", "mlflow", "prefect", "worker", "watch", "deploy", "serve"} <= set(told.service_names())


def test_what_a_service_waits_for_is_there_and_says_when_it_is_ready():
    told = services()
    for name, service in told.items():
        for awaited, how in service.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in told[awaited], (name, awaited)
            assert how["condition"] != "service_completed_successfully" or told[awaited]["restart"] != "unless-stopped"


def test_nothing_listens_beyond_this_machine():
    ports = [port for service in services().values() for port in service.get("ports", ())]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_secret_comes_from_the_environment_and_stands_in_no_file():
    asked = set(re.findall(r"\$\{(\w+):\?", COMPOSE.read_text()))
    assert asked == set(SECRETS)
    example = dict(line.split("=", 1) for line in (INFRA / ".env.example").read_text().splitlines() if "=" in line[:30])
    assert example.keys() >= asked
    assert not any(example.values())
    for name in SECRETS:
        with pytest.raises(AssertionError, match=f"{name} is empty"):
            services(said={**SECRETS, name: ""})


def test_the_dockerfile_is_linted():
    places = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    hadolint = shutil.which("hadolint", path=places) or "hadolint"
    done = subprocess.run([hadolint, INFRA / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_dockerfile_copies_what_is_there_and_is_let_in():
    let_in = {line[1:] for line in (INFRA / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    copied = {
        source
        for line in re.findall(r"^COPY (.*)$", (INFRA / "Dockerfile").read_text(), re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert copied == let_in
    assert all((ROOT / source).exists() for source in copied)


def test_the_image_has_what_the_servers_speak_to_postgresql_with():
    locks = (ROOT / "requirements.lock").read_text(), (ROOT / "tests" / "requirements.lock").read_text()
    assert "\nasyncpg==" in locks[0] and "\npsycopg2-binary==" in locks[1]


@pytest.mark.parametrize("number", range(3))
def test_a_work_pool_knows_every_word_that_it_is_told(number: int):
    from prefect.cli.deploy._models import PrefectYamlModel
    from prefect.events.schemas.deployment_triggers import DeploymentTriggerAdapter
    from prefect.flows import load_flow_from_entrypoint
    from prefect.utilities.templating import apply_values

    read = yaml.safe_load((INFRA / "prefect.yaml").read_text())
    told = PrefectYamlModel.model_validate(read).deployments[number]
    assert set(read["deployments"][number]) <= set(type(told).model_fields)
    assert load_flow_from_entrypoint(told.entrypoint).name == "lifecycle"
    assert told.concurrency_limit.limit == 1
    for trigger in told.triggers:
        DeploymentTriggerAdapter.validate_python(trigger)

    kind = POOLS[told.work_pool.name]
    template = template_of(kind)
    jsonschema.Draft202012Validator(template["variables"]).validate(told.work_pool.job_variables)
    assert set(told.work_pool.job_variables) <= set(template["variables"]["properties"])
    defaults = {name: how["default"] for name, how in template["variables"]["properties"].items() if "default" in how}
    job = apply_values(template["job_configuration"], {**defaults, **told.work_pool.job_variables, "name": "a-run"})
    assert "{{" not in json.dumps(job)


def test_a_pod_has_the_workspace_and_its_secrets_from_the_cluster():
    from prefect.utilities.templating import apply_values

    template = template_of("kubernetes")
    asked = {name: how["default"] for name, how in template["variables"]["properties"].items() if "default" in how}
    job = apply_values(template["job_configuration"], {**asked, "command": "run", "name": "a-run"})["job_manifest"]
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"]: "/srv/family" for volume in pod["volumes"]}
    assert container["envFrom"] == [{"secretRef": {"name": "store"}}]


def template_of(kind: str) -> dict[str, Any]:
    """The base job template of a work pool: ours, or the one Prefect brings."""
    import prefect.server.api

    if kind == "kubernetes":
        return dict(json.loads((INFRA / "kubernetes.json").read_text()))
    views = Path(prefect.server.api.__file__).parent / "collections_data" / "views"
    known = json.loads((views / "aggregate-worker-metadata.json").read_text())
    package = {"process": "prefect", "docker": "prefect-docker"}[kind]
    return dict(known[package][kind]["default_base_job_configuration"])
