"""What a champion is asked is looked at, and told on a page, to MLflow and as an event."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from components.digests import file_digest
from components.errors import Refused
from components.evaluation.calibration import Calibration
from components.evaluation.point_files import write as write_point
from components.evaluation.population import Population
from components.generations.card import CARD, WEIGHTS
from components.generations.lineage import Head, Lineage, Row
from components.registry import ledger
from components.registry.ledger import Decision, Holder
from flows.population import EVENT, asked_of, looks, watch, write_page
from tests.answers import record, traits

HOW = {"days": 7, "alpha": 0.05}


@pytest.fixture
def asked(workspace) -> None:
    """A line 'a' whose champion a-M1 was calibrated on 40 clips."""
    folder = workspace.data("generations", "a-M1")
    folder.mkdir(parents=True)
    (folder / CARD).write_text("{}")
    (folder / WEIGHTS).write_bytes(b"weights")
    row = Row(line="a", detector="rsia_net", strategy="finetune", learns="swaps", teacher="nobody", bench="swaps")
    Lineage(
        generations={"a-M1": row}, heads={"a": Head(generation="a-M1", detector="rsia_net", strategy="finetune")}
    ).write(workspace.lineage_file)
    holder = Holder("a-M1", file_digest(folder / WEIGHTS))
    ledger.append(
        workspace.ledger, Decision(ledger.now(), "somebody", ledger.PROMOTE, "a", None, holder, "it was good")
    )
    point = workspace.data("operating_points", "a-M1")
    raw = {
        "calibration": Calibration("temperature").as_json(),
        "threshold": 0.5,
        "margin": 0.0,
        "found": {},
        "familiarity": {},
    }
    write_point(point, {"point": raw, "reason": None})
    looked = [traits(1000 + number) for number in range(40)]
    views = {view: np.stack([one[view] for one in looked]) for view in looked[0]}
    Population(tuple(map(str, range(40))), np.random.default_rng(5).uniform(0.2, 0.8, 40), views).write(point)


def ask(workspace, files: int, *, shift: float = 0.0, first: int = 0) -> None:
    draw = np.random.default_rng(first)
    for number in range(first, first + files):
        asked_of(workspace).add(record(number, float(draw.uniform(0.2, 0.8))), traits(number, shift))


def heard(server: str) -> list[dict]:
    """Events of this kind that the server has."""
    wanted = {"filter": {"event": {"name": [EVENT]}}}
    return httpx.post(f"{server}/events/filter", json=wanted, timeout=30).raise_for_status().json()["events"]


def test_the_page_says_what_was_asked_and_keeps_the_looks_before(workspace, asked) -> None:
    empty = (write_page(workspace, "a") / "index.html").read_text()
    assert "Nobody has looked" in empty
    ask(workspace, 30)
    assert not watch(workspace, None, **HOW).drifted
    ask(workspace, 60, shift=2, first=100)
    assert watch(workspace, "a", **HOW).drifted
    page = (workspace.root / "reports" / "asked" / "a" / "index.html").read_text()
    assert "has drifted" in page and page.count('<tr><th scope="row">20') == 2
    assert [one["drifted"] for one in looks(workspace, "a")] == [False, True]


def test_where_nobody_asked_anything_the_page_says_so(workspace, asked) -> None:
    found = watch(workspace, "a", **HOW)
    assert (found.asked, found.drift) == ({"files": 0}, None)
    page = (workspace.root / "reports" / "asked" / "a" / "index.html").read_text()
    assert "cannot be told: 0 files with a judged face were asked about" in page


def test_a_line_without_a_champion_cannot_be_looked_at(workspace) -> None:
    with pytest.raises(Refused, match="expected one line with a champion"):
        watch(workspace, None, **HOW)


@pytest.mark.slow
def test_a_server_hears_once_that_files_have_drifted(workspace, asked, prefect_server, speak_to) -> None:
    before = len(heard(prefect_server))
    speak_to(prefect_server)
    ask(workspace, 60, shift=2)
    for _ in range(2):
        watch(workspace, "a", **HOW)
    end = time.monotonic() + 60
    while not (events := heard(prefect_server)[before:]) and time.monotonic() < end:  # it writes them down by and by
        time.sleep(1)
    (event,) = events
    assert event["resource"]["prefect.resource.id"] == "perennial.line.a"
    assert event["payload"]["generation"] == "a-M1" and event["payload"]["chance"] <= 0.05


def test_a_look_that_was_cut_off_is_no_look(workspace, asked) -> None:
    ask(workspace, 3)
    watch(workspace, "a", **HOW)
    history = Path(workspace.root, ".perennial", "asked", "a.jsonl")
    history.write_text(history.read_text() + '{"asked": {"fi')
    assert len(looks(workspace, "a")) == 1
    watch(workspace, "a", **HOW)
    assert len(looks(workspace, "a")) == 2
