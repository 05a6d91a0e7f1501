"""`perennial serve` as a process of its own: killed, started again, looked at in a browser, recalled."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from components.archives.layouts import crops
from components.generations.lineage import Bench, Head, Lineage
from components.generations.recipe import Choice, FrozenMemory, Recipe, Row
from components.params import EvaluationOptions, TrainingOptions
from components.registry import ledger
from components.registry.ledger import Decision, Holder
from components.vocabulary import FORGED
from flows.workspace import Workspace, template

from . import chromium
from .conftest import CUT, TINY, raise_tiny, until

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    """A line of two generations that learned nothing; the older one is champion."""
    made = Workspace.create(tmp_path_factory.mktemp("workspace"), template("params.yaml"))
    rows = {}
    for number, teacher in ((1, "nobody"), (2, "small-M1")):
        name = f"small-M{number}"
        rows[name] = Row(
            line="small", detector="rsia_net", strategy="finetune", learns="swap", teacher=teacher, bench="swap"
        )
        Recipe.resolved(
            generation=name, row=rows[name], detector=Choice(name="rsia_net", options=TINY), strategy=Choice(name="finetune"),
            faces=CUT, memory=FrozenMemory(), training=TrainingOptions(), evaluation=EvaluationOptions(),
            gate=({"rule": "infra"},), seed=0, benchmarks=("swap",),
        ).write(made.recipes / f"{name}.yaml")  # fmt: skip
        raise_tiny(made.data("generations", name), name, number)
    head = Head(generation="small-M2", detector="rsia_net", strategy="finetune")
    Lineage(benches={"swap": Bench()}, generations=rows, heads={"small": head}).write(made.lineage_file)
    promote(made, "small-M1")
    return made


def promote(workspace: Workspace, name: str) -> None:
    from components.generations.card import read_card

    weights = read_card(workspace.data("generations", name))["weights"]
    before = ledger.standing(workspace.ledger, "small").champion
    ledger.append(
        workspace.ledger, Decision(ledger.now(), "test", "promote", "small", before, Holder(name, weights), "so")
    )


class Served:
    """A process, and who asks it."""

    def __init__(self, workspace: Workspace, *options: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"http://127.0.0.1:{free.getsockname()[1]}"
        command = [sys.executable, "-m", "flows.cli", "serve", "-C", str(workspace.root), "--every", "0.2", *options]
        command += ["--port", self.address.rpartition(":")[2]]
        self.process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
        self.client = httpx.Client(base_url=self.address, timeout=120)
        until(self.answers, 240)

    def answers(self) -> bool:
        assert self.process.poll() is None, "it ended"
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def end(self, how: int) -> int:
        self.client.close()
        self.process.send_signal(how)
        return self.process.wait(60)


def test_a_job_outlives_a_kill_of_the_service_and_the_log_tells_who_answered(workspace, media):
    first = Served(workspace, "--log", "--workers", "1")
    files = [("files", (f"{number}.mp4", (media / "b.mp4").read_bytes())) for number in range(40)]
    job = first.client.post("/v1/jobs", files=files).headers["location"]
    until(lambda: first.client.get(job).json()["done"] >= 2)
    workers = psutil.Process(first.process.pid).children()
    first.end(signal.SIGKILL)
    until(lambda: not any(worker.is_running() for worker in workers))  # nobody is left behind
    promote(workspace, "small-M2")
    second = Served(workspace, "--log")
    told = second.client.get(job).json()
    until(lambda: second.client.get(job).json()["state"] == "done")
    told = second.client.get(job).json()
    assert [one["answer"]["file"]["name"] for one in told["answers"]] == [f"{number}.mp4" for number in range(40)]
    assert told["generation"] == "small-M1", "it ends with the generation it began with"
    answer = second.client.post("/v1/score", files={"file": ("a.png", (media / "a.png").read_bytes())}).json()
    assert answer["answer"]["champion"]["generation"] == "small-M2"
    assert second.end(signal.SIGINT) in (0, 130)
    command = [sys.executable, "-m", "flows.cli", "recall", "small-M1", "--json", "-C", str(workspace.root)]
    recalled = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert recalled.returncode == 0, recalled.stderr
    said = json.loads(recalled.stdout)
    assert {one["answer"]["file"]["name"] for one in said["answers"]} == {f"{number}.mp4" for number in range(40)}
    assert said["faults"] == []


def test_ten_thousand_small_requests_leave_the_process_as_it_was(workspace):
    served = Served(workspace)
    process = psutil.Process(served.process.pid)

    requests = [{"data": {"path": "../x"}}, {}, {"content": b"{"}, {"files": {"file": ("a.png", b"")}}]

    def ask(first: int) -> Counter[int]:
        with httpx.Client(base_url=served.address, timeout=120) as client:
            numbers = range(first, 10_000, 12)
            return Counter(client.post("/v1/score", **requests[number % 4]).status_code for number in numbers)

    try:
        served.client.post("/v1/score")
        before = process.memory_info().rss
        with ThreadPoolExecutor(12) as pool:
            statuses = sum(pool.map(ask, range(12)), Counter())
        assert sum(statuses.values()) == 10_000 and set(statuses) <= {400, 404, 422, 503}
        assert process.memory_info().rss - before < 150 * 2**20
        assert served.client.get("/readyz").json()["ready"]
    finally:
        served.end(signal.SIGINT)


def test_it_refuses_to_listen_elsewhere_without_keys(workspace):
    command = [sys.executable, "-m", "flows.cli", "serve", "--host", "0.0.0.0", "-C", str(workspace.root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "PERENNIAL_KEYS" in done.stderr


@pytest.mark.skipif(chromium.found() is None, reason="no Chromium here")
def test_the_page_answers_in_a_browser_and_asks_nobody_else(workspace, media, tmp_path):
    hostile = tmp_path / "<img src=x onerror=document.title=1>.mp4"
    shutil.copy(media / "b.mp4", hostile)
    served = Served(workspace)
    try:
        with chromium.opened(chromium.found() or "") as page:
            for width, dark in ((1280, False), (390, False), (390, True)):
                page.go(served.address, width=width, dark=dark)
                page.choose("#file", hostile, media / "a.png", media / "text.mp4")
                page.until("document.querySelectorAll('.result .verdict:not([hidden])').length === 3")
                assert page.tell("document.documentElement.scrollWidth <= innerWidth"), f"wider than {width} px"
                names = page.tell("[...document.querySelectorAll('.name')].map(one => one.textContent).join()")
                assert names == f"text.mp4,a.png,{hostile.name}"
                assert page.tell("document.querySelectorAll('.result img[src=x]').length") == 0
                assert page.tell("document.querySelectorAll('.result .tiles img').length") >= 2
                colour = page.tell("getComputedStyle(document.body).backgroundColor")
                assert (sum(map(int, colour[4:-1].split(","))) < 200) is dark
                page.picture(tmp_path / f"{width}-{dark}.png")
            page.tell("document.querySelector('.truth:not([hidden]) input[value=forged]').focus()")
            page.press(" ")
            page.tell("document.querySelector('.truth:not([hidden]) form button').focus()")
            page.press("Enter")
            page.until("[...document.querySelectorAll('.thanks')].some(one => one.textContent.startsWith('Thank you'))")
            assert all(asked.startswith((served.address, "blob:", "data:")) for asked in page.asked)
            complaints = [said for said in page.said if "status of 422" not in said]  # text.mp4 is no clip
            assert complaints == []
    finally:
        served.end(signal.SIGINT)
    (told,) = crops.read(workspace.root / "told")
    assert told.label == FORGED
