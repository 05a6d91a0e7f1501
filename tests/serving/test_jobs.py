"""Jobs outlive the service that began them, and leave when their time is over."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from components.serving.jobs import ANSWERS, FILES, JOB, Item, Job, Jobs, new_id
from components.serving.service import NotThere

from .conftest import until


def begun(client, media, *names: str) -> str:
    files = [("files", (name, (media / name).read_bytes())) for name in names]
    answer = client.post("/v1/jobs", files=files)
    assert answer.status_code == 202
    return str(answer.headers["location"])


def finished(client, address: str) -> dict:
    until(lambda: client.get(address).json()["state"] in ("done", "failed"))
    return dict(client.get(address).json())


def test_a_job_answers_file_by_file_and_says_why_one_of_them_has_none(client, media, books):
    told = finished(client, begun(client, media, "a.png", "torn.mp4", "b.mp4"))
    assert (told["state"], told["done"], told["total"]) == ("done", 3, 3)
    first, torn, last = told["answers"]
    assert first["answer"]["file"]["name"] == "a.png" and last["answer"]["file"]["name"] == "b.mp4"
    assert torn["file"] == "torn.mp4" and "torn.mp4" in torn["error"]
    assert told["generation"] == books.who()[0] and told["deleted_after"] > told["finished"]


def test_a_folder_is_asked_about_whole_but_no_link_that_leads_out_of_it(client, service):
    inside = service.options.files[0] / "inside"
    inside.mkdir(exist_ok=True)
    (inside / "a.png").write_bytes((service.options.files[0] / "a.png").read_bytes())
    answer = client.post("/v1/jobs", data={"paths": ["inside"]})
    told = finished(client, answer.headers["location"])
    assert [one["answer"]["file"]["name"] for one in told["answers"]] == ["inside/a.png"]
    assert client.post("/v1/jobs", data={"paths": ["."]}).status_code == 404


def test_answers_are_told_by_parts(client, media):
    address = begun(client, media, "a.png", "a.png", "a.png")
    finished(client, address)
    part = client.get(address, params={"start": 1, "limit": 1}).json()
    assert part["done"] == 3 and len(part["answers"]) == 1


@pytest.mark.parametrize("address", ["/v1/jobs/nothing", "/v1/jobs/" + "0" * 32, "/v1/jobs/..%2f..", "/v1/jobs/%2e%2e"])
def test_a_job_that_is_not_there_is_not_found(client, address):
    assert client.get(address).status_code in (404, 422)
    assert client.delete(address).status_code in (404, 422)


def test_a_job_without_a_file_is_refused(client):
    assert client.post("/v1/jobs").status_code == 413


def test_a_deleted_job_is_gone_with_its_files_and_answers(client, service, media):
    address = begun(client, media, "a.png")
    folder = service.options.state / "jobs" / address.rpartition("/")[2]
    assert client.delete(address).status_code == 204
    assert client.get(address).status_code == 404
    until(lambda: not folder.exists())


@pytest.fixture
def left_behind(service, media, tmp_path, monkeypatch):
    """A job with four files of which two were answered when its service was killed, in the middle of a line."""
    monkeypatch.setattr(service, "options", replace(service.options, state=tmp_path))
    made = Jobs(service)
    made.close()
    job = new_id()
    folder = tmp_path / "jobs" / job
    (folder / FILES).mkdir(parents=True)
    items = []
    for number in range(4):
        (folder / FILES / f"{number}").write_bytes((media / "a.png").read_bytes())
        items.append(Item(f"{number}.png", f"{FILES}/{number}"))
    said = Job(job, "local", tuple(items), time.time(), "running", service.succession.champion.name)
    (folder / JOB).write_text(json.dumps({**said.__dict__, "items": [item.__dict__ for item in items]}))
    (folder / ANSWERS).write_bytes(b'{"file": "0.png"}\n{"file": "1.png"}\n{"file": "2.p')
    return folder


def test_a_job_of_a_killed_service_goes_on_behind_its_last_whole_answer(service, left_behind):
    jobs = Jobs(service)
    try:
        until(lambda: jobs.told(left_behind.name, "local")["state"] == "done")
        told = jobs.told(left_behind.name, "local")
        assert [one.get("file") or one["answer"]["file"]["name"] for one in told["answers"]] == [
            f"{n}.png" for n in range(4)
        ]
        assert not (left_behind / FILES).exists()
    finally:
        jobs.close()


def test_a_job_ends_with_the_generation_it_began_with_or_says_that_it_is_gone(service, left_behind, books, generations):
    job = json.loads((left_behind / JOB).read_text())
    (left_behind / JOB).write_text(json.dumps({**job, "generation": "gone-M1"}))
    jobs = Jobs(service)
    try:
        until(lambda: jobs.told(left_behind.name, "local")["state"] == "failed")
        assert "'gone-M1' is gone" in jobs.told(left_behind.name, "local")["why"]
    finally:
        jobs.close()


def test_a_job_is_deleted_once_its_time_is_over(service, left_behind, monkeypatch):
    jobs = Jobs(service)
    try:
        until(lambda: jobs.told(left_behind.name, "local")["state"] == "done")
        jobs.sweep()
        assert left_behind.is_dir()
        monkeypatch.setattr(service, "options", replace(service.options, keep_jobs_s=-1))
        until(lambda: not left_behind.exists())
        with pytest.raises(NotThere):
            jobs.told(left_behind.name, "local")
    finally:
        jobs.close()
