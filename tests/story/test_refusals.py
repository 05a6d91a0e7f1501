"""The gate stays closed, the line waits, and in three commands another generation learns in place of the refused one."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
import yaml

from components.registry import catalogue, ledger
from components.registry.record import LIVE_TAG, runs_where
from components.tracking import connect
from flows import durations

pytestmark = pytest.mark.slow

LINE = {"detector": "rsia_net", "strategy": "cffd", "after_refusal": "hold"}
SLOW = {"detector": "rsia_net", "strategy": "finetune", "changes": {"training": {"founder_epochs": 240, "epochs": 60}}}
CLOSED = [{"rule": "absolute", "min_auc": 1.0, "max_false_alarms": 0.0}, {"rule": "infra"}]
OPEN = [{"rule": "absolute", "min_auc": 0.0}, {"rule": "infra"}]


def choose(place, **changes) -> None:
    file = place.root / "params.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **changes}, sort_keys=False))


def generations(place, line: str = "cffd") -> dict[str, dict]:
    lines = json.loads(place.perennial("status", "--json"))["lines"]
    return {one["name"]: one for one in lines[line]["generations"]}


@pytest.fixture(scope="module")
def first(found, archives):
    """Two lines that learned one archive, the one long after the other."""
    place = found()
    choose(place, lines={"cffd": LINE, "slow": SLOW})
    place.land("first", archives["first"])
    place.perennial("run")
    return place


@pytest.fixture(scope="module")
def refused(first, archives, copied):
    """And another archive, for which the gate stayed closed to one line."""
    place = copied(first)
    choose(place, lines={"cffd": LINE}, gate=CLOSED)
    place.land("second", archives["second"])
    place.land("third", archives["third"])
    return place, place.perennial("run")


@pytest.fixture(scope="module")
def retried(refused, copied):
    place = copied(refused[0])
    choose(
        place, gate=OPEN, training={**yaml.safe_load((place.root / "params.yaml").read_text())["training"], "epochs": 2}
    )
    return place, place.perennial("retry", "cffd-M2"), place.perennial("run")


def test_a_champion_is_promoted_and_shown_while_another_line_still_learns(first):
    (promoted,) = ledger.read(first.root / "ledger.jsonl", "cffd")
    _, judged = durations.raised(first.root, "slow-M1")
    assert datetime.fromisoformat(promoted.when).timestamp() < judged
    tracking = connect(first.root)
    (run,) = runs_where("tags.`perennial.generation` = 'slow-M1'", tracking)
    began, ended = durations.raised(first.root, "slow-M1")
    assert run.info.start_time == pytest.approx(began * 1000, abs=2000)
    assert run.info.end_time == pytest.approx(ended * 1000, abs=2)
    history = tracking.client.get_metric_history(run.info.run_id, "training/loss")
    assert [point.step for point in history] == list(range(1, 241)), "every epoch once"
    assert history[0].timestamp < run.info.end_time, "drawn while it learned"
    assert not runs_where(f"tags.`{LIVE_TAG}` like '%'", tracking)


def test_a_line_that_holds_learns_nothing_more_and_says_what_it_waits_for(refused):
    place, said = refused
    assert list(generations(place)) == ["cffd-M1", "cffd-M2"], "the third archive waits"
    assert "cffd waits, because cffd-M2 was refused: perennial retry cffd-M2" in said
    assert "Everything is up to date" in place.perennial("run")


def test_the_same_choices_once_more_are_refused(refused, copied):
    place = copied(refused[0])
    assert "expected other choices in params.yaml" in place.perennial("retry", "cffd-M2", fails=True)
    assert "found that 'cffd-M1' is the champion" in place.perennial("retry", "cffd-M1", fails=True)


def test_a_line_goes_on_when_a_person_let_the_refused_through_and_compares_with_that_one(refused, copied):
    place = copied(refused[0])
    place.perennial("promote", "cffd-M2", "--override", "better than nothing")
    choose(place, gate=OPEN)
    assert "waits, because" not in place.perennial("run")
    champions = [entry.to.generation for entry in ledger.read(place.root / "ledger.jsonl", "cffd")]
    assert champions == ["cffd-M1", "cffd-M2", "cffd-M3"]
    verdict = json.loads((place.root / "data" / "verdicts" / "cffd-M3" / "verdict.json").read_text())
    assert verdict["champion"]["name"] == "cffd-M2"
    assert "Running stage" not in place.dvc("repro")


def test_a_retry_becomes_champion_and_the_line_goes_on_from_it(retried):
    place, said, _ = retried
    assert said.startswith("cffd-M3 learns 'second' from the champion, cffd-M1.") and "training.epochs 1 -> 2" in said
    found = generations(place)
    assert [(one["learns"], one["teacher"], one["retired"]) for one in found.values()] == [
        ("first", "nobody", False),
        ("second", "cffd-M1", True),
        ("second", "cffd-M1", False),
        ("third", "cffd-M3", False),
    ]
    champions = [entry.to.generation for entry in ledger.read(place.root / "ledger.jsonl", "cffd")]
    assert champions == ["cffd-M1", "cffd-M3", "cffd-M4"]


def test_page_matrix_and_memory_are_those_of_the_branch_that_lives(retried):
    place, _, _ = retried
    matrix = json.loads((place.root / "data" / "verdicts" / "cffd-M4" / "matrix.json").read_text())
    assert matrix["generations"] == ["cffd-M1", "cffd-M3", "cffd-M4"]
    assert "cffd-M2" not in (place.root / "reports" / "lines" / "cffd" / "index.html").read_text()
    card = json.loads((place.root / "data" / "generations" / "cffd-M3" / "card.json").read_text())
    assert card["teacher"] == "cffd-M1"


def test_the_retired_stays_in_the_register_and_challenges_nobody(retried):
    place, _, _ = retried
    tracking = connect(place.root)
    known = {v.tags[catalogue.GENERATION_TAG]: v.tags for v in catalogue.versions("cffd", tracking)}
    assert list(known) == ["cffd-M1", "cffd-M2", "cffd-M3", "cffd-M4"]
    assert [name for name, tags in known.items() if catalogue.RETIRED_TAG in tags] == ["cffd-M2"]
    assert catalogue.holder("cffd", catalogue.CHALLENGER, tracking) is None


def test_a_plain_repro_of_a_branched_line_has_nothing_to_do(retried):
    assert "Running stage" not in retried[0].dvc("repro")


def test_what_nothing_rests_on_goes_and_the_line_is_whole_afterwards(retried, copied):
    place = copied(retried[0])
    assert "Taken away" in place.perennial("gc", "--delete") or "Nothing to take away" in place.perennial("gc")
    assert "Everything is what was written down of it" in place.perennial("verify")
    assert "Everything is up to date" in place.perennial("run")
