"""Whoever asks over HTTP, honestly or not: an answer, or a refusal in words, and the service goes on."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.testclient import TestClient

from components.errors import BadParams
from components.serving import answer_log
from components.serving.api import application
from components.serving.gate import Gate, keys_of
from components.serving.metrics import Metrics

from .conftest import LIMITS, until


def test_a_picture_and_a_clip_get_an_answer_that_says_who_gave_it(post, books):
    status, picture = post("a.png")
    assert status == 200 and picture["answer"]["file"]["name"] == "a.png" and picture["answer"]["version"] == 1
    assert picture["answer"]["champion"]["generation"] == books.champion().generation
    status, clip = post("b.mp4", pictures="true")
    assert status == 200 and clip["answer"]["file"]["frames"] == 20 and clip["answer"]["faces_seen"] == 1
    assert clip["pictures"] and all(one["image"].startswith("data:image/jpeg;base64,") for one in clip["pictures"])


def test_a_file_gets_the_same_answer_again_whatever_was_drawn_of_it(post):
    def scores() -> list[float]:
        return [one["score"] for one in post("b.mp4", pictures="true")[1]["answer"]["faces"][0]["sightings"]]

    first = scores()
    assert scores() == pytest.approx(first, rel=1e-4) and scores() == pytest.approx(first, rel=1e-4)


def test_a_file_may_be_named_by_its_path_in_a_folder_that_may_be_read(client):
    assert client.post("/v1/score", data={"path": "a.png"}).json()["answer"]["file"]["name"] == "a.png"


@pytest.mark.parametrize(
    "path",
    [
        "../told",
        "..",
        "/etc/passwd",
        "out.png",
        "a.png/..",
        "\0",
        "a" * 4000,
        "//etc/passwd",
        "nobody.png",
        ".",
        "a.png\0.jpg",
    ],
)
def test_a_path_that_leads_elsewhere_is_not_there_whatever_is_there(client, path):
    answer = client.post("/v1/score", data={"path": path})
    assert answer.status_code == 404
    assert "etc" not in answer.text and "found none there" in answer.text


@pytest.mark.parametrize("name", ["torn.mp4", "torn.png", "text.mp4", "empty.png", "playlist.mp4", "page.png"])
def test_what_is_no_whole_picture_or_clip_is_refused_in_words_without_a_place_of_ours(post, service, name):
    status, said = post(name)
    assert status == 422 and name in said["detail"]
    assert str(service.uploads) not in said["detail"]
    assert post("a.png")[0] == 200


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wide.mp4", "250,000 pixels, found 640x640"),
        ("long.mp4", "20 s, found 30 s"),
        ("many.mp4", "100 frames, found 300"),
        ("bomb.png", "pixels, found more"),
    ],
)
def test_what_is_beyond_the_limits_is_refused_before_it_is_looked_at(post, name, words):
    status, said = post(name)
    assert status == 413 and words in said["detail"]


def test_too_many_bytes_are_refused_whether_they_are_announced_or_not(client):
    body = b"x" * (LIMITS.bytes + 1)
    kind = {"content-type": "multipart/form-data; boundary=b"}
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    announced = client.post("/v1/score", content=head + body, headers=kind)
    streamed = client.post("/v1/score", content=iter([head, body]), headers=kind)
    assert [announced.status_code, streamed.status_code] == [413, 413]
    assert "2,000,000 bytes" in streamed.json()["detail"]


@pytest.mark.parametrize(
    "request_of",
    [
        {"content": b"{}", "headers": {"content-type": "application/json"}},
        {"content": b"--b", "headers": {"content-type": "multipart/form-data; boundary=b"}},
        {"content": b"junk", "headers": {"content-type": "multipart/form-data"}},
        {"data": {"file": "no file"}},
        {"data": {}},
        {"data": {"path": "a.png", "pictures": "perhaps"}},
    ],
)
def test_a_request_that_nobody_understands_is_refused(client, request_of):
    answer = client.post("/v1/score", **request_of)
    assert answer.status_code in (400, 422) and isinstance(answer.json()["detail"], str)


def test_names_come_back_without_markup_control_characters_or_folders(post, media):
    status, said = post("a.png", called="../../<img src=x onerror=alert(1)>\x1b[2J.png")
    assert status == 200
    name = said["answer"]["file"]["name"]
    assert "\x1b" not in name and "/" not in name and name.isprintable()


def test_an_upload_is_gone_once_it_is_answered(post, service):
    post("a.png")
    post("torn.mp4")
    assert list(service.uploads.iterdir()) == []


def test_more_than_may_be_answered_at_once_are_told_when_to_come_again(client, media):
    body = (media / "b.mp4").read_bytes()

    def send(_: int) -> tuple[int, str]:
        answer = client.post("/v1/score", files={"file": ("b.mp4", body)})
        return answer.status_code, answer.headers.get("retry-after", "")

    with ThreadPoolExecutor(24) as pool:
        said = list(pool.map(send, range(48)))
    assert {status for status, _ in said} == {200, 503}
    assert all(later for status, later in said if status == 503)
    assert client.get("/healthz").json() == {"status": "up"}


def test_many_small_requests_do_no_harm(client):
    def send(number: int) -> int:
        data = {"path": "nobody.png"} if number % 2 else {}
        return client.post("/v1/score", data=data).status_code

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(send, range(200)))
    assert set(said) <= {404, 422, 503}
    assert client.get("/readyz").status_code == 200


def test_a_process_killed_in_its_work_costs_its_own_request(client, service, media):
    slow = TestClient(client.app, base_url="http://localhost")
    with ThreadPoolExecutor(2) as pool:
        free = set(service.workers.pids())
        dying = pool.submit(slow.post, "/v1/score", files={"file": ("b.mp4", (media / "b.mp4").read_bytes())})
        until(lambda: len(service.workers.pids()) < len(free) or dying.done())
        (at_work,) = free - set(service.workers.pids()) or {None}
        if at_work is not None:
            os.kill(at_work, signal.SIGKILL)
        living = pool.submit(client.post, "/v1/score", data={"path": "a.png"})
        assert living.result().status_code == 200
        assert dying.result().status_code in (200, 503)
    assert client.post("/v1/score", data={"path": "a.png"}).status_code == 200


def test_champions_change_under_load_and_no_request_is_lost(client, service, books, generations, media):
    body = (media / "a.png").read_bytes()
    stop = False

    def ask() -> list[str]:
        said = []
        while not stop:
            answer = client.post("/v1/score", files={"file": ("a.png", body)}).json()
            who = answer["answer"]["champion"]
            said.append(f"{who['generation']}:{who['weights']}")
        return said

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask) for _ in range(3)]
        for number in (1, 0):
            books.standing.append(generations[number])
            until(lambda: service.succession.champion.name == books.who()[0])
        stop = True
        said = {one for asked in asking for one in asked.result()}
    whole = {f"{one.generation}:{one.weights}" for one in generations}
    assert said <= whole and len(said) >= 2


def test_a_champion_that_cannot_be_loaded_leaves_the_old_one_answering(
    client, service, books, generations, tmp_path, post
):
    from dataclasses import replace

    before = service.succession.champion.name
    books.standing.append(replace(generations[2], folder=tmp_path))
    until(lambda: service.succession.trouble)
    assert post("a.png")[1]["answer"]["champion"]["generation"] == before
    assert "expected a generation" in client.get("/readyz").json()["trouble"]
    books.standing.pop()
    until(lambda: not service.succession.trouble)


def test_the_challenger_answers_in_the_shadow_and_is_only_logged(service, books, generations, post):
    books.youngest = generations[2]
    until(lambda: service.succession.challenger)
    try:
        _, said = post("a.png")
        assert generations[2].generation not in json.dumps(said)
        until(
            lambda: any(
                one.said["kind"] == "shadow" and one.said["id"] == said["id"]
                for one in answer_log.read(service.log.folder)
            )
        )
    finally:
        books.youngest = None
    until(lambda: service.succession.challenger is None)
    assert answer_log.faults(service.log.folder) == []


def test_every_answer_is_kept_with_who_asked_and_who_gave_it(service, post):
    _, said = post("a.png")
    kept = next(one.said for one in answer_log.read(service.log.folder) if one.said.get("id") == said["id"])
    assert kept["generation"] == said["answer"]["champion"]["generation"] and kept["caller"] == "local"
    assert kept["answer"] == said["answer"]


def test_a_truth_is_kept_for_a_person_to_land(client, service, media):
    answer = client.post(
        "/v1/truths", data={"truth": "forged", "method": "swap"}, files={"file": ("x", (media / "a.png").read_bytes())}
    )
    assert answer.status_code == 200 and (service.options.told / answer.json()["file"]).is_file()
    wrong = client.post("/v1/truths", data={"truth": "perhaps"}, files={"file": ("x", b"")})
    assert wrong.status_code == 422


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"host": "evil.example"}, 400), ({"host": "localhost.evil.example:80"}, 400), ({"origin": "http://evil.example"}, 403),
     ({"origin": "null"}, 403), ({"origin": "http://localhost"}, 422)],
)  # fmt: skip
def test_pages_of_other_sites_cannot_ask_in_the_name_of_whoever_looks_at_them(client, headers, status):
    assert client.post("/v1/score", headers=headers).status_code == status


def test_the_page_asks_nobody_else_and_runs_no_script_but_its_own(client):
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert (
        "style=" not in page.text and " onclick" not in page.text and "http" not in page.text.replace("http-equiv", "")
    )
    for address in ("/page.js", "/page.css", "/icon.svg"):
        assert client.get(address).status_code == 200
    script = client.get("/page.js").text
    assert "innerHTML" not in script and "insertAdjacentHTML" not in script and "http" not in script


def test_metrics_are_told_as_prometheus_reads_them(client, post):
    from prometheus_client.parser import text_string_to_metric_families

    post("a.png")
    answer = client.get("/metrics")
    found = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert sum(one.value for one in found["perennial_answers"].samples if one.name.endswith("_total")) >= 1
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")


@pytest.fixture
def guarded(service, jobs):
    app = application(service, jobs, keys_of("lab:" + "k" * 24 + ",press:" + "p" * 24), local=False)
    with TestClient(app, base_url="http://answers.example") as asked:
        yield asked


def test_where_others_may_ask_a_key_is_asked_for_and_a_job_is_its_owners(guarded, media):
    lab, press = ({"authorization": f"Bearer {sign * 24}"} for sign in "kp")
    assert guarded.get("/").status_code == 200 and guarded.get("/healthz").status_code == 200
    for address in ("/metrics", "/openapi.json", "/v1/jobs/" + "0" * 32):
        assert guarded.get(address).status_code == 401
    assert guarded.post("/v1/score", headers={"authorization": "Bearer wrong"}).status_code == 401
    begun = guarded.post("/v1/jobs", headers=lab, files=[("files", ("a.png", (media / "a.png").read_bytes()))])
    assert begun.status_code == 202
    address = begun.headers["location"]
    assert guarded.get(address, headers=press).status_code == 404
    assert guarded.delete(address, headers=press).status_code == 404
    assert guarded.delete(address, headers=lab).status_code == 204


@pytest.mark.parametrize(
    "said", ["lab", "lab:short", ":" + "k" * 24, "a:" + "k" * 24 + ",a:" + "k" * 24, "a:" + "é" * 24]
)
def test_keys_that_nobody_should_rely_on_are_refused(said):
    with pytest.raises(BadParams, match="PERENNIAL_KEYS"):
        keys_of(said)


def test_a_request_that_never_ends_is_ended():
    import asyncio

    async def reads(scope, receive, send):
        while (await receive()).get("more_body"):
            pass

    async def drips():
        await asyncio.sleep(0.05)
        return {"type": "http.request", "body": b"x", "more_body": True}

    said = []

    async def send(message):
        said.append(message)

    gate = Gate(reads, Metrics(), at_once=1, body_bytes=lambda path: 1000, body_s=0.2)
    scope = {"type": "http", "method": "POST", "path": "/v1/score", "headers": [(b"host", b"localhost")]}
    asyncio.run(gate(scope, drips, send))
    assert said[0]["status"] == 408 and gate.at_work == 0
