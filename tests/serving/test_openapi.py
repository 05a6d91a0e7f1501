"""What /openapi.json promises holds for requests that a program makes up."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from components.serving.api import described
from components.serving.gate import HEADERS

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ROUTES = [
    ("POST", "/v1/score"), ("POST", "/v1/truths"), ("POST", "/v1/jobs"), ("GET", "/v1/jobs/{job_id}"),
    ("DELETE", "/v1/jobs/{job_id}"), ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics"),
]  # fmt: skip


@pytest.fixture(scope="module")
def schema(service, jobs):
    return schemathesis.openapi.from_asgi("/openapi.json", described(service, jobs))


def test_every_route_is_asked(schema):
    described_ones = {(one.ok().method.upper(), one.ok().path) for one in schema.get_all_operations()}
    assert described_ones == set(ROUTES)


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda one: one)
def test_a_route_answers_as_it_is_described_whatever_is_sent(schema, method, path):
    @given(case=schema[path][method].as_strategy())
    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def ask(case):
        case.call_and_validate(checks=CHECKS)

    ask()


def test_every_answer_tells_browsers_to_fetch_and_run_nothing_else(client):
    for address in ("/", "/openapi.json", "/nowhere", "/v1/jobs/" + "0" * 32):
        assert HEADERS.items() <= dict(client.get(address).headers).items()
